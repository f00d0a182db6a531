"""Running kernels: chains and step sizes are array axes, and one program serves every checkpoint of the same shapes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int
from xarray import DataTree

from llc.draws import processes
from llc.draws.keys import as_key, describe_key
from llc.draws.memory import Memory, OutOfMemory, free_memory, in_units, is_out_of_memory, peak_bytes, size_of
from llc.draws.observables import Observables, empty_buffer, next_draw, shape_of
from llc.draws.progress import progress_bar
from llc.draws.schema import to_datatree
from llc.draws.starts import dispersed_starts
from llc.posterior.devices import to_host
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import Kernel

_CAPACITY = 128  # draws that one compiled call can hold
_CAPACITY_ELEMENTS = 2**26  # and the weights among them
_LARGE = 100_000  # coordinates, from which chains gain nothing side by side
_SECONDS_PER_CALL = 0.5  # between two looks at the keyboard and the progress bar


class Chains(NamedTuple):
    """Chains under way: states and draws have leading axes (ladder, chain)."""

    kernel: Any
    posterior: LocalPosterior
    states: Any
    warmup: Observables | None = None
    draws: Observables | None = None
    interrupted: bool = False

    @property
    def num_draws(self) -> int:
        """Draws kept of each chain."""
        return 0 if self.draws is None else self.draws.loss_difference.shape[2]

    def later_half(self) -> "Chains":
        """The same chains, the first half of their draws counted as warm-up."""
        half, draws = self.num_draws // 2, self.draws
        early = jax.tree.map(lambda leaf: leaf[:, :, :half], draws)
        warmup = self.warmup if early is None else _joined([self.warmup, early._replace(position=None)])
        return self._replace(warmup=warmup, draws=jax.tree.map(lambda leaf: leaf[:, :, half:], draws))


def draw(
    kernel: Kernel,
    posterior: LocalPosterior,
    rng_key: int | Array = 0,
    *,
    num_chains: int = 4,
    num_warmup: int = 1000,
    num_draws: int = 1000,
    thinning: int = 1,
    keep_weights: bool = False,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> DataTree:
    """Sample the local posterior.

    A draw is `thinning` steps: loss difference and virial are means over them, the rest is measured at the last. The
    same key, versions and device give the same draws, bit for bit. Ctrl-C keeps the draws so far.

    >>> import llc
    >>> problem = llc.Problem(lambda w, x: 0.5 * ((x - w) ** 2).sum(1), jnp.zeros((1000, 2)))
    >>> posterior = llc.LocalPosterior(problem, jnp.zeros(2), localization=1.0)
    >>> dict(draw(llc.samplers.SGLD(step_size=1e-3), posterior, num_draws=50).sample_stats.sizes)
    {'chain': 4, 'draw': 50, 'leaf': 1}

    Args:
        kernel: one of `llc.samplers`; a ladder of step sizes adds a leading dimension `step_size`.
        posterior: where to sample.
        rng_key: a seed or a JAX key.
        num_chains: chains, for each step size.
        num_warmup: draws to discard first; the group `warmup_sample_stats` keeps their record.
        num_draws: draws to keep of each chain.
        thinning: kernel steps a draw.
        keep_weights: also keep the weights of each draw, in the group `posterior`.
        mesh: devices to lay chains and examples over, along its axes "chain" and "data".
        progress: show a bar on standard error once it takes longer than two seconds.

    Returns:
        A DataTree in ArviZ's schema. `sample_stats` holds `loss_difference` (ΔL, nats per example) and
        `full_loss_difference`, `squared_distance` (‖w − w*‖²), `virial` (by leaf) and `potential` (nats), and of
        replica exchange `tempered_loss_difference` with its `tempered_nbeta`; the attrs hold every setting.

    Raises:
        ValueError: a count is not positive, the mesh does not fit, or processes that draw together disagree.
    """
    asked = {
        "rng_key": rng_key,
        "kernel": kernel,
        "nbeta": posterior.nbeta,
        "localization": posterior.localization,
        "batch_size": posterior.batch_size,
        "num_chains": num_chains,
        "num_warmup": num_warmup,
        "num_draws": num_draws,
        "thinning": thinning,
    }
    processes.check_agreement(mesh or posterior.layout.mesh, posterior.problem, posterior.center, asked)
    posterior = posterior.on(mesh)
    for name, value in {"num_chains": num_chains, "num_draws": num_draws, "thinning": thinning}.items():
        if value < 1:
            msg = f"{name}={value}; it must be at least 1."
            raise ValueError(msg)
    if num_warmup < 0:
        msg = f"num_warmup={num_warmup}; it must be at least 0."
        raise ValueError(msg)
    chains = start_chains(kernel, posterior, rng_key, num_chains=num_chains, num_warmup=num_warmup * thinning)
    chains = advance(chains, num_warmup, thinning=thinning, warmup=True, progress=progress)
    if not chains.interrupted:
        chains = advance(chains, num_draws, thinning=thinning, keep_weights=keep_weights, progress=progress)
    if chains.num_draws == 0:
        raise KeyboardInterrupt
    settings = {"rng_key": describe_key(rng_key), "thinning": thinning}
    return collect(chains, settings)


def start_chains(
    kernel: Kernel,
    posterior: LocalPosterior,
    rng_key: int | Array,
    *,
    num_chains: int,
    num_warmup: int,
    dispersed: bool = False,
) -> Chains:
    """Chains at their first states; kernels that adapt do so for `num_warmup` steps.

    They begin where the kernel likes, which is near w*, or at `dispersed_starts`.

    Raises:
        OutOfMemory: they do not fit into the device's memory; before anything is compiled.
    """
    posterior.layout.check_chains(num_chains)
    estimate = memory(kernel, posterior, num_chains=num_chains)
    if not estimate.fits:
        msg = f"{_account(kernel, num_chains, estimate)} {_what_fits(kernel, posterior, num_chains)}"
        raise OutOfMemory(msg)
    keys = jax.random.split(as_key(rng_key), (np.size(kernel.step_size), num_chains))
    with _accounted_for(kernel, posterior, num_chains):
        starts = dispersed_starts(posterior, keys) if dispersed else None
        return Chains(kernel, posterior, _start(kernel, posterior, keys, starts, num_warmup))


def advance(
    chains: Chains,
    num_draws: int,
    *,
    thinning: int = 1,
    warmup: bool = False,
    keep_weights: bool = False,
    progress: bool = False,
) -> Chains:
    """So many more draws, appended to those of the chains; what Ctrl-C leaves is kept.

    The states of the chains given are written over: go on with those returned.

    Raises:
        OutOfMemory: the device's memory was exceeded.
    """
    kernel, posterior, states = chains.kernel, chains.posterior, chains.states
    capacity, mesh = _capacity(states, posterior, keep_weights), posterior.layout.mesh
    num_chains = states.position.shape[1]
    pieces: list[Observables] = []
    done, size, interrupted = 0, 1, False
    with progress_bar("warm-up" if warmup else "sampling", num_draws, progress and processes.leads(mesh)) as report:
        try:
            while done < num_draws:
                size = min(size, capacity, num_draws - done)
                begun = time.monotonic()
                counts = jnp.asarray(size), jnp.asarray(thinning)  # arrays are traced
                with _accounted_for(kernel, posterior, num_chains, keep_weights):
                    states, buffer = _advance((kernel, posterior, *counts), states, capacity, keep_weights)
                    # cut on the host: on the device every other size would be another program
                    piece = jax.tree.map(lambda leaf, size=size: to_host(leaf)[:, :, :size], buffer)
                pieces.append(piece)
                done += size
                report(size)
                # how many draws a call takes changes no draw: keys travel in the states
                size = max(1, int(size * min(8.0, _SECONDS_PER_CALL / max(time.monotonic() - begun, 1e-3))))
                size = processes.agreed(mesh, size)
        except KeyboardInterrupt:
            interrupted = True
    record = chains.warmup if warmup else chains.draws
    joined = _joined([record, *pieces])
    chains = chains._replace(states=states, interrupted=interrupted)
    return chains._replace(warmup=joined) if warmup else chains._replace(draws=joined)


def memory(kernel: Kernel, posterior: LocalPosterior, *, num_chains: int = 4, keep_weights: bool = False) -> Memory:
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
    """
    keys = jax.random.split(jax.random.key(0), (np.size(kernel.step_size), num_chains))
    start, states, _ = _start_traced(kernel, posterior, keys, None, 0)
    capacity = _capacity(states, posterior, keep_weights)
    counts = jnp.asarray(1), jnp.asarray(1)
    step, made, _ = _advance_traced((kernel, posterior, *counts), states, capacity, keep_weights)
    first = len(jax.tree.leaves(eqx.filter((kernel, posterior, *counts), eqx.is_array)))
    own = frozenset(range(first, first + len(jax.tree.leaves(states))))
    chains, problem = size_of(states), posterior.problem
    draws, data = size_of(made) - chains, size_of((problem.data, problem.test_data, posterior.center_losses))
    mesh = posterior.layout.mesh
    devices = posterior.center_gradient.devices() if mesh is None else mesh.devices.flat
    return Memory(
        parameters=size_of((kernel, posterior)) - data,
        data=data,
        chains=chains,
        steps=max(peak_bytes(start.jaxpr), peak_bytes(step.jaxpr, own) - draws) - chains,
        draws=draws,
        available=free_memory(list(devices)),
    )


