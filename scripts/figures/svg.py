"""A picture in SVG, and what is drawn in it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

# Pixels: the margin around and between the parts, and the height of a line of text.
MARGIN, LINE = 20, 22
PLAIN, BOLD = "400", "600"
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
# On white, so that they are the same on a light and on a dark page.
PAPER, TEXT, FAINT = "#ffffff", "#24292e", "#6a737d"


def drawing(title: str, note: str, width: float, height: float, parts: list[str]) -> str:
    """The whole picture, on white."""
    width = max(width, widest([title]) * 1.25 + 2 * MARGIN)
    head = [
        tag("title", escape(title)),
        tag("rect", width=width, height=height, rx=6, fill=PAPER),
        words(title, MARGIN, MARGIN + 13, font_size=15, font_weight=BOLD),
        words(note, MARGIN, MARGIN + 31, fill=FAINT),
    ]
    size = {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": round(width), "height": round(height)}
    content = "\n".join(["", *filter(None, head + parts), ""])
    return tag("svg", content, xmlns="http://www.w3.org/2000/svg", role="img", font_family=FONT, **size) + "\n"


def words(text: str, x: float, y: float, **style: object) -> str:
    return tag("text", escape(text), x=x, y=y, **({"font_size": 12, "fill": TEXT} | style)) if text else ""


def tag(name: str, content: str = "", **attributes: object) -> str:
    written = "".join(f' {key.replace("_", "-")}="{attribute(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def attribute(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else escape(str(value))


def widest(texts: Iterable[str]) -> float:
    """Pixels that the longest text takes in the usual size, bold and in the widest of the fonts."""
    return 7.8 * max(map(len, texts))
