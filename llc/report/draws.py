"""The parts of a report that are about draws: an estimate with its chains, verdicts, settings."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from llc.estimators.diagnoses import SAMPLING_FAULTS, Verdict
from llc.estimators.result import Estimate
from llc.estimators.show import show
from llc.report.figures import captioned, picture
from llc.report.page import Cell, Element, element, fold, number, pairs, section, table

_MOST_NAMES = 12  # of those that a verdict holds of
_ROW = 3  # of them, that are told by the first and the last
_CHAINS = (
    "Above: what each chain adds to λ̂, draw by draw; settled chains look like noise about one level. Middle: by how "
    "much the draws of a chain crowd below a rank among all draws; a line that leaves the grey band belongs to a chain "
    "that disagrees with the others. Below: λ̂ from the draws so far; the lines should meet and be level."
)


def estimates_section(estimates: Mapping[str, Estimate]) -> Element:
    """A table of them, and each with its chains."""
    head = ["", "λ̂", "d/2", "ESS", "R̂", "verdicts"]
    rows = [
        [
            Cell(name, name),
            number(estimate.value, show(estimate)),
            number(estimate.dimension / 2),
            number(estimate.ess, f"{estimate.ess:.0f}"),
            number(estimate.rhat, f"{estimate.rhat:.3f}"),
            verdict_cell(estimate.verdicts),
        ]
        for name, estimate in estimates.items()
    ]
    folds = [
        estimate_fold(name, f"estimate-{place}", estimate, open_=len(estimates) == 1)
        for place, (name, estimate) in enumerate(estimates.items())
    ]
    return section("Estimates", table(head, rows), *folds)


def estimate_fold(title: str, name: str, estimate: Estimate, *, open_: bool = False) -> Element:
    """An estimate in one line, which unfolds into its chains, what stands beside it, and its settings."""
    line = f"{title}: λ̂ = {show(estimate)} · {', '.join(estimate.verdicts)}"
    chains = picture(estimate.plot(), name, f"Traces, ranks and running means of the chains, {line}")
    settings = fold("settings", *settings_tables(estimate.settings))
    return fold(line, captioned(_CHAINS, chains), pairs(estimate.rows()), settings, name=name, open_=open_)


def verdicts_section(found: Mapping[str, tuple[Verdict, ...]]) -> Element:
    """What holds of what, the worst first, and what to do about it."""
    rows = []
    for place, verdict in enumerate(Verdict):
        holds = [verdict in verdicts for verdicts in found.values()]
        if any(holds):
            label = element("span", str(verdict), class_="bad" if _is_bad(verdict) else "fine")
            where = Cell(_listed(list(found), holds), holds.index(True))
            count = number(sum(holds), f"{sum(holds)} of {len(found)}")
            rows.append([Cell(label, place), count, where, Cell(verdict.advice, place)])
    return section("Verdicts", table(["verdict", "how many", "where", "what it says"], rows))


def _listed(names: Sequence[str], holds: Sequence[bool]) -> str:
    """Names for which something holds, three or more in a row as the first and the last.

    >>> _listed(["a", "b", "c", "d", "e"], [True, True, True, False, True])
    'a … c, e'
    """
    parts: list[str] = []
    for held, places in groupby(range(len(names)), key=holds.__getitem__):
        row = [names[place] for place in places]
        if held:
            parts += [f"{row[0]} … {row[-1]}"] if len(row) >= _ROW else row
    return ", ".join(parts[:_MOST_NAMES]) + (", and more" if len(parts) > _MOST_NAMES else "")


def verdict_cell(verdicts: tuple[Verdict, ...]) -> Cell:
    """Verdicts as a table shows them: what is wrong in bold; sorted by the worst."""
    parts: list[Element | str] = []
    for verdict in verdicts:
        parts += [", ", element("b", str(verdict), class_="bad") if _is_bad(verdict) else str(verdict)]
    return Cell(element("span", *parts[1:]), list(Verdict).index(verdicts[0]))


def settings_tables(settings: Mapping[str, Any]) -> list[Element]:
    """Every setting; versions apart."""
    flat = {name: _written(value) for name, value in settings.items() if name != "versions"}
    versions = {str(name): _written(value) for name, value in settings.get("versions", {}).items()}
    versions |= {name: flat.pop(name) for name in list(flat) if name.endswith("_version") or name == "device"}
    tables = [pairs(sorted(flat.items()))]
    return [*tables, element("h3", "Versions"), pairs(sorted(versions.items()))] if versions else tables


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_bad(verdict: Verdict) -> bool:
    return verdict in SAMPLING_FAULTS or verdict is Verdict.NOT_A_MINIMUM
