"""Sphinx settings: `python -m sphinx -W --keep-going docs docs/_build/html` builds the pages."""

import re
from pathlib import Path

version_file = Path(__file__).parent.parent / "anymail" / "_version.py"

project = "Anymail"
author = "Anymail contributors"
project_copyright = f"2026, {author}"
release = re.search(r'__version__ = "(.+)"', version_file.read_text())[1]
version = re.match(r"\d+\.\d+", release)[0]

exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"Anymail {release}"
