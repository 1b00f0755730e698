"""Lays the pages out as mdBook wants them: one folder, as they lie in the repository, with SUMMARY.md on top."""

import os
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STAGE, BOOK = ROOT / "target/book-pages", ROOT / "target/book"
LINK = re.compile(r"(?<!\!)\[([^\]]*)\]\(([^)\s]+)\)")
PICTURE = re.compile(r"""!\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)\"""")
CONFIG = """\
[book]
title = "Trunkline"
language = "en"
src = "pages"

[build]
build-dir = "{book}"
create-missing = false
# READMEs keep their names, and so do the links to them.
use-default-preprocessors = false

[output.html]
no-section-label = true
"""


def pages():
    """The pages, in the order of the book, relative to the repository."""
    summary = (ROOT / "docs/SUMMARY.md").read_text()
    return [normal("docs", target) for _, target in LINK.findall(summary)]


def normal(folder, target):
    return os.path.normpath(os.path.join(folder, target))


def build(mdbook):
    shutil.rmtree(STAGE, ignore_errors=True)
    chapters = pages()
    summary = (ROOT / "docs/SUMMARY.md").read_text()
    place("SUMMARY.md", LINK.sub(lambda link: f"[{link[1]}]({normal('docs', link[2])})", summary))
    for page in chapters:
        place(page, staged(page, chapters))
    (STAGE / "book.toml").write_text(CONFIG.format(book=BOOK))
    subprocess.run([mdbook, "build", STAGE], check=True)


def staged(page, chapters):
    """The text of a page: what it shows and leads to comes along; folders and what is no text stay behind."""
    folder, text = os.path.dirname(page), (ROOT / page).read_text()
    for found in PICTURE.finditer(text):
        bring(normal(folder, found[1] or found[2]))

    def follow(link):
        words, target = link[1], link[2]
        path, _, _ = target.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return link[0]
        place_of = normal(folder, path)
        if place_of in chapters:
            return link[0]
        if (ROOT / place_of).is_dir():
            return words
        bring(place_of)
        return link[0]

    return outside_of_code(text, lambda part: LINK.sub(follow, part))


def outside_of_code(text, change):
    parts = re.split(r"(^ *```.*?^ *```)", text, flags=re.M | re.S)
    return "".join(part if part.lstrip().startswith("```") else change(part) for part in parts)


def bring(path):
    source = ROOT / path
    if not source.is_file():
        raise SystemExit(f"there is no {path}, and a page leads there")
    # A page that is no chapter would not be made into one: it comes as a text.
    target = STAGE / "pages" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def place(path, text):
    target = STAGE / "pages" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
