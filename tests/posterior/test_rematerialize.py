"""A rematerialised loss is the same function, whose gradient holds less."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.posterior.rematerialize import rematerialized
from llc.problem import Gaussian, Problem

DEPTH, WIDTH, N = 36, 16, 256
X = jax.random.normal(jax.random.key(0), (N, WIDTH))
PARAMS = [0.3 * jax.random.normal(key, (WIDTH, WIDTH)) for key in jax.random.split(jax.random.key(1), DEPTH)]


@jax.jit
def deep(params, x):
    for w in params:
        x = x + jax.nn.gelu(x @ w)
    return x


def bare(params, batch):
    x, y = batch
    return jnp.square(deep(params, x) - y).sum(axis=1)


@pytest.fixture(params=["supervised", "bare"])
def problem(request):
    return Problem.supervised(deep, Gaussian(), X, X) if request.param == "supervised" else Problem(bare, (X, X))


def gradient_of(problem):
    return jax.jit(jax.value_and_grad(lambda w: problem.losses(w, problem.data).mean())).lower(PARAMS).compile()


def test_the_same_loss_and_gradient_in_less_memory(problem):
    plain, lean = gradient_of(problem), gradient_of(rematerialized(problem))
    (loss, slopes), (lean_loss, lean_slopes) = plain(PARAMS), lean(PARAMS)
    np.testing.assert_allclose(lean_loss, loss, rtol=1e-5)
    for slope, reference in zip(lean_slopes, slopes, strict=True):
        np.testing.assert_allclose(slope, reference, rtol=1e-3, atol=1e-4 * float(jnp.abs(reference).max()))
    held, lean_held = (program.memory_analysis().temp_size_in_bytes for program in (plain, lean))
    assert lean_held < 0.6 * held


def test_equal_by_value_so_that_nothing_recompiles(problem):
    one, other = rematerialized(problem), rematerialized(problem)
    assert (one.loss_fn, hash(one.loss_fn)) == (other.loss_fn, hash(other.loss_fn))
    assert one.loss_fn != problem.loss_fn


def test_the_network_stays_known():
    problem = rematerialized(Problem.supervised(deep, Gaussian(0.5), X, X))
    np.testing.assert_allclose(problem.apply_fn(PARAMS, X), deep(PARAMS, X), rtol=1e-5, atol=1e-5)
    assert problem.likelihood == Gaussian(0.5)


def test_a_loss_with_nothing_to_cut():
    problem = rematerialized(Problem(lambda w, x: 0.5 * (x - w) ** 2, jnp.ones(50)))
    posterior = llc.LocalPosterior(problem, jnp.ones(()))
    assert posterior.dimension == 1
