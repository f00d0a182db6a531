"""What was learned: a loss for each example, in nats, and the data it is summed over."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from llc.data.off_device import OffDevice, placed


@runtime_checkable
class Likelihood(Protocol):
    """p(target | output), as the negative log-likelihood of each example in nats."""

    def __call__(self, outputs: Any, targets: Any) -> Float[Array, "batch"]:
        """−log p(targets | outputs) of each example in nats."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Regression: −log N(y; f(x), scale² I), summed over the outputs of an example.

    >>> import jax.numpy as jnp
    >>> float(Gaussian(scale=1.0)(jnp.array([[1.0]]), jnp.array([[1.0]]))[0])  # ½ log 2π
    0.918938...
    """

    scale: float | int = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            msg = f"Gaussian(scale={self.scale}): the scale must be positive; use the noise's standard deviation."
            raise ValueError(msg)

    def __call__(
        self, outputs: Float[Array, "batch *outputs"], targets: Shaped[Array, "batch *outputs"]
    ) -> Float[Array, "batch"]:
        """−log N(targets; outputs, scale²) of each example in nats."""
        squares = jnp.square((outputs - targets) / self.scale).reshape(outputs.shape[0], -1)
        return 0.5 * squares.sum(axis=1) + squares.shape[1] * (0.5 * math.log(2 * math.pi) + math.log(self.scale))


@dataclass(frozen=True)
class Categorical:
    """Classification: −log softmax(f(x))[y], targets being class indices.

    Outputs with axes between batch and class (a language model's positions) are summed over an example.
    """

    def __call__(
        self, outputs: Float[Array, "batch *positions classes"], targets: Shaped[Array, "batch *positions"]
    ) -> Float[Array, "batch"]:
        """−log softmax(outputs)[targets] of each example in nats."""
        chosen = jnp.take_along_axis(outputs, targets[..., None].astype(int), axis=-1)[..., 0]
        return (jax.nn.logsumexp(outputs, axis=-1) - chosen).reshape(outputs.shape[0], -1).sum(axis=1)


@dataclass(frozen=True)
class Bernoulli:
    """Binary targets in {0, 1}: −log p(y), with log-odds as outputs, summed over the outputs of an example."""

    def __call__(
        self, outputs: Float[Array, "batch *outputs"], targets: Shaped[Array, "batch *outputs"]
    ) -> Float[Array, "batch"]:
        """−log p(targets) of each example in nats."""
        return (jax.nn.softplus(outputs) - targets * outputs).reshape(outputs.shape[0], -1).sum(axis=1)


@dataclass(frozen=True)
class SupervisedLoss:
    """The loss of a network under a likelihood; compares by value, so that equal ones share compiled programs."""

    apply_fn: Callable[[Any, Any], Any]
    likelihood: Likelihood

    def __call__(self, params: PyTree, batch: tuple[Any, Any]) -> Float[Array, "batch"]:
        """−log p(targets | apply_fn(params, inputs)) of each example in nats."""
        inputs, targets = batch
        return self.likelihood(self.apply_fn(params, inputs), targets)


class Problem(eqx.Module):
    """A loss function and its data: L_n(w) = (1/n) Σ_i ℓ_i(w).

    >>> import jax.numpy as jnp
    >>> Problem(lambda w, x: 0.5 * (x - w) ** 2, jnp.zeros(100)).n
    100

    Args:
        loss_fn: `loss_fn(params, batch)` gives each example's negative log-likelihood in nats, one number an example.
        data: a pytree of arrays that share a leading axis of length n. Where a leaf is `np.memmap`, zarr, HDF5 or a
            source of records (Grain, PyTorch), all stay off the device and are read a batch at a time: data may be
            larger than memory. What is no such source, `llc.from_batches` writes into files that are. Files opened
            for reading only, and zarr in a folder, have their losses at w* remembered on disk.
        test_data: the same, held out; estimates never touch it.

    Raises:
        ValueError: there is no data, or its leaves differ in length.
    """

    loss_fn: Callable[[Any, Any], Any] = eqx.field(static=True)
    data: PyTree[Shaped[Array, "n ..."]]
    test_data: PyTree | None

    def __init__(self, loss_fn: Callable[[Any, Any], Any], data: PyTree, *, test_data: PyTree | None = None) -> None:
        self.loss_fn = loss_fn
        self.data = placed(data)
        self.test_data = None if test_data is None else placed(test_data)
        _check_lengths("data", self.data)
        if self.test_data is not None:
            _check_lengths("test_data", self.test_data)

    @classmethod
    def supervised(
        cls,
        apply_fn: Callable[[Any, Any], Any],
        likelihood: Likelihood,
        inputs: PyTree,
        targets: PyTree,
        *,
        test: tuple[PyTree, PyTree] | None = None,
    ) -> "Problem":
        """A network with a likelihood on its outputs.

        Args:
            apply_fn: `apply_fn(params, inputs)` gives the network's outputs.
            likelihood: `Gaussian(scale)`, `Categorical()`, `Bernoulli()`, or any hashable callable like them.
            inputs: arrays with a leading axis of length n.
            targets: likewise.
            test: (inputs, targets) held out.
        """
        return cls(SupervisedLoss(apply_fn, likelihood), (inputs, targets), test_data=test)

    @property
    def n(self) -> int:
        """The number of examples."""
        return len(self.data) if isinstance(self.data, OffDevice) else jax.tree.leaves(self.data)[0].shape[0]

    @property
    def apply_fn(self) -> Callable[[Any, Any], Any] | None:
        """The network, where the problem knows it."""
        return getattr(self.loss_fn, "apply_fn", None)

    @property
    def likelihood(self) -> Likelihood | None:
        """The likelihood, where the problem knows it."""
        return getattr(self.loss_fn, "likelihood", None)

    def losses(self, params: PyTree, batch: PyTree) -> Float[Array, "batch"]:
        """ℓ_i(params) of each example of a batch, in nats."""
        return self.loss_fn(params, batch)

    def take(
        self, indices: Int[Array | np.ndarray, "..."], following: Int[Array, "..."] | None = None
    ) -> PyTree[Shaped[Array, "..."]]:
        """The examples of these numbers; those that will be asked for next are read meanwhile, if they lie in files."""
        if isinstance(self.data, OffDevice):
            return self.data.take(indices, following)
        return jax.tree.map(lambda leaf: leaf[indices], self.data)

    def shapes(self, count: int) -> PyTree[jax.ShapeDtypeStruct]:
        """What so many examples look like."""
        if isinstance(self.data, OffDevice):
            return self.data.shapes(count)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), self.data)

    def in_memory(self, purpose: str) -> PyTree[Shaped[Array, "n ..."]]:
        """The data, for what needs all of them on the device.

        Raises:
            ValueError: they are off the device.
        """
        if isinstance(self.data, OffDevice):
            msg = (
                f"{purpose} needs the data in memory, and these {self.n} examples are read from where they lie; "
                "give a problem of np.asarray of some of them."
            )
            raise ValueError(msg)
        return self.data

    def check(self, params: PyTree) -> None:
        """Refuse params, or a loss on them, that no estimate could be made of; costs no arithmetic.

        Raises:
            ValueError: params hold no, non-floating or non-finite numbers, or the loss fails on them or does not give
                one number an example.
        """
        _check_params(params)
        try:
            shape = jax.eval_shape(self.loss_fn, params, self.shapes(self.n))
        except Exception as error:
            message = str(error).strip().split("\n")[0] or "no message"
            paths = ", ".join(f"{name}{jnp.shape(leaf)}" for name, leaf in named_leaves(params))
            msg = (
                f"loss_fn(params, data) failed with {type(error).__name__}: {message}. "
                f"The params given hold {paths}; give params of the tree and shapes that loss_fn expects."
            )
            raise ValueError(msg) from error
        if getattr(shape, "shape", None) != (self.n,):
            came = f"an array of shape {shape.shape}" if hasattr(shape, "shape") else f"a {type(shape).__name__}"
            msg = (
                f"loss_fn gave {came} for {self.n} examples; it must give one loss an example, shape ({self.n},). "
                "Return the losses before they are averaged or summed."
            )
            raise ValueError(msg)
        if not jnp.issubdtype(shape.dtype, jnp.floating):
            msg = f"loss_fn gave {shape.dtype} losses; they must be floating-point nats."
            raise ValueError(msg)
        self._check_batches(params)

    def _check_batches(self, params: PyTree) -> None:
        """Refuse a loss that knows only batches of all the data."""
        for size in {1, 2, 3} - {self.n}:
            try:
                shape = jax.eval_shape(self.loss_fn, params, self.shapes(size)).shape
            except Exception as error:
                shape = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            if shape != (size,):
                msg = (
                    f"loss_fn takes all {self.n} examples, but of a batch of {size} it made {shape}; "
                    "it must take a batch of any length, and give one loss an example."
                )
                raise ValueError(msg)


def over_examples(f: Callable[[PyTree], Any], data: PyTree, batch_size: int) -> Any:
    """f of a batch, of all the data: so many examples at a time, whose intermediates alone are held."""

    def one(example: PyTree) -> Any:
        return jax.tree.map(lambda leaf: leaf[0], f(jax.tree.map(lambda leaf: leaf[None], example)))

    if isinstance(data, OffDevice):
        return jax.lax.map(lambda number: one(data.take(number)), jnp.arange(len(data)), batch_size=batch_size)
    return jax.lax.map(one, data, batch_size=batch_size)


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves of a tree with their paths, `layers/0/w`; a tree that is one leaf is named `params`."""
    pairs = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="/") or "params", leaf) for path, leaf in pairs]


