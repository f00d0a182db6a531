"""What every kernel promises, whichever it is."""

import collections

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC
from numpyro.infer.mcmc import MCMCKernel

from llc.posterior.gradients import check_gradient
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import (
    HMC,
    MALA,
    NUTS,
    SGHMC,
    SGLD,
    SGNHT,
    PreconditionedSGLD,
    ReplicaExchange,
    UnderdampedLangevin,
)

N, STEP, KEY = 24, 0.02, jax.random.key(0)
CENTER = {"layers": [{"w": jnp.full((2, 3), 0.3)}, (jnp.full(3, -0.4), 0.2)]}
GRADIENTS = ["full", "minibatch", "control_variate", "anchored"]
KERNELS = {gradient: lambda step_size, g=gradient: SGLD(step_size=step_size, gradient=g) for gradient in GRADIENTS}
KERNELS |= {
    "PreconditionedSGLD": lambda step_size: PreconditionedSGLD(step_size=step_size),
    "PreconditionedSGLD anchored": lambda step_size: PreconditionedSGLD(step_size, "anchored", np.full(10, 0.5)),
    "SGHMC": lambda step_size: SGHMC(step_size=step_size, gradient="anchored"),
    "SGNHT": lambda step_size: SGNHT(step_size=step_size, gradient="anchored", preconditioner="adam"),
    "UnderdampedLangevin": lambda step_size: UnderdampedLangevin(step_size=step_size, preconditioner="curvature"),
    "UnderdampedLangevin anchored": lambda step_size: UnderdampedLangevin(step_size=step_size, gradient="anchored"),
}
KERNELS |= {"MALA": lambda step_size: MALA(step_size=step_size)}
KERNELS |= {"NUTS": lambda step_size: NUTS(step_size=step_size, max_tree_depth=3)}
KERNELS |= {"HMC": lambda step_size: HMC(step_size=step_size, gradient="full", max_leapfrogs=4)}
KERNELS |= {"ReplicaExchange": lambda step_size: ReplicaExchange(step_size, 3, num_leapfrogs=2, gradient="full")}

traces = collections.Counter()


def loss_fn(params, batch):
    traces.update(["loss"])
    (layer, (out, bias)), (x, y) = params["layers"], batch
    return 0.5 * jnp.square(jnp.tanh(x @ layer["w"]) @ out + bias - y)


def make_posterior(seed=0, center=CENTER):
    inputs, targets = (jax.random.normal(jax.random.key(seed + i), shape) for i, shape in enumerate([(N, 2), (N,)]))
    return LocalPosterior(Problem(loss_fn, (inputs, targets)), center, localization=2.0, batch_size=4)


POSTERIOR = make_posterior()


def start(kernel, posterior, keys):
    states = [kernel.init(key, 4, None, (posterior,), {}) for key in keys]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


@eqx.filter_jit
def walk(kernel, posterior, states, num_steps):
    """So many steps of each chain, their number being traced."""
    step = lambda _, state: kernel.sample(state, (posterior,), {})
    return eqx.filter_vmap(lambda state: jax.lax.fori_loop(0, num_steps, step, state))(states)


def run(kernel, key=KEY, num_steps=6):
    return walk(kernel, POSTERIOR, start(kernel, POSTERIOR, jax.random.split(key, 2)), jnp.asarray(num_steps))


@pytest.fixture(params=KERNELS, scope="module")
def make(request):
    return KERNELS[request.param]


def test_it_runs_alone_in_numpyro_as_it_does_among_others(make):
    kernel, key = make(STEP), jax.random.split(KEY, 2)[0]
    assert isinstance(kernel, MCMCKernel)
    mcmc = MCMC(kernel, num_warmup=4, num_samples=2, progress_bar=False)
    mcmc.run(key, POSTERIOR)
    samples = mcmc.get_samples()
    assert jax.tree.structure(samples) == jax.tree.structure(CENTER)
    for leaf, center in zip(jax.tree.leaves(samples), jax.tree.leaves(CENTER), strict=True):
        assert leaf.shape == (2, *jnp.shape(center))
    last = POSTERIOR.whiten(jax.tree.map(lambda leaf: leaf[-1], samples))
    np.testing.assert_allclose(last, mcmc.last_state.position, atol=1e-5)
    np.testing.assert_allclose(last, run(kernel).position[0], rtol=1e-3, atol=1e-4)


