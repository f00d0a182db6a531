"""A program that tests run in processes of their own: a small network on many simulated devices; answers as JSON."""

import json
import math
import re
import sys
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import llc
from llc.draws import storage
from llc.estimators.learning_coefficient import learning_coefficient

N, SPECS = 480, {"w1": P(None, "model"), "b1": P("model"), "w2": P("model", None), "b2": P()}
rng = np.random.default_rng(0)
INPUTS = rng.normal(size=(N, 8)).astype(np.float32)
SHAPES = {"w1": (8, 16), "b1": (16,), "w2": (16, 8), "b2": (8,)}
PARAMS = {name: 0.3 * rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
HIDDEN = np.tanh(INPUTS @ PARAMS["w1"] + PARAMS["b1"])
TARGETS = HIDDEN @ PARAMS["w2"] + PARAMS["b2"] + 0.5 * rng.normal(size=(N, 8)).astype(np.float32)


def sgld():
    return llc.samplers.SGLD(step_size=1e-3)  # not at the top: it is an array, and processes have to meet first


def network(p, x):
    return jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


def line(w, x):
    return x @ w


def mesh_of(**axes):
    devices = jax.devices()[: math.prod(axes.values())]
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes), devices=devices)


def problem_of(inputs: Any = INPUTS, targets: Any = TARGETS):
    return llc.Problem.supervised(network, llc.Gaussian(0.5), inputs, targets)


def off_the_devices():
    with tempfile.TemporaryFile() as file:
        file.write(INPUTS.tobytes() + TARGETS.tobytes())
        inputs = np.memmap(file, np.float32, "r", 0, INPUTS.shape)
        return problem_of(inputs, np.memmap(file, np.float32, "r", INPUTS.nbytes, TARGETS.shape))


def posterior_of(params=PARAMS, problem=None, **settings):
    return llc.LocalPosterior(problem or problem_of(), params, batch_size=48, **settings)


def sharded(mesh, params=PARAMS):
    return {name: jax.device_put(leaf, NamedSharding(mesh, SPECS[name])) for name, leaf in params.items()}


def drawn(posterior, mesh=None, **settings):
    settings = {"num_chains": 8, "num_warmup": 0, "num_draws": 80, "progress": False, **settings}
    return llc.draw(sgld(), posterior, 0, mesh=mesh, **settings)


def told(draws):
    result = learning_coefficient(draws)
    first = draws.sample_stats.full_loss_difference.values[:, :5].tolist()
    return {"first": first, "value": result.value, "std_error": result.std_error, "mesh": draws.attrs.get("mesh")}


