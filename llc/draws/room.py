"""Whether sampling fits into memory, said before anything is compiled; and what was short, where it ran out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from llc.draws import processes
from llc.draws.keys import as_key
from llc.draws.memory import Memory, OutOfMemory, free_memory, in_units, is_out_of_memory, peak_bytes, size_of
from llc.draws.programs import Plan, begin, capacity_of, ladder_size, no_past, proceed, remeasure
from llc.posterior.ladder import num_rungs
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.work import intermediates
from llc.samplers.hmc import HMC
from llc.samplers.kernel import Kernel

_GENEROUS = 100  # times the parameters and intermediates of all chains, that no kernel needs
_begin_traced, _proceed_traced = eqx.filter_make_jaxpr(begin), eqx.filter_make_jaxpr(proceed)
_remeasure_traced = eqx.filter_make_jaxpr(remeasure)


def memory(
    kernel: Kernel,
    posterior: LocalPosterior,
    *,
    num_chains: int = 4,
    keep_weights: bool = False,
    measured: bool = False,
) -> Memory:
    """What sampling will hold in memory at its peak, by part; nothing is compiled or computed.

    Programs are read as JAX traced them, which is right to a factor of two: the compiler may run side by side what they
    have one after the other. `draw` refuses what does not fit.

    >>> import llc
    >>> problem = llc.Problem(lambda w, x: 0.5 * ((x - w) ** 2).sum(1), jnp.zeros((1000, 2)))
    >>> posterior = llc.LocalPosterior(problem, jnp.zeros(2), localization=1.0)
    >>> memory(llc.samplers.SGLD(step_size=1e-3), posterior, num_chains=2).data  # (1000 × 2 + 1) float32
    8004

    Args:
        kernel: one of `llc.samplers`, with its step size or ladder of them.
        posterior: where to sample.
        num_chains: chains, for each step size.
        keep_weights: whether draws keep their weights.
        measured: of HMC, whether chains have metrics measured where they have been, as those of `llc.estimate` have.
    """
    keys = jax.random.split(as_key(0), (ladder_size(kernel, posterior), num_chains))
    start, states, _ = _begin_traced(kernel, posterior, keys, None, 0)
    past, before = None, peak_bytes(start.jaxpr)
    if measured and isinstance(kernel, HMC):
        given, past = (kernel, posterior, jnp.asarray(1)), jax.eval_shape(no_past, states)
        look, (states, past), _ = _remeasure_traced(given, states._replace(metric=None), past)
        first = len(jax.tree.leaves(eqx.filter(given, eqx.is_array)))
        before = max(before, peak_bytes(look.jaxpr, frozenset(range(first, len(look.jaxpr.invars)))))
    capacity = capacity_of(states, posterior, keep_weights)
    plan = Plan(*map(jnp.asarray, (1, 0, 1, 1)))
    step, made, _ = _proceed_traced((kernel, posterior, plan), states, capacity, keep_weights)
    first = len(jax.tree.leaves(eqx.filter((kernel, posterior, plan), eqx.is_array)))
    own = frozenset(range(first, first + len(jax.tree.leaves(states))))
    chains, problem = size_of((states, past)), posterior.problem
    draws, data = size_of(made) - size_of(states), size_of((problem.data, problem.test_data, posterior.center_losses))
    return Memory(
        parameters=size_of((kernel, posterior)) - data,
        data=data,
        chains=chains,
        steps=max(before, peak_bytes(step.jaxpr, own) - draws + size_of(past)) - chains,
        draws=draws,
        available=free_memory(_devices_of(posterior)),
    )


def refuse_what_does_not_fit(
    kernel: Kernel, posterior: LocalPosterior, num_chains: int, measured: bool = False
) -> None:
    """Refuse chains for which there is no room.

    Raises:
        OutOfMemory: saying what they need by part, what is free, and the smallest change that would fit.
    """
    free, mesh = free_memory(_devices_of(posterior)), posterior.layout.mesh
    examples = posterior.block_size * intermediates(posterior.problem, posterior.center)
    most = 4 * _GENEROUS * num_chains * ladder_size(kernel, posterior) * (posterior.dimension + examples)
    if processes.agreed(mesh, int(free is None or most < free)):
        return  # the estimate takes a second
    needs = partial(memory, kernel, measured=measured)
    estimate = needs(posterior, num_chains=num_chains)
    if not processes.agreed(mesh, int(estimate.fits)):
        msg = f"{_account(kernel, posterior, num_chains, estimate)} {_what_fits(needs, posterior, num_chains)}"
        raise OutOfMemory(msg)


def _devices_of(posterior: LocalPosterior) -> list[Any]:
    mesh = posterior.layout.mesh
    return list(posterior.center_gradient.devices() if mesh is None else mesh.devices.flat)


def _account(kernel: Kernel, posterior: LocalPosterior, num_chains: int, estimate: Memory) -> str:
    chains, rungs = f"{num_chains} chain{'s' * (num_chains > 1)}", num_rungs(posterior)
    for count, name in ((np.size(kernel.step_size) // rungs, "step sizes"), (rungs, "pairs of nbeta and localization")):
        chains += f" for each of {count} {name}" * (count > 1)
    free = "an unknown amount" if estimate.available is None else in_units(estimate.available)
    return (
        f"{chains} of {type(kernel).__name__} need about {in_units(estimate.needed)} of memory "
        f"(states {in_units(estimate.chains)}, steps {in_units(estimate.steps)}, draws {in_units(estimate.draws)}) "
        f"beside parameters ({in_units(estimate.parameters)}) and data ({in_units(estimate.data)}); {free} is free."
    )


def _what_fits(needs: Callable[..., Memory], posterior: LocalPosterior, num_chains: int) -> str:
    """The smallest change with which sampling fits."""
    layout = posterior.layout
    fewest, smallest = layout.num_chain_devices, layout.num_data_devices
    fits = lambda posterior, chains: needs(posterior, num_chains=chains).fits
    chains = _largest(lambda k: fits(posterior, k * fewest), num_chains // fewest - 1) * fewest
    if chains:
        return f"num_chains={chains} would fit."
    with_batch = lambda k: fits(posterior.with_batch_size(k * smallest), fewest)
    batch = _largest(with_batch, posterior.batch_size // smallest - 1) * smallest
    if batch:
        return f"num_chains={fewest} with batch_size={batch} would fit."
    alone = needs(posterior, num_chains=fewest)
    if alone.available is not None and alone.needed <= alone.available + alone.data:
        return f"num_chains={fewest} would fit with the data off the device (np.memmap)."
    return (
        f"No number of chains or batch size would. Let fewer parameters move (mask=), recompute what the network holds "
        f"for its gradient (llc.rematerialized(problem)), or use a device with {in_units(alone.needed)} to spare."
    )


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that fits, 0 where none does."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(middle) else (least, middle - 1)
    return least


@contextmanager
def accounted_for(
    kernel: Kernel, posterior: LocalPosterior, num_chains: int, keep_weights: bool = False
) -> Iterator[None]:
    """Say by part what was needed, where memory runs out."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        estimate = memory(kernel, posterior, num_chains=num_chains, keep_weights=keep_weights)
        needed = _account(kernel, posterior, num_chains, estimate)
        msg = f"Memory ran out. {needed} Use fewer chains, or a smaller batch_size."
        raise OutOfMemory(msg) from error
