import jax.numpy as jnp
import numpy as np
import pytest

import llc
from tests.regression import Regression


def linear(params, inputs):
    return inputs @ params


@pytest.fixture(scope="session")
def regression():
    return Regression.make(n=400, dimension=3)


@pytest.fixture(scope="session")
def held_out(regression):
    """A thousand more examples of the same law."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(1000, regression.dimension))
    targets = inputs @ np.linspace(-1, 1, regression.dimension) + regression.noise * rng.normal(size=1000)
    return inputs.astype(np.float32), targets.astype(np.float32)


@pytest.fixture(scope="session")
def problem(regression, held_out):
    inputs, targets = (jnp.asarray(a, jnp.float32) for a in (regression.inputs, regression.targets))
    return llc.Problem.supervised(linear, llc.Gaussian(regression.noise), inputs, targets, test=held_out)


@pytest.fixture(scope="session")
def params(regression):
    return jnp.asarray(regression.center, jnp.float32)


@pytest.fixture(scope="session")
def comparison(regression, problem, params):
    return llc.compare(problem, params, localization=regression.gamma, num_draws=1500, progress=False)
