"""Checks the built documentation: `python docs/check_site.py docs/_build/html`.

- Each link to another page or place in it leads to something.
- The API reference has every public name, and the members of classes that others extend.
- Errors and warnings point to places that are there.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from anymail import utils  # noqa: E402
from anymail.known_settings import all_names  # noqa: E402
from anymail.sandbox import __all__ as sandbox_names  # noqa: E402
from tests.docs.test_api_reference import public_names  # noqa: E402
from tests.test_public_names import INBOUND_MESSAGE, MEMBERS  # noqa: E402


class Page(HTMLParser):
    """The links in a page, and the places in it that links can lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the links and places from an element."""
        attributes = {name: value for name, value in attrs if value}
        self.links |= {attributes[name] for name in ("href", "src") if name in attributes}
        self.places |= {attributes[name] for name in ("id", "name") if name in attributes}


def broken_links(site: Path) -> Iterator[str]:
    """Yield what is wrong with links within the site."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    for path, page in sorted(pages.items()):
        for link in sorted(page.links):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if not target.is_file():
                yield f"{path.name}: there is no {link}"
            elif target in pages and unquote(url.fragment) not in pages[target].places:
                yield f"{path.name}: there is no such place: {link}"


def missing_names(site: Path) -> Iterator[str]:
    """Yield public names that are not in the API reference."""
    content = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    # Each line begins with name and type.
    objects = [line.split()[:2] for line in zlib.decompress(content).decode().splitlines()]
    documented = {name for name, kind in objects if kind.startswith("py:")}
    settings = {name for name, kind in objects if kind == "std:setting"}
    wanted = {f"{module}.{name}" for module, names in public_names().items() for name in names}
    for path, members in MEMBERS.items():
        module, _, cls = path.partition(":")
        if cls in utils.__all__ and not module.startswith(("anymail.backends", "anymail.webhooks")):
            module = "anymail.utils"
        wanted |= {f"{module}.{cls}.{member}" for member in members}
    wanted |= {f"anymail.inbound.AnymailInboundMessage.{member}" for member in INBOUND_MESSAGE}
    wanted |= {f"anymail.sandbox.{name}" for name in sandbox_names}
    for name in sorted(wanted - documented):
        yield f"not in the API reference: {name}"
    for name in sorted(set(all_names()) - settings):
        yield f"not in the settings reference: {name}"


def missing_places(site: Path) -> Iterator[str]:
    """Yield where errors and warnings point to, if it is not there."""
    places = {f"settings#setting-{name}" for name in all_names()}
    for path in (ROOT / "anymail").rglob("*.py"):
        places |= set(re.findall(r'"([a-z_/]+#[A-Za-z_-]+)"', path.read_text(encoding="utf-8")))
    for place in sorted(places):
        name, _, anchor = place.partition("#")
        page = site / f"{name}.html"
        if not page.is_file() or anchor not in Page(page).places:
            yield f"errors point to {place}, which is not there"


if __name__ == "__main__":
    site = Path(sys.argv[1])
    problems = [*broken_links(site), *missing_names(site), *missing_places(site)]
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{len(problems)} problems")
    sys.exit(bool(problems))
