"""Disable the checks of webhooks' authentication, one at a time, and see that the tests notice.

Each comparison with a secret and each verification of a signature in anymail/webhooks is switched
off in a temporary copy of the package. Then the contract suite, the fixture pairs or the tests of
its own must fail for the provider; for code that providers share, for one of those who use it.
Takes some minutes, so it's not part of the test suite. Run it after changes of authentication::

    python tests/mutate_auth.py [text that the name of the module must have in it]

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

COMPARISONS = {"compare_digest", "matches", "matches_any"}
"""Functions whose result is the verdict: it becomes True."""
CHECKS = {"verify", "verify_signature"}
"""Functions that raise an exception for a wrong call: they are not called any more."""

USERS: dict[str, list[str]] = {"base": [], "signatures": [], "sns": ["AmazonSes", "Scaleway"]}
"""What is in the names of the tests to run for modules that providers share; none for all."""


def find_checks(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line number of each check in a module, and the module without that check."""
    lines = source.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line.encode()))
    data = source.encode()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        if name not in COMPARISONS | CHECKS:
            continue
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[node.end_lineno - 1] + node.end_col_offset
        verdict = b"True or " if name in COMPARISONS else b"None and "
        changed = data[:start] + b"(" + verdict + data[start:end] + b")" + data[end:]
        yield node.lineno, changed.decode()


def tests_pass(directory: Path, module: str) -> bool:
    labels = ["test_contract", "test_fixtures"]
    if (directory / "tests" / "webhooks" / f"test_{module}.py").is_file():
        labels.append(f"test_{module}")
    command = [sys.executable, "runtests.py", *(f"tests.webhooks.{label}" for label in labels)]
    command += ["--failfast", "--exclude-tag", "exhaustive"]
    for pattern in USERS.get(module, [module, "".join(map(str.capitalize, module.split("_")))]):
        command += ["-k", pattern]
    result = subprocess.run(command, cwd=directory, capture_output=True, check=False)
    # A change that is not Python, or a run of no tests, would prove nothing.
    assert b" passed, " in result.stdout, result.stderr.decode()
    assert b"\n0 passed, 0 failed" not in result.stdout
    return result.returncode == 0


def main() -> int:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    survived = checked = 0
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        for name in ("anymail", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "runtests.py", copy)
        for path in sorted((copy / WEBHOOKS).glob(f"*{wanted}*.py")):
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
