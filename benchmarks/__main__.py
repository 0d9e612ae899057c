"""`python -m benchmarks [topic ...]`: measure, and print tables.

With --docs, the tables and figures also go into the documentation (docs/performance/).
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs" / "performance"

# Modules of this package. Each has `run() -> list[Table]`.
TOPICS = (
    *(
        "imports",
        "connections",
        "calls",
        "concurrency",
        "async_sending",
        "shared_calls",
        "failover",
        "later",
        "payloads",
    ),
    *("receiving", "receiving_memory", "webhooks_later", "scale"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="topic", help=", ".join(TOPICS))
    parser.add_argument(
        "--docs", action="store_true", help="write the tables and figures into docs/"
    )
    options = parser.parse_args()
    if unknown := set(options.topics) - set(TOPICS):
        parser.error(f"no such topic: {', '.join(sorted(unknown))}")
    for topic in options.topics or TOPICS:
        tables = importlib.import_module(f"benchmarks.{topic}").run()
        for table in tables:
            print(table.text(), flush=True)
        if options.docs:
            DOCS.mkdir(exist_ok=True)
            text = "\n\n".join(table.rst() for table in tables)
            (DOCS / f"{topic}.inc").write_text(text, encoding="utf-8")
            for figure in filter(None, (table.svg for table in tables)):
                (DOCS / f"{topic}.svg").write_text(figure, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
