#!/usr/bin/env python
"""Run the tests: `python runtests.py [label ...] [option ...]`.

Labels and options are those of Django's `manage.py test`, such as `-v 2`, `--parallel`,
`--tag` or `tests.test_message.AnymailMessageTests`. See tests/runner.py for what is added.
"""

import os
import re
import sys
from pathlib import Path

import tests  # noqa: F401  (makes warnings errors, so comes before Django)

# isort: split
import django
from django.core.management import execute_from_command_line

SETTINGS_DIR = Path(__file__).parent / "tests" / "test_settings"


def settings_module() -> str:
    """Name the settings for this Django version, or for the newest before it."""
    versions = [
        tuple(map(int, match.groups()))
        for path in SETTINGS_DIR.iterdir()
        if (match := re.fullmatch(r"settings_(\d+)_(\d+)\.py", path.name))
    ]
    major, minor = max(version for version in versions if version <= django.VERSION[:2])
    return f"tests.test_settings.settings_{major}_{minor}"


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = settings_module()
    execute_from_command_line([sys.argv[0], "test", *sys.argv[1:]])