def refused(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


def compiled(function, *args):
    """The program as text."""
    return str(jax.jit(function).lower(*args).compile().as_text())


def on_one_process():
    posterior = posterior_of()
    chain_model = mesh_of(chain=2, model=4)
    answers = {
        "one device": told(drawn(posterior)),
        "8 chain": told(drawn(posterior, mesh_of(chain=8))),
        "4 chain 2 data": told(drawn(posterior, mesh_of(chain=4, data=2))),
        "8 data": told(drawn(posterior, mesh_of(data=8))),
        "2 chain 4 model": told(drawn(posterior_of(sharded(chain_model)), chain_model)),
        "off the devices": told(drawn(posterior_of(problem=off_the_devices()), mesh_of(chain=2))),
    }
    answers["refusals"] = {
        "chain": refused(lambda: drawn(posterior, mesh_of(chain=8), num_chains=6)),
        "n": refused(lambda: posterior_of(problem=problem_of(INPUTS[:100], TARGETS[:100]), mesh=mesh_of(data=8))),
        "batch": refused(lambda: posterior.with_batch_size(20).on(mesh_of(data=8))),
        "axis": refused(lambda: posterior.on(mesh_of(chain=4, modle=2))),
        "params": refused(lambda: posterior_of(sharded(chain_model)).on(mesh_of(data=8))),
        "off": refused(lambda: posterior_of(problem=off_the_devices(), mesh=mesh_of(data=8))),
    }
    return answers


def programs():
    """What the compiler makes of full passes and batches over sharded data, and of a chain's step on sharded params."""
    posterior = posterior_of(mesh=mesh_of(data=8))
    object.__setattr__(posterior, "block_size", 24)  # blocks of 24 of the 60 examples of each device, and what is left
    v, indices = jnp.ones(posterior.dimension), jnp.arange(48)
    full = compiled(lambda p, v: jax.grad(p.loss_difference)(v), posterior, v)
    batch = compiled(lambda p, v, i: jax.grad(p.batch_loss_difference)(v, i), posterior, v, indices)
    by_blocks, whole = posterior.loss_difference(v), posterior_of().loss_difference(v)
    model = posterior_of(sharded(mesh_of(model=8)))
    slope = compiled(lambda p, v, i: jax.grad(p.batch_loss_difference)(v, i), model, model.center_gradient, indices)
    w = jax.jit(lambda p: p.params(p.whiten(jax.tree.map(lambda leaf: 2 * leaf, p.center))))(model)
    return {
        "all-gathers of numbers": [re.findall(r"= f32.* all-gather\(", program) for program in (full, batch)],
        "all-reduces": [program.count(" all-reduce(") for program in (full, batch)],
        "by blocks": [float(by_blocks), float(whole)],
        "kept": [w[name].sharding.is_equivalent_to(model.center[name].sharding, w[name].ndim) for name in SPECS],
        "whole vectors": len(re.findall(rf"\[{model.dimension}\]", slope)),
        "twice": max(float(abs(w[name] - 2 * PARAMS[name]).max()) for name in SPECS),
    }


def estimates():
    """A straight line by default settings, the sampler's included; and by a ladder of step sizes that are chosen."""
    answers, mesh = {}, mesh_of(chain=2, data=2)
    problem = llc.Problem.supervised(line, llc.Gaussian(0.5), INPUTS, TARGETS[:, 0])
    best = np.linalg.lstsq(INPUTS, TARGETS[:, 0])[0]
    settings = {"num_draws": 100, "num_warmup": 50, "num_chains": 2, "progress": False}
    for name, kernel in {"default": None, "ladder": llc.samplers.SGLD()}.items():
        for where, devices in {"one": None, "mesh": mesh}.items():
            estimate = llc.estimate(problem, best, kernel=kernel, mesh=devices, **settings)
            answers[f"{name} {where}"] = {"value": estimate.value, "std_error": estimate.std_error}
    return answers


def on_several_processes(number, port, folder):
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, number)
    mesh = mesh_of(chain=4, data=2)
    draws = drawn(posterior_of(mesh=mesh), mesh)
    answers = {"in full": told(draws), "processes": draws.attrs["processes"]}
    spread = NamedSharding(mesh, P("data"))
    inputs, targets = (
        jax.make_array_from_callback(a.shape, spread, lambda index, a=a: a[index]) for a in (INPUTS, TARGETS)
    )
    answers["global"] = told(drawn(posterior_of(problem=problem_of(inputs, targets), mesh=mesh), num_draws=5))
    storage.save(draws, f"{folder}/{number}.nc")
    settings = {"mesh": mesh, "num_draws": 5, "num_warmup": 0, "progress": False}
    other = {**PARAMS, "b2": PARAMS["b2"] + number}
    fewer = problem_of(INPUTS[: N - 40 * number], TARGETS[: N - 40 * number])
    answers["refusals"] = {
        "weights": refused(lambda: llc.estimate(problem_of(), other, kernel=sgld(), **settings)),
        "n": refused(lambda: llc.estimate(fewer, PARAMS, kernel=sgld(), **settings)),
        "settings": refused(
            lambda: llc.estimate(problem_of(), PARAMS, num_chains=4 + number, kernel=sgld(), **settings)
        ),
        "key": refused(lambda: llc.estimate(problem_of(), PARAMS, rng_key=number, kernel=sgld(), **settings)),
    }
    return answers


if __name__ == "__main__":
    if sys.argv[1] == "several":
        answers = on_several_processes(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        answers = {"draws": on_one_process, "programs": programs, "estimates": estimates}[sys.argv[2]]()
    print(json.dumps(answers))
