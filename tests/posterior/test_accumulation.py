"""A minibatch beyond one block is worked through in blocks: the same gradient, and less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior import local_posterior as module
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Gaussian, Problem

N, BATCH = 400, 150


def net(params, x):
    first, second = params
    return jnp.tanh(x @ first) @ second


@pytest.fixture(scope="module")
def make():
    keys = jax.random.split(jax.random.key(0), 4)
    x, y = jax.random.normal(keys[0], (N, 20)), jax.random.normal(keys[1], (N, 3))
    center = [0.2 * jax.random.normal(keys[2], (20, 64)), 0.2 * jax.random.normal(keys[3], (64, 3))]
    return lambda: LocalPosterior(Problem.supervised(net, Gaussian(), x, y), center, batch_size=BATCH)


@pytest.fixture
def pair(make, monkeypatch):
    """The posterior in one block, and in blocks that divide neither the batch nor n."""
    whole = make()
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 2**12)
    blocked = make()
    assert whole.block_size == N
    assert 1 < blocked.block_size < BATCH / 4
    assert BATCH % blocked.block_size
    return whole, blocked


def test_the_same_gradient_in_less_memory(pair):
    v = 0.3 * jax.random.normal(jax.random.key(1), (pair[0].dimension,))
    indices = jax.random.randint(jax.random.key(2), (BATCH,), 0, N)
    programs = [
        jax.jit(jax.value_and_grad(posterior.batch_loss_difference)).lower(v, indices).compile() for posterior in pair
    ]
    (value, slope), (blocked_value, blocked_slope) = (program(v, indices) for program in programs)
    np.testing.assert_allclose(blocked_value, value, rtol=1e-5)
    np.testing.assert_allclose(blocked_slope, slope, rtol=1e-4, atol=1e-5 * float(jnp.abs(slope).max()))
    whole, blocked = (program.memory_analysis().temp_size_in_bytes for program in programs)
    assert blocked < 0.6 * whole


def test_zero_at_the_center_and_chains_side_by_side(pair):
    _, blocked = pair
    indices = jnp.arange(BATCH)
    points = jnp.stack([jnp.zeros(blocked.dimension), jnp.ones(blocked.dimension)])
    at = jax.vmap(blocked.batch_loss_difference, in_axes=(0, None))(points, indices)
    assert float(at[0]) == 0.0
    np.testing.assert_allclose(at[1], blocked.batch_loss_difference(points[1], indices), rtol=1e-5)
