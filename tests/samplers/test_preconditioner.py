"""Preconditioners: 1 where the loss is flat, right where it is not, adapting in warm-up only; and what is refused."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.draws.draw import draw
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import SGHMC, SGLD, SGNHT, PreconditionedSGLD, UnderdampedLangevin
from llc.samplers.preconditioner import adapt, first_preconditioner

NBETA, GAMMA = 50.0, 2.0
CURVATURE = np.array([500.0, 20.0, 1.0, 0.0])  # nβ h in whitened coordinates
HESSIAN = jnp.asarray(CURVATURE * GAMMA / NBETA, jnp.float32)
POSTERIOR = LocalPosterior(
    Problem(lambda w, x: jnp.full(len(x), 0.5 * jnp.sum(HESSIAN * w**2)), jnp.zeros(8)),
    jnp.zeros(4),
    nbeta=NBETA,
    localization=GAMMA,
)
KERNELS = [PreconditionedSGLD, SGHMC, SGNHT, UnderdampedLangevin]
ADAPTIVE, NAMES = ["rmsprop", "adam"], ["rmsprop", "adam", "curvature", "identity"]


@eqx.filter_jit
def walk(kernel, num_warmup, num_steps, num_chains=1):
    """The last states of chains."""

    def chain(key):
        step = lambda _, state: kernel.sample(state, (POSTERIOR,), {})
        return jax.lax.fori_loop(0, num_steps, step, kernel.init(key, num_warmup, None, (POSTERIOR,), {}))

    return jax.vmap(chain)(jax.random.split(jax.random.key(0), num_chains))


@pytest.mark.parametrize("name", NAMES)
def test_a_flat_loss_is_not_preconditioned(name):
    flat = LocalPosterior(Problem(lambda w, x: jnp.ones(len(x)) + 0 * w.sum(), jnp.zeros(8)), jnp.zeros(4))
    state = adapt(first_preconditioner(flat, name), name, flat.center_gradient, jnp.asarray(True))
    np.testing.assert_array_equal(state.diagonal * np.ones(4), np.ones(4))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_before_any_gradient_nothing_is_preconditioned(name):
    np.testing.assert_array_equal(first_preconditioner(POSTERIOR, name).diagonal, np.ones(4))


def test_curvature_is_that_of_each_coordinate():
    state = SGHMC(step_size=0.01, preconditioner="curvature").init(jax.random.key(0), 0, None, (POSTERIOR,), {})
    np.testing.assert_allclose(state.preconditioner.diagonal, 1 / (1 + CURVATURE), rtol=1e-5)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_start_at_zero_is_corrected_for(name):
    gradient, state = jnp.array([0.0, 1.0, -9.0, 99.0]), first_preconditioner(POSTERIOR, name)
    for _ in range(3):
        state = adapt(state, name, gradient, jnp.asarray(True))
        np.testing.assert_allclose(state.diagonal, [1.0, 0.5, 0.1, 0.01], rtol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS[1:])
def test_momentum_starts_at_the_right_temperature(kernel):
    kernel = kernel(step_size=0.1, preconditioner=np.array([1e-4, 0.01, 1.0, 1.0]))
    start = jax.vmap(lambda key: kernel.init(key, 0, None, (POSTERIOR,), {}).momentum)
    energies = np.square(np.asarray(start(jax.random.split(jax.random.key(0), 4000)), np.float64))
    assert (np.abs(energies.mean(axis=0) - 1) < 4 * np.sqrt(2 / 4000)).all()


@pytest.mark.parametrize("name", ADAPTIVE)
def test_second_moments_are_those_of_equilibrium(name):
    num_warmup = 20_000 if name == "adam" else 5000
    kernel = UnderdampedLangevin(step_size=0.05, gradient="full", preconditioner=name)
    state = walk(kernel, num_warmup, num_warmup, 256)
    assert (state.warmup_left == 0).all()
    moments = np.asarray(state.preconditioner.moment / state.preconditioner.weight[:, None], np.float64)
    errors = moments.std(axis=0) / np.sqrt(len(moments))
    # E[(nβ ∂L)²] = k² / (1 + k), whatever the preconditioner was meanwhile
    reference = CURVATURE**2 / (1 + CURVATURE)
    assert (np.abs(moments.mean(axis=0) - reference) <= 4 * errors).all()
    assert (errors <= 0.1 * reference).all()
    np.testing.assert_allclose(state.preconditioner.diagonal, 1 / (1 + np.sqrt(moments)), rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_adapts_in_warmup_only(kernel):
    kernel = kernel(step_size=0.01, preconditioner="rmsprop")
    step = eqx.filter_jit(lambda state: kernel.sample(state, (POSTERIOR,), {}))
    state = kernel.init(jax.random.key(0), 3, None, (POSTERIOR,), {})
    assert state.warmup_left.dtype == jnp.int32
    diagonals, left = [state.preconditioner.diagonal], [int(state.warmup_left)]
    for _ in range(5):
        state = step(state)
        diagonals.append(state.preconditioner.diagonal)
        left.append(int(state.warmup_left))
    assert left == [3, 2, 1, 0, 0, 0]
    changed = [not np.array_equal(*pair) for pair in itertools.pairwise(diagonals)]
    assert changed == [True, True, True, False, False]
    assert (diagonals[-1] <= 1).all()
    # calibration may end the warm-up, or go on with it
    frozen = step(state._replace(warmup_left=jnp.asarray(0, jnp.int32)))
    going_on = step(state._replace(warmup_left=jnp.asarray(10**6, jnp.int32)))
    np.testing.assert_array_equal(frozen.preconditioner.diagonal, diagonals[-1])
    assert not np.array_equal(going_on.preconditioner.diagonal, diagonals[-1])


def test_without_a_preconditioner_it_is_sgld():
    plain, preconditioned = SGLD(step_size=0.01), PreconditionedSGLD(step_size=0.01, preconditioner="identity")
    plain, preconditioned = walk(plain, 2, 20), walk(preconditioned, 2, 20)
    np.testing.assert_allclose(preconditioned.position, plain.position, rtol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_step_stays_where_it_is(kernel):
    state = walk(kernel(step_size=0.0, gradient="anchored", preconditioner="rmsprop"), 2, 4)
    np.testing.assert_array_equal(state.position, np.zeros((1, 4)))


def test_a_ladder_of_step_sizes_is_drawn_and_its_settings_recorded():
    kernel = SGNHT(step_size=[0.02, 0.01], preconditioner="curvature")
    tree = draw(kernel, POSTERIOR, num_warmup=2, num_draws=3, progress=False)
    losses = tree.sample_stats["loss_difference"].to_numpy()
    assert losses.shape == (2, 4, 3)
    assert len(np.unique(losses)) == losses.size
    assert tree.attrs["kernel_preconditioner"] == "curvature"
    assert tree.attrs["kernel_friction"] == 1.0


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_refused(kernel):
    key = jax.random.key(0)
    name = kernel.__name__
    with pytest.raises(ValueError, match=rf"{name}\(\) has no step_size; give one below"):
        kernel().init(key, 0, None, (POSTERIOR,), {})
    with pytest.raises(ValueError, match="gradient='exact'; it must be one of control_variate"):
        kernel(step_size=0.1, gradient="exact")
    with pytest.raises(ValueError, match="preconditioner='adagrad'; it must be one of rmsprop, adam, curvature"):
        kernel(step_size=0.1, preconditioner="adagrad")
    for diagonal in ([1.0, 0.0, 1.0, 1.0], [1.0, np.nan], [-1.0], [], np.ones((2, 2)), 1.0):
        with pytest.raises(ValueError, match=r"preconditioner is an array of shape .* an array of d positive numbers"):
            kernel(step_size=0.1, preconditioner=diagonal)
    with pytest.raises(ValueError, match="preconditioner has 3 entries; give one for each of the d=4 free parameters"):
        kernel(step_size=0.1, preconditioner=np.ones(3)).init(key, 0, None, (POSTERIOR,), {})


@pytest.mark.parametrize("friction", [-1.0, 0.0, np.nan, np.inf, np.ones(2), jnp.array(-1.0)])
@pytest.mark.parametrize("kernel", KERNELS[1:])
def test_frictions_that_are_none(kernel, friction):
    with pytest.raises(ValueError, match="it must be a positive number"):
        kernel(step_size=0.1, friction=friction)
