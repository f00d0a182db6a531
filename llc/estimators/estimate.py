"""The first verb: the effective dimension of a checkpoint, with an honest error bar."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from llc.draws.draw import Chains, advance, collect
from llc.draws.keys import describe_key
from llc.draws.processes import check_agreement
from llc.estimators import calibration
from llc.estimators.diagnoses import FAR_RHAT, Verdict
from llc.estimators.learning_coefficient import learning_coefficient
from llc.estimators.result import Estimate
from llc.estimators.warm_up import LADDER, Effort, steps_left, warm_up, warm_up_ladder
from llc.posterior.curvature import gradient_term
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.localization import Localization, Relative
from llc.problem import Problem
from llc.samplers.kernel import Kernel

_MAX_ATTEMPTS = 8  # at a step size, then at half of it, ...
_MIN_ESS = 200.0  # below it an error bar is too uncertain to stop on
_MAX_RHAT = 1.01
_MAX_DRAWS = 20_000  # of one chain, that precision is sought with
_PATIENCE = 2_000  # draws, in which chains must have met or are told that they have not


def estimate(
    problem: Problem,
    params: PyTree,
    *,
    rng_key: int | Array = 0,
    kernel: Kernel | None = None,
    nbeta: float | int | None = None,
    localization: Localization = Relative(),  # noqa: B008, frozen
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
) -> Estimate:
    """λ̂ = nβ E[L_n(w) − L_n(w*)] over the posterior exp(−nβ L_n − ½ Σ_l γ_l ‖w_l − w*_l‖²) around `params`.

    Nothing needs to be chosen. The sampler is replica exchange where many full-data gradients are affordable, HMC where
    some are, else SGLD with the control variate at w* on a ladder of step sizes, extrapolated to 0. Draws go on until
    chains have met and the standard error is below `relative_error` of the value, or the budget is spent. Every choice
    is recorded in `.settings`. Ctrl-C keeps and reports the draws so far.

    >>> import jax.numpy as jnp, llc
    >>> problem = llc.Problem(lambda w, x: 0.5 * ((x - w) ** 2).sum(1), jnp.zeros((1000, 2)))
    >>> llc.estimate(problem, jnp.zeros(2), kernel=llc.samplers.SGLD(step_size=0.0), num_draws=100, num_warmup=0).value
    0.0

    Args:
        problem: the loss and its data.
        params: the checkpoint w*, any pytree of floating-point arrays.
        rng_key: a seed or a JAX key; the same key, versions and device give the same draws.
        kernel: one of `llc.samplers`. `SGLD()` without a step size has it chosen.
        nbeta: nβ, n / log n unless given.
        localization: γ, or `llc.Relative(radius)`.
        mask: what may move: patterns of paths such as "layers/0/*", or a tree of booleans like `params`.
        batch_size: examples a minibatch; at most 128 unless given. For the forces of HMC and replica exchange all of
            4096, else a twelfth of the data, and 1024 at least; of HMC all where its trajectories are too short else.
        num_chains: chains, for each step size of a ladder.
        num_warmup: warm-up of each chain, in draws (in steps where the step size is chosen).
        num_draws: draws of each chain; a draw is `thinning` steps.
        thinning: steps a draw; chosen by what recording a draw costs unless given.
        relative_error: the precision to stop at, as a part of the value.
        max_gradient_evaluations: the budget, in gradients of one example's loss: a full-data gradient counts n.
            A large one lets larger networks be sampled by HMC.
        keep_weights: also keep the weights of each draw, for WAIC and the refined coefficients.
        mesh: devices to lay chains and examples over, along its axes "chain" and "data". Parameters that are sharded
            stay so, with or without it.
        progress: show bars on standard error.

    Returns:
        The estimate, complexities in nats (total, not per example).

    Raises:
        ValueError: something given cannot be estimated from, said with what came, what is allowed and what to do.
    """
    check_agreement(mesh, problem, params, dict(locals()))
    _check_numbers(num_chains, num_warmup, num_draws, thinning, relative_error)
    posterior = LocalPosterior(
        problem, params, nbeta=nbeta, localization=localization, mask=mask, batch_size=batch_size, mesh=mesh
    )
    posterior.layout.check_chains(num_chains)
    record: dict[str, Any] = {"rng_key": describe_key(rng_key), "gradient_term": float(gradient_term(posterior))}
    if kernel is None:
        choice = calibration.choose_kernel(posterior, num_chains, max_gradient_evaluations)
        kernel, record["kernel_choice"] = choice
    if batch_size is None:
        posterior = posterior.with_batch_size(calibration.choose_batch_size(kernel, posterior))
    ladder = len(LADDER) if kernel.step_size is None else np.size(kernel.step_size)
    max_steps = calibration.affordable_steps(posterior, kernel, ladder * num_chains, max_gradient_evaluations)
    effort = Effort(num_chains, num_warmup, max_steps, progress)
    goal = Goal(num_draws, thinning, relative_error, keep_weights)
    if kernel.step_size is None:
        return _on_a_ladder(posterior, kernel, rng_key, effort, goal, record)
    record["thinning"] = thinning = goal.thinning or calibration.choose_thinning(
        posterior, kernel, num_draws, effort.max_steps
    )
    chains = warm_up(posterior, kernel, rng_key, effort, thinning, any_batch=batch_size is None)
    if chains.warmup is not None:
        effort = steps_left(kernel, posterior, chains, effort, thinning)
    return _draw_until(chains, goal, effort, record)


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
    record: dict[str, Any],
    halvings: int = 0,
) -> Estimate:
    """Estimate at step sizes that are chosen, halved for as long as chains diverge and the budget lasts."""
    chains, choices = warm_up_ladder(posterior, kernel, rng_key, effort, halvings)
    effort = effort.after(choices["warmup_steps"])
    thinning = goal.thinning or calibration.choose_thinning(posterior, chains.kernel, goal.num_draws, effort.max_steps)
    last = halvings + 1 == _MAX_ATTEMPTS
    if choices["stable"] or last or chains.interrupted:
        result = _draw_until(chains, goal, effort, record | choices | {"thinning": thinning})
        effort = effort.after(result.settings["num_draws"] * thinning)
        if result.num_diverged == 0 or last or effort.max_steps == 0 or result.settings["interrupted"]:
            return result
    return _on_a_ladder(posterior, kernel, rng_key, effort, goal, record, halvings + 1)


def _draw_until(chains: Chains, goal: Goal, effort: Effort, record: dict[str, Any]) -> Estimate:
    """Draw in rounds until the goal is met or the effort spent, and estimate."""
    thinning = record["thinning"]
    left = goal.num_draws or int(np.clip(effort.max_steps // thinning, 1, _MAX_DRAWS))
    size = min(left, goal.num_draws or calibration.first_draws(chains.kernel))
    num_chains = effort.num_chains * np.size(chains.kernel.step_size)
    every = calibration.choose_full_losses(chains.posterior, chains.kernel, num_chains, size, thinning)
    # with weights everything is wanted of a draw
    settings = {"thinning": thinning, "full_loss_every": 1 if goal.keep_weights else every}
    record = record | settings
    while True:
        if not chains.interrupted:
            chains = advance(chains, size, keep_weights=goal.keep_weights, progress=effort.progress, **settings)
            left -= size
        if chains.num_draws == 0:
            raise KeyboardInterrupt
        result = learning_coefficient(collect(chains, record))
        size = min(goal.further_draws(result, chains.num_draws), left)
        if chains.interrupted or size <= 0:
            return result
        if _unsettled(result):  # the first half was warm-up
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
