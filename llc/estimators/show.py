"""How results show themselves: numbers with as many digits as their error allows, tables, and JSON."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy.stats import norm

from llc.estimators.uncertainty import Mean


@runtime_checkable
class Uncertain(Protocol):
    """Anything with a value and its standard error."""

    @property
    def value(self) -> float:
        """The value."""
        ...

    @property
    def std_error(self) -> float:
        """Its standard error."""
        ...


def normal_interval(value: float, std_error: float, prob: float | int) -> tuple[float, float]:
    """The central interval of N(value, std_error²) that holds this probability.

    Raises:
        ValueError: the probability is not between 0 and 1.
    """
    if not 0 < prob < 1:
        msg = f"prob={prob}; it must be between 0 and 1, 0.95 for instance."
        raise ValueError(msg)
    half = float(norm.ppf(0.5 + prob / 2)) * std_error
    return value - half, value + half


def digits(error: float) -> int:
    """Decimals that show an error with two significant digits.

    >>> digits(0.0123), digits(12.3), digits(0.0)
    (3, 0, 4)
    """
    if not np.isfinite(error) or error <= 0:
        return 4
    return int(np.clip(1 - np.floor(np.log10(error)), 0, 6))


def show(mean: Uncertain) -> str:
    """A value with its error.

    >>> show(Mean(1.23456, 0.0123, 400.0, 1.0))
    '1.235 ± 0.012'
    """
    places = digits(mean.std_error)
    return f"{mean.value:.{places}f} ± {mean.std_error:.{places}f}"


def html_table(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    """Names and values as a table for notebooks."""
    cells = "".join(f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table><caption>{caption}</caption>{cells}</table>"


def plain(value: Any) -> Any:
    """The same in types that JSON knows; unknown numbers are None."""
    if isinstance(value, Mean):
        return plain({"value": value.value, "std_error": value.std_error})
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
