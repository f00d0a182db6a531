"""Stochastic-gradient kernels on quadratics of condition number 10⁴: each mode, all covariances, and the exact bias."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy.linalg import hadamard

from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import SGHMC, SGNHT, PreconditionedSGLD, UnderdampedLangevin

NBETA, GAMMA, BATCH, D = 50.0, 2.0, 4, 5
SCALES = np.array([2e4, 2e3, 2e2, 20.0, 1.0])  # nβ h in whitened coordinates
NOISE = np.array([600.0, 500.0, 400.0, 300.0, 200.0])  # and there the variance of nβ ∇L_B
# gradients of an example: H w + x with mean(x) = 0 and mean(x²) = c exactly, every other product 0
DATA = jnp.asarray(hadamard(8)[:, 1 : D + 1] * np.sqrt(BATCH * GAMMA * NOISE) / NBETA, jnp.float32)


def make_posterior(correlation):
    """The posterior, and nβ ∇²L in its whitened coordinates."""
    curvature = np.sqrt(SCALES)[:, None] * correlation * np.sqrt(SCALES)
    hessian = jnp.asarray(curvature * GAMMA / NBETA, jnp.float32)
    problem = Problem(lambda w, x: 0.5 * w @ hessian @ w + x @ w, DATA)
    return LocalPosterior(problem, jnp.zeros(D), nbeta=NBETA, localization=GAMMA, batch_size=BATCH), curvature


ALIGNED, TILTED = make_posterior(np.eye(D)), make_posterior(0.5 * np.eye(D) + 0.5)


# stationary variance at curvature k and noise variance n, as the kernels' docstrings have it
def sgld(step, k, n):
    return (1 + step * n / 4) / (1 - step * k / 4) / k


def sghmc(step, k, n):
    return (1 + step * n / 2) / (1 - step**2 * k / (4 - 2 * step)) / k


def underdamped(step, k, n):
    return (1 + step**2 * n / np.tanh(step / 2) / (4 - step**2 * k)) / k


def sgnht(step, k, n):
    friction = 1 + step * n / 2
    return (1 - step**2 * n * np.tanh(step * friction / 2) / (4 - step**2 * k)) / k


WITH_NOISE = {
    "fixed": (PreconditionedSGLD, sgld, 0.02, 1 / np.sqrt(1 + SCALES)),
    "rmsprop": (PreconditionedSGLD, sgld, 0.03, "rmsprop"),
    "SGHMC": (SGHMC, sghmc, 0.006, "identity"),
    "UnderdampedLangevin": (UnderdampedLangevin, underdamped, 0.006, "identity"),
    "SGNHT": (SGNHT, sgnht, 0.006, "identity"),
}
CORRELATED = {
    "curvature": (PreconditionedSGLD, sgld, 0.5, "curvature"),
    "SGHMC": (SGHMC, sghmc, 0.6, "curvature"),
    "UnderdampedLangevin": (UnderdampedLangevin, underdamped, 0.6, "curvature"),
    "SGNHT": (SGNHT, sgnht, 0.05, "rmsprop"),
}


def covariance(formula, step, diagonal, curvature, noise):
    """The formula in the coordinates G^{−1/2} v, where ∇²U is G^{1/2} (nβ ∇²L + 1) G^{1/2}."""
    scale = np.sqrt(diagonal)
    k, basis = np.linalg.eigh(scale[:, None] * (curvature + np.eye(D)) * scale)
    variance = formula(step, k, np.square(basis.T * scale) @ noise)
    return scale[:, None] * (basis * variance) @ basis.T * scale


@eqx.filter_jit
def sample(kernel, posterior, num_chains=256, num_warmup=3000, num_draws=200, thinning=30):
    """Positions of (chain, draw), means of loss difference and virial, and the preconditioner of each chain."""

    def step(_, carry):
        state, loss, virial = carry
        state = kernel.sample(state, (posterior,), {})
        return state, loss + state.loss_difference / thinning, virial + state.virial[0] / thinning

    def draw(state, _):
        state, loss, virial = jax.lax.fori_loop(0, thinning, step, (state, 0.0, 0.0))
        return state, (state.position, loss, virial)

    def chain(key):
        state, skip = kernel.init(key, num_warmup, None, (posterior,), {}), num_warmup // thinning
        state, record = jax.lax.scan(draw, state, length=skip + num_draws)
        return (*jax.tree.map(lambda leaf: leaf[skip:], record), state.preconditioner.diagonal)

    return jax.vmap(chain)(jax.random.split(jax.random.key(0), num_chains))


def mean_and_error(draws):
    return draws.mean(), float(array_stats.mcse(draws, chain_axis=0, draw_axis=1, method="mean"))


def check(case, gradient, posterior, curvature, noise):
    """Second moments, losses and virials against the formula; returns the virial's expectation and standard error."""
    kernel, formula, step, preconditioner = case
    kernel = kernel(step_size=step, gradient=gradient, preconditioner=preconditioner)
    positions, losses, virials, diagonals = (np.asarray(leaf, np.float64) for leaf in sample(kernel, posterior))
    # each chain has a preconditioner of its own
    expected = np.array([covariance(formula, step, diagonal, curvature, noise) for diagonal in diagonals])
    units = np.linalg.inv(np.linalg.cholesky(expected))
    modes = np.einsum("cij,cdj->cdi", units, positions)
    for i in range(D):
        for j in range(i + 1):
            mean, error = mean_and_error(modes[:, :, i] * modes[:, :, j])
            assert abs(mean - (i == j)) < 4 * error, (i, j)
            assert error < 0.04, (i, j)
    total = 0.5 * np.einsum("ij,cij->c", curvature, expected)
    mean, error = mean_and_error(NBETA * losses / total[:, None])
    assert abs(mean - 1) < 4 * error
    assert error < 0.02
    total = np.einsum("ij,cij->c", curvature + np.eye(D), expected)
    mean, error = mean_and_error(virials / total[:, None])
    assert abs(mean - 1) < 4 * error
    assert error < 0.01
    return total.mean(), error * total.mean(), diagonals


@pytest.mark.parametrize("name", WITH_NOISE)
def test_minibatch_noise(name):
    posterior, curvature = ALIGNED
    assert np.linalg.cond(curvature + np.eye(D)) >= 1e4
    virial, error, _ = check(WITH_NOISE[name], "minibatch", posterior, curvature, NOISE)
    # it heats, unless there is a thermostat: then the answer is 1.00 ± 0.02 of the unbiased one
    heated = np.trace(covariance(underdamped, 0.006, np.ones(D), curvature, NOISE) @ (curvature + np.eye(D)))
    if name == "SGNHT":
        assert abs(virial - D) + 4 * error < 0.02 * D
        assert heated > 1.5 * D
    else:
        assert abs(virial - D) > 10 * error


@pytest.mark.parametrize("name", CORRELATED)
def test_correlated_coordinates(name):
    posterior, curvature = TILTED
    assert np.linalg.cond(curvature + np.eye(D)) >= 1e4
    # per-example Hessians are equal: the control variate leaves no noise at all
    virial, error, _ = check(CORRELATED[name], "control_variate", posterior, curvature, 0 * NOISE)
    unbiased = CORRELATED[name][1] in (underdamped, sgnht)
    assert (abs(virial - D) > 10 * error) != unbiased
