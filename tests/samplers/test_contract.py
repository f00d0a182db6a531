"""What every kernel promises, whichever it is."""

import collections

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC
from numpyro.infer.mcmc import MCMCKernel

from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.samplers import MALA, NUTS, SGLD
from llc.samplers.langevin import Kernel

N, STEP = 24, 0.02
CENTER = {"layers": [{"w": jnp.full((2, 3), 0.3)}, (jnp.full(3, -0.4), 0.2)]}
GRADIENTS = ["full", "minibatch", "control_variate", "anchored"]
KERNELS = {gradient: lambda step_size, g=gradient: SGLD(step_size=step_size, gradient=g) for gradient in GRADIENTS}
KERNELS |= {"MALA": lambda step_size: MALA(step_size=step_size)}
KERNELS |= {"NUTS": lambda step_size: NUTS(step_size=step_size, max_tree_depth=3)}

traces = collections.Counter()


def loss_fn(params, batch):
    traces.update(["loss"])
    (layer, (out, bias)), (x, y) = params["layers"], batch
    return 0.5 * jnp.square(jnp.tanh(x @ layer["w"]) @ out + bias - y)


def make_posterior(seed=0, center=CENTER):
    inputs, targets = (jax.random.normal(jax.random.key(seed + i), shape) for i, shape in enumerate([(N, 2), (N,)]))
    return LocalPosterior(Problem(loss_fn, (inputs, targets)), center, localization=2.0, batch_size=4)


POSTERIOR = make_posterior()


@eqx.filter_jit
def start(kernel, posterior, key):
    return kernel.init(key, 4, None, (posterior,), {})


@eqx.filter_jit
def walk(kernel, posterior, state, num_steps):
    return jax.lax.fori_loop(0, num_steps, lambda _, s: kernel.sample(s, (posterior,), {}), state)


def run(kernel, posterior, key, num_steps):
    return walk(kernel, posterior, start(kernel, posterior, key), jnp.asarray(num_steps))


@pytest.fixture(params=KERNELS, scope="module")
def make(request):
    return KERNELS[request.param]


def assert_same(one, other, **tolerance):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=tolerance.get("rtol", 0), atol=tolerance.get("atol", 0))


def test_it_runs_alone_in_numpyro(make):
    kernel = make(STEP)
    assert isinstance(kernel, MCMCKernel)
    assert isinstance(kernel, Kernel)
    mcmc = MCMC(kernel, num_warmup=4, num_samples=6, progress_bar=False)
    mcmc.run(jax.random.key(0), POSTERIOR)
    samples = mcmc.get_samples()
    assert jax.tree.structure(samples) == jax.tree.structure(CENTER)
    for leaf, center in zip(jax.tree.leaves(samples), jax.tree.leaves(CENTER), strict=True):
        assert leaf.shape == (6, *jnp.shape(center))
    last = POSTERIOR.whiten(jax.tree.map(lambda leaf: leaf[-1], samples))
    np.testing.assert_allclose(last, mcmc.last_state.position, atol=1e-5)


def test_one_compilation_for_other_step_sizes_keys_centers_and_data(make):
    key = jax.random.key(0)
    traces.clear()
    others = [make_posterior(7), make_posterior(center=jax.tree.map(lambda w: 2 * w, CENTER))]
    assert traces["loss"] > 0  # the counter counts
    states = [run(make(STEP), POSTERIOR, key, 3)]
    traces.clear()
    states += [run(make(STEP), posterior, key, 3) for posterior in others]
    states += [run(make(STEP / 2), POSTERIOR, key, 3), run(make(STEP), POSTERIOR, jax.random.key(1), 3)]
    assert traces["loss"] == 0
    # and none of them was answered with another's
    assert len({float(state.position[0]) for state in states}) == len(states)


def test_a_restart_continues_bit_for_bit(make):
    kernel, key = make(STEP), jax.random.key(3)
    undisturbed = run(kernel, POSTERIOR, key, 15)
    saved = jax.tree.map(jnp.array, run(kernel, POSTERIOR, key, 7))
    assert_same(walk(kernel, POSTERIOR, saved, jnp.asarray(8)), undisturbed)
    assert not np.array_equal(saved.position, undisturbed.position)


def test_vmap_gives_what_chains_alone_give(make):
    kernel = make(STEP)
    states = [start(kernel, POSTERIOR, key) for key in jax.random.split(jax.random.key(4), 3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    together = eqx.filter_jit(eqx.filter_vmap(walk, in_axes=(None, None, 0, None)))(kernel, POSTERIOR, stacked, jnp.asarray(3))
    alone = [walk(kernel, POSTERIOR, state, jnp.asarray(3)).position for state in states]
    np.testing.assert_allclose(together.position, alone, rtol=1e-3, atol=1e-4)


def test_it_measures_what_it_says(make):
    kernel = make(STEP)
    before = run(kernel, POSTERIOR, jax.random.key(5), 7)
    state = walk(kernel, POSTERIOR, before, jnp.asarray(1))
    where = state if kernel.records_full_loss else before
    loss, gradient = jax.value_and_grad(POSTERIOR.potential)(where.position)
    assert state.virial.shape == (3,)
    if kernel.records_full_loss or kernel.gradient == "full":
        np.testing.assert_allclose(state.loss_difference, POSTERIOR.loss_difference(where.position), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(state.virial.sum(), where.position @ gradient, rtol=1e-3)
        assert state.gradient_evaluations % N == 0
        assert state.gradient_evaluations > 0
    else:
        per_example = {"minibatch": 1, "control_variate": 2, "anchored": 3}[kernel.gradient]
        assert state.gradient_evaluations == 4 * per_example


@pytest.mark.parametrize("step_size", [-1.0, np.nan, np.inf, [], [[0.1]]])
@pytest.mark.parametrize("kernel", [SGLD, MALA, NUTS])
def test_step_sizes_that_are_none(kernel, step_size):
    with pytest.raises(ValueError, match="it must be a number ≥ 0 without unit"):
        kernel(step_size=step_size)


def test_what_sgld_cannot_do():
    with pytest.raises(ValueError, match="gradient='exact'; it must be one of control_variate, anchored, minibatch, full"):
        SGLD(step_size=0.1, gradient="exact")
    with pytest.raises(ValueError, match=r"SGLD\(\) has no step_size; give one below"):
        start(SGLD(), POSTERIOR, jax.random.key(0))
