"""The recursion that networks of infinite width share, from inputs to NNGP and NTK (Jacot, Gabriel & Hongler 2018).

    S ← w² mix(S) + b²,   T ← S                 the first layer
    S ← w² mix(A) + b²,   T ← S + w² mix(D T)   each other one, A = E[φ φ′] and D of its activation at S

S is the covariance of a layer's outputs (NNGP), T the tangent kernel in NTK parameterisation, z = (w/√fan_in) W x + b β
with W, β ~ N(0, 1). mix is nothing for dense layers, a mean over taps for convolutions, over pixels for a readout.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Num, Shaped

from llc.kernels.activations import Activation, resolve_activation

Inputs = Num[Array | np.ndarray, "..."]
Std = float | int | Shaped[Array | np.ndarray, ""]
AffineMaps = list[tuple[Array, Array]]
Mix = Callable[[Array], Array]


class Kernels(NamedTuple):
    """Both kernels of one output: as Gram matrices, or as their diagonals."""

    nngp: Float[Array, "..."]
    ntk: Float[Array, "..."]


def std_leaf(std: Std) -> Array | np.ndarray:
    """A standard deviation as a leaf, with all its digits until the inputs' type is known.

    Raises:
        ValueError: it is negative or not finite.
    """
    leaf = std if isinstance(std, jax.Array) else np.asarray(std, float)
    if not isinstance(leaf, Tracer) and not (leaf.shape == () and 0 <= float(leaf) < math.inf):
        msg = f"a standard deviation is {std}; it must be one finite number, 0 or more (a bias of 0 is none)."
        raise ValueError(msg)
    return leaf


def checked_depth(depth: int) -> int:
    """The number of hidden layers.

    Raises:
        ValueError: it is negative.
    """
    if depth < 0:
        msg = f"depth={depth}: the number of hidden layers is 0 (a linear model) or more."
        raise ValueError(msg)
    return depth


class InfiniteWidthKernel(eqx.Module):
    """NNGP and NTK of an architecture. Standard deviations are leaves, so that a sweep over them compiles once.

    With `x2=None` the diagonal of a Gram matrix comes from its own, exact rule. Results have the inputs' floating type.
    In float32 the products of inputs do not resolve angles below 1e-3: there a ReLU network's NTK is off by up to 1e-3
    of its diagonal (equal inputs are recognised; elsewhere it is 2e-6). Inputs in float64 resolve them.
    """

    depth: int = eqx.field(static=True, converter=checked_depth)
    activation: Activation = eqx.field(converter=resolve_activation)
    weight_std: Array | np.ndarray = eqx.field(converter=std_leaf)
    bias_std: Array | np.ndarray = eqx.field(converter=std_leaf)
    last_weight_std: Array | np.ndarray = eqx.field(converter=std_leaf)
    last_bias_std: Array | np.ndarray = eqx.field(converter=std_leaf)

    def nngp_and_ntk(self, x1: Inputs, x2: Inputs | None = None) -> Kernels:
        """Both Gram matrices between `x1` and `x2` (None: `x1` itself), at the price of one after the other."""
        return _both(self, *self.checked(x1, x2))

    def nngp(self, x1: Inputs, x2: Inputs | None = None) -> Float[Array, "n m"]:
        """The covariance of an output over random initial weights."""
        return _nngp(self, *self.checked(x1, x2))

    def ntk(self, x1: Inputs, x2: Inputs | None = None) -> Float[Array, "n m"]:
        """The neural tangent kernel, Σ_w ∂f(x)/∂w ∂f(x′)/∂w."""
        return _ntk(self, *self.checked(x1, x2))

    def nngp_diagonal(self, x: Inputs) -> Float[Array, "n"]:
        """The variance of the output at each input, without the Gram matrix."""
        return _diagonals(self, self.checked(x, None)[0]).nngp

    def ntk_diagonal(self, x: Inputs) -> Float[Array, "n"]:
        """The tangent kernel of each input with itself, without the Gram matrix."""
        return _diagonals(self, self.checked(x, None)[0]).ntk

    @abstractmethod
    def grams(self, x1: Float[Array, "n ..."], x2: Float[Array, "m ..."] | None) -> Kernels:
        """Both Gram matrices; with `x2=None` their diagonals may hold anything."""

    @abstractmethod
    def diagonals(self, x: Float[Array, "n ..."]) -> Kernels:
        """Both diagonals."""

    @abstractmethod
    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse inputs of a shape that the network does not take."""

    def checked(self, x1: Inputs, x2: Inputs | None) -> tuple[Array, Array | None]:
        """Inputs as floating arrays of one type.

        Raises:
            ValueError: they are of a shape that does not fit the network, or of different shapes.
        """
        second = x1 if x2 is None else x2
        self.check(x1.shape)
        self.check(second.shape)
        if x1.shape[1:] != second.shape[1:]:
            msg = f"x1 holds inputs of shape {x1.shape[1:]}, x2 of {second.shape[1:]}; give both the same shape."
            raise ValueError(msg)
        dtype = jnp.result_type(x1, second)
        dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
        return jnp.asarray(x1, dtype), None if x2 is None else jnp.asarray(x2, dtype)

    def affine_maps(self, dtype: np.dtype) -> AffineMaps:
        """w² and b² of each layer that has weights, the readout last."""
        square = lambda std: jnp.square(jnp.asarray(std, dtype))
        hidden = square(self.weight_std), square(self.bias_std)
        return [hidden] * self.depth + [(square(self.last_weight_std), square(self.last_bias_std))]

    def propagate(
        self, raw: Array, expect: Callable[[int, Array], tuple[Array, Array]], mix: Mix, readout: Mix
    ) -> Kernels:
        """Both kernels from the inputs' products; `expect(layer, S)` gives A and D."""
        (weight, bias), *rest = self.affine_maps(raw.dtype)
        mixes = [mix] * self.depth + [readout]
        nngp = ntk = weight * mixes[0](raw) + bias
        for layer, (weight, bias) in enumerate(rest):
            value, slope = expect(layer, nngp)
            nngp = weight * mixes[layer + 1](value) + bias
            ntk = nngp + weight * mixes[layer + 1](slope * ntk)
        return Kernels(nngp, ntk)

    def variances(self, raw: Array, mix: Mix) -> list[Array]:
        """What each activation is given: the diagonals of S, layer by layer."""
        found: list[Array] = []

        def expect(layer: int, variance: Array) -> tuple[Array, Array]:
            del layer
            found.append(variance)
            return self.activation.diagonal(self.activation.features(variance))

        self.propagate(raw, expect, mix, lambda variance: variance)
        return found


@eqx.filter_jit
def _both(kernel: InfiniteWidthKernel, x1: Array, x2: Array | None) -> Kernels:
    grams = kernel.grams(x1, x2)
    if x2 is not None:
        return grams
    own = jnp.eye(len(x1), dtype=bool)
    return Kernels(*(jnp.where(own, exact, gram) for exact, gram in zip(kernel.diagonals(x1), grams, strict=True)))


@eqx.filter_jit
def _nngp(kernel: InfiniteWidthKernel, x1: Array, x2: Array | None) -> Array:
    return _both(kernel, x1, x2).nngp  # the compiler drops the other


@eqx.filter_jit
def _ntk(kernel: InfiniteWidthKernel, x1: Array, x2: Array | None) -> Array:
    return _both(kernel, x1, x2).ntk


@eqx.filter_jit
def _diagonals(kernel: InfiniteWidthKernel, x: Array) -> Kernels:
    return kernel.diagonals(x)