def _check_lengths(name: str, data: PyTree) -> None:
    leaves = named_leaves(data.columns if isinstance(data, OffDevice) else data)
    if not leaves:
        msg = f"{name} holds no arrays; give a pytree of arrays with one leading axis of length n."
        raise ValueError(msg)
    lengths = {path: leaf.shape[0] if leaf.ndim else None for path, leaf in leaves}
    if len(set(lengths.values())) > 1 or None in lengths.values():
        came = ", ".join(f"{path}: {'a scalar' if n is None else n}" for path, n in lengths.items())
        msg = f"{name}'s leaves differ in length ({came}); every leaf needs the same leading axis of length n."
        raise ValueError(msg)
    if 0 in lengths.values():
        msg = f"{name} holds no examples (n = 0); give at least two."
        raise ValueError(msg)


def _check_params(params: PyTree) -> None:
    leaves = named_leaves(params)
    for path, leaf in leaves:
        if not eqx.is_array_like(leaf):
            msg = (
                f"params leaf {path!r} is a {type(leaf).__name__}; every leaf must be an array. Of an Equinox "
                "model give eqx.partition(model, eqx.is_inexact_array)[0], and combine it again in loss_fn."
            )
            raise ValueError(msg)
    if sum(jnp.size(leaf) for _, leaf in leaves) == 0:
        msg = "params hold no numbers; give a pytree of floating-point arrays."
        raise ValueError(msg)
    for path, leaf in leaves:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            msg = (
                f"params leaf {path!r} is {jnp.result_type(leaf)}; every leaf must be floating-point. "
                "Convert it, or move counters and keys out of params (into loss_fn's closure)."
            )
            raise ValueError(msg)
        if not bool(_all_finite(leaf)):
            msg = f"params leaf {path!r} holds NaN or infinity; give the weights of a run that did not diverge."
            raise ValueError(msg)


@jax.jit  # one program, not two
def _all_finite(leaf: Float[Array, "..."]) -> Bool[Array, ""]:
    return jnp.isfinite(leaf).all()
