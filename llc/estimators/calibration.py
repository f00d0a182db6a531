"""Everything that a user need not choose: kernel, batch size, thinning, and how long to draw.

All choices follow from the problem, its curvature and a fixed model of cost, never from a clock, so that the same key
gives the same draws.
"""

import math
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from llc.posterior.curvature import largest_curvature
from llc.posterior.local_posterior import DEFAULT_BATCH_SIZE, LocalPosterior
from llc.posterior.work import repeated_work
from llc.samplers import HMC, NUTS, SGLD, ReplicaExchange
from llc.samplers.kernel import Kernel

CAUTION = 0.3  # the largest step size as a part of the stability limit 4 / (1 + nβ h̃_max)
_DRAWS_PER_RELAXATION = 20
_FEWEST_DRAWS = 20
_FEWEST_FULL_LOSSES = 4
_FULL_LOSS_SHARE = 0.25  # of the cost that may go into recording full-data losses

_FEW_EXAMPLES = 4096
_FORCE_EXAMPLES, _FORCES = 1024, 12
_LEAPFROGS = 16  # of a trajectory at most: in a metric of its own a chain needs five or six
FEWEST_TRAJECTORIES = 50  # of a chain, with which HMC is of use
_FEWEST_EXCHANGES = 2000  # and steps of replica exchange, a third of them warm-up
_AFFORDABLE_EXCHANGES = 4e11  # flops, for so many; with a batch's forces a default budget, for losses take less time
_AFFORDABLE_TRAJECTORIES = 1.2e13  # flops, for so many
WARMUP = {NUTS: 1000, ReplicaExchange: 1000, HMC: 300}  # draws; 500 of the others
# Work is counted in flops, of which a processor core does some 2e10 a second.
_FLOPS_A_BYTE = 5.0  # that could be done while a byte is moved
DEFAULT_BUDGET = 2e12  # for an estimate, unless a budget is given
_FEWEST_STEPS = 200  # of a chain, whatever they cost: fewer tell nothing
_STEP_OVERHEAD = 1e5  # what a step costs besides its arithmetic, in the same currency


def choose_kernel(
    posterior: LocalPosterior, num_chains: int, max_gradient_evaluations: float | int | None = None
) -> tuple[Kernel, str]:
    """The kernel that the cost of full-data gradients allows, and why: replica exchange, HMC, or SGLD on a ladder.

    Unless a budget is given HMC may cost more than the rest do: minutes, and nearer to the truth than SGLD at the same.
    """
    gradient, exchange = full_gradient_cost(posterior), ReplicaExchange()
    budget = _AFFORDABLE_TRAJECTORIES
    if max_gradient_evaluations is not None:
        budget = max(DEFAULT_BUDGET, max_gradient_evaluations / posterior.n * gradient)

    def work(kernel: Kernel, steps: int) -> float:
        seen = posterior.with_batch_size(choose_batch_size(kernel, posterior))
        return steps * num_chains * kernel.evaluations_per_step(seen) / posterior.n * gradient

    affordable = _AFFORDABLE_EXCHANGES if posterior.n <= _FEW_EXAMPLES else DEFAULT_BUDGET
    effort = work(exchange, _FEWEST_EXCHANGES)
    why = f"{_FEWEST_EXCHANGES} steps of replica exchange take {effort:.1e} flops"
    if effort <= affordable:
        return exchange, f"ReplicaExchange: {why}, within {affordable:.0e}"
    kernel = HMC(max_leapfrogs=_LEAPFROGS)
    effort = work(kernel, FEWEST_TRAJECTORIES)
    why += f", over {affordable:.0e}; {FEWEST_TRAJECTORIES} trajectories of HMC {effort:.1e}"
    if effort <= budget:
        return kernel, f"HMC: {why}, within {budget:.1e}"
    return SGLD(), f"SGLD: {why}, over {budget:.1e}"


def choose_batch_size(kernel: Kernel, posterior: LocalPosterior) -> int:
    """Examples a minibatch: 128; the forces of trajectories look at all of few data, and at a twelfth of many.

    Six forces of a trajectory then cost half a gradient on all data, and the loss that it is tested by a third.
    """
    size, n = DEFAULT_BATCH_SIZE, posterior.n
    if isinstance(kernel, HMC | ReplicaExchange):
        size = n if n <= _FEW_EXAMPLES else max(_FORCE_EXAMPLES, n // _FORCES)
    return posterior.layout.fitting_batch(min(n, size))


def curvature_at_center(posterior: LocalPosterior) -> float:
    """1 + nβ h̃_max at w*."""
    return float(largest_curvature(posterior, jnp.zeros((1, posterior.dimension)), jax.random.key(0))[0])


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
    """The same for all posteriors of these shapes, whose arrays it does not hold: so many times that of a block."""
    posterior = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    size, center = posterior.block_size, posterior.center_gradient
    block = posterior.problem.shapes(size), jax.ShapeDtypeStruct((size,), posterior.center_losses.dtype)
    gradient = lambda posterior, v, *block: jax.grad(posterior.mean_difference)(v, *block)
    analysis = jax.jit(gradient).lower(posterior, center, *block).cost_analysis() or {}
    flops = float(analysis.get("flops", 6.0 * posterior.dimension * size))
    once = max(flops, _FLOPS_A_BYTE * float(analysis.get("bytes accessed", 0.0)))
    return posterior.n / size * repeated_work(posterior.problem, posterior.center) * once


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
    forward = posterior.n / 3  # a loss costs about a third of its gradient
    thinning = math.ceil(forward / (_FULL_LOSS_SHARE * kernel.evaluations_per_step(posterior)))
    if num_draws is not None:
        return thinning
    largest = float(np.max(kernel.step_size))
    relaxed = math.ceil(1 / (largest * _DRAWS_PER_RELAXATION)) if largest > 0 else 1
    return max(1, min(max(thinning, relaxed), max_steps // _FEWEST_DRAWS))


def choose_full_losses(
    posterior: LocalPosterior, kernel: Kernel, num_chains: int, num_draws: int, thinning: int
) -> int:
    """Draws for each full-data loss: 1, unless all of these cost more than a default budget and than the steps' share.

    λ̂ needs none of them, for the losses of the steps' batches are unbiased; λ̂_var and what depends on γ do. Where
    fewer than four of a chain are paid for there are none, 0, since there would be no error bar.
    """
    if kernel.records_full_loss:
        return 1
    gradient, draws = full_gradient_cost(posterior), num_draws * num_chains
    steps = draws * thinning * kernel.evaluations_per_step(posterior) / posterior.n * gradient
    every = math.ceil(draws * gradient / 3 / max(DEFAULT_BUDGET, _FULL_LOSS_SHARE * steps))
    return every if every == 1 or num_draws // every >= _FEWEST_FULL_LOSSES else 0


@eqx.filter_jit
def full_gradient(posterior: LocalPosterior, v: Float[Array, "d"]) -> Float[Array, "d"]:
    """∇ΔL over all the data."""
    return jax.grad(posterior.loss_difference)(v)
