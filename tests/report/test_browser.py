"""The page in a real browser: nothing fails, everything is seen, and what can be clicked does what it says."""

import dataclasses
import json

import numpy as np
import pytest

from llc.report import write_report

SEEN = """
for (const fold of document.querySelectorAll("details")) fold.open = true;
const box = (element) => { const { width, height } = element.getBoundingClientRect(); return [width, height]; };
told = { figures: [...document.querySelectorAll("figure")].map(box),
         pictures: [...document.querySelectorAll("figure svg:not([hidden]), figure img")].map(box),
         loaded: [...document.images].every((image) => image.complete && image.naturalWidth > 0),
         rasters: [...document.querySelectorAll("image")].map(box),
         width: document.documentElement.scrollWidth - document.documentElement.clientWidth };
"""
SORTED = """
const rows = () => [...document.querySelectorAll(".steps tbody tr")];
const values = (column) => rows().map((row) => row.cells[column].dataset.value);
const heads = [...document.querySelectorAll(".steps thead button")];
const at = (name) => heads.findIndex((head) => head.textContent === name);
told = { before: values(0) };
heads[at("λ̂")].click(); told.rising = values(at("λ̂")); told.said = heads[at("λ̂")].closest("th").ariaSort;
heads[at("λ̂")].click(); told.falling = values(at("λ̂"));
heads[at("verdicts")].click(); told.verdicts = values(at("verdicts"));
heads[0].click(); told.after = values(0);
told.heads = document.querySelectorAll(".steps th[aria-sort]").length;
"""
POINTED = """
const point = (element) => element.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
const marked = () => [...document.querySelectorAll(".marked")].map((part) => [part.localName, part.dataset.step]);
told = {};
const rect = document.querySelector("rect[data-step='1000']").getBoundingClientRect();
told.hit = document.elementFromPoint(rect.x + rect.width / 2, rect.y + rect.height / 2)?.dataset?.step;
point(document.querySelector("tr[data-step='5']")); told.fromTable = marked();
told.readout = document.querySelector(".readout").textContent;
point(document.querySelector("rect[data-step='20']")); told.fromPicture = marked();
point(document.body); told.away = marked();
const pictures = [...document.querySelector("figure").querySelectorAll("svg")];
const shown = () => pictures.map((picture) => getComputedStyle(picture).display !== "none");
told.first = shown(); document.querySelector("figure > button").click(); told.second = shown();
const folds = () => [...document.querySelectorAll("details")].filter((fold) => fold.open).length;
told.closed = folds(); dispatchEvent(new Event("beforeprint")); told.printed = folds();
dispatchEvent(new Event("afterprint")); told.again = folds();
location.hash = "step-1000"; dispatchEvent(new Event("hashchange")); told.unfolded = folds();
"""


@pytest.fixture
def ask(browse, parsed, tmp_path):
    """What a script finds out in a page."""

    def asked(path, script):
        probe = f"let told; {script}; document.body.dataset.told = JSON.stringify(told);"
        html, console = browse(path, probe)
        assert console == []
        (tmp_path / "seen.html").write_text(html, encoding="utf-8")
        return json.loads(parsed(tmp_path / "seen.html").all("body")[0]["data-told"])

    return asked


@pytest.fixture(scope="module")
def everything(run, estimate, comparison, tmp_path_factory):
    """A page with all parts; λ̂ of one step is unknown."""
    rows = [dict(row) for row in run.rows]
    rows[3] |= {"llc": float("nan"), "std_error": float("nan"), "verdicts": ("chains diverged",)}
    path = tmp_path_factory.mktemp("page") / "report.html"
    estimates = {"last": estimate, "<script>throw 1</script>": estimate}
    return write_report(
        path, trajectory=dataclasses.replace(run, rows=tuple(rows)), estimates=estimates, comparison=comparison
    )


def test_the_console_stays_silent(everything, browse):
    assert browse(everything)[1] == []


def test_the_console_is_heard(everything, browse, tmp_path):
    _, console = browse(everything, "nobody.knows()")
    assert "nobody is not defined" in console[0]
    loading, html = tmp_path / "loading.html", everything.read_text(encoding="utf-8")
    loading.write_text(html.replace("</main>", "<img src='http://127.0.0.1:9/x.png'><script>alert()</script></main>"))
    _, console = browse(loading)
    assert len(console) == 2
    assert all("Content Security Policy" in line for line in console), "the page's own rule holds"


def test_every_figure_is_seen(everything, ask):
    told = ask(everything, SEEN)
    assert len(told["figures"]) == len(told["pictures"]) >= 6
    assert all(width > 300 and height > 150 for width, height in told["figures"] + told["pictures"])
    assert told["rasters"]
    assert all(width > 100 and height > 50 for width, height in told["rasters"]), sorted(told["rasters"])[:5]
    assert told["loaded"]
    assert told["width"] == 0, "nothing sticks out of the page to the right"


def test_a_figure_without_room_is_noticed(everything, ask, tmp_path):
    hidden = tmp_path / "hidden.html"
    hidden.write_text(everything.read_text(encoding="utf-8").replace("figure { margin", "figure { height: 3px; margin"))
    assert not all(height > 150 for _, height in ask(hidden, SEEN)["figures"])


def test_tables_sort_by_a_click(everything, run, ask):
    told = ask(everything, SORTED)
    steps = [str(step) for step in run.steps]
    assert told["before"] == told["after"] == steps
    *rising, unknown = told["rising"]
    assert unknown == told["falling"][-1] == "", "what is unknown stays last"
    assert list(map(float, rising)) == sorted(map(float, rising))
    assert told["falling"][:-1] == rising[::-1]
    assert told["said"] == "ascending"
    verdicts = list(map(int, told["verdicts"]))
    assert verdicts == sorted(verdicts)
    assert told["heads"] == 1
    assert not np.array_equal(told["rising"], told["before"])


def test_pointing_and_folding(everything, ask):
    told = ask(everything, POINTED)
    assert sorted(told["fromTable"]) == [["rect", "5"], ["rect", "5"], ["tr", "5"]]
    assert sorted(told["fromPicture"]) == [["rect", "20"], ["rect", "20"], ["tr", "20"]]
    assert told["away"] == []
    assert told["readout"].startswith("step 5: λ̂ unknown")
    assert told["first"] == [True, False]
    assert told["second"] == [False, True]
    assert told["closed"] < told["printed"]
    assert told["again"] == told["closed"] == told["unfolded"] - 1
    assert told["hit"] == "1000", "the step is what the pointer meets"
