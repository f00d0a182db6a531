import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.draws.weights import weights_of

STILL = llc.samplers.SGLD(0.0)


def test_weights_come_back_in_the_tree_that_was_sampled(draws_of, posterior, center):
    draws = draws_of(llc.samplers.SGLD(1e-3))
    weights = weights_of(draws, center)
    assert jax.tree.structure(weights) == jax.tree.structure(center)
    assert weights["b"].shape == (2, 20)
    assert weights["layers"][0]["w"].shape == (2, 20, 2)
    last = jax.tree.map(lambda leaf: jnp.asarray(leaf[1, 7]), weights)
    recorded = draws["sample_stats"]["full_loss_difference"].values[1, 7]
    assert np.isclose(posterior.loss_difference(posterior.whiten(last)), recorded, rtol=1e-3)


def test_a_leaf_may_be_called_as_a_dimension(draws_of, data):
    params = {"chain": jnp.array([1.0, 2.0]), "leaf": jnp.array(3.0)}
    problem = llc.Problem(lambda p, x: jnp.square(x @ p["chain"] + p["leaf"]), data)
    weights = weights_of(draws_of(STILL, llc.LocalPosterior(problem, params)), params)
    assert jax.tree.map(lambda leaf: leaf[0, 0].tolist(), weights) == {"chain": [1.0, 2.0], "leaf": 3.0}


def test_draws_without_weights_and_weights_of_another_tree_are_refused(draws_of, center):
    kept = draws_of(STILL)
    with pytest.raises(ValueError, match=r"these draws kept no weights; make them with llc\.draw"):
        weights_of(kept.filter(lambda node: node.name != "posterior"), center)
    with pytest.raises(
        ValueError, match=r"the draws hold the weights \{'b': \(\), 'layers.0.w': \(2,\)\}, params have"
    ):
        weights_of(kept, {"b": center["b"]})
