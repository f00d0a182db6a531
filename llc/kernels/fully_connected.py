"""NNGP and NTK of fully connected networks of infinite width, any depth and activation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from llc.kernels.activations import Activation
from llc.kernels.infinite_width import InfiniteWidthKernel, Inputs, Kernels, Std


class TruncationError(NamedTuple):
    """Bounds on what the Mehler series leaves out at each hidden layer, the largest over all pairs of inputs."""

    value: Float[Array, "depth"]
    slope: Float[Array, "depth"]


class FullyConnected(InfiniteWidthKernel):
    """The kernels that `fully_connected` describes."""

    def truncation_error(self, x1: Inputs, x2: Inputs | None = None) -> TruncationError:
        """How far the Mehler series of A = E[φ φ] and D = E[φ′ φ′] may be off in each hidden layer.

        The bound |ρ|ᴷ √(R(q₁) R(q₂)) at the pair where it is largest, absolute; zeros for a closed form. Pairs that are
        integrated, and the diagonal of a Gram matrix, are not in it.
        """
        return _truncation_error(self, *self.checked(x1, x2))

    def grams(self, x1: Float[Array, "n d"], x2: Float[Array, "m d"] | None) -> Kernels:
        """Both Gram matrices: one matrix product, and one pass over its entries."""
        products, rows, columns = self.layers(x1, x2)
        expect = lambda layer, nngp: self.activation.pairs(rows[layer], columns[layer], nngp)
        return self.propagate(products, expect, _unmixed, _unmixed)

    def diagonals(self, x: Float[Array, "n d"]) -> Kernels:
        """Both diagonals."""
        expect = lambda _, variance: self.activation.diagonal(self.activation.features(variance))
        return self.propagate(_mean_square(x), expect, _unmixed, _unmixed)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse inputs that are not vectors."""
        if len(shape) != 2 or shape[1] == 0:
            msg = f"inputs are of shape {list(shape)}; a fully connected network takes [n, features]: flatten the rest."
            raise ValueError(msg)

    def layers(self, x1: Array, x2: Array | None) -> tuple[Array, list[Any], list[Any]]:
        """Products of inputs, and what each activation needs of the rows and of the columns."""
        second = x1 if x2 is None else x2
        products = jnp.matmul(x1, second.T, precision=jax.lax.Precision.HIGHEST) / x1.shape[1]
        if x2 is None:  # its diagonal has its own rule; a Mehler series would take long over inputs so parallel
            products = jnp.where(jnp.eye(len(x1), dtype=bool), 0, products)
        rows = [self.activation.features(q[:, None]) for q in self.variances(_mean_square(x1), _unmixed)]
        columns = [self.activation.features(q[None, :]) for q in self.variances(_mean_square(second), _unmixed)]
        return products, rows, columns


def _unmixed(x: Array) -> Array:
    return x


def _mean_square(x: Float[Array, "n d"]) -> Float[Array, "n"]:
    return jnp.square(x).mean(axis=1)


def fully_connected(
    depth: int,
    activation: str | Callable[[Array], Array] | Activation,
    *,
    weight_std: Std,
    bias_std: Std = 0.0,
    last_weight_std: Std = 1.0,
    last_bias_std: Std = 0.0,
) -> FullyConnected:
    """The kernels of a network with `depth` hidden layers of infinite width, in NTK parameterisation.

    z = (w/√fan_in) W x + b β, all W and β standard normal (Lee et al. 2018; Jacot, Gabriel & Hongler 2018). The result
    has `.nngp(x1, x2=None)`, `.ntk(x1, x2=None)`, `.nngp_and_ntk`, `.nngp_diagonal(x)`, `.ntk_diagonal(x)` and, for the
    activations without a closed form, `.truncation_error(x1, x2=None)`.

    >>> import jax.numpy as jnp
    >>> kernel = fully_connected(1, "relu", weight_std=2**0.5)
    >>> [round(float(entry), 4) for entry in kernel.ntk(jnp.eye(2) * 2**0.5)[0]]  # parallel, and orthogonal: 1/π
    [2.0, 0.3183]

    Args:
        depth: hidden layers; 0 is a linear model, which only the `last_` ones describe.
        activation: "relu", "erf", "gelu", "identity" (or "linear"), which have closed forms; "tanh", "sigmoid", or any
            function φ(z) on JAX arrays, by its Mehler series (`llc.kernels.mehler.Mehler` sets its accuracy).
        weight_std: w of the hidden layers.
        bias_std: b of the hidden layers.
        last_weight_std: w of the readout.
        last_bias_std: b of the readout.

    Raises:
        ValueError: the depth or a standard deviation is negative, or the activation unknown.
    """
    return FullyConnected(depth, activation, weight_std, bias_std, last_weight_std, last_bias_std)


@eqx.filter_jit
def _truncation_error(kernel: FullyConnected, x1: Array, x2: Array | None) -> TruncationError:
    products, rows, columns = kernel.layers(x1, x2)
    bounds = []

    def expect(layer: int, nngp: Array) -> tuple[Array, Array]:
        given = rows[layer], columns[layer], nngp
        bounds.append([remainder.max() for remainder in kernel.activation.remainders(*given)])
        return kernel.activation.pairs(*given)

    kernel.propagate(products, expect, _unmixed, _unmixed)
    return TruncationError(*jnp.asarray(bounds, x1.dtype).reshape(-1, 2).T)
