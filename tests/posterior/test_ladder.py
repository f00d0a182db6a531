"""The posteriors of a ladder are those made one by one, mask and rule included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.posterior.ladder import ladder_of, num_rungs, rungs_of, tempering

CENTER = {"a": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, 0.2])}
AT = [(None, 1.0), (10.0, llc.Relative(2.0)), (300.0, llc.Relative())]


@pytest.fixture(scope="module")
def problem():
    x = jax.random.normal(jax.random.key(0), (200, 2))
    return llc.Problem.supervised(lambda w, x: jnp.tanh(x @ w["a"]) @ w["b"][:, None], llc.Gaussian(1.0), x, x[:, :1])


@pytest.mark.parametrize("mask", [None, "a"])
def test_each_is_the_posterior_made_alone(problem, mask):
    ladder = ladder_of(llc.LocalPosterior(problem, CENTER, nbeta=7.0, localization=5.0, mask=mask), AT)
    v = jnp.linspace(-1, 1, ladder.dimension)
    assert num_rungs(ladder) == 3
    for (nbeta, localization), rung in zip(AT, rungs_of(ladder), strict=True):
        alone = llc.LocalPosterior(problem, CENTER, nbeta=nbeta, localization=localization, mask=mask)
        assert jax.tree.structure(rung) == jax.tree.structure(alone)
        for own, theirs in zip(tempering(rung), tempering(alone), strict=True):
            np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(rung.potential(v), alone.potential(v), rtol=1e-5)


def test_of_one_there_is_no_axis(problem):
    posterior = llc.LocalPosterior(problem, CENTER, nbeta=7.0, localization=5.0)
    alone = ladder_of(posterior, [(7.0, 5.0)])
    assert num_rungs(alone) == 1
    assert [leaf.shape for leaf in jax.tree.leaves(alone)] == [leaf.shape for leaf in jax.tree.leaves(posterior)]
    assert rungs_of(alone)[0] is alone


@pytest.mark.parametrize(("at", "message"), [((-1.0, 1.0), "nbeta=-1.0"), ((1.0, 0.0), "localization=0.0")])
def test_what_is_no_posterior_is_refused(problem, at, message):
    with pytest.raises(ValueError, match=message):
        ladder_of(llc.LocalPosterior(problem, CENTER), [AT[0], at])