def test_one_compilation_for_other_step_sizes_keys_centers_and_data(make):
    traces.clear()
    others = [make_posterior(7), make_posterior(center=jax.tree.map(lambda w: 2 * w, CENTER))]
    POSTERIOR.problem.losses(CENTER, POSTERIOR.problem.take(np.arange(2)))
    assert traces["loss"] > 0  # the counter counts
    state, six = start(make(STEP), POSTERIOR, jax.random.split(KEY, 2)), jnp.asarray(6)
    elsewhere = start(make(STEP), POSTERIOR, jax.random.split(jax.random.key(1), 2))
    ends = [walk(make(STEP), POSTERIOR, state, six)]
    traces.clear()
    ends += [walk(make(STEP), posterior, state, six) for posterior in others]
    ends += [walk(make(STEP / 2), POSTERIOR, state, six), walk(make(STEP), POSTERIOR, elsewhere, six)]
    assert traces["loss"] == 0
    # and none of them was answered with another's; kernels that adapt their step size have it in their state
    different = len({float(end.loss_difference[0]) for end in ends})
    assert different == len(ends) - isinstance(make(STEP), NUTS | HMC | ReplicaExchange)


def test_a_restart_continues_bit_for_bit(make):
    undisturbed = run(make(STEP), num_steps=15)
    saved = jax.tree.map(jnp.array, run(make(STEP), num_steps=7))
    continued = walk(make(STEP), POSTERIOR, saved, jnp.asarray(8))
    assert not np.array_equal(saved.position, undisturbed.position)
    assert jax.tree.structure(continued) == jax.tree.structure(undisturbed)
    for leaf, reference in zip(jax.tree.leaves(continued), jax.tree.leaves(undisturbed), strict=True):
        np.testing.assert_array_equal(*(jax.random.key_data(x) if is_key(x) else x for x in (leaf, reference)))


def is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def test_it_measures_what_it_says(make):
    kernel, before = make(STEP), run(make(STEP))
    state = walk(kernel, POSTERIOR, before, jnp.asarray(1))
    # SGLD looks where it stood, kernels of a full loss where they went; a batch's forces are those of where they stood
    v = (state if kernel.records_full_loss else before).position[0]
    assert state.virial.shape == (2, 3)
    if kernel.records_full_loss or kernel.gradient == "full":
        np.testing.assert_allclose(state.loss_difference[0], POSTERIOR.loss_difference(v), rtol=1e-3, atol=1e-6)
        v = before.position[0] if kernel.virial_late else v
        slopes = v * jax.grad(POSTERIOR.potential)(v)
        np.testing.assert_allclose(
            state.virial[0], [slopes[:6].sum(), slopes[6:9].sum(), slopes[9]], rtol=1e-3, atol=1e-4
        )
        assert (state.gradient_evaluations >= N).all()
        assert (state.gradient_evaluations % N == (N // 3 if isinstance(kernel, HMC) else 0)).all()
    else:
        per_example = {"minibatch": 1, "control_variate": 2, "anchored": 3}[kernel.gradient]
        np.testing.assert_array_equal(state.gradient_evaluations, 4 * per_example)


@pytest.mark.parametrize("step_size", [-1.0, jnp.array(-1.0), np.nan, np.inf, [], np.ones((1, 1))])
@pytest.mark.parametrize(
    "kernel", [SGLD, PreconditionedSGLD, SGHMC, SGNHT, UnderdampedLangevin, MALA, NUTS, HMC, ReplicaExchange]
)
def test_step_sizes_that_are_none(kernel, step_size):
    with pytest.raises(ValueError, match="it must be a number ≥ 0"):
        kernel(step_size=step_size)


def test_what_sgld_cannot_do():
    with pytest.raises(
        ValueError, match="gradient='exact'; it must be one of control_variate, anchored, minibatch, full"
    ):
        check_gradient("exact")
    with pytest.raises(ValueError, match=r"SGLD\(\) has no step_size; give one below"):
        SGLD().init(KEY, 0, None, (POSTERIOR,), {})
