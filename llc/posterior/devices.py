"""Where the arrays of a posterior lie: chains and examples over a mesh of devices, parameters as the user has them.

Chains are laid over the mesh's axis "chain" and examples over "data"; every other axis is the parameters' own. The
vector v of a chain is laid over the axes of the parameters too. For that its coordinates are in another order: first
all that the first device has of every leaf, then all that the second has, and so on. From v to the leaves and back
nothing then leaves its device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from llc.problem import named_leaves

CHAIN, DATA = "chain", "data"


@dataclass(frozen=True)
class Layout:
    """Devices and what lies on them; without a mesh everything lies on one, and every method leaves it there.

    Args:
        mesh: the devices.
        shapes: of the leaves of the parameters.
        specs: how each leaf is laid over the mesh.
        masked: whether some coordinates are held fast; v then lies whole on every device.
    """

    mesh: Mesh | None
    shapes: tuple[tuple[int, ...], ...]
    specs: tuple[PartitionSpec, ...] = ()
    masked: bool = False

    @property
    def num_chain_devices(self) -> int:
        """Devices that chains are laid over."""
        return self._size(CHAIN)

    @property
    def num_data_devices(self) -> int:
        """Devices that examples are laid over."""
        return self._size(DATA)

    @property
    def vector_axes(self) -> tuple[str, ...]:
        """Axes that v is laid over: those of the parameters, if they divide every leaf; else none."""
        if self.mesh is None or self.masked:
            return ()
        used = {axis for spec in self.specs for axis in _axes_of(spec)}
        axes = tuple(axis for axis in self.mesh.axis_names if axis in used)
        parts = math.prod(map(self._size, axes))
        return axes if all(math.prod(shape) % parts == 0 for shape in self.shapes) else ()

    @property
    def vector_parts(self) -> int:
        """Devices that v is laid over."""
        return math.prod(map(self._size, self.vector_axes))

    def check_chains(self, num_chains: int) -> None:
        """Refuse chains that cannot be shared out equally.

        Raises:
            ValueError: naming both numbers, and what would fit.
        """
        _check_divides("num_chains", num_chains, CHAIN, self.num_chain_devices)

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that cannot be shared out equally.

        Raises:
            ValueError: naming both numbers, and what would fit.
        """
        _check_divides("batch_size", batch_size, DATA, self.num_data_devices)

    def fitting_batch(self, batch_size: int) -> int:
        """The largest batch up to this size that can be shared out equally."""
        return max(1, batch_size // self.num_data_devices) * self.num_data_devices

    def place_data(self, data: PyTree) -> PyTree:
        """Examples over "data"; without such an axis on every device, unless the user has laid them out."""
        if self.mesh is None:
            return data
        where = _over(self.mesh, DATA)
        devices = set(self.mesh.devices.flat)
        theirs = lambda leaf: DATA not in where.mesh.axis_names and len(devices) > 1 and _devices_of(leaf) == devices
        return jax.tree.map(lambda leaf: leaf if theirs(leaf) else put(leaf, where), data)

    def place_params(self, params: PyTree) -> PyTree:
        """Parameters as the user has them."""
        if self.mesh is None:
            return params
        leaves, tree = jax.tree.flatten(params)
        placed = [put(leaf, NamedSharding(self.mesh, spec)) for leaf, spec in zip(leaves, self.specs, strict=True)]
        return jax.tree.unflatten(tree, placed)

    def constrain_params(self, leaves: Sequence[Array]) -> list[Array]:
        """The same of leaves that are being computed."""
        if self.mesh is None:
            return list(leaves)
        return [self._constrain(leaf, spec) for leaf, spec in zip(leaves, self.specs, strict=True)]

    def constrain_batch(self, examples: PyTree) -> PyTree:
        """Lay a batch over "data"."""
        if self.num_data_devices == 1:
            return examples
        return jax.tree.map(lambda leaf: self._constrain(leaf, PartitionSpec(DATA)), examples)

    def constrain_chains(self, states: PyTree) -> PyTree:
        """Lay what has axes (ladder, chain, ...) over "chain", and what ends in v's axis over the parameters' too."""
        if self.mesh is None:
            return states
        chain = CHAIN if CHAIN in self.mesh.axis_names else None
        dimension = sum(map(math.prod, self.shapes))

        def one(leaf: Array) -> Array:
            inner: list[Any] = [None] * (leaf.ndim - 2)
            if inner and self.vector_axes and leaf.shape[-1] == dimension:
                inner[-1] = self.vector_axes
            return self._constrain(leaf, PartitionSpec(None, chain, *inner))

        return jax.tree.map(one, states)

    def constrain_vector(self, v: Float[Array, "d"]) -> Float[Array, "d"]:
        """Lay one chain's v over the axes of the parameters."""
        return self._constrain(v, PartitionSpec(self.vector_axes)) if self.vector_axes else v

    def everywhere(self, x: Array) -> Array:
        """On every device."""
        return x if self.mesh is None else self._constrain(x, PartitionSpec())

    def over_shards(self, f: Callable[[PyTree], Array], examples: PyTree) -> Float[Array, "shards *rest"]:
        """f of the examples of each device, which need not leave it."""
        shards = self.num_data_devices
        if shards == 1:
            return f(examples)[None]
        cut = lambda leaf: leaf.reshape(shards, leaf.shape[0] // shards, *leaf.shape[1:])
        return jax.vmap(f)(self.constrain_batch(jax.tree.map(cut, examples)))

    def split(self, v: Float[Array, "d"], sizes: Sequence[int]) -> list[Float[Array, "_"]]:
        """The coordinates of each leaf."""
        ends, parts = np.cumsum(sizes)[:-1], self.vector_parts
        if parts == 1:
            return jnp.split(v, ends)
        columns = jnp.split(self.constrain_vector(v).reshape(parts, -1), ends // parts, axis=1)
        return [column.reshape(-1) for column in columns]

    def join(self, coordinates: Sequence[Float[Array, "_"]]) -> Float[Array, "d"]:
        """The inverse of `split`."""
        parts = self.vector_parts
        if parts == 1:
            return jnp.concatenate(coordinates)
        return self.constrain_vector(jnp.concatenate([part.reshape(parts, -1) for part in coordinates], axis=1).ravel())

    def to_leaf(self, number: int, coordinates: Float[Array, "_"]) -> Float[Array, "..."]:
        """A leaf from its coordinates."""
        if self.vector_parts == 1:
            return coordinates.reshape(self.shapes[number])
        tiling = self._tiling(number)
        tiles = coordinates.reshape(*tiling.counts, -1).transpose(tiling.order).reshape(tiling.tiled)
        return tiles.transpose(tiling.interleave).reshape(self.shapes[number])

    def to_coordinates(self, number: int, leaf: Float[Array, "..."]) -> Float[Array, "_"]:
        """The inverse of `to_leaf`."""
        if self.vector_parts == 1:
            return leaf.ravel()
        tiling = self._tiling(number)
        cut = leaf.reshape([tiling.tiled[axis] for axis in tiling.interleave])
        tiles = cut.transpose(np.argsort(tiling.interleave))
        ordered = tiles.reshape(*[tiling.counts[axis] for axis in tiling.order[:-1]], -1)
        return ordered.transpose(np.argsort(tiling.order)).ravel()

    def _tiling(self, number: int) -> "_Tiling":
        shape, axes = self.shapes[number], self.vector_axes
        by_dimension = [_as_tuple(entry) for entry in _padded(self.specs[number], len(shape))]
        used = [axis for entry in by_dimension for axis in entry]
        rest = [axis for axis in axes if axis not in used]
        tile = [n // math.prod(map(self._size, entry)) for n, entry in zip(shape, by_dimension, strict=True)]
        interleave: list[int] = []
        for dimension, entry in enumerate(by_dimension):
            interleave += [used.index(axis) for axis in entry] + [len(used) + dimension]
        return _Tiling(
            counts=tuple(map(self._size, axes)),
            order=(*(axes.index(axis) for axis in used + rest), len(axes)),
            tiled=(*map(self._size, used), *tile),
            interleave=tuple(interleave),
        )

    def _size(self, axis: str) -> int:
        return 1 if self.mesh is None else self.mesh.shape.get(axis, 1)

    def _constrain(self, x: Array, spec: PartitionSpec) -> Array:
        assert self.mesh is not None
        return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, spec))


@dataclass(frozen=True)
class _Tiling:
    """How the coordinates of a leaf become its tiles: axes of devices in v's order, in the leaf's, among its own."""

    counts: tuple[int, ...]
    order: tuple[int, ...]
    tiled: tuple[int, ...]
    interleave: tuple[int, ...]


def layout_of(mesh: Mesh | None, params: PyTree, n: int, *, masked: bool = False) -> Layout:
    """The layout on a mesh; without one, on that of the parameters if they are spread over several devices.

    Args:
        mesh: with axes "chain" and "data", either of which may be missing, and those of the parameters.
        params: the checkpoint, whose leaves keep their `NamedSharding`.
        n: the number of examples.
        masked: whether some coordinates are held fast.

    Raises:
        ValueError: the mesh has an axis that nothing lies on, lacks one of the parameters', or does not fit n.
    """
    leaves = named_leaves(params)
    theirs = [_named_sharding(leaf) for _, leaf in leaves]
    shapes = tuple(jnp.shape(leaf) for _, leaf in leaves)
    if mesh is not None:
        _check_axes(mesh, [(name, sharding) for (name, _), sharding in zip(leaves, theirs, strict=True)])
    mesh = mesh_of(mesh, params)
    if mesh is None:
        return Layout(None, shapes)
    # whatever the mesh was made for: here the compiler places what is not said
    mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))
    specs = tuple(PartitionSpec() if sharding is None else sharding.spec for sharding in theirs)
    layout = Layout(mesh, shapes, specs, masked)
    _check_divides("n", n, DATA, layout.num_data_devices)
    return layout


