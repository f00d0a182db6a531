"""What Langevin kernels share: the potential's gradient, how a chain looks at its loss, and the plain step."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from llc.data.off_device import OffDevice
from llc.posterior.gradients import Anchor, LossEstimate, check_gradient, estimate_loss, first_anchor, on_all_data
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import Kernel, virial
from llc.samplers.noise import standard_normal


class StochasticGradientKernel(Kernel):
    """A kernel that follows an estimate of the gradient, "control_variate", "anchored", "minibatch" or "full"."""

    gradient: eqx.AbstractVar[str]
    stability: ClassVar[str]

    records_full_loss: ClassVar[bool] = False

    def __check_init__(self) -> None:
        check_gradient(self.gradient)

    def known_step_size(self) -> Float[Array, ""]:
        """The step size.

        Raises:
            ValueError: it was left to `llc.estimate`.
        """
        if self.step_size is None:
            msg = (
                f"{type(self).__name__}() has no step_size; give one below {self.stability}, "
                "or let llc.estimate choose it."
            )
            raise ValueError(msg)
        return self.step_size

    def evaluations_per_step(self, posterior: LocalPosterior) -> int:
        """Per-example gradients that a step costs; an anchor's full gradient is spread over its epoch."""
        if on_all_data(posterior, self.gradient):
            return posterior.n
        return posterior.batch_size * {"minibatch": 1, "control_variate": 2, "anchored": 3}[self.gradient]


def step_keys(posterior: LocalPosterior, rng_key: Array) -> tuple[Array, tuple[Array, ...], Array]:
    """Keys of the next state, of this step's batch, and of its noise; with data in files, of the next batch too.

    That is known a step before, and can be read while this step is computed.
    """
    rng_key, batch_key, noise_key = jax.random.split(rng_key, 3)
    ahead = [jax.random.split(rng_key, 3)[1]] if isinstance(posterior.problem.data, OffDevice) else []
    return rng_key, (batch_key, *ahead), noise_key


class Record(NamedTuple):
    """What a step measured where it stood."""

    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    anchor: Anchor | None


def first_record(posterior: LocalPosterior, v: Float[Array, "d"], gradient: str) -> Record:
    """The record of a chain that has made no step."""
    zero = jnp.zeros((), v.dtype)
    return Record(zero, jnp.zeros(len(posterior.sizes), v.dtype), zero, first_anchor(posterior, v, gradient))


def look(
    kernel: StochasticGradientKernel,
    posterior: LocalPosterior,
    v: Float[Array, "d"],
    batch_keys: tuple[Array, ...],
    anchor: Anchor | None,
) -> tuple[Float[Array, "d"], Record]:
    """∇Û at v, by the kernel's gradient estimator, and the record of it."""
    loss, anchor = estimate_loss(posterior, v, batch_keys, kernel.gradient, anchor)
    gradient = potential_gradient(posterior, v, loss)
    evaluations = jnp.asarray(kernel.evaluations_per_step(posterior), v.dtype)
    return gradient, Record(loss.loss_difference, virial(posterior, v, gradient), evaluations, anchor)


def potential_gradient(posterior: LocalPosterior, v: Float[Array, "d"], loss: LossEstimate) -> Float[Array, "d"]:
    """∇U = nβ ∇L + v."""
    return posterior.nbeta * loss.gradient + v


def langevin_move(
    v: Float[Array, "d"],
    gradient: Float[Array, "d"],
    step_size: Float[Array, ""],
    rng_key: Array,
    preconditioner: Float[Array, "_"] | float = 1.0,
) -> Float[Array, "d"]:
    """v − ε/2 G ∇U + √(εG) ξ."""
    step = step_size * preconditioner
    return v - 0.5 * step * gradient + jnp.sqrt(step) * standard_normal(rng_key, v)
