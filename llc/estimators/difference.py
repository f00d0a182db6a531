"""How much λ̂ differs between two checkpoints, from draws that were made with the same random numbers."""

import numpy as np

from llc.estimators.result import Estimate
from llc.estimators.uncertainty import Mean, extrapolate, mean_with_error


def difference(later: Estimate, earlier: Estimate) -> Mean:
    """λ̂ of one checkpoint minus that of another, its standard error that of nβ (ΔL − ΔL') draw by draw.

    Chains that had the same random numbers move alike where the posteriors are alike, and their errors cancel. Where
    they do not, the error is about that of independent chains: it is measured, not assumed. The value is that of the
    pairs; the virial, which takes noise from each estimate alone, has no part in it.

    Args:
        later: an estimate.
        earlier: another, by the same kernel, step sizes, and numbers of chains and draws.

    Returns:
        The difference, without unit; its error is NaN where the draws cannot be paired.
    """
    unknown = Mean(later.value - earlier.value, float("nan"), float("nan"), float("nan"))
    ours, others = (estimate.draws["sample_stats"].to_dataset() for estimate in (later, earlier))
    if ours["loss_difference"].sizes != others["loss_difference"].sizes:
        return unknown
    losses = [np.asarray(part["loss_difference"].values, np.float64) for part in (ours, others)]
    series = later.nbeta * losses[0] - earlier.nbeta * losses[1]
    finite = ~np.any(ours["diverging"].values | others["diverging"].values, axis=-1)
    ladder = "step_size" in ours.dims
    rungs = [series[i][finite[i]] for i in range(len(series))] if ladder else [series[finite]]
    if not all(len(rung) for rung in rungs):
        return unknown
    sizes = ours["step_size"].values if ladder else np.ones(1)
    paired = extrapolate([mean_with_error(rung) for rung in rungs], sizes, straight=True)
    return paired._replace(value=unknown.value) if ladder else paired
