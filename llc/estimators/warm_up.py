"""Chains brought to where they belong: warm-up at a step size that is given, of trajectories, and on a ladder."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from llc.draws import processes
from llc.draws.draw import Chains, advance, start_chains
from llc.draws.keys import as_key
from llc.draws.programs import PAST, no_past, remeasure
from llc.draws.progress import progress_bar
from llc.draws.room import accounted_for
from llc.draws.starts import starts_evaluations
from llc.estimators.calibration import CAUTION, FEWEST_TRAJECTORIES, WARMUP
from llc.posterior.curvature import largest_curvature, products_work
from llc.posterior.devices import to_host
from llc.posterior.ladder import rungs_of
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers import HMC, ReplicaExchange
from llc.samplers.kernel import Kernel, with_step_size
from llc.samplers.momentum import MomentumKernel

LADDER = (1.0, 0.5, 0.25)  # step sizes of an extrapolation, against the largest
_WARMUP_TIME = 4.0  # relaxation times 1/ε of the flattest direction, after which E‖v‖² is within e⁻⁴ of its value
_CHECKS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)  # parts of the warm-up after which the curvature is looked at again
_DRAWS_A_CHECK = 20
_CURVATURE_POINTS = 12
_CURVATURE_WORK = 1e11  # flops of a look at the curvature, for which a large network is looked at at fewer points
_ALWAYS = 2**31 - 1  # steps of adaptation, until it is ended
_ROUND = 8  # trajectories between two looks at the metric, at first
_LAST_LOOK = 0.7  # of the warm-up, after which it is not looked at again
_SETTLED = 24  # trajectories in which their length has adapted to the batch
_SHORT = 0.5  # as a part of the longest: trajectories that the batch keeps below it wander
_LEAST_SWAP_PROB = 0.2  # below it a ladder of temperatures has too few


class Effort(NamedTuple):
    """What an estimate may cost: chains for each step size, their warm-up where it is given, and steps a chain."""

    num_chains: int
    num_warmup: int | None
    max_steps: int
    progress: bool

    def after(self, steps: int) -> "Effort":
        """What is left of it."""
        return self._replace(max_steps=max(0, self.max_steps - steps))


def warm_up(
    posterior: LocalPosterior,
    kernel: Kernel,
    rng_key: int | Array,
    effort: Effort,
    thinning: int,
    *,
    together: bool = True,
    any_batch: bool = False,
) -> Chains:
    """Chains of a kernel whose step size is given, after their warm-up.

    Unless said it is 1000 trajectories of NUTS or replica exchange, 300 of HMC, or else 500 draws, and at most a third
    of what the budget allows. Replica exchange gets twice as many temperatures where neighbours hardly swap. A
    ladder of step sizes warms up at its largest, which spreads the fastest; where that is unstable, each at its own.
    Where HMC may take `any_batch` its forces look at all the data if those of its batch keep trajectories short.
    """
    if isinstance(kernel, HMC):
        return _warm_up_trajectories(posterior, kernel, rng_key, effort, thinning, any_batch)
    num_warmup = _usual_warmup(kernel, effort, thinning)
    steps, ladder = num_warmup * thinning, np.asarray(kernel.step_size)
    together = together and ladder.ndim == 1
    chains = start_chains(
        with_step_size(kernel, jnp.full_like(ladder, ladder.max())) if together else kernel,
        posterior,
        rng_key,
        num_chains=effort.num_chains,
        num_warmup=steps,
    )
    settings = {"warmup": True, "full_loss_every": 0, "progress": effort.progress}
    chains = advance(chains, num_warmup, thinning=thinning, **settings)
    # those of interrupted chains may be gone: a call writes the new states over them
    standing = None if chains.interrupted else chains.states.position.reshape(-1, posterior.dimension)
    if together and standing is not None and not within_prior(standing):
        return warm_up(posterior, kernel, rng_key, effort, thinning, together=False)
    chains = chains._replace(kernel=kernel)
    if not isinstance(kernel, ReplicaExchange) or kernel.num_replicas or chains.interrupted or _swapping(chains):
        return chains
    more = dataclasses.replace(kernel, num_replicas=2 * kernel.replicas_of(posterior))
    return warm_up(posterior, more, rng_key, effort.after(steps), thinning)


def _usual_warmup(kernel: Kernel, effort: Effort, thinning: int) -> int:
    if effort.num_warmup is not None:
        return effort.num_warmup
    return min(WARMUP.get(type(kernel), 500), effort.max_steps // (3 * thinning))


def _warm_up_trajectories(
    posterior: LocalPosterior, kernel: HMC, rng_key: int | Array, effort: Effort, thinning: int, any_batch: bool
) -> Chains:
    """Of HMC, from dispersed starts, in rounds: before each, every chain has its metric measured where it has been.

    Places of the first half of the rounds are forgotten. A metric that follows its chain draws it upwards, so that the
    last part of the warm-up, to forget that, has none measured. Unless its draws are given it ends with a third of the
    budget; where that does not pay for starts or looks there are none. Of no draws it is one look, from w*.
    """
    num_chains, num_warmup = effort.num_chains, WARMUP[HMC] if effort.num_warmup is None else effort.num_warmup
    longest, look = kernel.evaluations_per_step(posterior) * thinning, kernel.evaluations_per_look(posterior)
    budget = effort.max_steps * kernel.evaluations_per_step(posterior)
    affordable = math.inf if effort.num_warmup is not None else budget / 3
    dispersed = num_warmup > 0 and starts_evaluations(posterior) + look + longest <= affordable
    chains = start_chains(kernel, posterior, rng_key, num_chains=num_chains, num_warmup=_ALWAYS, dispersed=dispersed)
    rounds, done, taken = 0, 0, starts_evaluations(posterior) if dispersed else 0
    states = chains.states._replace(unpaid=chains.states.unpaid + taken)
    past = no_past(states)
    shown = effort.progress and processes.leads(posterior.layout.mesh)
    with progress_bar("warm-up", num_warmup, shown) as report:
        while not chains.interrupted:
            early = max(done / max(num_warmup, 1), taken / affordable) < _LAST_LOOK
            if early and taken + look + longest <= affordable:
                rounds, taken = rounds + 1, taken + look
                num_past = jnp.asarray(min(PAST, math.ceil(rounds / 2)))
                with accounted_for(kernel, posterior, num_chains):
                    # without the old metrics, so that one program serves the first of them, too
                    states, past = remeasure((kernel, posterior, num_past), states._replace(metric=None), past)
            size = int(min(num_warmup - done, max(_ROUND, done // 6), (affordable - taken) / longest))
            chains = chains._replace(states=states)
            if size < 1:
                break
            chains = advance(chains, size, thinning=thinning, warmup=True)
            states, done = chains.states, done + size
            report(size)
            if chains.warmup is not None:
                taken = float(chains.warmup.gradient_evaluations.mean(axis=(0, 1)).sum()) * thinning
            whole = posterior.with_batch_size(posterior.n)
            of_whole = kernel.evaluations_per_step(whole) * thinning
            pays = any_batch and taken + 2 * FEWEST_TRAJECTORIES * of_whole <= budget
            if pays and early and done >= _SETTLED and not chains.interrupted and _kept_short(kernel, states):
                chains, posterior, longest, any_batch = chains._replace(posterior=whole), whole, of_whole, False
    return _frozen(chains)


def _kept_short(kernel: HMC, states: Any) -> bool:
    """Whether the batch's error lets trajectories of the usual chain be less than half as long as they could be."""
    length, step_size = np.exp(to_host(states.log_length)), np.exp(to_host(states.log_step_size))
    return bool(np.median(length / np.minimum(kernel.trajectory_length, kernel.max_leapfrogs * step_size)) < _SHORT)


