"""The tempered posterior around a checkpoint, in whitened coordinates.

    π(w) ∝ exp(−U(w)),   U(w) = nβ (L_n(w) − L_n(w*)) + ½ Σ_l γ_l ‖w_l − w*_l‖²      (Watanabe 2013; Lau et al. 2023)

Kernels move v = Γ^{1/2} (w − w*), in which the localising prior is N(0, I): a step size then has no unit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree, Shaped

from llc.data.off_device import OffDevice, whole
from llc.posterior.blocks import over_blocks
from llc.posterior.devices import Layout, layout_of, to_host
from llc.posterior.localization import Localization, Relative, resolve_localization
from llc.posterior.loss_cache import known_losses, losses_anew
from llc.posterior.masks import free_coordinates
from llc.posterior.temperature import resolve_nbeta
from llc.posterior.work import intermediates
from llc.problem import Problem, over_examples

DEFAULT_BATCH_SIZE = 128
_BLOCK_ELEMENTS = 2**24  # intermediates that one block of a full-data pass may hold for one chain: 64 MiB of float32
# On a processor a block should stay in its cache, 2 MiB, and yet make little of the traffic of the parameters.
_CACHED_ELEMENTS, _CACHED_EXAMPLES = 2**19, 1024


class LocalPosterior(eqx.Module):
    """The only owner of nβ, γ, n, the batch size and the mask.

    >>> problem = Problem(lambda w, x: 0.5 * ((x - w) ** 2).sum(1), jnp.zeros((1000, 2)))
    >>> posterior = LocalPosterior(problem, jnp.zeros(2), localization=1.0)
    >>> posterior.dimension, round(float(posterior.potential(jnp.ones(2))), 2)  # (nβ + γ) · ½ · 2
    (2, 145.76)

    Args:
        problem: the loss and its data.
        center: the checkpoint w*, any pytree of floating-point arrays.
        nbeta: nβ, n / log n unless given.
        localization: γ, a number (nats per squared weight), or `Relative(radius)`.
        mask: what may move (weight-refined coefficient, Wang et al. 2024): patterns of paths such as "layers/0/*", or a
            tree like `center` of booleans, or of boolean arrays like its leaves. None frees everything.
        batch_size: examples a minibatch; at most 128 unless given. n means full-data gradients.
        mesh: devices to lay chains and examples over, along its axes "chain" and "data". Parameters that are sharded
            stay so, with or without it.

    Raises:
        ValueError: anything above that no posterior can be made of, said with what came and what to do.
    """

    problem: Problem
    center: PyTree[Float[Array, "..."]]
    nbeta: Float[Array, "*rungs"]
    localization: Float[Array, "*rungs leaves"]
    free: tuple[Int[Array, "free"], ...] | None
    center_losses: Float[Array, "n"] | Float[Array, "1"]
    center_gradient: Float[Array, "*rungs d"]
    batch_size: int = eqx.field(static=True)
    block_size: int = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)

    def __init__(
        self,
        problem: Problem,
        center: PyTree,
        *,
        nbeta: float | int | None = None,
        localization: Localization = Relative(),  # noqa: B008, frozen
        mask: PyTree | str | Sequence[str] | None = None,
        batch_size: int | None = None,
        mesh: Mesh | None = None,
    ) -> None:
        problem.check(center)
        self.layout = layout_of(mesh, center, problem.n, masked=mask is not None)
        self.problem = _on(self.layout, problem)
        # float32 at least: a step in bfloat16 would be rounded away
        center = jax.tree.map(lambda w: jnp.asarray(w, jnp.promote_types(jnp.result_type(w), jnp.float32)), center)
        self.center = self.layout.place_params(center)
        self.nbeta = jnp.asarray(resolve_nbeta(nbeta, problem.n), jnp.result_type(float))
        self.localization = resolve_localization(localization, center)
        self.free = None if mask is None else free_coordinates(mask, self.center)
        self.batch_size = _resolve_batch_size(batch_size, problem.n, self.layout)
        self.block_size = min(problem.n, _block_size(problem, self.center))
        self.center_losses, self.center_gradient = jnp.zeros(1), jnp.zeros(self.dimension)
        self.center_losses = jnp.asarray(known_losses(self.problem, self.center, lambda: _center_losses(self)))
        _check_center(self.problem, self.center, self.center_losses)
        if bool((self.center_losses == self.center_losses[0]).all()):
            # a loss that is one function for all examples (a population loss): then its mean costs one evaluation
            self.center_losses = self.center_losses[:1]
        self.center_gradient = _center_gradient(self)
        if not bool(jnp.isfinite(self.center_gradient).all()):
            msg = "the gradient of the loss at the checkpoint holds NaN or infinity; make loss_fn differentiable there."
            raise ValueError(msg)

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.problem.n

    @property
    def center_loss(self) -> float:
        """L_n(w*), in nats per example, summed in float64."""
        return float(np.asarray(self.center_losses, np.float64).mean())

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of free coordinates of each leaf."""
        if self.free is None:
            return tuple(leaf.size for leaf in jax.tree.leaves(self.center))
        return tuple(indices.shape[0] for indices in self.free)

    @property
    def dimension(self) -> int:
        """d, the number of free coordinates."""
        return sum(self.sizes)

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches that make up the data once."""
        return -(-self.n // self.batch_size)

    def with_batch_size(self, batch_size: int) -> "LocalPosterior":
        """The same posterior, seen through minibatches of another size."""
        return self._changed(batch_size=_resolve_batch_size(batch_size, self.n, self.layout))

    def on(self, mesh: Mesh | None) -> "LocalPosterior":
        """The same posterior on the devices of a mesh; where it is, without one.

        Raises:
            ValueError: the mesh does not fit the parameters, n or the batch size.
        """
        if mesh is None:
            return self
        layout = layout_of(mesh, self.center, self.n, masked=self.free is not None)
        layout.check_batch(self.batch_size)
        slopes = map(self.layout.to_leaf, range(len(self.sizes)), self.split(self.center_gradient))
        return self._changed(
            layout=layout,
            problem=_on(layout, self.problem),
            center=layout.place_params(self.center),
            center_gradient=layout.join(list(map(layout.to_coordinates, range(len(self.sizes)), slopes))),
        )

    def on_one_device(self) -> "LocalPosterior":
        """The same computations, as they are without a mesh; the arrays stay where they are."""
        return self._changed(layout=Layout(None, self.layout.shapes))

    def _changed(self, **fields: Any) -> "LocalPosterior":
        leaves, tree = jax.tree.flatten(self)
        other = jax.tree.unflatten(tree, leaves)  # copy.copy would leave it among Equinox' unfinished modules, for ever
        for name, value in fields.items():
            object.__setattr__(other, name, value)  # it is frozen
        return other

    def split(self, v: Float[Array, "d"]) -> list[Float[Array, "_"]]:
        """The coordinates of each leaf."""
        return self.layout.split(v, self.sizes)

    def params(self, v: Float[Array, "d"]) -> PyTree[Float[Array, "..."]]:
        """w = w* + Γ^{−1/2} v, in the checkpoint's own tree."""
        leaves, tree = jax.tree.flatten(self.center)
        moves = [part / jnp.sqrt(gamma) for part, gamma in zip(self.split(v), self.localization, strict=True)]
        if self.free is None:
            moves = map(self.layout.to_leaf, range(len(moves)), moves)
            moved = [leaf + move for leaf, move in zip(leaves, moves, strict=True)]
        else:
            moved = [
                leaf.ravel().at[indices].add(move).reshape(leaf.shape)
                for leaf, indices, move in zip(leaves, self.free, moves, strict=True)
            ]
        return jax.tree.unflatten(tree, self.layout.constrain_params(moved))

    def whiten(self, params: PyTree) -> Float[Array, "d"]:
        """v = Γ^{1/2} (w − w*), the inverse of `params`."""
        shifts = [w - c for w, c in zip(jax.tree.leaves(params), jax.tree.leaves(self.center), strict=True)]
        shifts = [self.layout.to_coordinates(i, shift) for i, shift in enumerate(shifts)]
        if self.free is not None:
            shifts = [shift[indices] for shift, indices in zip(shifts, self.free, strict=True)]
        return self.layout.join([s * jnp.sqrt(gamma) for s, gamma in zip(shifts, self.localization, strict=True)])

    def squared_distance(self, v: Float[Array, "d"]) -> Float[Array, ""]:
        """‖w − w*‖², in squared weights."""
        parts = zip(self.split(v), self.localization, strict=True)
        return jnp.sum(jnp.stack([jnp.square(part).sum() / gamma for part, gamma in parts]))

    def batch(
        self, indices: Int[Array, "batch"], following: Int[Array, "batch"] | None = None
    ) -> tuple[PyTree, Float[Array, "batch"]]:
        """Some examples, and their losses at w*; those that follow are read meanwhile, if they lie in files."""
        one = self.center_losses.shape[0] == 1
        losses = jnp.broadcast_to(self.center_losses, indices.shape) if one else self.center_losses[indices]
        return self.layout.constrain_batch(self.problem.take(indices, following)), losses

    def batch_loss_difference(
        self, v: Float[Array, "d"], indices: Int[Array, "batch"], following: Int[Array, "batch"] | None = None
    ) -> Float[Array, ""]:
        """mean_{i ∈ B} ℓ_i(w) − ℓ_i(w*), in nats per example; exactly 0 at v = 0."""
        if self._in_one_block(indices):
            return self.mean_difference(v, *self.batch(indices, following))
        return self._mean_in_blocks(v, indices, self.batch)

    def mean_difference(
        self, v: Float[Array, "d"], examples: PyTree, center_losses: Float[Array, "batch"]
    ) -> Float[Array, ""]:
        """mean_i ℓ_i(w) − ℓ_i(w*) over examples, given with their losses at w*."""
        if self._in_one_block(center_losses):
            differences = self.problem.losses(self.params(v), examples) - center_losses
            return _exactly_zero_at_center(v, self._sum(differences) / center_losses.shape[0])
        return self._mean_in_blocks(v, (examples, center_losses), lambda block: block)

    def _in_one_block(self, batch: Shaped[Array, "batch"]) -> bool:
        return batch.shape[0] <= self.block_size * self.layout.num_data_devices

    def _mean_in_blocks(
        self, v: Float[Array, "d"], batch: PyTree, read: Callable[[PyTree], tuple[PyTree, Float[Array, "block"]]]
    ) -> Float[Array, ""]:
        """The mean over a large batch; its gradient too holds the intermediates of one block at a time."""
        params, count = self.params(v), jax.tree.leaves(batch)[0].shape[0]

        def add(total: Float[Array, ""], block: PyTree) -> tuple[Float[Array, ""], None]:
            examples, center_losses = read(block)
            return total + jnp.sum(self.problem.losses(params, examples) - center_losses), None

        zero, size = jnp.zeros((), self.center_losses.dtype), self.block_size * self.layout.num_data_devices
        return _exactly_zero_at_center(v, over_blocks(add, zero, batch, size)[0] / count)

    def _sum(self, differences: Float[Array, "block"]) -> Float[Array, ""]:
        """Their sum, as a product with ones where they differ.

        XLA on CPU computes what it fuses into a sum one number at a time: losses of small networks took up to 80 times
        as long. That of one function for all examples it multiplies by their number.
        """
        if self.center_losses.shape[0] == 1:
            return jnp.sum(differences)
        return jnp.dot(differences, jnp.ones_like(differences), precision=jax.lax.Precision.HIGHEST)

    def loss_difference(self, v: Float[Array, "d"]) -> Float[Array, ""]:
        """ΔL = L_n(w) − L_n(w*), in nats per example, summed from per-example differences so that float32 keeps it."""
        params, size = self.params(v), self.block_size

        def differences(examples: Any, center_losses: Float[Array, "block"]) -> Float[Array, "block"]:
            return self.problem.losses(params, examples) - center_losses

        def of_shard(examples: tuple[Any, Float[Array, "shard"]]) -> Float[Array, ""]:
            if size >= self.n // self.layout.num_data_devices:
                return self._sum(differences(*whole(examples)))
            add = lambda carry, block: (carry + jnp.sum(differences(*block)), None)
            return over_blocks(add, jnp.zeros((), self.center_losses.dtype), examples, size)[0]

        everything = (self.problem.data, jnp.broadcast_to(self.center_losses, (self.n,)))
        summed = self.layout.over_shards(of_shard, everything).sum()
        return _exactly_zero_at_center(v, summed / self.n)

    def potential(self, v: Float[Array, "d"]) -> Float[Array, ""]:
        """U = nβ ΔL + ½ ‖v‖², in nats."""
        return self.nbeta * self.loss_difference(v) + 0.5 * jnp.vdot(v, v)


