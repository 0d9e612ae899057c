"""Find the code blocks in reStructuredText, and tell what kind each of them is."""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import django

ROOT = Path(__file__).parent.parent.parent

_DIRECTIVE = re.compile(r"(?P<indent> *)\.\. (?:code-block|code|sourcecode):: *(?P<language>\S*)")
_TAB = re.compile(r"(?P<indent> *)\.\. tab-item:: (?P<label>.+)")
_OPTION = re.compile(r" +:(?P<name>[\w-]+):(?: (?P<value>.*))?$")

TABS = {
    "Django 6.1 and newer": django.VERSION >= (6, 1),
    "Before Django 6.1": django.VERSION < (6, 1),
}
"""The labels of tabs, and whether what is in them is for this version of Django."""


@dataclass(frozen=True)
class Block:
    """A code block."""

    page: str
    """The path from the root of the repository, with "/" in it."""
    line: int
    """Number of the line in which the code starts."""
    language: str
    text: str
    options: dict[str, str] = field(default_factory=dict)
    tab: str = ""
    """The label of the tab that it is in."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def caption(self) -> str:
        return self.options.get("caption", "")

    @property
    def is_for_this_django(self) -> bool:
        return not self.tab or TABS[self.tab]

    @property
    def is_python(self) -> bool:
        return self.language in {"python", "python3", "py"} or self.is_doctest

    @property
    def is_doctest(self) -> bool:
        return self.text.startswith(">>> ")

    @property
    def padded_text(self) -> str:
        """The code, in the lines where it is in the page: so are the lines of tracebacks."""
        return "\n" * (self.line - 1) + self.text

    def tree(self) -> ast.Module:
        return ast.parse(self.padded_text, self.page)

    def kind(self) -> str:
        """Return what to do with a block of Python. Raises SyntaxError if it is none."""
        if self.is_doctest:
            return "doctest"
        compile_async(self.tree(), self.page)
        body = self.tree().body
        if all(map(_is_setting, body)) and any(map(_names, body)):
            return "settings"
        if any("urlpatterns" in _names(node) for node in body) or all(map(_is_path, body)):
            return "urls"
        if any(isinstance(node, ast.ClassDef) and _is_test(node) for node in body):
            return "tests"
        return "code"


def pages() -> list[Path]:
    """Return the paths of all pages that a reader sees."""
    docs = ROOT / "docs"
    return [
        ROOT / "README.rst",
        *sorted(path for path in docs.rglob("*.rst") if "_build" not in path.parts),
    ]


def blocks_in(path: Path) -> list[Block]:
    """Return the code blocks of a page."""
    name = path.relative_to(ROOT).as_posix()
    return list(find_blocks(path.read_text(encoding="utf-8"), name))


def find_blocks(rst: str, page: str) -> Iterator[Block]:
    """Yield the code blocks in a text."""
    lines = rst.splitlines()
    tab: re.Match[str] | None = None
    for number, line in enumerate(lines):
        if tab and line.strip() and _indent(line) <= len(tab["indent"]):
            tab = None
        if match := _TAB.fullmatch(line.rstrip()):
            tab = match
        elif match := _DIRECTIVE.fullmatch(line.rstrip()):
            block = _read_block(lines, number + 1, match, page)
            yield replace(block, tab=tab["label"]) if tab else block
        elif line.startswith(">>> "):
            yield _read_doctest(lines, number, page)


def _read_block(lines: list[str], start: int, directive: re.Match[str], page: str) -> Block:
    indent = len(directive["indent"])
    options = {}
    while start < len(lines) and (match := _OPTION.match(lines[start])):
        options[match["name"]] = match["value"] or ""
        start += 1
    end = start
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > indent):
        end += 1
    while start < end and not lines[start].strip():
        start += 1
    text = textwrap.dedent("\n".join(lines[start:end])).rstrip() + "\n"
    return Block(page, start + 1, directive["language"], text, options)


def _read_doctest(lines: list[str], start: int, page: str) -> Block:
    """Return a doctest block, which needs no directive. It ends with an empty line."""
    end = start
    while end < len(lines) and lines[end].strip():
        end += 1
    return Block(page, start + 1, "doctest", "\n".join(lines[start:end]) + "\n")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


# -- What Python code is ----------------------------------------------------------------------


def compile_async(tree: ast.Module, filename: str) -> Any:
    """Return the code object for a module, which can have ``await`` outside of functions."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(tree, filename, "exec", flags=flags, dont_inherit=True)


def _is_setting(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    return bool(_names(node)) and all(name.isupper() for name in _names(node))


def _names(node: ast.stmt) -> list[str]:
    """Return the names that a statement assigns to."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        targets = [node.target]
    return [ast.unparse(target) for target in targets]


def _is_path(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node.value).startswith(("path(", "(path("))


def _is_test(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).endswith("TestCase") for base in node.bases)


def values_in_comments(text: str) -> dict[int, ast.expr]:
    """Return the comments that are Python values, such as ``# {"sent"}``, by line number.

    Only those at the end of a line of code.
    """
    values = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            source = token.string.lstrip("# ")
            try:
                ast.literal_eval(source)
            except (SyntaxError, ValueError):
                continue
            values[token.start[0]] = ast.parse(source, mode="eval").body
    return values
