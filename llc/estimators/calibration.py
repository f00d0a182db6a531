"""Everything that a user need not choose: kernel, step sizes, warm-up, thinning, and how long to draw.

All choices follow from the problem, its curvature and a fixed model of cost, never from a clock, so that the same key
gives the same draws.
"""

import dataclasses
import math
from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from llc.draws.draw import Chains, advance, start_chains
from llc.draws.keys import as_key
from llc.posterior.curvature import largest_curvature, products_work
from llc.posterior.local_posterior import DEFAULT_BATCH_SIZE, LocalPosterior
from llc.posterior.work import repeated_work
from llc.samplers import HMC, NUTS, SGLD, ReplicaExchange
from llc.samplers.kernel import Kernel, with_step_size
from llc.samplers.momentum import MomentumKernel

LADDER = (1.0, 0.5, 0.25)  # step sizes of an extrapolation, against the largest
MAX_ATTEMPTS = 8  # at a step size, then at half of it, ...

CAUTION = 0.3  # the largest step size as a part of the stability limit 4 / (1 + nβ h̃_max)
_WARMUP_TIME = 4.0  # relaxation times 1/ε of the flattest direction, after which E‖v‖² is within e⁻⁴ of its value
_CHECKS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)  # parts of the warm-up after which the curvature is looked at again
_DRAWS_A_CHECK = 20
_CURVATURE_POINTS = 12
_CURVATURE_WORK = 1e12  # flops of a look at the curvature, for which a large network is looked at at fewer points
_DRAWS_PER_RELAXATION = 20
_FEWEST_DRAWS = 20
_FULL_LOSS_SHARE = 0.25  # of the cost that may go into recording full-data losses

_ALWAYS = 2**31 - 1  # steps of adaptation, until it is ended
_FEW_EXAMPLES = 4096
_FORCE_EXAMPLES = 1024
_FEWEST_TRAJECTORIES = 50  # of a chain, with which HMC is of use
_TRAJECTORIES_A_DECADE = 8  # that a chain falls
_MOST_DECADES = 3
_LEAST_SWAP_PROB = 0.2  # below it a ladder of temperatures has too few
_WARMUP = {NUTS: 1000, ReplicaExchange: 1000, HMC: 300}  # draws; 500 of the others
# Work is counted in flops, of which a processor core does some 2e10 a second.
_AFFORDABLE = 1e12  # for replica exchange to be chosen
_FLOPS_A_BYTE = 5.0  # that could be done while a byte is moved
DEFAULT_BUDGET = 2e12  # for an estimate, unless a budget is given
_FEWEST_STEPS = 200  # of a chain, whatever they cost: fewer tell nothing
_STEP_OVERHEAD = 1e5  # what a step costs besides its arithmetic, in the same currency


class Effort(NamedTuple):
    """What an estimate may cost: chains for each step size, their warm-up where it is given, and steps a chain."""

    num_chains: int
    num_warmup: int | None
    max_steps: int
    progress: bool

    def after(self, steps: int) -> "Effort":
        """What is left of it."""
        return self._replace(max_steps=max(0, self.max_steps - steps))


def choose_kernel(posterior: LocalPosterior, num_chains: int) -> tuple[Kernel, str]:
    """The kernel that the cost of full-data gradients allows, and why: replica exchange, HMC, or SGLD on a ladder."""
    gradient, exchange = full_gradient_cost(posterior), ReplicaExchange()

    def work(kernel: Kernel, steps: int) -> float:
        seen = posterior.with_batch_size(choose_batch_size(kernel, posterior))
        return steps * num_chains * kernel.evaluations_per_step(seen) / posterior.n * gradient

    steps = _WARMUP[ReplicaExchange] + first_draws(exchange)
    why = f"{steps} steps of replica exchange take {work(exchange, steps):.1e} flops"
    if work(exchange, steps) <= _AFFORDABLE:
        return exchange, f"ReplicaExchange: {why}, within {_AFFORDABLE:.0e}"
    effort = work(HMC(1.0), _FEWEST_TRAJECTORIES)
    why += f", over {_AFFORDABLE:.0e}; {_FEWEST_TRAJECTORIES} trajectories of HMC {effort:.1e}"
    if effort <= DEFAULT_BUDGET:
        kernel = HMC(first_step(curvature_at(posterior, jnp.zeros(posterior.dimension))))
        return kernel, f"HMC: {why}, within {DEFAULT_BUDGET:.0e}"
    return SGLD(), f"SGLD: {why}, over {DEFAULT_BUDGET:.0e}"


