"""Follows every link of the built book."""

import html.parser
import os
import urllib.parse

from .stage import BOOK


class Page(html.parser.HTMLParser):
    """What a page can be led to by, and where it leads."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.targets = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.add(value)
            elif name in ("href", "src") and value is not None:
                self.targets.append(value)
            elif name == "srcset" and value:
                self.targets.append(value.split(" ")[0])


def check():
    pages = {path: Page(path.read_text()) for path in BOOK.rglob("*.html")}
    followed, lost = 0, []
    for path, page in pages.items():
        for target in page.targets:
            parts = urllib.parse.urlsplit(target)
            # What leaves the book is not asked for: there may be no network.
            if parts.scheme or parts.netloc or path.name in ("print.html", "404.html", "toc.html"):
                continue
            followed += 1
            to = path if not parts.path else path.parent / urllib.parse.unquote(parts.path)
            to = type(path)(os.path.normpath(to))
            if not to.exists():
                lost.append(f"{path.relative_to(BOOK)}: {target}: no such page")
            elif parts.fragment and to in pages and urllib.parse.unquote(parts.fragment) not in pages[to].ids:
                lost.append(f"{path.relative_to(BOOK)}: {target}: no such place")
    if lost:
        raise SystemExit("\n".join(lost))
    print(f"{followed} links of {len(pages)} pages lead somewhere")
