"""What importing costs, beyond Django itself: processor time and memory of new processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from .measure import Table

ROUNDS = 5
URLS_TIME_GOAL = 0.07
URLS_MEMORY_GOAL = 25e6

# The one with an SDK, one of those with an HTTP API, which are alike, and one without a provider.
BACKENDS = ["amazon_ses", "console", "postmark"]

# A process's own peak memory: Linux's getrusage() starts from that of the process's parent.
PROGRAM = """
import json, sys, time
from importlib import import_module

def peak_memory():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

import django
from django.conf import settings
settings.configure(ANYMAIL={})
django.setup()
seconds, memory = time.process_time(), peak_memory()
for name in sys.argv[1:]:
    import_module(name)
print(json.dumps([time.process_time() - seconds, peak_memory() - memory]))
"""

# What installing the app imports.
APP = ["anymail.apps"]


def measure(modules: list[str]) -> tuple[float, float]:
    """Return the seconds and bytes that it takes to import modules after django.setup()."""
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM, *modules],
        cwd=Path(__file__).parent.parent,
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    seconds, memory = json.loads(output)
    return seconds, memory


def run() -> list[Table]:
    variants = {
        "anymail.urls": [*APP, "anymail.urls"],
        "requests (for comparison)": ["requests"],
    }
    for name in BACKENDS:
        if name != "amazon_ses" or find_spec("boto3"):
            variants[f"anymail.backends.{name}"] = [*APP, f"anymail.backends.{name}"]
    if find_spec("boto3"):
        variants["boto3 (for comparison)"] = ["boto3"]

    results: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, modules in variants.items():
            results[name].append(measure(modules))
    table = Table(
        "Importing, after a django.setup() without Anymail",
        ["", "processor time", "goal", "memory", "goal"],
        note="Each row is of new processes, and includes what installing the app takes.",
    )
    for name, pairs in results.items():
        seconds, memory = (statistics.median(values) for values in zip(*pairs, strict=True))
        is_urls = name == "anymail.urls"
        table.add(
            name,
            _milliseconds(seconds),
            _milliseconds(URLS_TIME_GOAL) if is_urls else "",
            _megabytes(memory),
            _megabytes(URLS_MEMORY_GOAL) if is_urls else "",
        )
    return [table]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"
