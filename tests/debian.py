"""Programs that tests need, which Debian has packages of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

INSTALL_SECONDS = 300


def find_or_install(name: str, package: str, find: Callable[[], Path | None]) -> Path:
    """Return what ``find`` finds, if need be after installing a package.

    Skips the test, and says why on standard error, if that can't be.
    """
    try:
        return find() or _install(name, package, find)
    except SkipTest as skip:
        print(skip, file=sys.stderr)
        raise


def _install(name: str, package: str, find: Callable[[], Path | None]) -> Path:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SkipTest(f"{name} is not installed, and only root on Debian can install it here.")
    for arguments in (["update", "-qq"], ["install", "-qq", "--yes", package]):
        result = subprocess.run(
            # Other tests can be installing it, too.
            ["apt-get", "-o", f"DPkg::Lock::Timeout={INSTALL_SECONDS}", *arguments],
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=INSTALL_SECONDS,
        )
        if result.returncode != 0:
            break
    if found := find():
        return found
    raise SkipTest(f"{name} cannot be installed: apt-get {arguments[0]} failed.")
