"""The parts of a report that hold measures against each other."""

from collections.abc import Sequence

from llc.comparators.comparison import Comparison, Comparisons
from llc.comparators.row import Row, shown
from llc.report.figures import captioned, picture
from llc.report.page import Cell, Element, element, fold, number, section, table

_TITLES = {
    "complexity": "Complexity: half the effective number of parameters",
    "free_energy": "Free energy, in nats",
    "generalization": "Loss on new data, in nats per example",
}
_OF_ONE = (
    "Left: λ̂ over the localisation γ, between what the tangent kernel predicts and BIC's d/2. Right: predictions of "
    "the loss on new data, with 95 % errors, beside what was measured (band)."
)
_OF_SEVERAL = "Each criterion's prediction of the loss on new data against the measured one; the line is agreement."


def comparison_section(comparison: Comparison | Comparisons) -> Element:
    """Tables and a picture, of one checkpoint or of several."""
    if isinstance(comparison, Comparison):
        return section("Comparison", *_tables(comparison), _figure(comparison, _OF_ONE, "comparison"))
    folds = [
        fold(f"{name}: {part!r}", *_tables(part), _figure(part, _OF_ONE, f"comparison-{place}"))
        for place, (name, part) in enumerate(comparison.items())
    ]
    figure = _figure(comparison, _OF_SEVERAL, "comparisons")
    ranking = element("h3", "Places, 1 the best, and rank correlation with the measured loss")
    return section("Comparison", figure, ranking, _ranking(comparison), *folds)


def _figure(comparison: Comparison | Comparisons, caption: str, name: str) -> Element:
    return captioned(caption, picture(comparison.plot(), name, caption))


def _tables(comparison: Comparison) -> list[Element]:
    return [part for name, rows in comparison.tables.items() for part in (element("h3", _TITLES[name]), _table(rows))]


def _table(rows: Sequence[Row]) -> Element:
    cells = [
        [
            Cell(row.measure, row.measure),
            number(row.value, shown(row)),
            Cell(row.verdict, row.verdict),
            Cell(row.assumptions, row.assumptions),
        ]
        for row in rows
    ]
    return table(["measure", "value", "verdict", "assumptions"], cells)


def _ranking(comparisons: Comparisons) -> Element:
    ranking = comparisons.ranking
    rows = [[Cell(str(criterion), str(criterion)), *map(number, cells)] for criterion, *cells in ranking.itertuples()]
    return table(["criterion", *map(str, ranking.columns)], rows)
