"""Running kernels: chains and step sizes are array axes, and one program serves every checkpoint of the same shapes."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array
from xarray import DataTree

from llc.draws import processes
from llc.draws.keys import as_key, describe_key, in_loops
from llc.draws.observables import Observables
from llc.draws.programs import Plan, begin, capacity_of, ladder_size, proceed
from llc.draws.progress import progress_bar
from llc.draws.room import accounted_for, refuse_what_does_not_fit
from llc.draws.schema import to_datatree
from llc.draws.starts import dispersed_starts
from llc.posterior.devices import to_host
from llc.posterior.ladder import rungs_of
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import Kernel, with_step_size

_STARTS = 2**31 - 1  # folded into the key, where no chain is numbered
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
    asked = dict(locals())
    asked |= {name: getattr(posterior, name) for name in ("nbeta", "localization", "free", "batch_size")}
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
    refuse_what_does_not_fit(kernel, posterior, num_chains, measured=dispersed)
    keys = jax.random.split(as_key(rng_key), (ladder_size(kernel, posterior), num_chains))
    with accounted_for(kernel, posterior, num_chains):
        # a key of their own, none of those that the kernels go on with
        start_keys = jax.random.split(jax.random.fold_in(in_loops(as_key(rng_key)), _STARTS), keys.shape)
        starts = dispersed_starts(posterior, start_keys) if dispersed else None
        return Chains(kernel, posterior, begin(kernel, posterior, keys, starts, num_warmup))


def advance(
    chains: Chains,
    num_draws: int,
    *,
    thinning: int = 1,
    full_loss_every: int = 1,
    warmup: bool = False,
    keep_weights: bool = False,
    progress: bool = False,
) -> Chains:
    """So many more draws, appended to those of the chains; what Ctrl-C leaves is kept.

    Of every so many draws one has its loss on all data measured, of 0 none; unless the kernel looks at it anyway. The
    states of the chains given are written over: go on with those returned.

    Raises:
        OutOfMemory: the device's memory was exceeded.
    """
    kernel, posterior, states = chains.kernel, chains.posterior, chains.states
    capacity, mesh = capacity_of(states, posterior, keep_weights), posterior.layout.mesh
    num_chains = states.position.shape[1]
    pieces: list[Observables] = []
    held = 0 if warmup else chains.num_draws
    done, size, interrupted = 0, 1, False
    with progress_bar("warm-up" if warmup else "sampling", num_draws, progress and processes.leads(mesh)) as report:
        try:
            while done < num_draws:
                size = min(size, capacity, num_draws - done)
                begun = time.monotonic()
                # arrays are traced
                plan = Plan(*map(jnp.asarray, (size, held + done, thinning, full_loss_every)))
                with accounted_for(kernel, posterior, num_chains, keep_weights):
                    states, buffer = proceed((kernel, posterior, plan), states, capacity, keep_weights)
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


def collect(chains: Chains, settings: dict[str, Any]) -> DataTree:
    """The draws of chains as a DataTree."""
    [draws] = collect_each(chains, [settings])
    return draws


def collect_each(chains: Chains, settings: Sequence[dict[str, Any]]) -> list[DataTree]:
    """The same of each posterior of a ladder, with what is to be told of it."""
    if chains.draws is None:
        msg = "these chains hold no draws yet; advance them first."
        raise ValueError(msg)
    kernel, rungs = chains.kernel, rungs_of(chains.posterior)
    common = {"interrupted": int(chains.interrupted), **processes.about(chains.posterior.layout.mesh)}
    trees = []
    for i, (posterior, own) in enumerate(zip(rungs, settings, strict=True)):
        of_rung = lambda leaf, i=i: leaf.reshape(len(rungs), -1, *leaf.shape[1:])[i]
        record, warmup = jax.tree.map(of_rung, (chains.draws, chains.warmup))
        laddered = np.ndim(kernel.step_size) == 1
        own_kernel = with_step_size(kernel, of_rung(kernel.step_size)) if laddered else kernel
        trees.append(to_datatree(record, warmup, own_kernel, posterior, {**common, **own}))
    return trees


def _joined(records: list[Observables | None]) -> Observables | None:
    """One record after the other."""
    whole = [record for record in records if record is not None]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=2), *whole) if whole else None
