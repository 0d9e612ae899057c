"""`python -m benchmarks`: what common tasks cost with Anymail, and without it.

`python -m benchmarks topic ...` measures topics in detail, with the goals that we have set
ourselves; `python -m benchmarks all` all of them. With --docs, the chart in docs/ is made anew.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

CHART = Path(__file__).parent.parent / "docs" / "performance" / "ways_to_send.svg"

OVERVIEW = "overview"

# Modules of this package. Each has `run() -> list[Table]`.
TOPICS = (
    *("imports", "calls", "connections", "ways_to_send", "concurrency", "shared_calls"),
    *(
        "async_sending",
        "failover",
        "later",
        "payloads",
        "receiving",
        "receiving_memory",
        "webhooks_later",
        "scale",
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"all, {', '.join(TOPICS)}")
    parser.add_argument("--docs", action="store_true", help="make the chart of docs/ anew")
    options = parser.parse_args()
    if unknown := set(options.topics) - {*TOPICS, "all"}:
        parser.error(f"no such topic: {', '.join(sorted(unknown))}")
    topics = TOPICS if "all" in options.topics else options.topics
    if options.docs:
        from . import ways_to_send

        CHART.parent.mkdir(exist_ok=True)
        CHART.write_text(ways_to_send.chart(ways_to_send.measure(rounds=3)), encoding="utf-8")
        if not topics:
            return 0
    for topic in topics or [OVERVIEW]:
        for table in importlib.import_module(f"benchmarks.{topic}").run():
            print(table.text(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
