"""Replica exchange is exact at every temperature, the prior included, and its ladder adapts in warm-up only."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

from llc.posterior.gradients import full_estimate
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import ReplicaExchange
from llc.samplers.replica_exchange import Replicas
from llc.zoo.quadrature import product
from tests.samplers import noisy_batches
from tests.samplers.moments import assert_means, products

D, SCALES = 5, np.array([2e4, 2e3, 2e2, 20.0, 1.0])  # nβ h in whitened coordinates
NBETA, GAMMA = 50.0, 2.0
# gradients of an example: h w + x, which no kernel of full-data gradients may see
DATA = jnp.asarray(hadamard(8)[:, 1 : D + 1] * 0.5, jnp.float32)
HESSIAN = jnp.asarray(SCALES * GAMMA / NBETA, jnp.float32)
QUADRATIC = LocalPosterior(
    Problem(lambda w, x: 0.5 * jnp.sum(HESSIAN * w**2) + x @ w, DATA), jnp.zeros(D), nbeta=NBETA, localization=GAMMA
)

# losses by the coefficients of their terms, so that they share a program, and nβ E[L]
SINGULAR = {
    "cross": ([0.5, 0.0, 0.0, 0.0, 0.0], partial(product, [(1, 1, 0.0)] * 2, 1.0)),
    "flat cross": ([0.0, 0.5, 0.0, 0.0, 0.0], partial(product, [(1, 2, 0.0)] * 2, 1.0)),
    "quartic": ([0.0, 0.0, 1.0, 0.0, 0.0], lambda nbeta, gamma: 2 * product([(1, 2, 0.0)], 2.0, nbeta, gamma)),
}


def overflowing(square, part, xp=jnp):
    return xp.expm1(square) - xp.expm1(part * square)


def singular(w, x):
    squares, part = jnp.square(w), x[0, 4]
    crossed = squares[0] * squares[1]
    return x[:, :4] @ jnp.stack([crossed, crossed**2, jnp.sum(squares**2), overflowing(squares[0], part)])


def make_singular(coefficients, nbeta, gamma):
    problem = Problem(singular, jnp.tile(jnp.array(coefficients), (2, 1)))
    return LocalPosterior(problem, jnp.zeros(2), nbeta=nbeta, localization=gamma)


@eqx.filter_jit
def sample(kernel, posterior, num_chains, num_warmup=500, num_draws=500, thinning=5):
    """Of (chain, draw, …) the ladders, the prior's and the target's positions, and means of what a step measures."""

    def measured(state):
        tempered = state.tempered
        return tempered.loss_difference, state.virial[0], tempered.accept_prob, tempered.swap_prob

    def step(_, carry):
        state, totals = carry
        state = kernel.sample(state, (posterior,), {})
        return state, jax.tree.map(lambda total, new: total + new / thinning, totals, measured(state))

    def draw(state, _):
        state, means = jax.lax.fori_loop(0, thinning, step, (state, jax.tree.map(jnp.zeros_like, measured(state))))
        ladder = state.ladder.temperature, state.tempered.nbeta, state.ladder.log_step_size
        return state, (ladder, state.replicas.position[jnp.array([0, -1])], *means)

    def chain(key):
        state, skip = kernel.init(key, num_warmup, None, (posterior,), {}), num_warmup // thinning
        record = jax.lax.scan(draw, state, length=skip + num_draws)[1]
        return jax.tree.map(lambda leaf: leaf[skip:], record)

    return jax.vmap(chain)(jax.random.split(jax.random.key(0), num_chains))


def assert_adapted(posterior, ladder, accept_prob, swap_prob):
    """The ladders, frozen: from the prior to the target, swaps equally likely, trajectories taken as often as asked."""
    for leaf in ladder:
        assert (leaf == leaf[:, :1]).all()
    temperature, nbeta, log_step_size = ladder
    assert (temperature[:, :, 0] == 0).all()
    assert (nbeta[:, :, -1] == posterior.nbeta).all()
    assert (np.diff(nbeta) > 0).all()
    # each chain adapted to what it saw
    assert all(len(np.unique(leaf[:, 0, 1])) == len(leaf) for leaf in (temperature, log_step_size))
    np.testing.assert_allclose(accept_prob[:, :, 0], 1, rtol=1e-6)
    accept_prob, swap_prob = accept_prob.mean(axis=1)[:, 1:], swap_prob.mean(axis=1)
    np.testing.assert_allclose(accept_prob.mean(axis=0), ReplicaExchange().target_accept_prob, atol=0.03)
    assert (accept_prob > 0.6).all()
    assert (swap_prob > 0.2).all()
    assert (swap_prob.max(axis=1) < 1.5 * swap_prob.min(axis=1)).all()


def test_a_quadratic_at_every_temperature():
    ladder, positions, losses, virials, *rates = sample(ReplicaExchange(), QUADRATIC, 32)
    assert_adapted(QUADRATIC, ladder, *rates)
    prior, target = np.moveaxis(positions, 2, 0)
    assert_means(prior, np.zeros(D), 0.02)
    assert_means(products(prior), np.eye(D), 0.02)
    assert_means(products(target * np.sqrt(1 + SCALES)), np.eye(D), 0.02)
    assert_means(virials / D, 1, 0.01)
    # each chain has a ladder of its own
    nbeta = np.asarray(ladder[1][:, :1], np.float64)
    expected = 0.5 * (1 - 1 / (1 + nbeta[..., None] / NBETA * SCALES)).sum(axis=3)
    assert_means((nbeta * losses)[:, :, 1:] / expected[:, :, 1:], np.ones(15), 0.01)
    assert_means(NBETA * losses[:, :, 0] / (0.5 * SCALES.sum()), 1, 0.01)


@pytest.mark.parametrize(("nbeta", "gamma"), [(144.76, 1.0), (72382.0, 1.0), (1000.0, 100.0)])
@pytest.mark.parametrize("loss", SINGULAR)
def test_singular_losses_at_every_temperature(loss, nbeta, gamma):
    coefficients, exact = SINGULAR[loss]
    posterior = make_singular(coefficients, nbeta, gamma)
    ladder, positions, losses, virials, *rates = sample(ReplicaExchange(), posterior, 32)
    assert_adapted(posterior, ladder, *rates)
    assert_means(products(positions[:, :, 0]), np.eye(2), 0.015)
    assert_means(virials / 2, 1, 0.015)
    nbetas = np.asarray(ladder[1][:, :1, 1:], np.float64)
    expected = np.vectorize(exact)(nbetas, gamma)
    # near the prior the flat cross is the eighth power of normals
    precision = 0.015 if loss != "flat cross" else 0.03 if gamma == 1 else 0.07
    assert_means(nbetas * losses[:, :, 1:] / expected, np.ones(11), precision)


@pytest.mark.parametrize(
    ("posterior", "gradient", "length", "least", "most"),
    # of a batch the coldest, which feel its noise the most, are refused the most
    [
        (QUADRATIC, "full", 2.4, 0.5, 0.9),
        (noisy_batches.make_quadratic(1e4 * noisy_batches.NOISE), "minibatch", 1.0, 0.4, 0.95),
    ],
    ids=["all data", "a batch"],
)
def test_exact_draws_stay_exact_at_every_temperature(posterior, gradient, length, least, most):
    """Whatever warm-up and mixing do: a prior moved by leapfrogs that are always taken shows at once."""
    temperature = jnp.array([0.0, 1e-4, 4e-4, 1e-3, 2.5e-3])
    scales = 1 / jnp.sqrt(1 + temperature[:, None] * SCALES)

    kernel = ReplicaExchange(num_replicas=5, gradient=gradient)

    def chain(key):
        state = kernel.init(key, 0, None, (posterior,), {})
        position = scales * jax.random.normal(key, scales.shape)
        losses = jax.vmap(partial(full_estimate, posterior))(position)
        ladder = state.ladder._replace(temperature=temperature, log_step_size=jnp.log(length * scales[:, 0]))
        state = state._replace(position=position[-1], replicas=Replicas(position, losses), ladder=ladder)
        state = jax.lax.fori_loop(0, 4, lambda _, state: kernel.sample(state, (posterior,), {}), state)
        return state.replicas.position / scales, state.replicas.loss.loss_difference, state.tempered, state.virial[0]

    # in batches, since jax 0.10.2 adds up more rows wrongly on CPU (jax-ml/jax#39103)
    in_batches = jax.jit(lambda keys: jax.lax.map(chain, keys, batch_size=2**9))
    positions, losses, tempered, virials = in_batches(jax.random.split(jax.random.key(1), 2**14))
    accept_prob = tempered.accept_prob[:, 1:].mean(axis=0)
    assert least < accept_prob.min() < accept_prob.max() < most
    assert (np.abs(tempered.swap_prob.mean(axis=0) - 0.7) < 0.2).all()
    assert_means(products(positions), np.tile(np.eye(D), (5, 1, 1)), 0.012, axes=1)
    # the losses that are tested and swapped by are those of all the data, whatever the forces
    expected = 0.5 * (SCALES / (1 + np.asarray(temperature, float)[:, None] * SCALES)).sum(axis=1) / NBETA
    assert_means(losses / expected, np.ones(5), 0.012, axes=1)
    assert_means(virials / D, 1, 0.012, axes=1)


@pytest.mark.parametrize(("nbeta", "gamma"), [(144.76, 1.0), (72382.0, 1.0)])
@pytest.mark.parametrize("loss", noisy_batches.SINGULAR)
def test_singular_losses_by_forces_of_a_batch(loss, nbeta, gamma):
    posterior, exact = noisy_batches.make_singular(loss, nbeta, gamma), noisy_batches.SINGULAR[loss][1]
    kernel = ReplicaExchange(gradient="minibatch")
    ladder, positions, losses, virials, accept_prob, swap_prob = sample(kernel, posterior, 32)
    assert_means(products(positions[:, :, 0]), np.eye(2), 0.015)
    nbetas = np.asarray(ladder[1][:, :1, 1:], np.float64)
    expected = np.vectorize(exact)(nbetas, gamma)
    assert_means(nbetas * losses[:, :, 1:] / expected, np.ones(11), 0.04)
    assert_means(virials / 2, 1, 0.04)
    assert (swap_prob.mean(axis=1) > 0.2).all()
    # steps are short enough for the batch's error, and no shorter than the leapfrog's and that ask for
    mean = accept_prob.mean(axis=(0, 1))[1:]
    assert (mean > 0.35).all()
    assert (mean < kernel.target_accept_prob + 0.1).all()


def test_what_a_step_costs():
    noisy = noisy_batches.QUADRATIC
    costs = {
        gradient: ReplicaExchange(num_replicas=5, num_leapfrogs=3, gradient=gradient).evaluations_per_step(noisy)
        for gradient in ("full", "minibatch", "control_variate")
    }
    # forces, which all data keep from the last step and a batch does not; a loss for a third of a force; a control
    assert costs == {"full": 5 * 3 * 8, "minibatch": 5 * (4 * 4 + 2), "control_variate": 5 * (4 * 4 + 2) + 4}


@pytest.mark.parametrize("part", [0.0, 0.5], ids=["inf", "nan"])
def test_a_loss_that_overflows_stops_no_replica(part):
    gamma = 0.0025
    posterior = make_singular([0.0, 0.0, 0.0, 1.0, part], NBETA, gamma)
    ladder, _, losses, virials, accept_prob, swap_prob = sample(ReplicaExchange(), posterior, 32)
    assert np.isinf(losses[:, :, 0]).any()  # of the prior, and of the first states of others
    assert np.isfinite(losses[:, :, 1:]).all()
    assert (accept_prob.mean(axis=1) > 0.6).all()
    # where the likelihood is 0 no ladder helps
    assert (swap_prob.mean(axis=1)[:, 0] > 0.05).all()
    assert (swap_prob.mean(axis=1)[:, 1:] > 0.2).all()

    def exact(nbeta):
        w = np.linspace(0, 9.4, 10_001)
        weights = np.exp(-nbeta * overflowing(w**2, part, np) - gamma / 2 * w**2)
        return np.average(overflowing(w**2, part, np), weights=weights)

    nbetas = np.asarray(ladder[1][:, 0, -6:], np.float64)
    assert_means(losses[:, :, -6:] / np.vectorize(exact)(nbetas)[:, None], np.ones(6), 0.02)
    assert_means(virials / 2, 1, 0.02)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_replicas": 1}, "num_replicas=1; it must be at least 2: the localised prior and the target"),
        ({"num_replicas": 0}, "num_replicas=0; it must be at least 2"),
        ({"num_leapfrogs": 0}, "num_leapfrogs=0; it must be at least 1"),
        ({"step_size": -0.1}, r"step_size=-0\.1; it must be a number ≥ 0"),
        ({"target_accept_prob": 1.0}, r"target_accept_prob=1\.0; it must be between 0 and 1"),
        ({"gradient": "anchored"}, "gradient='anchored'; it must be one of control_variate, minibatch, full here"),
    ],
)
def test_what_is_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        ReplicaExchange(**settings)
