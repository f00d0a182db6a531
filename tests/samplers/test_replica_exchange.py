"""Replica exchange is exact at every temperature, the prior included, and its ladder adapts in warm-up only."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy.integrate import quad
from scipy.linalg import hadamard

from llc.posterior.gradients import full_estimate
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import ReplicaExchange
from llc.samplers.replica_exchange import Replicas
from llc.zoo.quadrature import product

D, SCALES = 5, np.array([2e4, 2e3, 2e2, 20.0, 1.0])  # nβ h in whitened coordinates
COVARIANCE = np.diag(1 / (1 + SCALES))
NBETA, GAMMA = 50.0, 2.0
# gradients of an example: h w + x, which no kernel of full-data gradients may see
DATA = jnp.asarray(hadamard(8)[:, 1 : D + 1] * 0.5, jnp.float32)
HESSIAN = jnp.asarray(SCALES * GAMMA / NBETA, jnp.float32)
QUADRATIC = LocalPosterior(
    Problem(lambda w, x: 0.5 * jnp.sum(HESSIAN * w**2) + x @ w, DATA), jnp.zeros(D), nbeta=NBETA, localization=GAMMA
)

# losses by the coefficients of their terms, so that they share a program, and nβ E[L]
SINGULAR = {
    "cross": ([0.5, 0.0, 0.0], partial(product, [(1, 1, 0.0)] * 2, 1.0)),
    "flat cross": ([0.0, 0.5, 0.0], partial(product, [(1, 2, 0.0)] * 2, 1.0)),
    "quartic": ([0.0, 0.0, 1.0], lambda nbeta, gamma: 2 * product([(1, 2, 0.0)], 2.0, nbeta, gamma)),
}


def singular(w, x):
    squares = jnp.prod(w**2)
    return x @ jnp.stack([squares, squares**2, jnp.sum(w**4)])


def make_singular(loss, nbeta, gamma):
    problem = Problem(singular, jnp.tile(jnp.array(SINGULAR[loss][0]), (2, 1)))
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


def assert_means(draws, references, precision, axes=2):
    """Each mean over axes (chain, draw), or over independent chains, within 4 of its standard errors."""
    draws = np.asarray(draws, np.float64)
    for values, reference in zip(np.moveaxis(draws.reshape(*draws.shape[:axes], -1), -1, 0), np.ravel(references)):
        error = values.std() / np.sqrt(values.size)
        if axes == 2:
            error = float(array_stats.mcse(values, chain_axis=0, draw_axis=1, method="mean"))
        assert abs(values.mean() - reference) < 4 * error
        assert error < precision


def products(positions, covariance=None):
    """Of all pairs of coordinates, in units in which their means are the identity."""
    modes = np.asarray(positions, np.float64)
    if covariance is not None:
        modes = modes @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    return modes[..., :, None] * modes[..., None, :]


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
    assert_means(products(target, COVARIANCE), np.eye(D), 0.02)
    assert_means(virials / D, 1, 0.01)
    # each chain has a ladder of its own
    nbeta = np.asarray(ladder[1][:, :1], np.float64)
    expected = 0.5 * (1 - 1 / (1 + nbeta[..., None] / NBETA * SCALES)).sum(axis=3)
    assert_means((nbeta * losses)[:, :, 1:] / expected[:, :, 1:], np.ones(15), 0.01)
    assert_means(NBETA * losses[:, :, 0] / (0.5 * SCALES.sum()), 1, 0.01)


@pytest.mark.parametrize(("nbeta", "gamma"), [(144.76, 1.0), (72382.0, 1.0), (1000.0, 100.0)])
@pytest.mark.parametrize("loss", SINGULAR)
def test_singular_losses_at_every_temperature(loss, nbeta, gamma):
    posterior, (_, exact) = make_singular(loss, nbeta, gamma), SINGULAR[loss]
    ladder, positions, losses, virials, *rates = sample(ReplicaExchange(), posterior, 64)
    assert_adapted(posterior, ladder, *rates)
    assert_means(products(positions[:, :, 0]), np.eye(2), 0.01)
    assert_means(virials / 2, 1, 0.01)
    nbetas = np.asarray(ladder[1][:, :1, 1:], np.float64)
    expected = np.vectorize(exact)(nbetas, gamma)
    # near the prior the flat cross is the eighth power of normals
    precision = 0.01 if loss != "flat cross" else 0.02 if gamma == 1 else 0.05
    assert_means(nbetas * losses[:, :, 1:] / expected, np.ones(11), precision)


@pytest.mark.parametrize("temperatures", [(0, 1), (0, 1e-4, 3e-3, 0.05, 1)])
def test_exact_draws_stay_exact_at_every_temperature(temperatures):
    """Without warm-up or a chain's memory: a prior moved by leapfrogs that are always taken shows at once."""
    temperature = jnp.array(temperatures)
    covariances = [np.linalg.inv(s * np.linalg.inv(COVARIANCE) + (1 - s) * np.eye(D)) for s in temperatures]
    kernel, roots = ReplicaExchange(num_replicas=len(temperatures)), jnp.array(np.linalg.cholesky(covariances))
    step_sizes = 1.8 / jnp.sqrt(1 + temperature * SCALES[0])

    @jax.jit
    @jax.vmap
    def chain(key):
        state = kernel.init(key, 0, None, (QUADRATIC,), {})
        position = jnp.einsum("rij,rj->ri", roots, jax.random.normal(key, (len(temperatures), D)))
        losses = jax.vmap(partial(full_estimate, QUADRATIC))(position)
        ladder = state.ladder._replace(temperature=temperature, log_step_size=jnp.log(step_sizes))
        state = state._replace(replicas=Replicas(position, losses), ladder=ladder)
        state = jax.lax.fori_loop(0, 4, lambda _, state: kernel.sample(state, (QUADRATIC,), {}), state)
        return state.replicas.position, state.tempered

    positions, tempered = chain(jax.random.split(jax.random.key(1), 2**14))
    assert (np.abs(tempered.accept_prob[:, 1:].mean(axis=0) - 0.75) < 0.2).all()
    if len(temperatures) > 2:
        assert (tempered.swap_prob.mean(axis=0) > 0.1).all()
    for replica, covariance in enumerate(covariances):
        assert_means(products(positions[:, replica], covariance), np.eye(D), 0.012, axes=1)


