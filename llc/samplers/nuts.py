"""The no-U-turn sampler (Hoffman & Gelman 2014): NumPyro's own, on the posterior's potential."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.infer.hmc import HMCState, hmc

from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.kernel import Kernel, start, step_size_leaf, virial

TYPICAL_LEAPFROGS = 255  # of a trajectory at target acceptance 0.98


class NUTSState(eqx.Module):
    """A chain after a trajectory; `num_warmup` is the schedule of adaptation, which the sampler must be told again."""

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    accept_prob: Float[Array, ""]
    hmc: HMCState
    num_warmup: int = eqx.field(static=True)


class NUTS(Kernel):
    """NUTS with step size and diagonal mass adapted in warm-up.

    Args:
        step_size: the leapfrog step that adaptation starts from, in whitened coordinates.
        target_accept_prob: 0.98 unless given: at the usual 0.8 the narrow arms of singular posteriors are left out,
            with R̂ = 1.00 and λ̂ several standard errors low.
        max_tree_depth: trajectories have at most 2^max_tree_depth − 1 steps.

    Raises:
        ValueError: the step size is negative.
    """

    step_size: Array = eqx.field(converter=step_size_leaf, default=0.1)
    target_accept_prob: float = eqx.field(static=True, default=0.98)
    max_tree_depth: int = eqx.field(static=True, default=10)

    records_full_loss = True

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> NUTSState:
        """The first state of a chain."""
        del model_kwargs
        (posterior,) = model_args
        start_key, hmc_key = jax.random.split(rng_key)
        v = start(posterior, start_key, init_params, self.step_size)
        return _state(posterior, self._hmc(posterior, v, num_warmup, hmc_key)[0], num_warmup)

    def sample(self, state: NUTSState, model_args: tuple[LocalPosterior], model_kwargs: Any) -> NUTSState:
        """One trajectory."""
        del model_kwargs
        (posterior,) = model_args
        # NumPyro's sampler closes over what its initialisation computed; the state made here is thrown away unrun
        _, step = self._hmc(posterior, state.position, state.num_warmup, state.hmc.rng_key)
        return _state(posterior, step(state.hmc), state.num_warmup)

    def evaluations_per_step(self, posterior: LocalPosterior) -> int:
        """Per-example gradients of a long trajectory; what one did cost is recorded with its draw."""
        return posterior.n * TYPICAL_LEAPFROGS

    def _hmc(self, posterior: LocalPosterior, v: Float[Array, "d"], num_warmup: int, rng_key: Array) -> tuple:
        initialize, step = hmc(posterior.potential, algo="NUTS")
        state = initialize(
            v,
            num_warmup,
            step_size=self.step_size,  # pyright: ignore[reportArgumentType], an array is taken
            target_accept_prob=self.target_accept_prob,
            max_tree_depth=self.max_tree_depth,
            trajectory_length=None,  # pyright: ignore[reportArgumentType], NUTS has none
            rng_key=rng_key,
        )
        return state, step


def _state(posterior: LocalPosterior, state: HMCState, num_warmup: int) -> NUTSState:
    v = state.z
    return NUTSState(
        v,
        (state.potential_energy - 0.5 * jnp.vdot(v, v)) / posterior.nbeta,
        virial(posterior, v, state.z_grad),
        (state.num_steps * posterior.n).astype(v.dtype),
        state.accept_prob,
        state,
        num_warmup,
    )
