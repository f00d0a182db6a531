"""Every default entry in both modes: K is 0 at w*, positive near it, stable in float32; data come from the truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc import zoo

ENTRIES = [pytest.param(make, id=make(n=2).name) for makers in zoo.FAMILIES.values() for make in makers]
ENDS = [
    pytest.param(make, id=make(n=2).name)
    for makers in zoo.FAMILIES.values()
    for make in dict.fromkeys((makers[0], makers[-1]))
]


def near(params, scale, rng_key):
    noise = np.random.default_rng(rng_key)  # positive, for a ReLU that is not dead
    return jax.tree.map(lambda leaf: leaf + jnp.float32(scale * noise.uniform(0.5, 1.5, leaf.shape)), params)


@pytest.mark.parametrize("make", ENTRIES)
def test_population_loss_is_a_k_that_vanishes_at_the_centre_with_its_gradient(make):
    entry = make(n=7)
    entry.problem.check(entry.params)
    losses = entry.problem.losses(entry.params, entry.problem.data)
    gradient = jax.jit(jax.grad(lambda w: entry.problem.losses(w, entry.problem.data).mean()))(entry.params)
    assert losses.shape == (7,)
    assert np.abs(losses).max() == 0
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) < 1e-6
    assert entry.problem.losses(near(entry.params, 0.3, 0), entry.problem.data).min() > 0
    assert 0 <= entry.learning_coefficient <= entry.dimension / 2


@pytest.mark.parametrize("make", ENTRIES)
def test_population_loss_keeps_its_relative_precision_in_float32(make):
    excess = make(n=2).problem.loss_fn.excess
    for scale in (1.0, 0.1, 0.01):
        params = near(make(n=2).params, scale, 1)
        exact = excess(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params))
        single = jax.jit(excess)(params)
        assert single.dtype == jnp.float32
        assert float(single) == pytest.approx(float(exact), rel=2e-4)


@pytest.mark.parametrize("make", ENDS)
def test_simulated_data_are_drawn_from_the_truth(make):
    entry = make(n=2000, simulate=True, rng_key=3)
    entry.problem.check(entry.params)

    def each(w, example):
        return entry.problem.losses(w, jax.tree.map(lambda leaf: leaf[None], example))[0]

    scores = jax.jit(jax.vmap(jax.grad(each), (None, 0)))(entry.params, entry.problem.data)
    for leaf in jax.tree.leaves(scores):
        error = np.std(leaf, axis=0) / np.sqrt(2000)
        assert (np.abs(np.mean(leaf, axis=0)) <= 4 * error + 1e-6).all()


@pytest.mark.parametrize("make", ENDS)
def test_simulated_excess_is_k(make):
    entry, population = make(n=20_000, simulate=True), make(n=2)
    params = near(entry.params, 0.5, 2)
    losses = entry.problem.losses(params, entry.problem.data)
    excess = np.asarray(losses - entry.problem.losses(entry.params, entry.problem.data))
    expected = float(population.problem.losses(params, population.problem.data)[0])
    assert losses.shape == (20_000,)
    assert expected > 0
    assert abs(excess.mean() - expected) < 4 * excess.std() / np.sqrt(20_000)


@pytest.mark.parametrize("simulate", [False, True])
@pytest.mark.parametrize("make", ENDS)
def test_entries_built_twice_share_a_compiled_program_and_their_data(make, simulate):
    first, second = (make(n=5, simulate=simulate, rng_key=1) for _ in range(2))
    assert first.problem.loss_fn == second.problem.loss_fn
    assert hash(first.problem.loss_fn) == hash(second.problem.loss_fn)
    assert all(
        (a == b).all()
        for a, b in zip(jax.tree.leaves(first.problem.data), jax.tree.leaves(second.problem.data), strict=True)
    )


def test_aligned_centre_has_the_rank_of_its_product_in_every_layer():
    entry = zoo.deep_linear((4, 3, 5, 4), rank=2)
    assert [np.linalg.matrix_rank(layer) for layer in entry.params] == [2, 2, 2]
    assert np.linalg.matrix_rank(np.linalg.multi_dot(entry.params[::-1])) == 2
    first, second = zoo.reduced_rank(4, 5, 4, 1, ranks=(3, 2)).params
    assert [np.linalg.matrix_rank(matrix) for matrix in (first, second, second @ first)] == [3, 2, 1]


def test_every_constructor_has_a_family():
    families = {name for name in zoo.__all__ if name.islower() and not name.endswith("_coefficient")}
    assert set(zoo.FAMILIES) == families
