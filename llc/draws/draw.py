"""Running kernels: chains and step sizes are array axes, and one program serves every checkpoint of the same shapes."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from xarray import DataTree

from llc.draws.observables import Observables, empty_buffer, next_draw, shape_of
from llc.draws.progress import progress_bar
from llc.draws.schema import to_datatree
from llc.draws.starts import dispersed_starts
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import Kernel

_CAPACITY = 128  # draws that one compiled call can hold
_CAPACITY_ELEMENTS = 2**26  # and the weights among them
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
        progress: show a bar on standard error once it takes longer than two seconds.

    Returns:
        A DataTree in ArviZ's schema. `sample_stats` holds `loss_difference` (ΔL, nats per example) and
        `full_loss_difference`, `squared_distance` (‖w − w*‖²), `virial` (by leaf) and `potential` (nats), and of
        replica exchange `tempered_loss_difference` with its `tempered_nbeta`; the attrs hold every setting.

    Raises:
        ValueError: a count is not positive.
    """
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
    """
    keys = jax.random.split(as_key(rng_key), (np.size(kernel.step_size), num_chains))
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
    """So many more draws, appended to those of the chains; what Ctrl-C leaves is kept."""
    kernel, posterior, states = chains.kernel, chains.posterior, chains.states
    capacity = _capacity(states, posterior, keep_weights)
    pieces: list[Observables] = []
    done, size, interrupted = 0, 1, False
    with progress_bar("warm-up" if warmup else "sampling", num_draws, progress) as report:
        try:
            while done < num_draws:
                size = min(size, capacity, num_draws - done)
                begun = time.monotonic()
                counts = jnp.asarray(size), jnp.asarray(thinning)  # arrays are traced
                states, buffer = _advance(kernel, posterior, states, *counts, capacity, keep_weights)
                # cut on the host: on the device every other size would be another program
                piece = jax.tree.map(lambda leaf, size=size: np.asarray(leaf)[:, :, :size], buffer)
                pieces.append(piece)
                done += size
                report(size)
                # how many draws a call takes changes no draw: keys travel in the states
                size = max(1, int(size * min(8.0, _SECONDS_PER_CALL / max(time.monotonic() - begun, 1e-3))))
        except KeyboardInterrupt:
            interrupted = True
    record = chains.warmup if warmup else chains.draws
    joined = _joined([record, *pieces])
    chains = chains._replace(states=states, interrupted=interrupted)
    return chains._replace(warmup=joined) if warmup else chains._replace(draws=joined)


def collect(chains: Chains, settings: dict[str, Any]) -> DataTree:
    """The draws of chains as a DataTree."""
    if chains.draws is None:
        msg = "these chains hold no draws yet; advance them first."
        raise ValueError(msg)
    settings = {"interrupted": int(chains.interrupted), **settings}
    return to_datatree(chains.draws, chains.warmup, chains.kernel, chains.posterior, settings)


def as_key(rng_key: int | Array) -> Array:
    """A JAX key, from a seed or a key."""
    return jax.random.key(rng_key) if isinstance(rng_key, int | np.integer) else rng_key


def describe_key(rng_key: int | Array) -> str:
    """A key as text, for the record."""
    return str(rng_key) if isinstance(rng_key, int | np.integer) else str(jax.random.key_data(rng_key).tolist())


def _joined(records: list[Observables | None]) -> Observables | None:
    """One record after the other."""
    whole = [record for record in records if record is not None]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=2), *whole) if whole else None


def _capacity(states: Any, posterior: LocalPosterior, keep_weights: bool) -> int:
    if not keep_weights:
        return _CAPACITY
    chains = int(np.prod(states.position.shape[:2]))
    return max(1, min(_CAPACITY, _CAPACITY_ELEMENTS // (chains * posterior.dimension)))


def _over_ladder(f: Callable[..., Any], kernel: Kernel) -> Callable[..., Any]:
    """Map f(kernel, ...) over (ladder, chain); a kernel of one step size is a ladder of one."""
    ladder = None if kernel.step_size is None or jnp.ndim(kernel.step_size) == 0 else 0
    one = lambda step_size, args: f(_with_step_size(kernel, step_size), *args)
    each = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(ladder, 0))
    return lambda *args: each(kernel.step_size, args)


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

    return _over_ladder(one, kernel)(*(keys,) if starts is None else (keys, starts))


@eqx.filter_jit
def _advance(
    kernel: Kernel,
    posterior: LocalPosterior,
    states: Any,
    size: Int[Array, ""],
    thinning: Int[Array, ""],
    capacity: int,
    keep_weights: bool,
) -> tuple[Any, Observables]:
    """`size` draws of every chain into buffers of length `capacity`: both counts are traced, and never recompile."""

    def one(kernel: Kernel, state: Any) -> tuple[Any, Observables]:
        def body(i: Array, carry: tuple) -> tuple:
            state, buffer = carry
            state, observed = next_draw(kernel, posterior, state, thinning, keep_weights)
            return state, jax.tree.map(lambda room, value: room.at[i].set(value), buffer, observed)

        buffer = empty_buffer(shape_of(kernel, posterior, state, keep_weights), capacity)
        return jax.lax.fori_loop(0, size, body, (state, buffer))

    return _over_ladder(one, kernel)(states)