def mesh_of(mesh: Mesh | None, params: PyTree) -> Mesh | None:
    """A mesh, or where none is given that of the parameters if they are spread over several devices."""
    theirs = (getattr(_named_sharding(leaf), "mesh", None) for leaf in jax.tree.leaves(params))
    return mesh or next((found for found in theirs if isinstance(found, Mesh)), None)


def put(leaf: Any, where: NamedSharding) -> Array:
    """An array laid out; one that every process has in full is cut up by each for its own devices."""
    everywhere = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
    if everywhere and not where.is_fully_addressable:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, where, lambda index: whole[index])
    return jax.device_put(leaf, where)


def to_host(leaf: Any) -> np.ndarray:
    """A whole array in the memory of every process."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _check_axes(mesh: Mesh, leaves: Sequence[tuple[str, NamedSharding | None]]) -> None:
    known = {CHAIN, DATA}
    for name, sharding in leaves:
        axes = () if sharding is None else _axes_of(sharding.spec)
        known |= set(axes)
        for axis in axes:
            if axis == CHAIN or axis not in mesh.axis_names:
                why = "chains lie on that one" if axis == CHAIN else f"the mesh has {', '.join(mesh.axis_names)}"
                msg = f"params leaf {name!r} is sharded over the axis {axis!r}, but {why}; give both one mesh."
                raise ValueError(msg)
    for axis in mesh.axis_names:
        if axis not in known:
            msg = (
                f'the mesh has an axis {axis!r} of {mesh.shape[axis]} devices, which is neither "chain" nor "data", '
                "and no parameter is sharded over it; rename it, or shard params over it by jax.device_put first."
            )
            raise ValueError(msg)


def _check_divides(name: str, count: int, axis: str, devices: int) -> None:
    if count % devices:
        below = count // devices * devices
        fitting = f"{below} or {below + devices}" if below else str(devices)
        divisors = ", ".join(str(k) for k in range(1, devices) if count % k == 0)
        msg = (
            f"{name}={count} cannot be shared out among the {devices} devices of the mesh's axis {axis!r}; "
            f"{name} of {fitting} would fit, or an axis of {divisors}."
        )
        raise ValueError(msg)


def _named_sharding(leaf: Any) -> NamedSharding | None:
    sharding = getattr(leaf, "sharding", None)
    return sharding if isinstance(sharding, NamedSharding) and sharding.num_devices > 1 else None


def _over(mesh: Mesh, axis: str) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(axis) if axis in mesh.axis_names else PartitionSpec())


def _devices_of(leaf: Any) -> set[Any]:
    return leaf.devices() if isinstance(leaf, jax.Array) else set()


def _as_tuple(entry: Any) -> tuple[str, ...]:
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)


def _axes_of(spec: PartitionSpec) -> tuple[str, ...]:
    return tuple(axis for entry in spec for axis in _as_tuple(entry))


def _padded(spec: PartitionSpec, ndim: int) -> tuple[Any, ...]:
    return (*spec, *[None] * (ndim - len(spec)))
