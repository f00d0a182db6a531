"""The peer's half of `kernel_speed.py`: neural-tangents on the same inputs; runs in the peer's own environment.

Reads one JSON request a line, {"task": name, "calls": count}, and answers each with one JSON line; {"save": path} asks
for what its tasks and its numerical activation give, in float32 and in float64, as one file of arrays.
"""

import itertools
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np
from jax.experimental import enable_x64
from neural_tangents import stax
from peers import serve

METHODS = ("JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS", "STRUCTURED_DERIVATIVES")
RULE = 40  # nodes of the numerical activation
Call = Callable[[], object]


def infinite(depth: int, activation: tuple, stds: tuple[float, float, float, float]) -> Callable:
    weight, bias, last_weight, last_bias = stds
    hidden = [stax.Dense(1, weight, bias or None), activation] * depth
    return stax.serial(*hidden, stax.Dense(1, last_weight, last_bias or None))[2]


def relu_network(params: list, x: jax.Array) -> jax.Array:
    *hidden, (weight, bias) = params
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return x @ weight + bias


def tasks(problem: dict[str, np.ndarray], dtype: type) -> dict[str, Call]:
    """What is timed, compiled as the peer advises: one `jit` around it; each example for itself (`vmap_axes=0`)."""
    x, examples = jnp.asarray(problem["inputs"], dtype), jnp.asarray(problem["examples"], dtype)
    arrays = [jnp.asarray(problem[f"params{i}"], dtype) for i in range(sum("params" in name for name in problem))]
    params = list(itertools.zip_longest(arrays[::2], arrays[1::2]))
    kernel = infinite(4, stax.Relu(), (2**0.5, 0.0, 1.0, 0.0))
    product = jax.jit(lambda x: jnp.matmul(x, x.T))
    both = jax.jit(lambda x: tuple(kernel(x, None, ("nngp", "ntk"))))
    ntk = jax.jit(lambda x: kernel(x, None, "ntk"))
    named = {"product": lambda: product(x), "both": lambda: both(x), "ntk": lambda: ntk(x)}
    for method in METHODS:
        how = {"trace_axes": (), "vmap_axes": 0, "implementation": nt.NtkImplementation[method]}
        theta = jax.jit(nt.empirical_ntk_fn(relu_network, **how))
        named[method] = lambda theta=theta: theta(examples, None, params)
    return named


def measure(call: Call, calls: int) -> dict[str, float]:
    """Seconds of the fastest of some calls, by the clock and of all threads."""
    walls, cpus = [], []
    for _ in range(calls):
        begun = time.perf_counter(), time.process_time()
        jax.block_until_ready(call())
        walls.append(time.perf_counter() - begun[0])
        cpus.append(time.process_time() - begun[1])
    return {"wall": min(walls), "cpu": min(cpus)}


def keep(path: str, problem: dict[str, np.ndarray]) -> dict:
    saved = {name: np.asarray(call()) for name, call in tasks(problem, np.float32).items() if name in ("ntk", *METHODS)}
    with enable_x64():
        saved["ntk64"] = np.asarray(tasks(problem, np.float64)["ntk"]())
        tanh = stax.ElementwiseNumerical(jnp.tanh, deg=RULE)
        kernel = infinite(1, tanh, tuple(problem["tanh_stds"].tolist()))
        saved["tanh"] = np.asarray(kernel(jnp.asarray(problem["tanh_inputs"]), None, "ntk"))
    np.savez(path, **saved)
    return {}


def main() -> None:
    warnings.simplefilter("ignore")
    with np.load(sys.argv[1]) as file:
        problem = dict(file)
    named = tasks(problem, np.float32)
    packages = ", ".join(f"{name} {version(name)}" for name in ("neural-tangents", "jax"))
    versions = f"{packages}, Python {platform.python_version()}"

    def answer(task: str = "", calls: int = 1, save: str = "") -> dict:
        return keep(save, problem) if save else measure(named[task], calls)

    serve({"versions": versions, "methods": METHODS, "rule": RULE}, answer)


if __name__ == "__main__":
    main()