@pytest.mark.parametrize("part", [0.0, 0.5], ids=["inf", "nan"])
def test_a_loss_that_overflows_stops_no_replica(part):
    loss = lambda w, xp, part: xp.expm1(w**2) - xp.expm1(part * w**2)
    problem = Problem(lambda w, x: loss(w, jnp, x).ravel(), jnp.full((2, 1), part))
    posterior = LocalPosterior(problem, jnp.zeros(1), nbeta=NBETA, localization=0.0025)
    ladder, _, losses, virials, accept_prob, swap_prob = sample(ReplicaExchange(), posterior, 32)
    assert np.isinf(losses[:, :, 0]).any()  # of the prior as of the first states
    assert np.isfinite(losses[:, :, 1:]).all()
    assert (np.asarray(accept_prob).mean(axis=1) > 0.6).all()
    # no ladder divides the step to where the likelihood is 0
    assert (np.asarray(swap_prob).mean(axis=1) > 0.05).all()

    def exact(nbeta):
        density = lambda w: np.exp(-nbeta * loss(w, np, part) - 0.00125 * w**2)
        total, mean = (
            quad(f, 0, 9.4, epsabs=0, limit=200)[0] for f in (density, lambda w: loss(w, np, part) * density(w))
        )
        return mean / total

    nbetas = np.asarray(ladder[1][:, 0, -6:], np.float64)
    assert_means(losses[:, :, -6:] / np.vectorize(exact)(nbetas)[:, None], np.ones(6), 0.02)
    assert_means(virials, 1, 0.02)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_replicas": 1}, "num_replicas=1; it must be at least 2: the localised prior and the target"),
        ({"num_replicas": 0}, "num_replicas=0; it must be at least 2"),
        ({"num_leapfrogs": 0}, "num_leapfrogs=0; it must be at least 1"),
        ({"step_size": -0.1}, r"step_size=-0\.1; it must be a number ≥ 0"),
        ({"target_accept_prob": 1.0}, r"target_accept_prob=1\.0; it must be between 0 and 1"),
    ],
)
def test_what_is_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        ReplicaExchange(**settings)
