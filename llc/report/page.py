"""The parts of a page as elements of a tree, so that no text can become a tag; and the tree as one file."""

import hashlib
import math
from base64 import b64encode
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import NamedTuple
from xml.etree.ElementTree import Element, tostring

Content = str | Element


class Cell(NamedTuple):
    """What a table shows, and what it is sorted by, NaN where that is unknown."""

    content: Content
    value: float | int | str
    numeric: bool = False
    """Whether it stands to the right, with its like below each other."""


def element(tag: str, *content: Content, **attributes: str | int | float) -> Element:
    """A tag with text and other elements in it; `class_` stands for class, and `data_step` for data-step.

    >>> tostring(element("p", "1 < 2 ", element("b", "<script>"), class_="lead"), encoding="unicode")
    '<p class="lead">1 &lt; 2 <b>&lt;script&gt;</b></p>'
    """
    made = Element(tag, {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    for part in content:
        if isinstance(part, Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + part
        else:
            made.text = (made.text or "") + part
    return made


def section(title: str, *content: Content) -> Element:
    """A part of the page with its heading."""
    return element("section", element("h2", title), *content)


def fold(summary: str, *content: Content, name: str = "", open_: bool = False) -> Element:
    """A part that a click unfolds; a link to `#name` does it too."""
    attributes = ({"id": name} if name else {}) | ({"open": ""} if open_ else {})
    return element("details", element("summary", summary), *content, **attributes)


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], *, steps: Sequence[int] = ()) -> Element:
    """A table that sorts by a click on a column's head; with `steps`, rows that the picture of the run answers to.

    There is at least one row.
    """
    looks = [_look(cell) for cell in rows[0]]
    heads = [
        element("th", element("button", name, type="button"), scope="col", **look)
        for name, look in zip(head, looks, strict=True)
    ]
    marks = [{"data_step": step} for step in steps] or [{}] * len(rows)
    body = [element("tr", *map(_cell, row), **mark) for row, mark in zip(rows, marks, strict=True)]
    made = element("table", element("thead", element("tr", *heads)), element("tbody", *body))
    return element("div", made, class_="scroll steps" if steps else "scroll")


def pairs(rows: Sequence[tuple[str, str]]) -> Element:
    """Names and values."""
    body = [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows]
    return element("table", element("tbody", *body), class_="pairs")


def number(value: float | int, text: str = "") -> Cell:
    """A number, as it is written or with four digits; a dash where it is unknown.

    >>> number(0.123456).content, number(float("nan")).content, number(12).content
    ('0.1235', '—', '12')
    """
    if not math.isfinite(value):
        return Cell("—", math.nan, numeric=True)
    return Cell(text or (f"{value}" if isinstance(value, int) else f"{value:.4g}"), value, numeric=True)


def page(title: str, *content: Element) -> str:
    """The whole file: nothing in it is loaded from elsewhere, and no script runs but its own."""
    style, script = ((files("llc.report") / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    own = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{own}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=rules),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", style),
    )
    footer = element("footer", f"Written by llcoef {version('llcoef')}. This file needs no network.")
    body = element("body", element("main", element("h1", title), *content), footer, element("script", script))
    return "<!doctype html>\n" + tostring(element("html", head, body, lang="en"), encoding="unicode", method="html")


def _cell(cell: Cell) -> Element:
    value = "" if isinstance(cell.value, float) and math.isnan(cell.value) else cell.value
    return element("td", cell.content, data_value=value, **_look(cell))


def _look(cell: Cell) -> dict[str, str]:
    return {"class": "number"} if cell.numeric else {}
