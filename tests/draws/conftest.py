"""Two small posteriors, whose programs the tests of this folder share."""

import collections

import jax
import jax.numpy as jnp
import pytest

import llc

TRACES = collections.Counter()


def product(params, x):
    TRACES.update(["product"])
    first, second = params["layers"][0]["w"]
    return 0.5 * jnp.square(x[:, 0] * first * second + params["b"] - x[:, 1])


def scaled(params, inputs):
    TRACES.update(["scaled"])
    return inputs * params


@pytest.fixture(scope="session")
def data():
    return jax.random.normal(jax.random.key(0), (100, 2))


@pytest.fixture(scope="session")
def center():
    return {"b": jnp.array(0.1), "layers": [{"w": jnp.array([0.5, -0.5])}]}


@pytest.fixture(scope="session")
def make_posterior(data, center):
    """The posterior of y = w₀ w₁ x + b, around a center and with settings of one's own."""

    def make(data=data, center=center, **settings):
        settings = {"localization": 2.0, "batch_size": 16, **settings}
        return llc.LocalPosterior(llc.Problem(product, data), center, **settings)

    return make


@pytest.fixture(scope="session")
def posterior(make_posterior):
    return make_posterior()


@pytest.fixture(scope="session")
def make_one_leaf(data):
    """The posterior of y = w x, made anew."""
    x, y = data.T
    return lambda: llc.LocalPosterior(llc.Problem.supervised(scaled, llc.Gaussian(0.5), x, y), jnp.array(0.5))


@pytest.fixture(scope="session")
def one_leaf(make_one_leaf):
    return make_one_leaf()


@pytest.fixture
def traces():
    """How many times each loss has been traced since."""
    TRACES.clear()
    return TRACES


@pytest.fixture(scope="session")
def draws_of(posterior):
    """Two chains without warm-up, their weights kept, unless said otherwise."""

    def draw(kernel, posterior=posterior, rng_key=0, **settings):
        settings = {"num_chains": 2, "num_warmup": 0, "num_draws": 20, "keep_weights": True, **settings}
        return llc.draw(kernel, posterior, rng_key, **settings)

    return draw
