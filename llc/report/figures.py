"""Matplotlib figures as inline SVG, drawn with the reader's fonts."""

import io
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from llc.report.page import element

_DPI = 96  # of the parts that are no curves


def picture(figure: Any, name: str, alt: str) -> Element:
    """A figure as an SVG element, which is closed thereby.

    Args:
        figure: of matplotlib.
        name: of this picture alone; parts of a drawing refer to each other by ids, which a page has in common.
        alt: what it shows, for those who do not see it.
    """
    file = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", dpi=_DPI)
    plt.close(figure)
    drawn = fromstring(file.getvalue())
    width = float(drawn.attrib["viewBox"].split()[2])
    svg = _plain(drawn, name)
    svg.attrib = {
        "viewBox": svg.attrib["viewBox"],
        "role": "img",
        "aria-label": alt,
        "style": f"max-width: {width:g}pt",
    }
    return svg


def captioned(caption: str, *content: Element) -> Element:
    """Pictures above what they show."""
    return element("figure", *content, element("figcaption", caption))


def photograph(path: Path, alt: str) -> Element:
    """A PNG file, as a part of the page."""
    return element("img", src=f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}", alt=alt)


def add_steps(svg: Element, figure: Any, texts: Mapping[int, str]) -> None:
    """Lay over a picture, for each step, the band of places that are nearest to it, which shows its text.

    Args:
        svg: from `picture`.
        figure: what it is a picture of; its first axes have the steps along x.
        texts: by step.
    """
    axes = figure.axes[0]
    width, height = map(float, svg.attrib["viewBox"].split()[2:])
    box = axes.get_position()
    places = axes.get_xaxis_transform().transform([(step, 0.0) for step in texts])[:, 0] / figure.bbox.width
    order = [i for i in np.argsort(places) if np.isfinite(places[i])]
    between = (places[order][1:] + places[order][:-1]) / 2
    edges = np.clip([box.x0, *between, box.x1], box.x0, box.x1) * width
    steps = list(texts)
    for i, left, right in zip(order, edges[:-1], edges[1:], strict=True):
        where = {"x": left, "y": (1 - box.y1) * height, "width": right - left, "height": box.height * height}
        rounded = {key: f"{value:.1f}" for key, value in where.items()}
        svg.append(element("rect", element("title", texts[steps[i]]), class_="step", data_step=steps[i], **rounded))


def _plain(node: Element, name: str) -> Element:
    """Without namespaces, which pages do not need, and metadata; with ids of its own."""
    made = Element(_local(node.tag))
    made.text, made.tail = node.text, node.tail
    for key, value in node.attrib.items():
        made.set(_local(key), _of(name, _local(key), value))
    for child in node:
        if _local(child.tag) not in {"metadata", "style"}:
            made.append(_plain(child, name))
    return made


def _of(name: str, key: str, value: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "d":
        return re.sub(r"\d+\.\d+", lambda found: f"{float(found[0]):.2f}", value)  # of a point; less cannot be seen
    if key == "href":
        return f"#{name}-{value[1:]}" if value.startswith("#") else "".join(value.split())
    return value.replace("url(#", f"url(#{name}-")


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]
