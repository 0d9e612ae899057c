"""Documents settings from their declarations (``anymail.known_settings``).

``.. anymail-settings:: postmark`` lists the settings of a group there. With the option
``:reference:``, which just docs/settings.rst has, they become what ``:setting:`` refers to.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from anymail.datastructures import UNSET
from anymail.known_settings import KnownSetting, groups

_USES = {
    "tracking": "the tracking webhook",
    "inbound": "the inbound webhook",
    "combined": "the webhook",
}

# Collecting them takes a moment.
_groups = cache(groups)


class AnymailSettings(SphinxDirective):
    """The directive."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"reference": directives.flag}

    def run(self) -> list[nodes.Node]:
        group = _groups().get(self.arguments[0])
        if group is None:
            raise self.error(f"There are no settings of {self.arguments[0]!r}")
        for module in sys.modules.copy():
            if module.startswith(("anymail.backends", "anymail.webhooks")):
                self.env.note_dependency(sys.modules[module].__file__)
        is_reference = "reference" in self.options
        lines: list[str] = []
        for setting in group.settings:
            name = setting.name
            # A directive with content, or a definition list.
            lines += [f".. setting:: {name}", ""] if is_reference else [f":setting:`{name}`"]
            content = [setting.help, "", ".. rst-class:: anymail-facts", ""]
            content += [f"- {fact}" for fact in _facts(setting)]
            lines += [f"   {line}".rstrip() for line in content] + [""]
        parsed = self.parse_text_to_nodes("\n".join(lines))
        return [nodes.container("", *parsed, classes=["anymail-settings"])]


def _facts(setting: KnownSetting) -> list[str]:
    facts = []
    both = {"tracking", "inbound"}
    webhooks = both if both.issubset(setting.required) else set()
    if setting.required:
        uses = ["webhooks" if use in webhooks else use for use in setting.required]
        texts = [f"for {_USES.get(use, use)}" for use in dict.fromkeys(uses)]
        facts.append(f"**Required {', and '.join(texts)}**")
    default = setting.default_text
    if not default and not (setting.default is UNSET or (setting.required and not setting.default)):
        default = f"``{_quoted(setting.default)}``"
    if default and default != "none":
        facts.append(f"Default: {default}")
    if setting.options:
        names = " or ".join(f"``{name}``" for name in setting.options)
        facts.append(f"``MAILERS`` option: {names}")
    if setting.argument:
        facts.append(f"``as_view()`` argument: ``{setting.argument}``")
    if setting.bare:
        facts.append(f"Also read as plain ``{setting.name}``")
    if setting.used_by != "sending":
        facts.append(f"Used by {setting.used_by}")
    return facts


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive, and the role that refers to settings."""
    app.add_object_type("setting", "setting", indextemplate="pair: %s; setting")
    app.add_directive("anymail-settings", AnymailSettings)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
