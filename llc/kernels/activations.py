"""Activations by name or by function: what a layer of infinite width does to a kernel."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from llc.kernels.closed_forms import ClosedForm, erf, gelu, identity, relu
from llc.kernels.mehler import Mehler


@runtime_checkable
class Activation(Protocol):
    """A = E[φ(x) φ(y)] and D = E[φ′(x) φ′(y)] over centred Gaussian pairs (x, y)."""

    def features(self, variance: Float[Array, "*batch"]) -> Any:
        """What pairs need of each input."""
        ...

    def pairs(
        self, first: Any, second: Any, covariance: Float[Array, "*batch"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """A and D of each pair; features and covariances broadcast."""
        ...

    def diagonal(self, features: Any) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """A and D of each input with itself."""
        ...

    def remainders(
        self, first: Any, second: Any, covariance: Float[Array, "*batch"]
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """Bounds on the errors of A and D."""
        ...


_BY_NAME: dict[str, Activation] = {
    "relu": ClosedForm(relu),
    "erf": ClosedForm(erf),
    "gelu": ClosedForm(gelu),
    "identity": ClosedForm(identity),
    "linear": ClosedForm(identity),
    "tanh": Mehler(jnp.tanh),
    "sigmoid": Mehler(jax.nn.sigmoid),
}


def resolve_activation(activation: str | Callable[[Array], Array] | Activation) -> Activation:
    """The activation of a name; a function becomes its Mehler series; an `Activation` is passed through.

    "gelu" is z Φ(z), which is `jax.nn.gelu(approximate=False)`; for the tanh form give that function.

    Raises:
        ValueError: the name is unknown, or it is neither a name nor a function.
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str) and activation in _BY_NAME:
        return _BY_NAME[activation]
    if callable(activation):
        return Mehler(activation)
    msg = (
        f"activation={activation!r} is not known; the names are {', '.join(_BY_NAME)}, and any other is given as its "
        "function φ(z) on JAX arrays."
    )
    raise ValueError(msg)
