"""What every kernel is: a NumPyro `MCMCKernel` in whitened coordinates, whose state carries what `draw` records."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float
from numpyro.infer.mcmc import MCMCKernel

from llc.posterior.local_posterior import LocalPosterior


class Kernel(MCMCKernel, eqx.Module):
    """Hyperparameters alone; the posterior is an argument, `model_args = (posterior,)`.

    A state has `position`, and what was measured in the step: `loss_difference`, `virial`, `gradient_evaluations`, and
    where proposals are made `accept_prob`.
    """

    step_size: eqx.AbstractVar[Any]
    records_full_loss: ClassVar[bool]  # every step; of kernels that are exact
    virial_late: ClassVar[int] = 0  # steps after the loss at the same place

    @property
    def sample_field(self) -> str:
        """The field of a state that is the sample."""
        return "position"

    def postprocess_fn(self, model_args: tuple[LocalPosterior], model_kwargs: Any) -> Callable[..., Any]:
        """From whitened coordinates to params, for `numpyro.infer.MCMC.get_samples`."""
        del model_kwargs
        return model_args[0].params

    @abstractmethod
    def evaluations_per_step(self, posterior: LocalPosterior) -> int:
        """Per-example gradients that a step costs."""


SomeKernel = TypeVar("SomeKernel", bound=Kernel)


def step_size_leaf(step_size: ArrayLike | Sequence[float] | None) -> Any:
    """A step size, or a ladder of them, as an array: a leaf, so that another value does not recompile.

    Raises:
        ValueError: a step size is negative or not finite.
    """
    if step_size is None or isinstance(step_size, Tracer):
        return step_size
    values = np.asarray(step_size, dtype=float)
    if values.ndim > 1 or values.size == 0 or not (np.isfinite(values).all() and (values >= 0).all()):
        msg = f"step_size={step_size}; it must be a number ≥ 0 (whitened coordinates, no unit), or a list of such."
        raise ValueError(msg)
    return jnp.asarray(values, jnp.result_type(float))


def with_step_size(kernel: SomeKernel, step_size: Array | None) -> SomeKernel:
    """The same kernel at another step size, or ladder of them."""
    return eqx.tree_at(lambda k: k.step_size, kernel, step_size, is_leaf=lambda x: x is None)


def start(posterior: LocalPosterior, rng_key: Array, init_params: Any, spread: Float[Array, ""]) -> Float[Array, "d"]:
    """Where a chain begins: the params given, or the checkpoint and one step's noise, wider than the stiffest mode."""
    if init_params is not None:
        return posterior.whiten(init_params)
    return spread * jax.random.normal(rng_key, (posterior.dimension,))


def virial(posterior: LocalPosterior, v: Float[Array, "d"], gradient: Float[Array, "d"]) -> Float[Array, "leaves"]:
    """v·∇U over the coordinates of each leaf, whose mean is their number."""
    return jnp.stack([part.sum() for part in posterior.split(v * gradient)])
