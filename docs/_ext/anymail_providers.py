"""Lists the providers, as ``anymail.providers`` has them.

``.. anymail-providers:: links`` has links to their pages, ``pages`` is the table of contents that
these are in, ``install`` tells the names to install and configure them with, ``logs`` has what the
pages say about logs, and ``settings`` has a section of the settings reference for each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from anymail import providers
from anymail.providers import PROVIDERS, Provider

PAGES = Path(__file__).parent.parent / "esps"


class AnymailProviders(SphinxDirective):
    """The directive."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        form = directives.choice(self.arguments[0], list(FORMS))
        self.env.note_dependency(providers.__file__)
        for page in PAGES.glob("*.rst"):
            self.env.note_dependency(str(page))
        text = "\n".join(FORMS[form](list(PROVIDERS.values())))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _links(items: list[Provider]) -> list[str]:
    links = [f"- :doc:`{item.esp_name} </esps/{item.module}>`" for item in items]
    return [".. rst-class:: anymail-columns", "", *links]


def _pages(items: list[Provider]) -> list[str]:
    return [".. toctree::", "   :maxdepth: 1", "", *(f"   /esps/{item.module}" for item in items)]


def _install(items: list[Provider]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    lines += ["   * - Provider", "     - To install", "     - Packages", "     - Backend"]
    for item in items:
        lines += [
            f"   * - :doc:`{item.esp_name} </esps/{item.module}>`",
            f"     - ``{item.extra}``",
            f"     - {', '.join(item.packages.values())}".rstrip(),
            f"     - ``anymail.backends.{item.module}.EmailBackend``",
        ]
    return lines


def _logs(items: list[Provider]) -> list[str]:
    lines = [".. list-table::", "   :widths: 25 75", ""]
    for item in items:
        page = PAGES / f"{item.module}.rst"
        match = re.search(r"^   :Logs: (.*(?:\n      .*)*)", page.read_text("utf-8"), re.MULTILINE)
        text = " ".join(match[1].split()) if match else ""
        lines += [f"   * - :doc:`{item.esp_name} </esps/{item.module}>`", f"     - {text}"]
    return lines


def _settings(items: list[Provider]) -> list[str]:
    lines: list[str] = []
    for item in items:
        title, page = item.esp_name, f":doc:`/esps/{item.module}`"
        lines += [title, "-" * len(title), "", f"See also {page}."]
        for former in item.former_names.values():
            lines += [
                f"The deprecated backend and webhooks with the name {former} have the same",
                f"settings, with ``{former.upper()}`` in place of ``{item.settings_prefix}``.",
            ]
        lines += ["", f".. anymail-settings:: {item.module}", "   :reference:", "", ""]
    return lines


FORMS = {
    "links": _links,
    "pages": _pages,
    "install": _install,
    "logs": _logs,
    "settings": _settings,
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("anymail-providers", AnymailProviders)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
