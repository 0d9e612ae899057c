"""What strangers send, and providers answer, is never worked on for more than linear time."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import time
from collections.abc import Callable, Container, Iterator
from typing import Any

from django.test import SimpleTestCase, tag

from anymail.exceptions import AnymailAPIError, AnymailWebhookValidationFailure
from anymail.masking import mask_credentials, mask_message, mask_urls
from anymail.webhooks.mandrill import _without_credentials

from .utils import PACKAGE, make_message

try:
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_parse as parser  # type: ignore[no-redef]

METHODS = {"match", "fullmatch", "search", "sub", "split", "findall", "finditer"}

SHORT = 1000
"""Length of a text. The other is four times as long."""

NEGLIGIBLE = 0.003
"""Seconds of CPU time for a long text that are no reason to look closer."""


def cpu_time(call: Callable[[], Any], times: int = 1) -> float:
    """Return how much CPU time a call takes at least, in seconds."""
    result = float("inf")
    for _ in range(times):
        start = time.thread_time()
        call()
        result = min(result, time.thread_time() - start)
    return result


def growth(work: Callable[[str], Any], head: str, pump: str, length: int = SHORT) -> float:
    """Return how many times as long it takes for a text that is four times as long.

    About 4 if that takes linear time, 16 if it never takes at most 8 times; 0 if it's quick.
    """
    count = max(length // len(pump), 1)
    # What is at the end keeps a regular expression from matching there.
    short, long = f"{head}{pump * count}\0", f"{head}{pump * (4 * count)}\0"
    if cpu_time(lambda: work(long)) < NEGLIGIBLE:
        return 0
    # What else the machine does can make one look slow, but not each time.
    factors = (cpu_time(lambda: work(long), 3) / cpu_time(lambda: work(short), 3) for _ in range(5))
    return next((factor for factor in factors if factor <= 8), 16)


# -- Regular expressions ----------------------------------------------------------------------


def patterns(names: Container[str]) -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Yield all regular expressions in modules and classes of Anymail, with names.

    Those that are texts, to be compiled when they are used, are known by the given names.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] in ("__main__", "site"):
            continue  # They start the sandbox, or are part of its settings.
        try:
            module = importlib.import_module(".".join(parts))
        except ImportError:  # An optional package is not installed.
            continue
        classes = [item for item in vars(module).values() if isinstance(item, type)]
        for namespace in (module, *classes):
            for name, item in vars(namespace).items():
                if isinstance(item, re.Pattern):
                    yield name, item
                elif isinstance(item, str) and name in names:
                    yield name, re.compile(item)


def methods_in_use() -> dict[str, set[str]]:
    """Return the methods that are called of regular expressions, by their names."""
    result: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in METHODS:
                # _NAME.match, or re.compile(_NAME).match
                value = ast.unparse(node.value).removeprefix("re.compile(").removesuffix(")")
                result.setdefault(value.rpartition(".")[2], set()).add(node.attr)
            elif isinstance(node, ast.Call) and ast.unparse(node.func)[:3] == "re.":
                # or the other way round, with the name as an argument
                method, name = ast.unparse(node.func)[3:], ast.unparse(node.args[0])
                if method in METHODS:
                    result.setdefault(name, set()).add(method)
    return result


def parts_of(parsed: Any) -> Iterator[str]:
    """Yield the texts in a regular expression, and one character for each other part of it."""
    literal = ""
    for operation, argument in parsed:
        name = str(operation)
        if name == "LITERAL":
            literal += chr(argument)
            continue
        if literal:
            yield literal
            literal = ""
        if name in ("RANGE", "NOT_LITERAL"):
            yield chr(argument if isinstance(argument, int) else argument[0])
        elif name == "CATEGORY":
            yield {"SPACE": " ", "DIGIT": "0"}.get(str(argument).rpartition("_")[2], "a")
        elif name == "BRANCH":
            for branch in argument[1]:
                yield from parts_of(branch)
        else:
            for item in argument if isinstance(argument, (list, tuple)) else ():
                if isinstance(item, (list, tuple, parser.SubPattern)):
                    yield from parts_of([item] if isinstance(item, tuple) else item)
    if literal:
        yield literal


def texts_for(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str]]:
    """Yield texts that could be hard for a regular expression: how they start, what is repeated."""
    source: Any = pattern.pattern
    parts = [*dict.fromkeys(parts_of(parser.parse(source, pattern.flags & ~re.UNICODE)))]
    words = [part for part in parts if len(part) > 1]
    characters = dict.fromkeys([*"a \n\\", *"".join(parts)[:12]])
    pairs = ["".join(pair) for pair in itertools.permutations([*characters, *words[:4]], 2)]
    for head in dict.fromkeys(["", "".join(parts)[:60], *words[:2], *parts[:2]]):
        for pump in (*characters, *words, *pairs):
            yield head, pump


def run(pattern: re.Pattern[Any], method: str, text: str) -> None:
    value: Any = text.encode("utf-8") if isinstance(pattern.pattern, bytes) else text
    if method == "sub":
        pattern.sub(value[:0], value)
    elif method == "finditer":
        list(pattern.finditer(value))
    else:
        getattr(pattern, method)(value)


def find_hard_text(pattern: re.Pattern[Any], method: str) -> tuple[str, str, float] | None:
    """Return a text that takes more than linear time, and by how much; None if there is none."""
    for head, pump in texts_for(pattern):
        factor = growth(lambda text: run(pattern, method, text), head, pump)
        if factor > 8:
            return head, pump, factor
    return None


@tag("exhaustive")
class RegularExpressionTests(SimpleTestCase):
    def test_all_of_them(self):
        methods = methods_in_use()
        seen = set()
        for name, pattern in patterns(methods):
            if name in methods and id(pattern) not in seen:
                seen.add(id(pattern))
                for method in methods[name]:
                    with self.subTest(f"{name}.{method}"):
                        self.assertIsNone(find_hard_text(pattern, method))
        self.assertGreater(len(seen), 50)

    def test_it_is_noticed(self):
        for text, method in [
            (r"""([?&][^=&?\s'"]*(?:key|token)[^=&?\s'"]*=)[^&#\s'"<>)]+""", "sub"),
            (r"(?s)inactive addresses:\s*(.*?)\.\s*Inactive recipients", "search"),
            (r'(?:"(?:[^"\\]|\\.)*"|[^",])+', "findall"),
            (r"<a\s[^>]*?\bhref", "search"),
            (r"\s+$", "sub"),
            (r"(?s)//.*@", "sub"),
        ]:
            with self.subTest(text):
                self.assertIsNotNone(find_hard_text(re.compile(text), method))


# -- Functions --------------------------------------------------------------------------------


@tag("exhaustive")
class FunctionTests(SimpleTestCase):
    def test_linear(self):
        message = make_message(body="confidential " * 10, to=["Bo <bo@example.com>"])
        error = AnymailAPIError("text", email_message=message)
        for work in [
            mask_urls,
            lambda text: mask_credentials(text, ["t", "key", "credential"]),
            lambda text: mask_message(text[: len(text) // 10], message),
            lambda text: error._quiet(text[: len(text) // 10]),
            lambda text: str(AnymailWebhookValidationFailure(text)),
            _without_credentials,
        ]:
            for head, pump in [
                ("?", "key"), ("", "?key"), ("", "?key="), ("?key=", "&"), ("", "://"),
                ("://", "@"), ("://", "a"), ("", "//"), ("", "t"), ("", "t "), ("", "key"),
                ("", "a'"), ("", "A"), ("", "confidential "), ("", "Bo"), ("", "A" * 16 + "\n"),
                ("", "\\u0041"),
            ]:  # fmt: skip
                with self.subTest(work=work, head=head, pump=pump):
                    self.assertLess(growth(work, head, pump, 40_000), 8)
