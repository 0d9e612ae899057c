"""Documents settings from the table in ``anymail._settings``.

``.. anymail-settings:: postmark`` lists the settings of a group there. With the option
``:reference:``, which just docs/settings.rst has, they become what ``:setting:`` refers to.
"""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from anymail import _settings
from anymail._settings import GROUPS, Group, Setting
from anymail.datastructures import UNSET


class AnymailSettings(SphinxDirective):
    """The directive."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"reference": directives.flag}

    def run(self) -> list[nodes.Node]:
        group = GROUPS.get(self.arguments[0])
        if group is None:
            raise self.error(f"There are no settings of {self.arguments[0]!r} in anymail._settings")
        self.env.note_dependency(_settings.__file__)
        is_reference = "reference" in self.options
        lines: list[str] = []
        for setting in group.settings:
            name = group.full_name(setting)
            # A directive with content, or a definition list.
            lines += [f".. setting:: {name}", ""] if is_reference else [f":setting:`{name}`"]
            content = [setting.text, "", ".. rst-class:: anymail-facts", ""]
            content += [f"- {fact}" for fact in _facts(group, setting)]
            lines += [f"   {line}".rstrip() for line in content] + [""]
        parsed = self.parse_text_to_nodes("\n".join(lines))
        return [nodes.container("", *parsed, classes=["anymail-settings"])]


def _facts(group: Group, setting: Setting) -> list[str]:
    facts = []
    if setting.required:
        facts.append(f"**Required {setting.required}**")
    default = setting.default_text
    if not default and setting.default is not UNSET:
        default = f"``{_quoted(setting.default)}``"
    if default and default != "none":
        facts.append(f"Default: {default}")
    if setting.options:
        names = " or ".join(f"``{name}``" for name in setting.options)
        facts.append(f"``MAILERS`` option: {names}")
    if setting.argument:
        facts.append(f"``as_view()`` argument: ``{setting.argument}``")
    if setting.bare:
        facts.append(f"Also read as plain ``{group.full_name(setting)}``")
    if setting.scope != "sending":
        used_by = "webhooks" if setting.scope == "webhooks" else "sending and webhooks"
        facts.append(f"Used by {used_by}")
    return facts


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive, and the role that refers to settings."""
    app.add_object_type("setting", "setting", indextemplate="pair: %s; setting")
    app.add_directive("anymail-settings", AnymailSettings)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