def steps_left(kernel: Kernel, posterior: LocalPosterior, chains: Chains, effort: Effort, thinning: int) -> Effort:
    """What a warm-up of trajectories shorter than the kernel's longest leaves, in steps like those at its end.

    Args:
        kernel: of the chains.
        posterior: as the effort was reckoned with; in warm-up its batch may have grown.
        chains: after their warm-up.
        effort: before it.
        thinning: steps a draw.
    """
    assert chains.warmup is not None
    taken = np.mean(chains.warmup.gradient_evaluations, axis=(0, 1))
    paid = effort.max_steps * kernel.evaluations_per_step(posterior) - taken.sum() * thinning
    usual = np.median(taken[len(taken) // 2 :])  # without a look at the curvature
    return effort._replace(max_steps=max(0, int(paid / usual)))


def _swapping(chains: Chains) -> bool:
    if chains.warmup is None or chains.warmup.tempered is None:
        return True
    late = chains.warmup.tempered.swap_prob[:, :, chains.warmup.loss_difference.shape[2] // 2 :]
    return bool(late.mean(axis=(0, 1, 2)).min() > _LEAST_SWAP_PROB)


def warm_up_ladder(
    posterior: LocalPosterior,
    kernel: Kernel,
    rng_key: int | Array,
    effort: Effort,
    halvings: int,
) -> tuple[Chains, list[dict[str, Any]]]:
    """Chains near equilibrium, on a ladder of step sizes that are stable where the chains went; and the choices made.

    Of a ladder of posteriors each has its own, and its own choices.

    The curvature at w* is not that of the typical set: on singular models flat directions move, and stiffen the others.
    It is measured again along the way, at the chains' own positions, and the step size follows its maximum. All of the
    ladder warms up at its largest step, which spreads the fastest.
    """
    key, rungs = jax.random.fold_in(as_key(rng_key), halvings), rungs_of(posterior)
    points = int(np.clip(_CURVATURE_WORK / products_work(posterior), 1, _CURVATURE_POINTS))
    noise = jax.random.normal(key, (points, posterior.dimension))
    preconditioners: list[Any] = [None] * len(rungs)

    def largest(positions: Float[Array, "rungs points d"]) -> Float[np.ndarray, "rungs"]:
        def at(v: Array, i: int) -> float:  # one after the other, so that any number of them is one program
            return float(largest_curvature(rungs[i], v[None], key, preconditioners[i])[0])

        return np.array([max(at(v, i) for v in of_rung) for i, of_rung in enumerate(positions)])

    def limit() -> Float[np.ndarray, "rungs"]:
        share = CAUTION * 4 / curvature
        # of a kernel with momentum the step is a time, the square root of ε
        return (np.sqrt(share) if isinstance(kernel, MomentumKernel) else share) * 0.5**halvings

    def with_steps(factors: Sequence[float]) -> Kernel:
        return with_step_size(kernel, jnp.asarray(np.outer(step_size, factors).ravel(), float))

    curvature = at_center = largest(jnp.zeros((len(rungs), 1, posterior.dimension)))
    # a first step of that size would meet another curvature already
    curvature = np.maximum(curvature, largest(jnp.sqrt(CAUTION * 4 / curvature)[:, None, None] * noise))
    step_size, time, steps = limit(), np.zeros(len(rungs)), 0
    same = [1.0] * len(LADDER)
    chains = start_chains(with_steps(same), posterior, key, num_chains=effort.num_chains, num_warmup=_ALWAYS)
    positions = jnp.zeros_like(noise[:1])
    settings = {"warmup": True, "full_loss_every": 0, "progress": effort.progress}
    for part in _CHECKS:
        by_time, given = float(np.max((part * _WARMUP_TIME - time) / step_size)), effort.num_warmup
        wanted = by_time if given is None else part * given - steps
        wanted = min(math.ceil(wanted), effort.max_steps // 2 - steps) if given is None else math.ceil(wanted)
        if wanted <= 0:
            continue
        thinning = math.ceil(wanted / _DRAWS_A_CHECK)
        chains = advance(chains, math.ceil(wanted / thinning), thinning=thinning, **settings)
        time, steps = time + wanted * step_size, steps + wanted
        if chains.interrupted:
            break
        positions = chains.states.position.reshape(-1, posterior.dimension)
        if not within_prior(positions):
            break
        of_rungs = positions.reshape(len(rungs), -1, posterior.dimension)
        looked_at = of_rungs[:, jnp.linspace(0, of_rungs.shape[1] - 1, points).astype(int)]
        if hasattr(chains.states, "preconditioner"):
            # it has changed: what was seen of the curvature under another is of no use
            diagonal = chains.states.preconditioner.diagonal
            preconditioners = list(diagonal.reshape(len(rungs), -1, diagonal.shape[-1]).mean(axis=1))
            curvature = largest(looked_at)
            step_size = limit()
        else:
            curvature = np.maximum(curvature, largest(looked_at))
            step_size = np.minimum(step_size, limit())
        chains = chains._replace(kernel=with_steps(same))
    stable = int(within_prior(positions))
    choices = [
        {
            "curvature_at_center": float(at_center[i]),
            "curvature_along_warmup": float(curvature[i]),
            "warmup_steps": steps,
            "warmup_time": float(time[i]),
            "halvings": halvings,
            "stable": stable,
        }
        for i in range(len(rungs))
    ]
    return _frozen(chains)._replace(kernel=with_steps(LADDER)), choices


def within_prior(positions: Float[Array, "points d"]) -> bool:
    """Whether chains are where the localising prior N(0, I) could have put them, and not on their way to infinity."""
    return bool((jnp.square(positions).sum(axis=1) < 4 * positions.shape[1] + 100).all())


def _frozen(chains: Chains) -> Chains:
    """The end of adaptation."""
    if chains.interrupted or not hasattr(chains.states, "warmup_left"):
        return chains
    return chains._replace(states=chains.states._replace(warmup_left=jnp.zeros_like(chains.states.warmup_left)))
