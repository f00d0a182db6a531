"""The inverse temperature times n, the one place that knows its default."""

import math


def resolve_nbeta(nbeta: float | int | None, n: int) -> float:
    """nβ, which is n / log n unless given (Watanabe 2013: β = 1 / log n).

    >>> round(resolve_nbeta(None, 1000), 6)
    144.764827

    Raises:
        ValueError: nβ is not a positive number, or n is too small for the default.
    """
    if nbeta is None:
        if n < 3:
            msg = f"n={n} examples are too few for the default nβ = n / log n; give nbeta= by hand."
            raise ValueError(msg)
        return n / math.log(n)
    if not (math.isfinite(nbeta) and nbeta > 0):
        msg = (
            f"nbeta={nbeta}; it must be a positive number, n / log n = {resolve_nbeta(None, max(n, 3)):.4g} by default."
        )
        raise ValueError(msg)
    return float(nbeta)