def _exactly_zero_at_center(v: Float[Array, "d"], difference: Float[Array, ""]) -> Float[Array, ""]:
    """Take away what rounding leaves at v = 0, where products of other shapes add up in another order."""
    return difference - jnp.where(jnp.any(v != 0), 0.0, jax.lax.stop_gradient(difference))


def _on(layout: Layout, problem: Problem) -> Problem:
    if layout.mesh is None:
        return problem
    if isinstance(problem.data, OffDevice) and layout.num_data_devices == 1 and not layout.mesh.is_multi_process:
        return problem  # each chain's device is handed what it asks for
    data = problem.in_memory('a mesh with a "data" axis, or of several processes,')
    return eqx.tree_at(lambda p: p.data, problem, layout.place_data(data))


def _resolve_batch_size(batch_size: int | None, n: int, layout: Layout) -> int:
    if batch_size is None:
        return layout.fitting_batch(min(n, DEFAULT_BATCH_SIZE))
    if batch_size > n:
        msg = f"batch_size={batch_size} exceeds n={n}; use batch_size={n} for full-data gradients."
        raise ValueError(msg)
    if batch_size < 1:
        msg = f"batch_size={batch_size}; it must be between 1 and n={n}."
        raise ValueError(msg)
    layout.check_batch(batch_size)
    return int(batch_size)


