"""Arithmetic and intermediates counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.posterior import curvature
from llc.posterior.work import flops, gradient_work, intermediates, repeated_work

f32 = lambda *shape: jax.ShapeDtypeStruct(shape, np.float32)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (lambda a, b: a @ b, (f32(3, 4), f32(4, 5)), 2 * 3 * 4 * 5),
        (lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (f32(7, 3, 4), f32(7, 4, 5)), 7 * 2 * 3 * 4 * 5),
        (lambda a: a + 1, (f32(6),), 6),
        (jax.jit(lambda a: a + 1), (f32(6),), 6),
        (lambda a: jax.lax.fori_loop(0, 9, lambda _, x: x + 1, a), (f32(6),), 9 * (6 + 1)),  # and the counter
        (
            lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "VALID"),
            (f32(2, 3, 8, 8), f32(5, 3, 2, 2)),
            2 * (2 * 5 * 7 * 7) * (3 * 2 * 2),
        ),
    ],
    ids=["product", "batched product", "sum", "call", "loop", "convolution"],
)
def test_flops(function, arguments, expected):
    assert flops(function, *arguments) == expected


def test_of_two_branches_the_larger_counts():
    choose = lambda a, which: jax.lax.cond(which, lambda: a @ a, lambda: a.sum())
    larger, chosen = flops(lambda a: a @ a, f32(80)), flops(choose, f32(80), jax.ShapeDtypeStruct((), bool))
    assert larger <= chosen < larger + 5


def network(layers):
    params = {"w": jnp.zeros((layers, 4, 4))}
    deep = lambda p, x: jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["w"])[0]
    return llc.Problem.supervised(deep, llc.Gaussian(1.0), jnp.zeros((50, 4)), jnp.zeros((50, 4))), params


def test_layers_of_a_loop_are_all_counted():
    few, many = network(2), network(20)
    assert gradient_work(*many) > 8 * gradient_work(*few)
    assert intermediates(*many) > 5 * intermediates(*few)
    assert 8 < repeated_work(*many) <= 20
    assert repeated_work(*network(1)) == 1


def test_a_gradient_is_three_losses():
    params = jnp.zeros((6, 5))
    linear = llc.Problem(lambda w, x: (x @ w).sum(1), jnp.zeros((9, 6)))
    assert gradient_work(linear, params) == pytest.approx(3 * (2 * 6 * 5 + 1 + 1), abs=6)


def test_a_large_network_is_looked_at_through_fewer_examples(monkeypatch):
    problem, params = network(3)
    posterior = llc.LocalPosterior(problem, params, localization=1.0)
    assert curvature.examples_seen(posterior) == problem.n
    monkeypatch.setattr(curvature, "_FEWEST_EXAMPLES", 7)
    monkeypatch.setattr(curvature, "_MAX_WORK", 20 * 2 * gradient_work(problem, posterior.center))
    assert curvature.examples_seen(posterior) == 20
    assert curvature.products_work(posterior) == pytest.approx(16 * curvature._MAX_WORK)
    monkeypatch.setattr(curvature, "_MAX_WORK", 1.0)
    assert curvature.examples_seen(posterior) == 7
