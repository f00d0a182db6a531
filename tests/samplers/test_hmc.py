"""HMC along the forces of a minibatch is exact, whatever the batch, and adapts in warm-up only."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior.local_posterior import LocalPosterior
from llc.samplers import HMC
from llc.samplers.hamiltonian import BATCH_TARGET, Phase, acceptance, leapfrog
from tests.samplers.moments import assert_means, products
from tests.samplers.noisy_batches import (
    BATCH,
    GAMMA,
    HESSIAN,
    NBETA,
    NOISE,
    QUADRATIC,
    SCALES,
    SINGULAR,
    D,
    N,
    make_quadratic,
    make_singular,
)

GRADIENTS = ["control_variate", "minibatch", "full"]


@eqx.filter_jit
def sample(kernel, posterior, num_chains=64, num_warmup=1000, num_draws=400, thinning=5):
    """Of (chain, draw, …) positions, sizes, what adaptation sees, and means over `thinning` steps of measurements."""

    def measured(state):
        return state.loss_difference, state.virial[0], state.accept_prob

    def step(_, carry):
        state, totals = carry
        state = kernel.sample(state, (posterior,), {})
        return state, jax.tree.map(lambda total, new: total + new / thinning, totals, measured(state))

    def seen(state):
        """The acceptances that step size and length would follow, from what a first adaptation makes of them."""
        longer = dataclasses.replace(kernel, trajectory_length=100.0)
        length = jnp.minimum(state.log_length, state.log_step_size + np.log(kernel.max_leapfrogs))
        fresh = state._replace(warmup_left=jnp.asarray(1), steps=jnp.asarray(0))
        moved = longer.sample(fresh._replace(rng_key=jax.random.fold_in(state.rng_key, 1)), (posterior,), {})
        own = moved.log_step_size - state.log_step_size + kernel.target_accept_prob
        return own, moved.log_length - length + BATCH_TARGET

    def draw(state, _):
        state, means = jax.lax.fori_loop(0, thinning, step, (state, jax.tree.map(jnp.zeros_like, measured(state))))
        sizes = state.log_step_size, state.log_length
        return state, (state.position, sizes, seen(state), state.gradient_evaluations, *means)

    def chain(key):
        state, skip = kernel.init(key, num_warmup, None, (posterior,), {}), num_warmup // thinning
        record = jax.lax.scan(draw, state, length=skip + num_draws)[1]
        return jax.tree.map(lambda leaf: leaf[skip:], record)

    return jax.vmap(chain)(jax.random.split(jax.random.key(0), num_chains))


def assert_adapted(kernel, sizes, seen, evaluations):
    """The sizes, frozen: both errors cost as much acceptance as they may, and trajectories cost what they say."""
    log_step_size, log_length = sizes
    for size in sizes:
        assert (size == size[:, :1]).all()
    # each chain adapted to what it saw; of thousands of pairs of float32 one may be equal by chance
    assert len(np.unique(log_step_size[:, 0])) >= len(log_step_size) - 1
    own, of_batch = (x.mean(axis=1) for x in seen)
    assert abs(own.mean() - kernel.target_accept_prob) < 0.03
    assert (np.abs(own - kernel.target_accept_prob) < 0.25).all()
    lengths = np.minimum(np.exp(log_length), kernel.max_leapfrogs * np.exp(log_step_size))
    most = np.minimum(kernel.trajectory_length, kernel.max_leapfrogs * np.exp(log_step_size))
    longest = (lengths > 0.7 * most)[:, 0]
    if kernel.gradient == "full":
        np.testing.assert_allclose(of_batch, 1, atol=1e-3)
        assert longest.all()
    assert ((np.abs(of_batch - BATCH_TARGET) < 0.25) | longest).all()
    assert longest.all() or abs(of_batch[~longest].mean() - BATCH_TARGET) < 0.05
    leapfrogs = jnp.clip(jnp.round(jnp.exp(log_length - log_step_size)), 1, kernel.max_leapfrogs)
    # forces at the start and after each leapfrog, of the control at w*, and a loss for a third of a force
    forces = {
        "full": N * (leapfrogs + 1),
        "minibatch": BATCH * (leapfrogs + 1),
        "control_variate": BATCH * (leapfrogs + 2),
    }
    np.testing.assert_array_equal(evaluations, forces[kernel.gradient] + N // 3)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_every_mode_of_a_quadratic(gradient):
    assert np.linalg.cond(np.diag(1 + SCALES)) >= 1e4
    kernel = HMC(gradient=gradient)
    positions, sizes, seen, evaluations, losses, virials, accept_prob = sample(kernel, QUADRATIC)
    assert_adapted(kernel, sizes, seen, evaluations)
    assert accept_prob.mean() > 0.3
    assert_means(products(positions * np.sqrt(1 + SCALES)), np.eye(D), 0.03)
    assert_means(NBETA * losses / (0.5 * (SCALES / (1 + SCALES)).sum()), 1, 0.01)
    assert_means(virials / D, 1, 0.01)


@pytest.mark.parametrize(("nbeta", "gamma"), [(144.76, 1.0), (72382.0, 1.0), (1000.0, 100.0)])
@pytest.mark.parametrize("loss", SINGULAR)
def test_singular_losses(loss, nbeta, gamma):
    # small steps, which alone enter the ends of narrow arms; of the leapfrog's own error, without the batch's, 0.98 is
    # what makes them so
    kernel = HMC(step_size=0.02, gradient="minibatch", target_accept_prob=0.98)
    posterior, exact = make_singular(loss, nbeta, gamma), SINGULAR[loss][1](nbeta, gamma)
    _, sizes, seen, evaluations, losses, virials, _ = sample(kernel, posterior, 64, 2000, 300, 10)
    assert_adapted(kernel, sizes, seen, evaluations)
    # near the prior the flat cross is the eighth power of normals
    assert_means(nbeta * losses / exact, 1, 0.1 if loss == "flat cross" and gamma > 1 else 0.02)
    assert_means(virials / 2, 1, 0.02)


def in_metric_of(place, kernel, posterior, state):
    """A state in the metric of a place, at the step size and length that the kernel has."""
    measured = kernel.with_metric(state, posterior, place[None], jnp.asarray(1))
    return measured._replace(log_step_size=state.log_step_size, log_length=state.log_length)


@eqx.filter_jit
def moved(kernel, posterior, params, num_steps=5, place=None):
    """Where exact draws are after some trajectories without warm-up, and how many of these were taken.

    In the metric of a place, if one is given; it must be the same for all, for one that depends on where a draw begins
    would not leave the posterior as it is.
    """

    def chain(key, params):
        state = kernel.init(key, 0, params, (posterior,), {})
        if place is not None:
            state = in_metric_of(place, kernel, posterior, state)
        state, accept_prob = jax.lax.scan(
            lambda state, _: (new := kernel.sample(state, (posterior,), {}), new.accept_prob), state, length=num_steps
        )
        return state.position, state.loss_difference, accept_prob.mean()

    # in batches, since jax 0.10.2 adds up more rows wrongly on CPU (jax-ml/jax#39103)
    keys = jax.random.split(jax.random.key(1), len(params))
    return jax.lax.map(lambda start: chain(*start), (keys, params), batch_size=2**12)


@pytest.mark.parametrize(
    ("step_size", "length", "place"), [(0.01, 0.05, None), (0.1, 0.22, jnp.zeros(D))], ids=["unit metric", "metric"]
)
def test_exact_draws_of_a_quadratic_stay_exact(step_size, length, place):
    """Whatever warm-up and mixing do."""
    kernel = HMC(step_size=step_size, gradient="minibatch", trajectory_length=length)
    params = np.random.default_rng(0).normal(size=(2**14, D)) / np.sqrt(GAMMA * (1 + SCALES))
    positions, losses, accept_prob = moved(
        kernel, make_quadratic(10 * NOISE), jnp.asarray(params, jnp.float32), place=place
    )
    assert 0.45 < accept_prob.mean() < 0.55
    assert_means(products(positions * np.sqrt(1 + SCALES)), np.eye(D), 0.012, axes=1)
    assert_means(NBETA * losses / (0.5 * (SCALES / (1 + SCALES)).sum()), 1, 0.01, axes=1)


@pytest.mark.parametrize(
    ("step_size", "length", "place"),
    [(0.01, 0.1, None), (0.05, 0.35, jnp.asarray([0.01, 0.005]))],
    ids=["unit metric", "metric"],
)
def test_exact_draws_of_a_cross_stay_exact(step_size, length, place):
    """By forces of a batch, whose arms are wider or narrower than those of all data."""
    nbeta = 72382.0
    # w₂ is normal given w₁, whose law is on a grid that is finer towards 0
    grid = np.sinh(np.linspace(-14, 14, 200_001)) * 6 / np.sinh(14)
    mass = np.exp(-0.5 * grid**2) / np.sqrt(1 + nbeta * grid**2) * np.gradient(grid)
    rng, square = np.random.default_rng(0), np.average(grid**2, weights=mass)
    first = np.interp(rng.uniform(size=2**16), np.cumsum(mass) / mass.sum(), grid)
    params = np.stack([first, rng.normal(size=2**16) / np.sqrt(1 + nbeta * first**2)], axis=1)
    kernel = HMC(step_size=step_size, gradient="control_variate", trajectory_length=length)
    posterior = make_singular("cross", nbeta, 1.0)
    positions, losses, accept_prob = moved(kernel, posterior, jnp.asarray(params, jnp.float32), place=place)
    assert 0.6 < accept_prob.mean() < 0.9
    assert (np.abs(positions - params).mean(axis=0) > 0.05).all()
    assert_means(np.square(positions) / square, np.ones(2), 0.02, axes=1)
    assert_means(nbeta * losses / SINGULAR["cross"][1](nbeta, 1.0), 1, 0.01, axes=1)


@pytest.mark.parametrize("gradient", GRADIENTS[:2])
def test_forces_of_a_batch_are_unbiased_off_a_minimum(gradient):
    problem, kernel = QUADRATIC.problem, HMC(gradient=gradient)
    posterior = LocalPosterior(problem, jnp.full(D, 0.1), nbeta=NBETA, localization=GAMMA, batch_size=BATCH)
    keys, v = jax.random.split(jax.random.key(0), 2**12), jnp.ones(D)
    at = jax.jit(jax.vmap(lambda key, v: kernel._field(posterior, key)(v)[0], in_axes=(0, None)))
    exact = jax.grad(posterior.potential)(v)
    assert_means(at(keys, v) / exact, np.ones(D), 0.05, axes=1)
    if gradient == "control_variate":  # which leaves no noise at the center
        np.testing.assert_allclose(at(keys, 0 * v), np.tile(NBETA * posterior.center_gradient, (2**12, 1)), rtol=1e-5)


@pytest.mark.parametrize("root", [jnp.eye(2), jnp.asarray([[0.5, 0.2], [0.2, 1.5]])], ids=["unit metric", "metric"])
def test_a_trajectory_of_a_batch_runs_backwards_and_keeps_volume(root):
    examples_key, phase_key = jax.random.split(jax.random.key(0))
    field = HMC(gradient="minibatch")._field(make_singular("cross", 144.76, 1.0), examples_key)

    def run(phase):
        end = leapfrog(field, Phase(*phase, *field(phase[0])), jnp.asarray(0.02), 12, lambda v: root @ v)
        return jnp.stack([end.position, end.momentum])

    begin, turn = jax.random.normal(phase_key, (2, 2)), jnp.array([[1.0], [-1.0]])
    end, back, jacobian = jax.jit(lambda phase: (run(phase), run(turn * run(phase)), jax.jacfwd(run)(phase)))(begin)
    assert np.abs(end - begin).min() > 0.1
    np.testing.assert_allclose(turn * back, begin, atol=1e-4)
    jacobian = np.asarray(jacobian, np.float64).reshape(4, 4)
    assert np.abs(jacobian - np.eye(4)).max() > 1
    np.testing.assert_allclose(np.linalg.det(jacobian), 1, atol=1e-3)


def test_a_metric_takes_the_condition_number_away():
    """Steps of the size that the flattest mode allows, and a metric that is paid for with the next trajectory."""
    kernel = HMC(gradient="full", max_leapfrogs=16)
    state = kernel.init(jax.random.key(0), 10, None, (QUADRATIC,), {})
    state = state._replace(steps=jnp.asarray(100), log_step_size=jnp.asarray(-20.0), log_length=jnp.asarray(-20.0))
    place, one = jnp.zeros((1, D)), jnp.asarray(1)
    measured = kernel.with_metric(state, QUADRATIC, place, one)
    # as long as steps were small they grow by no more than thrice
    np.testing.assert_allclose(measured.log_step_size, -20 + np.log(3), rtol=1e-5)
    np.testing.assert_allclose(measured.log_length, np.log(0.5), rtol=1e-5)
    assert measured.steps == 4
    fresh = kernel.with_metric(state._replace(steps=jnp.asarray(0)), QUADRATIC, place, one)
    # a quarter of 2 / √2, since 1 + nβ h̃ under M = I + nβ H is a bound
    np.testing.assert_allclose(jnp.exp(fresh.log_step_size), 0.5 / np.sqrt(2), rtol=1e-3)
    np.testing.assert_allclose(fresh.metric.inverse_root(jnp.ones(D)), 1 / np.sqrt(1 + SCALES), rtol=1e-3)
    first = kernel.sample(fresh, (QUADRATIC,), {})
    second = kernel.sample(first, (QUADRATIC,), {})
    # whole bases, of at least 16 vectors, in three passes, and the products of the largest curvature
    look = 2 * (3 * -(-16 // D) * D + min(16, D)) * N
    assert kernel.evaluations_per_look(QUADRATIC) == look
    assert first.gradient_evaluations > look > 17 * N > second.gradient_evaluations


def test_a_trajectory_to_infinity_is_not_taken():
    kernel = HMC(step_size=1e3, gradient="minibatch", trajectory_length=0.05)
    positions, losses, accept_prob = moved(kernel, QUADRATIC, jnp.full((2**14, D), 0.1, jnp.float32))
    np.testing.assert_array_equal(accept_prob, 0)
    np.testing.assert_allclose(positions, 0.1 * np.sqrt(GAMMA), rtol=1e-6)
    np.testing.assert_allclose(losses, 0.005 * HESSIAN.sum(), rtol=1e-4)
    # XLA may forget that a number is none, in programs of this many
    nowhere = jnp.full((2**12, 2), jnp.nan)
    np.testing.assert_array_equal(jax.jit(lambda change: acceptance(change.sum(axis=1)))(nowhere), 0)
    np.testing.assert_allclose(acceptance(jnp.array([-jnp.inf, -1.0, 0.0, jnp.inf])), [0, np.exp(-1), 1, 1])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"max_leapfrogs": 0}, "max_leapfrogs=0, .*they must be at least 1"),
        ({"trajectory_length": 0.0}, r"trajectory_length=0\.0; they must be .* positive"),
        ({"trajectory_length": np.nan}, "trajectory_length=nan"),
        (
            {"gradient": "anchored"},
            "gradient='anchored'; it must be one of control_variate, minibatch, full here",
        ),
        ({"step_size": -0.1}, r"step_size=-0\.1; it must be a number ≥ 0"),
        ({"target_accept_prob": 0.0}, r"target_accept_prob=0\.0; it must be between 0 and 1"),
        ({"target_accept_prob": 1.5}, r"target_accept_prob=1\.5; it must be between 0 and 1"),
    ],
)
def test_what_is_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        HMC(**settings)
