"""Each gradient estimator has the full gradient as its mean, and the noise that its formula promises."""

import collections
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior.gradients import Anchor, estimate_loss, first_anchor, full_estimate, refresh
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import SGLD

N, BATCH, EPOCH = 40, 4, 10
DATA = jax.random.normal(jax.random.key(0), (N, 3))
NOISY = ["minibatch", "control_variate", "anchored"]


def waves(w, x):
    return 1 - jnp.cos(x @ w) + 0.1 * jnp.sum(w**2 * x, axis=1)


def local_posterior(loss_fn=waves, batch_size=BATCH):
    return LocalPosterior(Problem(loss_fn, DATA), jnp.array([0.3, -0.2, 0.5]), localization=4.0, batch_size=batch_size)


POSTERIOR = local_posterior()
V = jnp.array([0.8, 0.4, -1.2])
ELSEWHERE = jnp.array([1.0, -1.5, 0.5])


@partial(jax.jit, static_argnums=0)
def of_keys(gradient, v):
    fresh = Anchor(ELSEWHERE, full_estimate(POSTERIOR, ELSEWHERE), jnp.asarray(0))
    anchor = fresh if gradient == "anchored" else None
    one = lambda key: estimate_loss(POSTERIOR, v, (key,), gradient, anchor)[0]
    return jax.vmap(one)(jax.random.split(jax.random.key(1), 20_000)), full_estimate(POSTERIOR, v)


def estimates(gradient, v):
    """(ΔL, ∇L) for each of many keys, the anchor being elsewhere and not due; and in full."""
    some, full = of_keys(gradient, v)
    return np.column_stack(some).astype(float), np.hstack(full)


@pytest.mark.parametrize("gradient", NOISY)
def test_unbiased(gradient):
    values, full = estimates(gradient, V)
    errors = values.std(axis=0) / np.sqrt(len(values))
    assert (errors > 0).all()
    assert (np.abs(values.mean(axis=0) - full) < 4 * errors).all()


def test_the_control_variate_falls_silent_towards_the_center():
    settings = ("control_variate", 0.01 * V), ("control_variate", V), ("minibatch", 0.01 * V)
    near, far, minibatch = (estimates(*setting)[0].std(axis=0) for setting in settings)
    # ∇ℓ_i(w) − ∇ℓ_i(w*) falls as ‖v‖, and what is left of ΔL as ‖v‖²
    assert (near[1:] < 0.05 * far[1:]).all()
    assert near[0] < 1e-3 * far[0]
    assert (near[1:] < 0.05 * minibatch[1:]).all()


def test_the_anchored_one_is_exact_at_its_anchor():
    values, full = estimates("anchored", ELSEWHERE)
    np.testing.assert_allclose(values, np.tile(full, (len(values), 1)), atol=1e-5)
    assert estimates("control_variate", ELSEWHERE)[0].std(axis=0).min() > 0.01


@pytest.mark.parametrize("gradient", [*NOISY, "full"])
def test_a_batch_of_everything_is_the_full_gradient(gradient):
    everything = local_posterior(batch_size=N)
    loss, _ = estimate_loss(everything, V, (jax.random.key(0),), gradient, first_anchor(everything, V, gradient))
    np.testing.assert_array_equal(np.hstack(loss), np.hstack(full_estimate(everything, V)))


def test_the_full_gradient_is_taken_once_an_epoch_by_all_chains_together():
    calls = collections.Counter()

    def counted(w, x):
        jax.debug.callback(partial(calls.update, [len(x)]))
        return waves(w, x)

    kernel, posterior = SGLD(step_size=1e-3, gradient="anchored"), local_posterior(counted)
    keys = jax.random.split(jax.random.key(2), (2, 3))
    states = jax.vmap(jax.vmap(lambda key: kernel.init(key, 0, None, (posterior,), {})))(keys)
    step = jax.jit(jax.vmap(jax.vmap(lambda state: kernel.sample(state, (posterior,), {}))))
    assert "stablehlo.case" in step.lower(states).as_text()
    step(states)
    jax.effects_barrier()
    calls.clear()
    refreshed = []
    for _ in range(3 * EPOCH + 1):
        before, states = states, step(states)
        taken = np.all(states.anchor.position == before.position, axis=-1)
        assert taken.all() or not taken.any()
        refreshed.append(bool(taken.all()))
    jax.effects_barrier()
    assert [i for i, taken in enumerate(refreshed) if taken] == [0, EPOCH, 2 * EPOCH, 3 * EPOCH]
    assert calls[N] == 4  # in 31 steps, once for all chains
    assert calls[BATCH] >= 31


def test_an_epoch_of_many_large_batches_is_counted_right():
    population = Problem(lambda w, x: jnp.full(len(x), 0.5 * w @ w), jnp.zeros(600_000, jnp.int8))
    posterior = LocalPosterior(population, jnp.ones(2), batch_size=4096)
    anchor = first_anchor(posterior, V[:2], "anchored")  # it is due, n steps old
    np.testing.assert_array_equal(refresh(posterior, anchor, V[:2]).position, V[:2])
