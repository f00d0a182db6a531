"""What the kernels share: their contract with `draw`, a start, the virial, and the Langevin move."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from llc.posterior.gradients import LossEstimate
from llc.posterior.local_posterior import LocalPosterior


@runtime_checkable
class Kernel(Protocol):
    """A NumPyro kernel whose state carries what `draw` records."""

    step_size: Array | None

    def init(self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple, model_kwargs: Any) -> Any:
        """A chain's first state."""
        ...

    def sample(self, state: Any, model_args: tuple, model_kwargs: Any) -> Any:
        """The next state."""
        ...


def step_size_leaf(step_size: ArrayLike | Sequence[float] | None) -> Float[Array, "*ladder"] | None:
    """A step size, or a ladder of them, as an array: a leaf, so that another value does not recompile.

    Raises:
        ValueError: a step size is negative or not finite.
    """
    if step_size is None or isinstance(step_size, jax.core.Tracer):
        return step_size
    values = np.asarray(step_size, dtype=float)
    if values.ndim > 1 or values.size == 0 or not (np.isfinite(values).all() and (values >= 0).all()):
        msg = f"step_size={step_size}; it must be a number ≥ 0 without unit (whitened coordinates), or a list of them."
        raise ValueError(msg)
    return jnp.asarray(values, jnp.result_type(float))


def start(posterior: LocalPosterior, rng_key: Array, init_params: Any, spread: Float[Array, ""]) -> Float[Array, "d"]:
    """Where a chain begins: the params given, else the checkpoint and noise of one step, wider than the stiffest mode."""
    if init_params is not None:
        return posterior.whiten(init_params)
    return spread * jax.random.normal(rng_key, (posterior.dimension,))


def to_params(self: Any, model_args: tuple[LocalPosterior], model_kwargs: Any) -> Callable[[Array], Any]:
    """A kernel's `postprocess_fn`: `numpyro.infer.MCMC.get_samples` gives params rather than whitened coordinates."""
    del self, model_kwargs
    return model_args[0].params


def potential_gradient(posterior: LocalPosterior, v: Float[Array, "d"], loss: LossEstimate) -> Float[Array, "d"]:
    """∇U = nβ ∇L + v."""
    return posterior.nbeta * loss.gradient + v


def virial(posterior: LocalPosterior, v: Float[Array, "d"], gradient: Float[Array, "d"]) -> Float[Array, "leaves"]:
    """v·∇U over the coordinates of each leaf, whose mean is their number."""
    pairs = zip(posterior.split(v), posterior.split(gradient), strict=True)
    return jnp.stack([jnp.vdot(part, slope) for part, slope in pairs])


def langevin_move(
    v: Float[Array, "d"], gradient: Float[Array, "d"], step_size: Float[Array, ""], rng_key: Array
) -> Float[Array, "d"]:
    """v − ε/2 ∇U + √ε ξ."""
    return v - 0.5 * step_size * gradient + jnp.sqrt(step_size) * jax.random.normal(rng_key, v.shape, v.dtype)
