"""ΔL keeps its digits in float32, in blocks or at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior import local_posterior
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.work import intermediates
from llc.problem import Categorical, Gaussian, Problem

N, D = 2000, 8
GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.standard_normal((N, D)).astype(np.float32)
TARGETS = (INPUTS.sum(axis=1) + 0.5 * GENERATOR.standard_normal(N)).astype(np.float32)
CENTER = np.linalg.lstsq(INPUTS.astype(float), TARGETS.astype(float), rcond=None)[0].astype(np.float32)
LINEAR = lambda w, x: x @ w


def regression():
    return Problem.supervised(LINEAR, Gaussian(), jnp.array(INPUTS), jnp.array(TARGETS))


@pytest.mark.parametrize("size", [1e-1, 1e-2, 2e-3])
def test_four_digits_in_float32(size):
    posterior = LocalPosterior(regression(), jnp.array(CENTER), localization=1.0)
    v = size * jax.random.normal(jax.random.key(1), (D,))
    moved = np.asarray(posterior.params(v), float)
    # (r' − r)(r' + r)/2 of residuals r: the same difference without cancellation, in double precision
    shift, residuals = INPUTS.astype(float) @ (moved - CENTER), INPUTS.astype(float) @ CENTER - TARGETS
    reference = np.mean(shift * (residuals + shift / 2))
    assert size > 2e-3 or 1e-6 < reference < 4e-5
    assert abs(float(posterior.nbeta * posterior.loss_difference(v)) / (float(posterior.nbeta) * reference) - 1) < 1e-4


def test_nothing_but_the_last_bit_at_the_center():
    first, second = 0.1 * jax.random.normal(jax.random.key(2), (D, 16)), jax.random.normal(jax.random.key(3), (16, 10))
    labels = jnp.arange(N) % 10
    problem = Problem.supervised(lambda p, x: jnp.tanh(x @ p[0]) @ p[1], Categorical(), jnp.array(INPUTS), labels)
    posterior = LocalPosterior(problem, (first, second))
    origin = jnp.zeros(posterior.dimension)
    on_batches = jax.jit(lambda batches: jax.lax.map(lambda b: posterior.batch_loss_difference(origin, b), batches))
    last_bit = float(np.spacing(np.max(posterior.center_losses)))
    for batch in (1, 100):
        assert np.abs(on_batches(jnp.arange(N).reshape(-1, batch))).max() <= 2 * last_bit
    # so that a chain that stands still reads less than a ten-thousandth of a nat
    assert abs(float(posterior.nbeta * posterior.loss_difference(origin))) < 1e-4


@pytest.mark.parametrize("block", [7, 1000])
def test_blocks_give_what_all_at_once_gives(monkeypatch, block):
    whole = LocalPosterior(regression(), jnp.array(CENTER))
    assert whole.block_size == N
    monkeypatch.setattr(local_posterior, "_BLOCK_ELEMENTS", block * intermediates(whole.problem, whole.center))
    blocked = LocalPosterior(regression(), jnp.array(CENTER))
    assert blocked.block_size == block
    v = jax.random.normal(jax.random.key(5), (D,))
    value, gradient = jax.value_and_grad(whole.loss_difference)(v)
    in_blocks = jax.value_and_grad(blocked.loss_difference)(v)
    np.testing.assert_allclose(in_blocks[0], value, rtol=1e-5)
    np.testing.assert_allclose(in_blocks[1], gradient, rtol=1e-4, atol=1e-6 * np.abs(gradient).max())
    np.testing.assert_allclose(blocked.center_losses, whole.center_losses, rtol=1e-5)
    np.testing.assert_allclose(blocked.center_gradient, whole.center_gradient, atol=1e-6)


def test_blocks_on_a_processor_stay_in_its_cache_but_are_not_tiny(monkeypatch):
    wide = lambda w, x: (x[:, None] * w).sum(axis=1)  # as many elements an example as weights
    problem = lambda n: Problem(lambda w, x: wide(w, x) ** 2, jnp.zeros(n))
    sizes = [LocalPosterior(problem(10_000), jnp.ones(width)).block_size for width in (10, 100, 5000)]
    each = [intermediates(problem(10_000), jnp.ones(width)) for width in (10, 100, 5000)]
    assert sizes == [10_000, 2**19 // each[1], 1024]
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert LocalPosterior(problem(10_000), jnp.ones(5000)).block_size == 2**24 // each[2]


def test_one_loss_for_all_examples_is_stored_once():
    population = Problem(lambda w, x: jnp.full(len(x), 0.5 * w @ w), jnp.zeros(500))
    posterior = LocalPosterior(population, jnp.ones(3), nbeta=100.0, localization=2.0)
    assert posterior.center_losses.shape == (1,)
    v = jnp.array([1.0, 2.0, 3.0])
    w = 1 + np.array([1.0, 2.0, 3.0]) / np.sqrt(2)
    np.testing.assert_allclose(posterior.loss_difference(v), 0.5 * (w @ w - 3), rtol=1e-5)
    np.testing.assert_allclose(posterior.batch_loss_difference(v, jnp.arange(4)), 0.5 * (w @ w - 3), rtol=1e-5)
    np.testing.assert_allclose(posterior.potential(v), 50 * (w @ w - 3) + 7, rtol=1e-5)


def test_double_precision_is_honoured():
    with jax.enable_x64(True):
        problem = Problem(lambda w, x: 0.5 * jnp.square(x - w), np.linspace(-1.0, 1.0, 50))
        posterior = LocalPosterior(problem, np.array(0.25), localization=1.0)
        assert (posterior.center.dtype, posterior.center_losses.dtype, posterior.nbeta.dtype) == (jnp.float64,) * 3
        np.testing.assert_allclose(posterior.loss_difference(jnp.array([1e-6])), 0.25e-6 + 0.5e-12, rtol=1e-8)
