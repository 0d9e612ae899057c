"""Write the golden files anew: ``python -m tests.golden [provider ...]``. Review the difference."""

from __future__ import annotations

import os
import sys

import django

from runtests import settings_module


def main(names: list[str]) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = settings_module()
    django.setup()

    from .messages import MESSAGES
    from .requests import as_text, golden_file, outcome_of, provider_cases

    for case in provider_cases():
        if names and case.name not in names:
            continue
        directory = golden_file(case, "any").parent
        directory.mkdir(exist_ok=True)
        for path in directory.glob("*.json"):
            path.unlink()
        for name, make_message in MESSAGES.items():
            golden_file(case, name).write_text(as_text(outcome_of(case, make_message)))


main(sys.argv[1:])
