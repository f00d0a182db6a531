"""What sampling needs is known before it is compiled, refused where it does not fit, and told where memory ran out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.draws import draw as module
from llc.draws import room as room_module
from llc.draws.memory import OutOfMemory, free_memory, is_out_of_memory
from llc.draws.programs import CAPACITY, PAST

SGLD = llc.samplers.SGLD(step_size=1e-5)
GENERATOR = np.random.default_rng(0)


def layered(params, x):
    for w in params:
        x = jnp.tanh(x @ w)
    return x


def posterior_of(widths, n=300, batch_size=64):
    weights = [jnp.asarray(GENERATOR.standard_normal(shape), jnp.float32) / 8 for shape in itertools.pairwise(widths)]
    x, y = (jnp.asarray(GENERATOR.standard_normal((n, width)), jnp.float32) for width in (widths[0], widths[-1]))
    return llc.LocalPosterior(llc.Problem.supervised(layered, llc.Gaussian(), x, y), weights, batch_size=batch_size)


@pytest.fixture(scope="module")
def wide():
    """Mostly parameters."""
    return posterior_of((64, 256, 256, 8))


@pytest.fixture(scope="module")
def deep():
    """Mostly intermediates."""
    return posterior_of((32,) * 9, n=2000, batch_size=512)


def compiled_bytes(kernel, posterior, num_chains):
    """What the compiler says of the program that `draw` runs, beside the posterior it is given."""
    states = module.start_chains(kernel, posterior, 0, num_chains=num_chains, num_warmup=0).states
    plan = module.Plan(*map(jnp.asarray, (1, 0, 1, 1)))
    program = module.proceed.lower((kernel, posterior, plan), states, CAPACITY, False).compile()
    account = program.compiled.memory_analysis()
    return account.temp_size_in_bytes + account.output_size_in_bytes


@pytest.mark.parametrize(
    ("kernel", "net", "num_chains"),
    [
        (SGLD, "wide", 1),
        (SGLD, "deep", 4),
        (llc.samplers.SGHMC(step_size=1e-5), "wide", 4),
        (llc.samplers.PreconditionedSGLD(step_size=1e-5), "deep", 1),
    ],
)
def test_it_is_near_what_the_compiler_says(kernel, net, num_chains, request):
    posterior = request.getfixturevalue(net)
    estimate = room_module.memory(kernel, posterior, num_chains=num_chains)
    # measured 0.53 to 0.83: XLA may hold side by side what the program has one after the other
    assert 0.5 < estimate.needed / compiled_bytes(kernel, posterior, num_chains) < 1.5


@pytest.mark.parametrize(("kernel", "vectors"), [("SGLD", 1), ("SGHMC", 2), ("PreconditionedSGLD", 2)])
def test_a_further_chain_in_turn_costs_its_state_alone(kernel, vectors):
    """The position, and a momentum or the moments of a preconditioner."""
    posterior = posterior_of((64, 300, 300, 8))
    kernel, state = getattr(llc.samplers, kernel)(step_size=1e-5), 4 * posterior.dimension * vectors
    one, four = (room_module.memory(kernel, posterior, num_chains=k) for k in (1, 4))
    assert 0 <= one.chains - state < 100
    assert four.needed - one.needed < 4.1 * state
    # of several the one whose turn it is lies apart
    assert compiled_bytes(kernel, posterior, 4) - compiled_bytes(kernel, posterior, 1) < 4.1 * state


def test_metrics_and_the_places_they_are_of_are_counted():
    posterior = posterior_of((64, 300, 300, 8))
    kernel, d = llc.samplers.HMC(), posterior.dimension
    plain, measured = (room_module.memory(kernel, posterior, num_chains=4, measured=m) for m in (False, True))
    # of 300 × 8, too few columns tell of the rows
    bases = (64**2 + 300**2) + 2 * 300**2 + 8**2
    assert measured.chains - plain.chains == 4 * 4 * (PAST * d + bases)
    assert measured.needed > plain.needed + measured.chains - plain.chains
    # of other kernels there are none
    assert room_module.memory(SGLD, posterior, measured=True).needed == room_module.memory(SGLD, posterior).needed


def test_parts_of_a_small_posterior(wide):
    d = wide.dimension
    two = room_module.memory(SGLD, wide, num_chains=2)
    # the position, ΔL, the virial of three leaves, the gradients counted and a key
    assert two.chains == 2 * (4 * (d + 1 + 3 + 1) + 8)
    assert two.data == 4 * 300 * (64 + 8 + 1)
    assert 0 <= two.parameters - 2 * 4 * d < 100  # the checkpoint and the gradient at it
    assert room_module.memory(SGLD, wide, num_chains=2, keep_weights=True).draws > two.draws + 2 * 4 * d
    assert "free" in repr(two)


@pytest.mark.parametrize(("num_chains", "room_for"), [(8, 3), (2, 1)])
def test_refusal_names_what_fits_and_it_does(monkeypatch, wide, num_chains, room_for):
    room = room_module.memory(SGLD, wide, num_chains=room_for).needed
    monkeypatch.setattr(room_module, "free_memory", lambda devices: room)
    with pytest.raises(OutOfMemory, match=rf"{num_chains} chains of SGLD need .* num_chains={room_for} would fit"):
        module.start_chains(SGLD, wide, 0, num_chains=num_chains, num_warmup=0)
    module.start_chains(SGLD, wide, 0, num_chains=room_for, num_warmup=0)


def test_refusal_names_a_batch_that_fits(monkeypatch, deep):
    room = room_module.memory(SGLD, deep.with_batch_size(100), num_chains=1).needed
    monkeypatch.setattr(room_module, "free_memory", lambda devices: room)
    with pytest.raises(OutOfMemory, match=r"num_chains=1 with batch_size=\d+ would fit") as refusal:
        llc.draw(SGLD, deep, num_chains=2)
    batch_size = int(str(refusal.value).split("batch_size=")[1].split()[0])
    assert 100 <= batch_size < deep.batch_size
    module.start_chains(SGLD, deep.with_batch_size(batch_size), 0, num_chains=1, num_warmup=0)
    with pytest.raises(OutOfMemory):
        module.start_chains(SGLD, deep.with_batch_size(2 * batch_size), 0, num_chains=1, num_warmup=0)


def test_where_nothing_smaller_fits(monkeypatch, wide):
    monkeypatch.setattr(room_module, "free_memory", lambda devices: 999)
    with pytest.raises(OutOfMemory, match=r"999 B is free.*mask=.*rematerialized"):
        module.start_chains(SGLD, wide, 0, num_chains=2, num_warmup=0)


def test_unknown_room_refuses_nothing(monkeypatch, wide):
    monkeypatch.setattr(room_module, "free_memory", lambda devices: None)
    assert room_module.memory(SGLD, wide, num_chains=10**6).fits


@pytest.mark.parametrize(
    "error", [jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."), MemoryError("numpy")]
)
@pytest.mark.parametrize("program", ["begin", "proceed"])
def test_running_out_is_told_by_part(monkeypatch, wide, error, program):
    def fail(*args):
        raise error

    # the account is traced as well, through the same programs
    account = room_module.memory(SGLD, wide, num_chains=2)
    monkeypatch.setattr(room_module, "memory", lambda *args, **settings: account)
    monkeypatch.setattr(module, program, fail)
    with pytest.raises(OutOfMemory, match=r"Memory ran out. 2 chains of SGLD need about .* is free"):
        llc.draw(SGLD, wide, num_chains=2, num_warmup=0, num_draws=1)


def test_other_errors_are_left_alone(monkeypatch, wide):
    assert not is_out_of_memory(jax.errors.JaxRuntimeError("INTERNAL: something else"))
    assert not is_out_of_memory(ValueError("RESOURCE_EXHAUSTED"))


def test_the_room_of_this_machine():
    room = free_memory(jax.devices())
    assert room is not None
    assert 2**20 < room < 2**50