def _block_size(problem: Problem, center: PyTree) -> int:
    """Examples whose intermediates fit into a block: what a second example adds to the loss's own arrays."""
    of_one, in_files = intermediates(problem, center), isinstance(problem.data, OffDevice)
    if in_files:  # what is read block by block counts too
        own = sum(row.size * row.dtype.itemsize for row in jax.tree.leaves(problem.shapes(1))) // 4
        of_one = max(of_one, own)
    size = max(1, _BLOCK_ELEMENTS // of_one)
    if in_files or jax.default_backend() != "cpu":
        return size
    return min(size, max(_CACHED_EXAMPLES, _CACHED_ELEMENTS // of_one))


@eqx.filter_jit
def _center_losses(posterior: LocalPosterior) -> Float[Array, "n"]:
    size, layout = posterior.block_size, posterior.layout

    def of_shard(examples: PyTree) -> Float[Array, "shard"]:
        losses = lambda batch: posterior.problem.losses(posterior.center, batch)
        few = size >= posterior.n // layout.num_data_devices
        return losses(whole(examples)) if few else over_examples(losses, examples, size)

    return layout.everywhere(layout.over_shards(of_shard, posterior.problem.data).reshape(posterior.n))


@eqx.filter_jit
def _center_gradient(posterior: LocalPosterior) -> Float[Array, "d"]:
    return jax.grad(posterior.loss_difference)(jnp.zeros(posterior.dimension))


def _check_center(problem: Problem, center: PyTree, losses: Float[Array, "n"]) -> None:
    values = np.asarray(losses)
    finite = np.isfinite(values)
    if not finite.all():
        msg = (
            f"loss_fn is NaN or infinite at the checkpoint on {np.sum(~finite)} of {problem.n} examples "
            f"(the first is number {np.argmin(finite)}); check those examples and the likelihood."
        )
        raise ValueError(msg)
    some = np.linspace(0, problem.n - 1, min(problem.n, 3)).astype(int)[:-1]
    alone = to_host(losses_anew(problem, center, problem.take(some)))
    if not np.allclose(alone, values[some], rtol=1e-2, atol=1e-3 * (1 + np.abs(values).max())):
        msg = (
            f"loss_fn gives examples {some.tolist()} the losses {alone.tolist()} in a batch of their own and "
            f"{values[some].tolist()} among all; an example's loss must not depend on the rest of its batch "
            "(freeze batch statistics, do not average)."
        )
        raise ValueError(msg)
