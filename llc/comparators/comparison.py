"""What a comparison found: three tables and a picture, of one checkpoint or of several."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from llc.comparators.row import Row, shown, table
from llc.estimators.result import Estimate
from llc.estimators.show import plain

_TITLES = {
    "complexity": "Complexity (effective parameters / 2)",
    "free_energy": "Free energy (nats)",
    "generalization": "Generalisation (nats per example)",
}
_TRUTH = "measured on held-out data"
_IN_ONE_LINE = ("λ̂", "NTK ½·d_eff", "BIC d/2", "WAIC", _TRUTH)


class AtLocalization(NamedTuple):
    """λ̂ at a multiple of the chosen γ, with what the tangent predicts there, NaN where that is unknown."""

    factor: float
    llc: float
    std_error: float
    ntk: float


@dataclass(frozen=True, repr=False)
class Comparison:
    """Every measure of one checkpoint.

    `complexity`, `free_energy` and `generalization` are frames indexed by measure, with the columns value, error,
    verdict and assumptions.
    """

    tables: dict[str, tuple[Row, ...]]
    """The rows of the three tables, by their names."""
    over_localization: tuple[AtLocalization, ...]
    """λ̂ at multiples of γ."""
    estimate: Estimate
    """λ̂, with its draws."""

    @property
    def complexity(self) -> pd.DataFrame:
        """Coefficients, without unit: half the effective number of parameters."""
        return table(self.tables["complexity"])

    @property
    def free_energy(self) -> pd.DataFrame:
        """−log marginal likelihood under the prior N(w*, Γ⁻¹), in nats in total."""
        return table(self.tables["free_energy"])

    @property
    def generalization(self) -> pd.DataFrame:
        """The loss on new data, in nats per example."""
        return table(self.tables["generalization"])

    def __repr__(self) -> str:
        rows = {row.measure: row for rows in self.tables.values() for row in rows}
        known = [rows[name] for name in _IN_ONE_LINE if np.isfinite(rows[name].value)]
        return " · ".join(f"{row.measure} {shown(row)}" for row in known)

    def _repr_html_(self) -> str:
        tables = []
        for name, rows in self.tables.items():
            readable = pd.DataFrame(
                [(row.measure, shown(row), row.verdict, row.assumptions) for row in rows],
                columns=["measure", "value", "verdict", "assumptions"],
            )
            tables.append(f"<h4>{_TITLES[name]}</h4>{readable.to_html(index=False)}")
        return "".join(tables)

    def to_dataframe(self) -> pd.DataFrame:
        """The three tables as one, indexed by (table, measure)."""
        return pd.concat({name: table(rows) for name, rows in self.tables.items()}, names=["table"])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, in types that JSON knows; unknown numbers are None."""
        tables = {name: [row._asdict() for row in rows] for name, rows in self.tables.items()}
        curve = [at._asdict() for at in self.over_localization]
        return plain(tables | {"over_localization": curve, "estimate": self.estimate.to_dict()})

    def plot(self) -> Any:
        """λ̂ between what the tangent and BIC say, over γ where known, and predictions against what was measured."""
        from llc.plots.comparison import plot_comparison

        half = self.estimate.dimension / 2
        rows = self.tables["complexity"], self.tables["generalization"]
        return plot_comparison(self.over_localization, half, *rows, _TRUTH)


class Comparisons(Mapping[str, Comparison]):
    """The comparisons of several checkpoints or models, by name.

    Args:
        parts: each of them.

    Raises:
        ValueError: there are none.
    """

    def __init__(self, parts: Mapping[str, Comparison]) -> None:
        if not parts:
            msg = "there is nothing to compare; give a mapping from names to pairs (problem, params)."
            raise ValueError(msg)
        self._parts = dict(parts)

    def __getitem__(self, name: str) -> Comparison:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def complexity(self) -> pd.DataFrame:
        """As of each, indexed by (model, measure)."""
        return self.to_dataframe().xs("complexity", level="table")

    @property
    def free_energy(self) -> pd.DataFrame:
        """As of each, indexed by (model, measure)."""
        return self.to_dataframe().xs("free_energy", level="table")

    @property
    def generalization(self) -> pd.DataFrame:
        """As of each, indexed by (model, measure)."""
        return self.to_dataframe().xs("generalization", level="table")

    def values_by_criterion(self) -> dict[str, np.ndarray]:
        """Of each criterion, free energies in nats per example among them, the value for each model."""
        return {
            f"{name.replace('_', ' ')}: {row.measure}": np.array(
                [part.tables[name][place].value for part in self._parts.values()]
            )
            for name in ("free_energy", "generalization")
            for place, row in enumerate(next(iter(self._parts.values())).tables[name])
        }

    @property
    def ranking(self) -> pd.DataFrame:
        """The place of each model by each criterion, 1 the best, NaN where the criterion could not be had.

        The last column is Spearman's correlation of the criterion with the held-out loss, over models that have both.
        """
        values = self.values_by_criterion()
        truth = values[f"generalization: {_TRUTH}"]
        frame = pd.DataFrame({name: rankdata(column, nan_policy="omit") for name, column in values.items()}).T
        frame.columns = pd.Index(list(self._parts))
        return frame.assign(correlation=[_rank_correlation(column, truth) for column in values.values()])

    def __repr__(self) -> str:
        return f"{len(self)} models\n" + "\n".join(f"{name}: {part!r}" for name, part in self._parts.items())

    def _repr_html_(self) -> str:
        parts = "".join(f"<h3>{name}</h3>{part._repr_html_()}" for name, part in self._parts.items())
        return f"<h4>Ranking, 1 the best</h4>{self.ranking.to_html()}{parts}"

    def to_dataframe(self) -> pd.DataFrame:
        """All tables of all models as one, indexed by (model, table, measure)."""
        return pd.concat({name: part.to_dataframe() for name, part in self._parts.items()}, names=["model"])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, in types that JSON knows, with the ranking."""
        parts = {name: part.to_dict() for name, part in self._parts.items()}
        return plain({"models": parts, "ranking": self.ranking.to_dict("index")})

    def plot(self) -> Any:
        """Each criterion's prediction of the loss against the held-out one."""
        from llc.plots.comparison import plot_predictions

        generalization = {
            name.removeprefix("generalization: "): column
            for name, column in self.values_by_criterion().items()
            if name.startswith("generalization: ")
        }
        return plot_predictions(generalization, _TRUTH)


def _rank_correlation(values: np.ndarray, truth: np.ndarray) -> float:
    both = np.isfinite(values) & np.isfinite(truth)
    if len(np.unique(values[both])) < 2 or len(np.unique(truth[both])) < 2:
        return np.nan
    return float(np.corrcoef(rankdata(values[both]), rankdata(truth[both]))[0, 1])
