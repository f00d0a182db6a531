"""The learning coefficient refined to some of the weights or some of the data, and what moves it.

    weight-refined    λ̂_C  = nβ E_{π_C}[L(w) − L(w*)],  π_C the posterior with all but the weights C held at w*
    data-restricted   λ̂'   = nβ E_π[L'(w) − L'(w*)],    L' the mean loss on other data, or on some of the data
    susceptibility    χ    = d E_{π_h}[φ] / dh at h = 0,  π_h with (1 − h) L + h L' in the place of L
                           = −nβ Cov_π(φ, ΔL' − ΔL)

The first two refine the coefficient after Wang et al. (2024, arXiv:2410.02984). The second keeps the posterior it is
drawn from; to have that of L' as well, call `llc.estimate` with the other data. χ has the unit of φ; that of Baker et
al. (2025, arXiv:2504.18274) is divided by nβ. Their φ of a component C is ΔL on the posterior π_C: give draws that were
made with `mask`. `component_losses` is a φ on the unrestricted posterior.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PyTree
from xarray import DataArray, DataTree

from llc.draws.schema import read_settings
from llc.draws.weights import weights_of
from llc.estimators.estimate import estimate
from llc.estimators.example_losses import (
    Indices,
    check_origin,
    example_indices,
    finite_chains,
    loss_around,
    weight_blocks,
)
from llc.estimators.measure import Measure, mean_of, measure
from llc.estimators.result import Estimate
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.masks import named_masks, resolve_mask
from llc.problem import Problem


def refine(
    problem: Problem, params: PyTree, masks: Mapping[str, PyTree] | Sequence[str], **settings: Any
) -> dict[str, Estimate]:
    """λ̂ of several sets of weights, each with all others held at w*.

    >>> import jax.numpy as jnp, llc
    >>> problem = llc.Problem(lambda w, x: 0.5 * (w["a"] - x) ** 2 + 0.5 * w["b"] ** 2, jnp.zeros(1000))
    >>> frozen = {"kernel": llc.samplers.SGLD(step_size=0.0), "num_draws": 10, "num_warmup": 0}
    >>> {name: result.dimension for name, result in refine(problem, {"a": 0.0, "b": 0.0}, ["a"], **frozen).items()}
    {'a': 1}

    Args:
        problem: the loss and its data.
        params: the checkpoint w*.
        masks: patterns of paths (`llc.posterior.masks`); or names, each with a pattern, several, or a tree of booleans.
        settings: those of `llc.estimate`, the same for each.

    Returns:
        The estimates, by pattern or name. They add up where the loss is a sum over the sets.

    Raises:
        ValueError: before any sampling, a mask is none, or there is none; or as of `llc.estimate`.
    """
    trees = named_masks(masks, params)
    if not trees:
        msg = "masks is empty; give a list of patterns, or a mapping of names to masks."
        raise ValueError(msg)
    if "mask" in settings:
        msg = "mask is given apart from masks; put it among masks."
        raise ValueError(msg)
    return {name: estimate(problem, params, mask=tree, **settings) for name, tree in trees.items()}


def restricted_to_data(problem: Problem, params: PyTree, draws: DataTree, other: Problem | Indices) -> Measure:
    """λ̂' = nβ E_π[L'(w) − L'(w*)] of other data, or of some of the data, from draws of the posterior of all of it.

    Over the parts of a partition the values average, weighted by their sizes, to λ̂ of the whole.

    Args:
        problem: what the draws were made with.
        params: the checkpoint w* that they were made around.
        draws: as `llc.draw(..., keep_weights=True)` makes them.
        other: another problem on the same params, or the numbers of some of the problem's examples.

    Returns:
        λ̂', without unit as λ̂; the detail `loss_difference` is E[ΔL'] in nats per example. Where w* is no minimum of
        L' it can be negative.

    Raises:
        ValueError: what was chosen is no example, the other loss fails on the params, the draws are of another problem,
            or without weights or finite chains.
    """
    differences = loss_differences(problem, params, draws, other).values
    details = {"loss_difference": mean_of(differences)}
    return measure("λ̂ restricted to data", "", read_settings(draws)["nbeta"] * differences, draws, details)


def susceptibility(
    problem: Problem,
    params: PyTree,
    draws: DataTree,
    towards: Problem | Indices,
    observable: Float[np.ndarray, "..."] | DataArray | None = None,
) -> Measure:
    """χ = −nβ Cov_π(φ, ΔL' − ΔL): what E[φ] gains for each unit of weight that the data move from L to L'.

    Args:
        problem: what the draws were made with.
        params: the checkpoint w* that they were made around.
        draws: as `llc.draw(..., keep_weights=True)` makes them.
        towards: the data of L', another problem on the same params or the numbers of some of the problem's examples.
        observable: φ at each draw of the finite chains, ΔL (nats per example) unless given.

    Returns:
        χ, in the unit of φ; among its details are the mean of φ (`observable`) and χ / nβ (`per_nbeta`).

    Raises:
        ValueError: as of `restricted_to_data`; or φ is not one finite number a draw.
    """
    nbeta, statistics = read_settings(draws)["nbeta"], finite_chains(draws)["sample_stats"].to_dataset()
    loss = statistics["full_loss_difference"].values.astype(np.float64)
    phi = loss if observable is None else np.asarray(observable, np.float64)
    if phi.shape != loss.shape or not np.isfinite(phi).all():
        msg = (
            f"observable holds {np.isfinite(phi).sum()} finite numbers in the shape {list(phi.shape)}; it must be one "
            f"a draw of the finite chains, (chain, draw) = {list(loss.shape)}."
        )
        raise ValueError(msg)
    shift = loss_differences(problem, params, draws, towards).values - loss
    series = -nbeta * (phi - phi.mean()) * (shift - shift.mean())
    unit = "nats per example" if observable is None else getattr(observable, "attrs", {}).get("units", "")
    details = {"observable": mean_of(phi), "per_nbeta": mean_of(series / nbeta)}
    return measure("susceptibility", unit, series, draws, details)


def loss_differences(
    problem: Problem, params: PyTree, draws: DataTree, other: Problem | Indices | None = None
) -> DataArray:
    """L'(w) − L'(w*) at each draw of the finite chains (nats per example), dimensions (chain, draw).

    Args:
        problem: what the draws were made with.
        params: the checkpoint w* that they were made around.
        draws: as `llc.draw(..., keep_weights=True)` makes them.
        other: another problem, or the numbers of some of the problem's examples; None for the problem's own loss.

    Raises:
        ValueError: as of `restricted_to_data`.
    """
    if not isinstance(other, Problem):
        numbers = example_indices(problem, other)
        other = Problem(problem.loss_fn, problem.take(numbers))
    check_origin(loss_around(problem, params), draws)
    return _at_draws(loss_around(other, params), params, draws)


def component_losses(
    problem: Problem, params: PyTree, draws: DataTree, mask: PyTree | str | Sequence[str]
) -> DataArray:
    """L(w*, but w on C) − L(w*) at each draw of the finite chains (nats per example): the draw's part in a component C.

    Args:
        problem: what the draws were made with.
        params: the checkpoint w* that they were made around.
        draws: as `llc.draw(..., keep_weights=True)` makes them.
        mask: C, patterns of paths or a tree of booleans.

    Returns:
        Dimensions (chain, draw), an observable of `susceptibility`.

    Raises:
        ValueError: the mask is none; or as of `restricted_to_data`.
    """
    mask = resolve_mask(mask, params)
    component = LocalPosterior(problem, params, nbeta=1.0, localization=1.0, mask=mask)
    check_origin(component, draws)
    return _at_draws(component, params, draws)


def _at_draws(evaluator: LocalPosterior, params: PyTree, draws: DataTree) -> DataArray:
    draws = finite_chains(draws)
    like, weights = draws["sample_stats"].to_dataset()["full_loss_difference"], weights_of(draws, params)
    values = np.empty(like.size)
    for rows, part in weight_blocks(weights):
        values[rows] = np.asarray(_differences(evaluator, part))
    differences = like.copy(data=values.reshape(like.shape)).rename("loss_difference")
    return differences.assign_attrs(units="nats per example")


@eqx.filter_jit
def _differences(evaluator: LocalPosterior, weights: PyTree) -> Float[Array, "draws"]:
    return jax.lax.map(lambda w: evaluator.loss_difference(evaluator.whiten(w)), weights)