def choose_batch_size(kernel: Kernel, posterior: LocalPosterior) -> int:
    """Examples a minibatch: 128; HMC's force looks at all of few data, and at 1024 of many."""
    size, n = DEFAULT_BATCH_SIZE, posterior.n
    if isinstance(kernel, HMC):
        size = n if n <= _FEW_EXAMPLES else _FORCE_EXAMPLES
    return posterior.layout.fitting_batch(min(n, size))


def curvature_at(posterior: LocalPosterior, v: Float[Array, "d"]) -> float:
    """1 + nβ h̃_max at a point; w* is 0."""
    return float(largest_curvature(posterior, v[None], jax.random.key(0))[0])


def first_draws(kernel: Kernel) -> int:
    """Draws of a chain before the first look at the error: as many as the usual draw of the kernel is cheap."""
    return {ReplicaExchange: 4000, HMC: 300}.get(type(kernel), 1000)


def full_gradient_cost(posterior: LocalPosterior) -> float:
    """Work of one full-data gradient: its flops, or where small arrays are moved more than multiplied, 5 a byte."""
    # the same whatever the devices, so that choices are too
    leaves, tree = jax.tree.flatten(posterior.on_one_device())
    return _full_gradient_cost(tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves))


@lru_cache(maxsize=128)
def _full_gradient_cost(tree: Any, shapes: tuple[tuple[tuple[int, ...], Any], ...]) -> float:
    """The same for all posteriors of these shapes, whose arrays it does not hold."""
    posterior = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    gradient = lambda posterior, v: jax.grad(posterior.loss_difference)(v)
    analysis = jax.jit(gradient).lower(posterior, posterior.center_gradient).cost_analysis() or {}
    blocks = max(1, posterior.n // posterior.block_size)  # the compiler counts the body of a loop once
    flops = float(analysis.get("flops", 6.0 * posterior.dimension * posterior.block_size))
    once = max(flops, _FLOPS_A_BYTE * float(analysis.get("bytes accessed", 0.0)))
    return blocks * repeated_work(posterior.problem, posterior.center) * once


def affordable_steps(
    posterior: LocalPosterior, kernel: Kernel, num_chains: int, max_gradient_evaluations: float | int | None
) -> int:
    """Steps of each chain that the budget pays for.

    Raises:
        ValueError: it does not pay for one.
    """
    evaluations = kernel.evaluations_per_step(posterior)
    if max_gradient_evaluations is None:
        arithmetic = num_chains * evaluations / posterior.n * full_gradient_cost(posterior)
        passes = evaluations / (posterior.n if kernel.records_full_loss else posterior.batch_size)
        overhead = _STEP_OVERHEAD * num_chains * passes
        return max(_FEWEST_STEPS, int(DEFAULT_BUDGET / (arithmetic + overhead)))
    steps = max_gradient_evaluations / (evaluations * num_chains)
    if steps < 1:
        msg = (
            f"max_gradient_evaluations={max_gradient_evaluations:g} does not pay for one step: {num_chains} chains "
            f"take {evaluations * num_chains:g} gradients of one example; raise it, or lower batch_size or num_chains."
        )
        raise ValueError(msg)
    return int(steps)


def choose_thinning(posterior: LocalPosterior, kernel: Kernel, num_draws: int | None, max_steps: int) -> int:
    """Steps a draw: so many that full-data losses stay a small part of the cost, and draws are not mere repetitions.

    Unless the number of draws is given, the budget pays for twenty.
    """
    if kernel.records_full_loss:
        return 1
    thinning = _steps_a_full_loss(posterior, kernel)
    if num_draws is not None:
        return thinning
    largest = float(np.max(kernel.step_size))
    relaxed = math.ceil(1 / (largest * _DRAWS_PER_RELAXATION)) if largest > 0 else 1
    return max(1, min(max(thinning, relaxed), max_steps // _FEWEST_DRAWS))


def _steps_a_full_loss(posterior: LocalPosterior, kernel: Kernel) -> int:
    forward = posterior.n / 3  # a loss costs about a third of its gradient
    return math.ceil(forward / (_FULL_LOSS_SHARE * kernel.evaluations_per_step(posterior)))


def warm_up(
    posterior: LocalPosterior,
    kernel: Kernel,
    rng_key: int | Array,
    effort: Effort,
    thinning: int,
    *,
    together: bool = True,
) -> Chains:
    """Chains of a kernel whose step size is given, after their warm-up.

    Unless said it is 1000 trajectories of NUTS or replica exchange, 300 of HMC, or else 500 draws, and at most a third
    of what the budget allows. Replica exchange gets twice as many temperatures where neighbours hardly swap. A
    ladder of step sizes warms up at its largest, which spreads the fastest; where that is unstable, each at its own.
    """
    if isinstance(kernel, HMC):
        return _warm_up_trajectories(posterior, kernel, rng_key, effort, thinning)
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
    chains = advance(chains, num_warmup, thinning=thinning, warmup=True, progress=effort.progress)
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
    return min(_WARMUP.get(type(kernel), 500), effort.max_steps // (3 * thinning))


def _warm_up_trajectories(
    posterior: LocalPosterior, kernel: HMC, rng_key: int | Array, effort: Effort, thinning: int
) -> Chains:
    """Of HMC, from dispersed starts; as many as a third of the budget pays for at what they turn out to cost."""
    num_warmup, settings = _usual_warmup(kernel, effort, thinning), {"thinning": thinning, "progress": effort.progress}
    if num_warmup == 0:
        return start_chains(kernel, posterior, rng_key, num_chains=effort.num_chains, num_warmup=0)
    highest, num_chains = highest_start(posterior, num_warmup), effort.num_chains
    chains = start_chains(kernel, posterior, rng_key, num_chains=num_chains, num_warmup=_ALWAYS, highest=highest)
    # no larger than the curvature allows where each chain begins, of which w* may know nothing
    states = chains.states
    curvatures = [curvature_at(posterior, v) for v in states.position.reshape(-1, posterior.dimension)]
    first = jnp.log(first_step(np.asarray(curvatures))).reshape(states.log_step_size.shape)
    states = states._replace(log_step_size=jnp.minimum(states.log_step_size, first.astype(states.position.dtype)))
    chains = advance(chains._replace(states=states), num_warmup, warmup=True, **settings)
    if effort.num_warmup is None and chains.warmup is not None and not chains.interrupted:
        # most are shorter than the longest, which the budget was counted in
        shorter = kernel.evaluations_per_step(posterior) / np.mean(chains.warmup.gradient_evaluations)
        chains = advance(chains, min(_WARMUP[HMC], int(num_warmup * shorter)) - num_warmup, warmup=True, **settings)
    return _frozen(chains)


def highest_start(posterior: LocalPosterior, num_warmup: int) -> float:
    """nβ ΔL from which chains of HMC fall to where they belong within half of a warm-up, and at least d/2.

    That is where stiff directions belong; in flat ones chains hardly move. Pulled in to d/2 these would be narrower
    than the posterior, and λ̂ too low as long as that lasts.
    """
    return 0.5 * posterior.dimension * 10 ** min(num_warmup / _TRAJECTORIES_A_DECADE / 2, _MOST_DECADES)


def first_step(curvature: Any) -> Any:
    """Of HMC's leapfrog, from which adaptation starts: a quarter of the stability limit."""
    return 0.5 / np.sqrt(curvature)


def steps_left(kernel: Kernel, chains: Chains, effort: Effort, thinning: int) -> Effort:
    """What a warm-up of trajectories shorter than the kernel's longest leaves, in steps like those at its end."""
    assert chains.warmup is not None
    taken = np.mean(chains.warmup.gradient_evaluations, axis=(0, 1))
    paid = effort.max_steps * kernel.evaluations_per_step(chains.posterior) - taken.sum() * thinning
    return effort._replace(max_steps=max(0, int(paid / taken[len(taken) // 2 :].mean())))


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
) -> tuple[Chains, dict[str, Any]]:
    """Chains near equilibrium, on a ladder of step sizes that are stable where the chains went; and the choices made.

    The curvature at w* is not that of the typical set: on singular models flat directions move, and stiffen the others.
    It is measured again along the way, at the chains' own positions, and the step size follows its maximum. All of the
    ladder warms up at its largest step, which spreads the fastest.
    """
    key = jax.random.fold_in(as_key(rng_key), halvings)
    points = int(np.clip(_CURVATURE_WORK / products_work(posterior), 1, _CURVATURE_POINTS))
    noise = jax.random.normal(key, (points, posterior.dimension))

    def largest(positions: Array) -> float:  # one after the other, so that any number of them is one program
        looks = [largest_curvature(posterior, v[None], key, preconditioner) for v in positions]
        return max(float(look[0]) for look in looks)

    def limit() -> float:
        share = CAUTION * 4 / curvature
        # of a kernel with momentum the step is a time, the square root of ε
        return (math.sqrt(share) if isinstance(kernel, MomentumKernel) else share) * 0.5**halvings

    preconditioner = None
    curvature = at_center = largest(jnp.zeros_like(noise[:1]))
    # a first step of that size would meet another curvature already
    curvature = max(curvature, largest(math.sqrt(CAUTION * 4 / curvature) * noise))
    step_size, time, steps = limit(), 0.0, 0
    same, ladder = jnp.ones(len(LADDER)), jnp.asarray(LADDER)
    kernels = with_step_size(kernel, step_size * same)
    chains = start_chains(kernels, posterior, key, num_chains=effort.num_chains, num_warmup=_ALWAYS)
    positions = jnp.zeros_like(noise[:1])
    for part in _CHECKS:
        by_time, given = (part * _WARMUP_TIME - time) / step_size, effort.num_warmup
        wanted = by_time if given is None else part * given - steps
        wanted = min(math.ceil(wanted), effort.max_steps // 2 - steps) if given is None else math.ceil(wanted)
        if wanted <= 0:
            continue
        affordable = max(1, wanted // _steps_a_full_loss(posterior, kernels))
        thinning = math.ceil(wanted / min(_DRAWS_A_CHECK, affordable))
        chains = advance(chains, math.ceil(wanted / thinning), thinning=thinning, warmup=True, progress=effort.progress)
        time, steps = time + wanted * step_size, steps + wanted
        if chains.interrupted:
            break
        positions = chains.states.position.reshape(-1, posterior.dimension)
        if not within_prior(positions):
            break
        looked_at = positions[jnp.linspace(0, len(positions) - 1, points).astype(int)]
        if hasattr(chains.states, "preconditioner"):
            # it has changed: what was seen of the curvature under another is of no use
            preconditioner, curvature = chains.states.preconditioner.diagonal.mean(axis=(0, 1)), 0.0
        curvature = max(curvature, largest(looked_at))
        step_size = limit() if preconditioner is not None else min(step_size, limit())
        chains = chains._replace(kernel=with_step_size(kernel, step_size * same))
    choices = {
        "curvature_at_center": at_center,
        "curvature_along_warmup": curvature,
        "warmup_steps": steps,
        "warmup_time": time,
        "halvings": halvings,
        "stable": int(within_prior(positions)),
    }
    return _frozen(chains)._replace(kernel=with_step_size(kernel, step_size * ladder)), choices


def within_prior(positions: Float[Array, "points d"]) -> bool:
    """Whether chains are where the localising prior N(0, I) could have put them, and not on their way to infinity."""
    return bool((jnp.square(positions).sum(axis=1) < 4 * positions.shape[1] + 100).all())


def _frozen(chains: Chains) -> Chains:
    """The end of adaptation."""
    if chains.interrupted or not hasattr(chains.states, "warmup_left"):
        return chains
    return chains._replace(states=chains.states._replace(warmup_left=jnp.zeros_like(chains.states.warmup_left)))


@eqx.filter_jit
def full_gradient(posterior: LocalPosterior, v: Float[Array, "d"]) -> Float[Array, "d"]:
    """∇ΔL over all the data."""
    return jax.grad(posterior.loss_difference)(v)
