"""Estimates at several nβ and γ at once: each is right, and all are one program."""

import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.draws.programs import proceed
from llc.estimators.side_by_side import estimates_at
from llc.samplers import HMC, SGLD, PreconditionedSGLD, ReplicaExchange

CURVATURES = np.array([2.0, 0.5, 0.0], np.float32)
AT = [(10.0, 1.0), (1000.0, 1.0), (1000.0, 50.0)]
KERNELS = {
    "chosen steps": SGLD(),
    "preconditioned": PreconditionedSGLD(),
    "trajectories": HMC(max_leapfrogs=16),
    "replicas": ReplicaExchange(num_replicas=6),
}


@pytest.fixture(scope="module")
def problem():
    examples = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    loss = lambda w, x: 0.5 * jnp.sum(CURVATURES * jnp.square(w - x), axis=1)
    return llc.Problem(loss, examples - examples.mean(0))


def exact(nbeta, gamma):
    return 0.5 * np.sum(nbeta * CURVATURES / (nbeta * CURVATURES + gamma))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_each_follows_the_closed_form(problem, kernel):
    before = proceed._cached._cache_size()
    estimates = estimates_at(problem, jnp.zeros(3), AT, kernel=kernel, max_gradient_evaluations=2e8, progress=False)
    assert proceed._cached._cache_size() == before + 1
    for (nbeta, gamma), estimate in zip(AT, estimates, strict=True):
        assert estimate.nbeta == nbeta
        assert estimate.settings["localization"] == [gamma]
        assert abs(estimate.value - exact(nbeta, gamma)) < 4 * estimate.std_error
        assert estimate.std_error < 0.1 * estimate.value
        assert estimate.draws["sample_stats"].sizes["chain"] == 4
    if kernel.step_size is None:  # each has its own, by its own curvature
        assert estimates[0].settings["curvature_at_center"] == pytest.approx(1 + 10.0 * 2, rel=1e-3)
        assert estimates[2].settings["curvature_at_center"] == pytest.approx(1 + 1000 * 2 / 50, rel=1e-3)
        largest = [float(estimate.draws["sample_stats"]["step_size"].max()) for estimate in estimates]
        assert largest[0] > 5 * largest[1]


def test_step_sizes_that_are_given_are_those_of_each(problem):
    settings = {"kernel": SGLD([2e-3, 1e-3]), "num_draws": 20, "num_warmup": 2, "progress": False}
    estimates = estimates_at(problem, jnp.zeros(3), AT, **settings)
    for (nbeta, _), estimate in zip(AT, estimates, strict=True):
        assert estimate.nbeta == nbeta
        np.testing.assert_allclose(estimate.draws["sample_stats"]["step_size"], [2e-3, 1e-3], rtol=1e-6)
    losses = [estimate.draws["sample_stats"]["loss_difference"].values for estimate in estimates]
    assert losses[0].shape == (2, 4, 20)
    assert len({loss.tobytes() for loss in losses}) == 3  # noise of their own
