"""Disable the checks of webhooks' authentication, one at a time, and see that the tests notice.

Each comparison with a secret or of a URL, each verification of a signature, and each refusal of a
call in anymail/webhooks is switched off in a temporary copy of the package. Then the contract
suite, the fixture pairs or the tests of its own must fail for the provider; for code that providers
share, for one of those who use it. Takes many minutes, so it's not part of the test suite. Run it
after changes of authentication, with all optional packages installed::

    python tests/mutate_auth.py [names of modules, such as "sns", ...]

It ends with status 1 if the tests passed without one of the checks.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
WEBHOOKS = Path("anymail", "webhooks")

COMPARISONS = {
    "compare_digest",
    "fnmatchcase",
    "fullmatch",
    "have_made",
    "is_public",
    "is_signature",
    "matches",
    "matches_any",
    "is_in_date",
}
"""Functions whose result is the verdict: it becomes True."""
CHECKS = {
    "check_certificate",
    "check_freshness",
    "check_url",
    "verify",
    "verify_directly_issued_by",
    "verify_signature",
    "_check_header",
}
"""Functions that raise an exception for a wrong call: they are not called any more."""
REFUSING = {
    "auto_confirm_sns_subscription",
    "check",
    "check_certificate",
    "check_freshness",
    "check_url",
    "confirm_subscription",
    "string_to_sign",
    "validate_request",
    "verify_signature",
    "_check_header",
    "_find_signature_problem",
    "_new_conn",
}
"""Functions that refuse calls: they don't raise that exception, or return the reason, any more."""

# What is in the names of the tests to run, where that isn't the module's name.
TESTS: dict[str, list[str]] = {
    "amazon_ses": ["AmazonSes", "test_amazon_ses", "test_sns"],
    "base": ["test_base", "test_contract", "test_trust"],
    "keys": ["test_contract"],
    "signatures": ["test_contract", "test_signatures"],
    "certificates": ["test_contract", "test_sns"],
    "sns": ["AmazonSes", "ConfirmationTests", "test_sns"],
    "sns_signatures": ["AmazonSes", "test_sns"],
}

Change = tuple[int, str]
"""A line number, and the module without the check in that line."""


def find_checks(source: str) -> Iterator[Change]:
    """Yield the changes to a module that each take away a check."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in COMPARISONS | CHECKS:
                verdict = "True or" if name in COMPARISONS else "None and"
                yield change(source, node, verdict)
        elif isinstance(node, ast.FunctionDef) and node.name in REFUSING:
            for statement in ast.walk(node):
                is_refusal = isinstance(statement, ast.Raise) and isinstance(
                    statement.exc, ast.Call
                )
                is_reason = (
                    isinstance(statement, ast.Return)
                    and isinstance(statement.value, ast.Constant)
                    and node.name == "_find_signature_problem"
                )
                if isinstance(statement, ast.stmt) and (is_refusal or is_reason):
                    yield change(source, statement, "pass")


def change(source: str, node: ast.expr | ast.stmt, replacement: str) -> Change:
    """Return a module with a statement replaced, or with something before an expression."""
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    data = source.encode()
    if isinstance(node, ast.expr):
        replacement = f"({replacement} {data[start:end].decode()})"
    return node.lineno, (data[:start] + replacement.encode() + data[end:]).decode()


def tests_pass(directory: Path, module: str) -> bool:
    patterns = TESTS.get(module, [module, "".join(map(str.capitalize, module.split("_")))])
    command = [sys.executable, "runtests.py", "tests.webhooks", "--failfast"]
    command += ["--exclude-tag", "exhaustive"]
    for pattern in patterns:
        command += ["-k", pattern]
    result = subprocess.run(command, cwd=directory, capture_output=True, check=False)
    # A change that is not Python, or a run of no tests, would prove nothing.
    assert b" passed, " in result.stdout, result.stderr.decode()
    assert b"\n0 passed, 0 failed" not in result.stdout
    return result.returncode == 0


def main() -> int:
    wanted = sys.argv[1:]
    survived = checked = 0
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        for name in ("anymail", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "runtests.py", copy)
        for path in sorted((copy / WEBHOOKS).glob("*.py")):
            if wanted and path.stem not in wanted:
                continue
            source = path.read_text(encoding="utf-8")
            checks = list(find_checks(source))
            if checks and not tests_pass(copy, path.stem):
                print(f"The tests of {path.name} fail as it is.")
                return 1
            for line, changed in checks:
                path.write_text(changed, encoding="utf-8")
                passed = tests_pass(copy, path.stem)
                print(f"{'SURVIVED' if passed else 'noticed '} {path.name}:{line}", flush=True)
                checked += 1
                survived += passed
            path.write_text(source, encoding="utf-8")
    print(f"{checked} checks disabled, {survived} not noticed")
    return 1 if survived or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
