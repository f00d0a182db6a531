"""The second verb: a checkpoint's complexity by every theory, beside what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
from jaxtyping import Array, PyTree

from llc.comparators import aic, bic, eigenlearning, held_out, laplace, sampled, tangent
from llc.comparators.comparison import AtLocalization, Comparison, Comparisons
from llc.comparators.measurements import Measurements
from llc.posterior.localization import Localization, Relative, scaled
from llc.problem import Problem

TABLES = {
    "complexity": (bic.complexity, tangent.rank, tangent.complexity, sampled.complexity, sampled.fluctuation),
    "free_energy": (
        bic.free_energy,
        laplace.free_energy,
        tangent.free_energy,
        sampled.corrected_bic,
        sampled.wbic,
        sampled.free_energy,
    ),
    "generalization": (
        held_out.training,
        aic.generalization,
        bic.generalization,
        tangent.generalization,
        eigenlearning.generalization,
        sampled.generalization,
        sampled.waic,
        held_out.bayes,
        held_out.generalization,
    ),
}


@overload
def compare(problem: Problem, params: PyTree, **settings: Any) -> Comparison: ...
@overload
def compare(problem: Mapping[str, tuple[Problem, PyTree]], **settings: Any) -> Comparisons: ...
def compare(
    problem: Problem | Mapping[str, tuple[Problem, PyTree]],
    params: PyTree = None,
    *,
    rng_key: int | Array = 0,
    localization: Localization = Relative(),  # noqa: B008, frozen
    mask: Any = None,
    integrate: bool = True,
    localization_factors: Sequence[float | int] = (0.1, 10.0),
    **settings: Any,
) -> Comparison | Comparisons:
    """Complexity, free energy and generalisation of a checkpoint, by every theory that applies, in the same units.

    What does not apply (the network's outputs are not known, no held-out data) says so in its row; the others come.

    Args:
        problem: the loss and its data, best by `Problem.supervised` and with test data; or, to compare several
            checkpoints or models, a mapping from names to pairs (problem, params).
        params: the checkpoint w*.
        rng_key: a seed or a JAX key; the same for each of several.
        localization: γ, or `llc.Relative(radius)`: the prior of all free energies is N(w*, Γ⁻¹).
        mask: what may move.
        integrate: whether the free energy may take a run at each of a ladder of temperatures, where the draws at hand
            don't give it (replica exchange's do).
        localization_factors: multiples of γ at which λ̂ is estimated too, for the picture; () for none.
        settings: of the calls of `llc.estimate`: `num_chains`, `relative_error`, `max_gradient_evaluations`, `kernel`,
            `progress`, …

    Returns:
        The comparison; of several, their tables one below the other, and the ranking that each criterion gives.

    Raises:
        ValueError: as `llc.estimate`; or `nbeta` was given, which each row sets for itself.
    """
    for name in ("nbeta", "keep_weights"):
        if name in settings:
            msg = f"leave {name} out: each row of a comparison sets it for itself (λ̂ at n / log n, WAIC at n)."
            raise ValueError(msg)
    if isinstance(problem, Mapping):
        settings |= {"integrate": integrate, "localization_factors": localization_factors}
        settings |= {"rng_key": rng_key, "localization": localization, "mask": mask}
        return Comparisons({name: compare(*pair, **settings) for name, pair in problem.items()})
    where = {"localization": localization, "mask": mask}
    at = Measurements(problem, params, rng_key, where, settings, integrate=integrate)
    return Comparison(
        tables={name: tuple(row(at) for row in rows) for name, rows in TABLES.items()},
        over_localization=_over_localization(at, localization, localization_factors),
        estimate=at.estimate,
    )


def _over_localization(
    at: Measurements, localization: Localization, factors: Sequence[float | int]
) -> tuple[AtLocalization, ...]:
    """λ̂ and what the tangent predicts, at multiples of γ."""
    curve = []
    for factor in sorted({1.0, *map(float, factors)}):
        found = at.estimate if factor == 1 else at.estimate_at(scaled(localization, factor))
        try:
            predicted = at.tangent.coefficient(factor).value
        except ValueError:  # the network's outputs are not known
            predicted = np.nan
        curve.append(AtLocalization(factor, found.value, found.std_error, predicted))
    return tuple(curve)
