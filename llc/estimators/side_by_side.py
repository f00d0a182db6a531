"""Estimates at several nβ and γ, or at one: the chains of all run side by side, by one compiled program."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from llc.draws.draw import Chains, advance, collect_each
from llc.draws.keys import describe_key
from llc.draws.processes import check_agreement
from llc.estimators import calibration
from llc.estimators.diagnoses import FAR_RHAT, Verdict
from llc.estimators.learning_coefficient import learning_coefficient
from llc.estimators.result import Estimate
from llc.estimators.warm_up import LADDER, Effort, steps_left, warm_up, warm_up_ladder
from llc.posterior.curvature import gradient_term
from llc.posterior.ladder import ladder_of, rung, rungs_of
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.localization import Localization
from llc.problem import Problem
from llc.samplers.kernel import Kernel, with_step_size

_MAX_ATTEMPTS = 8  # at a step size, then at half of it, ...
_MIN_ESS = 200.0  # below it an error bar is too uncertain to stop on
_MAX_RHAT = 1.01
_MAX_DRAWS = 20_000  # of one chain, that precision is sought with
_PATIENCE = 2_000  # draws, in which chains must have met or are told that they have not


def estimates_at(
    problem: Problem,
    params: PyTree,
    at: Sequence[tuple[float | int | None, Localization]],
    *,
    rng_key: int | Array = 0,
    kernel: Kernel | None = None,
    mask: PyTree | str | Sequence[str] | None = None,
    batch_size: int | None = None,
    num_chains: int = 4,
    num_warmup: int | None = None,
    num_draws: int | None = None,
    thinning: int | None = None,
    relative_error: float | int = 0.05,
    max_gradient_evaluations: float | int | None = None,
    keep_weights: bool = False,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> list[Estimate]:
    """λ̂ at each of several pairs of nβ (n / log n where it is None) and γ; all else is as in `llc.estimate`.

    All have as many draws, and go on until the last of them is known well enough. A budget is that of each.

    Raises:
        ValueError: as `llc.estimate`.
    """
    asked = dict(locals())
    asked["nbeta"], asked["localization"] = zip(*asked.pop("at"), strict=True)
    check_agreement(mesh, problem, params, asked)
    _check_numbers(num_chains, num_warmup, num_draws, thinning, relative_error)
    nbeta, localization = at[0]
    posterior = LocalPosterior(
        problem, params, nbeta=nbeta, localization=localization, mask=mask, batch_size=batch_size, mesh=mesh
    )
    posterior.layout.check_chains(num_chains)
    record: dict[str, Any] = {"rng_key": describe_key(rng_key)}
    if kernel is None:
        choice = calibration.choose_kernel(posterior, num_chains, max_gradient_evaluations)
        kernel, record["kernel_choice"] = choice
    if batch_size is None:
        posterior = posterior.with_batch_size(calibration.choose_batch_size(kernel, posterior))
    ladder = len(LADDER) if kernel.step_size is None else np.size(kernel.step_size)
    max_steps = calibration.affordable_steps(posterior, kernel, ladder * num_chains, max_gradient_evaluations)
    effort = Effort(num_chains, num_warmup, max_steps, progress)
    goal = Goal(num_draws, thinning, relative_error, keep_weights)
    posterior = ladder_of(posterior, at)
    records = [record | {"gradient_term": float(gradient_term(one))} for one in rungs_of(posterior)]
    if kernel.step_size is None:
        return _on_a_ladder(posterior, kernel, rng_key, effort, goal, records)
    if np.ndim(kernel.step_size) == 1:
        kernel = with_step_size(kernel, jnp.tile(kernel.step_size, len(at)))
    thinning = goal.thinning or calibration.choose_thinning(posterior, kernel, num_draws, effort.max_steps)
    records = [record | {"thinning": thinning} for record in records]
    chains = warm_up(posterior, kernel, rng_key, effort, thinning, any_batch=batch_size is None)
    if chains.warmup is not None:
        effort = steps_left(kernel, posterior, chains, effort, thinning)
    return _draw_until(chains, goal, effort, records)


class Goal(NamedTuple):
    """When to stop, at so many draws or at a precision, and what is kept on the way."""

    num_draws: int | None
    thinning: int | None
    relative_error: float | int
    keep_weights: bool

    def further_draws(self, estimate: Estimate, done: int) -> int:
        """Draws that are missing, as far as the draws so far tell; 0 where precision is reached."""
        if self.num_draws is not None or estimate.num_diverged:
            return 0
        # too few for an error bar, or one of chains that are not yet where they belong: as many again
        if math.isnan(estimate.std_error) or (_unsettled(estimate) and done < _PATIENCE):
            return done
        wanted = self.relative_error * abs(estimate.value)
        factor = max((estimate.std_error / wanted) ** 2 if wanted else 1.0, _MIN_ESS / max(estimate.ess, 1.0))
        if estimate.std_error == 0.0 or (factor <= 1 and not estimate.rhat > _MAX_RHAT):
            return 0
        # the first looks at an error bar are poor ones: at most thrice as many at a time
        return int(done * np.clip(1.1 * factor - 1, 0.25, 2.0))


def _on_a_ladder(
    posterior: LocalPosterior,
    kernel: Kernel,
    rng_key: int | Array,
    effort: Effort,
    goal: Goal,
    records: list[dict[str, Any]],
    halvings: int = 0,
) -> list[Estimate]:
    """Estimate at step sizes that are chosen, halved for as long as chains diverge and the budget lasts."""
    chains, choices = warm_up_ladder(posterior, kernel, rng_key, effort, halvings)
    effort = effort.after(choices[0]["warmup_steps"])
    thinning = goal.thinning or calibration.choose_thinning(posterior, chains.kernel, goal.num_draws, effort.max_steps)
    last = halvings + 1 == _MAX_ATTEMPTS
    if choices[0]["stable"] or last or chains.interrupted:
        told = [own | of_rung | {"thinning": thinning} for own, of_rung in zip(records, choices, strict=True)]
        results = _draw_until(chains, goal, effort, told)
        settings = results[0].settings
        effort = effort.after(settings["num_draws"] * thinning)
        stable = not any(result.num_diverged for result in results)
        if stable or last or effort.max_steps == 0 or settings["interrupted"]:
            return results
    return _on_a_ladder(posterior, kernel, rng_key, effort, goal, records, halvings + 1)


def _draw_until(chains: Chains, goal: Goal, effort: Effort, records: list[dict[str, Any]]) -> list[Estimate]:
    """Draw in rounds until the goal is met or the effort spent, and estimate."""
    thinning, posterior = records[0]["thinning"], rung(chains.posterior, 0)
    left = goal.num_draws or int(np.clip(effort.max_steps // thinning, 1, _MAX_DRAWS))
    size = min(left, goal.num_draws or calibration.first_draws(chains.kernel))
    num_chains = effort.num_chains * max(1, np.size(chains.kernel.step_size) // len(records))
    every = calibration.choose_full_losses(posterior, chains.kernel, num_chains, size, thinning)
    # with weights everything is wanted of a draw
    settings = {"thinning": thinning, "full_loss_every": 1 if goal.keep_weights else every}
    records = [record | settings for record in records]
    while True:
        if not chains.interrupted:
            chains = advance(chains, size, keep_weights=goal.keep_weights, progress=effort.progress, **settings)
            left -= size
        if chains.num_draws == 0:
            raise KeyboardInterrupt
        results = [learning_coefficient(draws) for draws in collect_each(chains, records)]
        size = min(left, max(goal.further_draws(result, chains.num_draws) for result in results))
        if chains.interrupted or size <= 0:
            return results
        if any(map(_unsettled, results)):  # the first half was warm-up
            chains = chains.later_half()


def _unsettled(estimate: Estimate) -> bool:
    """Whether chains still move away from where they began, or have not met, in the loss or along flat directions."""
    apart = estimate.rhat > FAR_RHAT or estimate.squared_distance_ratio.rhat > FAR_RHAT
    return apart or Verdict.DRIFTING in estimate.verdicts


def _check_numbers(
    num_chains: int,
    num_warmup: int | None,
    num_draws: int | None,
    thinning: int | None,
    relative_error: float | int,
) -> None:
    for name, value, least in (
        ("num_chains", num_chains, 1),
        ("num_warmup", num_warmup, 0),
        ("num_draws", num_draws, 1),
        ("thinning", thinning, 1),
    ):
        if value is not None and value < least:
            msg = f"{name}={value}; it must be at least {least}, or None to have it chosen."
            raise ValueError(msg)
    if not 0 < relative_error < 1:
        msg = f"relative_error={relative_error}; it must be between 0 and 1; 0.05 stops at 5 % of the value."
        raise ValueError(msg)
