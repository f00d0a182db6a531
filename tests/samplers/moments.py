"""Means of draws against what they must be, within the errors of the draws themselves."""

import numpy as np
from arviz_stats.base import array_stats


def assert_means(draws, references, precision, axes=2):
    """Each mean over axes (chain, draw), or over independent chains, within 4 of its standard errors.

    The errors must be below `precision`, that a test of few or of stuck draws cannot pass.
    """
    draws = np.asarray(draws, np.float64)
    each = np.moveaxis(draws.reshape(*draws.shape[:axes], -1), -1, 0)
    for i, (values, reference) in enumerate(zip(each, np.ravel(references), strict=True)):
        error = values.std() / np.sqrt(values.size)
        if axes == 2:
            error = float(array_stats.mcse(values, chain_axis=0, draw_axis=1, method="mean"))
        found = f"mean {i} is {values.mean():.6g} ± {error:.2g} where {reference:.6g} is exact"
        assert abs(values.mean() - reference) < 4 * error, found
        assert error < precision, f"{found}; its error must be below {precision}"


def products(positions):
    """Of all pairs of coordinates."""
    positions = np.asarray(positions, np.float64)
    return positions[..., :, None] * positions[..., None, :]