def _account(kernel: Kernel, num_chains: int, estimate: Memory) -> str:
    several = np.size(kernel.step_size)
    chains = f"{num_chains} chain{'s' * (num_chains > 1)}" + (f" for each of {several} step sizes" * (several > 1))
    free = "an unknown amount" if estimate.available is None else in_units(estimate.available)
    return (
        f"{chains} of {type(kernel).__name__} need about {in_units(estimate.needed)} of memory "
        f"(states {in_units(estimate.chains)}, steps {in_units(estimate.steps)}, draws {in_units(estimate.draws)}) "
        f"beside parameters ({in_units(estimate.parameters)}) and data ({in_units(estimate.data)}); {free} is free."
    )


def _what_fits(kernel: Kernel, posterior: LocalPosterior, num_chains: int) -> str:
    """The smallest change with which sampling fits."""
    layout = posterior.layout
    fewest, smallest = layout.num_chain_devices, layout.num_data_devices
    fits = lambda posterior, chains: memory(kernel, posterior, num_chains=chains).fits
    chains = _largest(lambda k: fits(posterior, k * fewest), num_chains // fewest - 1) * fewest
    if chains:
        return f"num_chains={chains} would fit."
    with_batch = lambda k: fits(posterior.with_batch_size(k * smallest), fewest)
    batch = _largest(with_batch, posterior.batch_size // smallest - 1) * smallest
    if batch:
        return f"num_chains={fewest} with batch_size={batch} would fit."
    alone = memory(kernel, posterior, num_chains=fewest)
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
def _accounted_for(
    kernel: Kernel, posterior: LocalPosterior, num_chains: int, keep_weights: bool = False
) -> Iterator[None]:
    """Say by part what was needed, where memory runs out."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        estimate = memory(kernel, posterior, num_chains=num_chains, keep_weights=keep_weights)
        msg = f"Memory ran out. {_account(kernel, num_chains, estimate)} Use fewer chains, or a smaller batch_size."
        raise OutOfMemory(msg) from error


def collect(chains: Chains, settings: dict[str, Any]) -> DataTree:
    """The draws of chains as a DataTree."""
    if chains.draws is None:
        msg = "these chains hold no draws yet; advance them first."
        raise ValueError(msg)
    settings = {"interrupted": int(chains.interrupted), **processes.about(chains.posterior.layout.mesh), **settings}
    return to_datatree(chains.draws, chains.warmup, chains.kernel, chains.posterior, settings)


def _joined(records: list[Observables | None]) -> Observables | None:
    """One record after the other."""
    whole = [record for record in records if record is not None]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=2), *whole) if whole else None


def _capacity(states: Any, posterior: LocalPosterior, keep_weights: bool) -> int:
    if not keep_weights:
        return _CAPACITY
    chains = int(np.prod(states.position.shape[:2]))
    return max(1, min(_CAPACITY, _CAPACITY_ELEMENTS // (chains * posterior.dimension)))


def _over_ladder(f: Callable[..., Any], kernel: Kernel, posterior: LocalPosterior) -> Callable[..., Any]:
    """Map f(kernel, ...) over (ladder, chain); a kernel of one step size is a ladder of one.

    Large chains run one after the other on a CPU: each fills the machine, and they need the room of one to work in.
    """
    ladder = None if kernel.step_size is None or jnp.ndim(kernel.step_size) == 0 else 0
    one = lambda step_size, args: f(_with_step_size(kernel, step_size), *args)
    if posterior.dimension < _LARGE or posterior.layout.mesh is not None or jax.default_backend() != "cpu":
        each = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(ladder, 0))
        return lambda *args: each(kernel.step_size, args)
    in_turn = lambda step_size, args: jax.lax.map(lambda chain: one(step_size, chain), args)
    if ladder == 0:
        return lambda *args: jax.lax.map(lambda rung: in_turn(*rung), (kernel.step_size, args))
    only = lambda *args: in_turn(kernel.step_size, jax.tree.map(lambda leaf: leaf[0], args))
    return lambda *args: jax.tree.map(lambda leaf: leaf[None], only(*args))


def _with_step_size(kernel: Kernel, step_size: Array | None) -> Kernel:
    return eqx.tree_at(lambda k: k.step_size, kernel, step_size, is_leaf=lambda x: x is None)


@eqx.filter_jit
def _start(
    kernel: Kernel,
    posterior: LocalPosterior,
    keys: Array,
    starts: Float[Array, "ladder chain d"] | None,
    num_warmup: int,
) -> Any:
    def one(kernel: Kernel, key: Array, start: Float[Array, "d"] | None = None) -> Any:
        params = None if start is None else posterior.params(start)
        return kernel.init(key, num_warmup, params, (posterior,), {})

    states = _over_ladder(one, kernel, posterior)(*(keys,) if starts is None else (keys, starts))
    return posterior.layout.constrain_chains(states)


@eqx.filter_jit(donate="all-except-first")
def _advance(
    given: tuple[Kernel, LocalPosterior, Int[Array, ""], Int[Array, ""]],
    states: Any,
    capacity: int,
    keep_weights: bool,
) -> tuple[Any, Observables]:
    """`size` draws of every chain into buffers of length `capacity`: both counts are traced, and never recompile.

    The new states lie where the old ones did.
    """
    kernel, posterior, size, thinning = given

    def one(kernel: Kernel, state: Any) -> tuple[Any, Observables]:
        def body(i: Array, carry: tuple) -> tuple:
            state, buffer = carry
            state, observed = next_draw(kernel, posterior, state, thinning, keep_weights)
            return state, jax.tree.map(lambda room, value: room.at[i].set(value), buffer, observed)

        buffer = empty_buffer(shape_of(kernel, posterior, state, keep_weights), capacity)
        return jax.lax.fori_loop(0, size, body, (state, buffer))

    return posterior.layout.constrain_chains(_over_ladder(one, kernel, posterior)(states))


_start_traced, _advance_traced = eqx.filter_make_jaxpr(_start), eqx.filter_make_jaxpr(_advance)
