"""A row of a comparison: a number, its error, what it rests on, and what to think of it."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import NamedTuple

import numpy as np
import pandas as pd

from llc.comparators.measurements import Measurements
from llc.estimators.show import digits


class Row(NamedTuple):
    """A measure of one checkpoint."""

    measure: str
    value: float
    error: float
    """Its standard error in the same unit; 0 where arithmetic is exact, NaN where unknown."""
    verdict: str
    """What to think of it; the reason, where there is no value."""
    assumptions: str


class Result(NamedTuple):
    """What computing a row gives."""

    value: float
    error: float = 0.0
    verdict: str = "exact"


def row(measure: str, assumptions: str) -> Callable[[Callable[[Measurements], Result]], Callable[[Measurements], Row]]:
    """Make a row of a function; where it cannot be computed, the row says why, and the others still come."""

    def make(compute: Callable[[Measurements], Result]) -> Callable[[Measurements], Row]:
        @wraps(compute)
        def guarded(at: Measurements) -> Row:
            try:
                result = compute(at)
            except ValueError as error:
                result = Result(np.nan, np.nan, str(error))
            return Row(measure, float(result.value), float(result.error), result.verdict, assumptions)

        return guarded

    return make


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a frame, indexed by measure."""
    return pd.DataFrame([row._asdict() for row in rows]).set_index("measure")


def shown(row: Row) -> str:
    """A value with its error, as far as the error allows.

    >>> shown(Row("λ̂", 1.2345, 0.012, "converged", "")), shown(Row("BIC", 2.0, 0.0, "exact", ""))
    ('1.234 ± 0.012', '2')
    """
    if not np.isfinite(row.value):
        return "—"
    places = digits(row.error)
    return f"{row.value:.{places}f} ± {row.error:.{places}f}" if row.error > 0 else f"{row.value:.6g}"
