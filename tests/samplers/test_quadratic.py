"""On quadratics every kernel's answer has a closed form, SGLD's own bias included."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arviz_stats.base import array_stats

from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import MALA, NUTS, SGLD

NBETA, GAMMA, BATCH = 50.0, 2.0, 4
HESSIAN, NOISE = np.array([1.0, 0.3, 0.05]), np.array([0.05, 0.1, 0.02])
CURVATURE = NBETA * HESSIAN + GAMMA
UNBIASED = 0.5 * NBETA * HESSIAN / CURVATURE
# gradients of an example: h w + x with mean(x) = 0 and mean(x²) = c exactly, every other product too
SIGNS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
DATA = jnp.asarray(np.tile(SIGNS, (5, 1)) * np.sqrt(NOISE), jnp.float32)


def quadratic(params, x):
    w = jnp.append(params["a"], params["b"])
    return 0.5 * jnp.sum(HESSIAN * w**2) + x @ w


PROBLEM = Problem(quadratic, DATA)
CENTER = {"a": jnp.zeros(2), "b": jnp.zeros(())}
POSTERIOR = LocalPosterior(PROBLEM, CENTER, nbeta=NBETA, localization=GAMMA, batch_size=BATCH)


@eqx.filter_jit
def sample(kernel, num_chains, num_warmup, num_draws):
    """Positions, recorded loss differences and virials, (chain, draw, ...)."""

    def step(state, _):
        state = kernel.sample(state, (POSTERIOR,), {})
        return state, (state.position, state.loss_difference, state.virial)

    def chain(key):
        first = kernel.init(key, num_warmup, None, (POSTERIOR,), {})
        return jax.lax.scan(step, first, length=num_warmup + num_draws)[1]

    record = jax.vmap(chain)(jax.random.split(jax.random.key(0), num_chains))
    return jax.tree.map(lambda leaf: leaf[:, num_warmup:], record)


def assert_mean(draws, reference, against=None):
    """Within 4 standard errors, which must be small enough to tell the reference from what it is not."""
    draws = np.asarray(draws, np.float64)
    error = float(array_stats.mcse(draws, chain_axis=0, draw_axis=1, method="mean"))
    assert abs(draws.mean() - reference) < 4 * error
    assert error < 0.03 * reference
    if against is not None:
        assert 10 * error < abs(reference - against)


@pytest.mark.parametrize("gradient", ["full", "minibatch", "control_variate", "anchored"])
def test_sgld_has_exactly_the_bias_of_its_step_and_of_its_noise(gradient):
    step_size = 0.06
    positions, losses, virials = sample(SGLD(step_size=step_size, gradient=gradient), 64, 300, 3000)
    # per-example Hessians are equal: control variates leave no noise at all
    epsilon, noise = step_size / GAMMA, NOISE if gradient == "minibatch" else 0.0
    inflation = (1 + epsilon * NBETA**2 * noise / (4 * BATCH)) / (1 - epsilon * CURVATURE / 4)
    modes = UNBIASED * inflation
    for i in range(3):
        contribution = NBETA * 0.5 * HESSIAN[i] * np.square(positions[:, :, i]) / GAMMA
        assert_mean(contribution, modes[i], against=UNBIASED[i] if i < 2 else None)
    assert_mean(NBETA * losses, modes.sum(), against=UNBIASED.sum())
    assert_mean(virials[:, :, 0], inflation[:2].sum(), against=2)
    assert_mean(virials[:, :, 1], inflation[2])


@pytest.mark.parametrize(("share", "stable"), [(0.95, True), (1.05, False)])
def test_sgld_is_stable_up_to_four_over_the_curvature(share, stable):
    step_size = share * 4 * GAMMA / CURVATURE.max()
    positions = sample(SGLD(step_size=step_size, gradient="full"), 64, 300, 3000)[0]
    assert (np.abs(positions).max() < 100) == stable


@pytest.mark.parametrize(
    ("kernel", "lengths"), [(MALA(step_size=0.06), (64, 300, 3000)), (NUTS(), (8, 300, 1500))], ids=["MALA", "NUTS"]
)
def test_exact_kernels_have_no_bias_and_a_virial_of_d(kernel, lengths):
    positions, losses, virials = sample(kernel, *lengths)
    for i in range(3):
        assert_mean(NBETA * 0.5 * HESSIAN[i] * np.square(positions[:, :, i]) / GAMMA, UNBIASED[i])
    assert_mean(NBETA * losses, UNBIASED.sum())
    assert_mean(virials[:, :, 0], 2)
    assert_mean(virials[:, :, 1], 1)
