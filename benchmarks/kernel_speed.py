"""Time and accuracy of infinite-width and empirical kernels, ours and neural-tangents 0.6.5's in turn.

    python benchmarks/kernel_speed.py --peer-python PATH      # an environment that has neural-tangents
    python benchmarks/kernel_speed.py --environment FOLDER    # makes one there (Python 3.11); temporary by default

Gram matrices of 1000 inputs of 784 numbers with themselves (ReLU, 4 hidden layers); the whole empirical kernel of a
784-256-256-10 ReLU network on 100 inputs. float32, both through public calls, compiled; the first call stands apart.
Times are by the clock and of all threads; each turn keeps the fastest of its calls. "Product" is the one matrix product
of the inputs that a Gram matrix cannot do without.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from peers import ask, cpu_model, peer_python

from llc.kernels.empirical import empirical_ntk
from llc.kernels.fully_connected import fully_connected

# The last JAX that the peer imports, and what that needs.
PEER = ("neural-tangents==0.6.5", "jax==0.4.23", "jaxlib==0.4.23", "scipy==1.12.0", "numpy<2")
WIDTHS = (784, 256, 256, 10)
CALLS = {"product": 10, "both": 10, "ntk": 10, "STRUCTURED_DERIVATIVES": 10}  # of a turn; one of all else
TANH = (1.5, 0.1, 1.0, 0.0)  # weight and bias of the hidden layer and of the readout, in the reference
LABELS = {"product": "matrix product", "both": "NNGP and NTK", "ntk": "NTK"}
REFERENCE = Path(__file__).parents[1] / "tests" / "reference" / "ntk_reference.npz"
Call = Callable[[], object]


def relu_network(params: list, x: jax.Array) -> jax.Array:
    *hidden, (weight, bias) = params
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return x @ weight + bias


def make_problem() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    problem = {"inputs": rng.standard_normal((1000, WIDTHS[0]), np.float32)}
    problem["examples"] = problem["inputs"][:100]
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(WIDTHS)):
        problem[f"params{2 * i}"] = rng.normal(0, (2 / fan_in) ** 0.5, (fan_in, fan_out)).astype(np.float32)
        problem[f"params{2 * i + 1}"] = rng.normal(0, 0.1, fan_out).astype(np.float32)
    with np.load(REFERENCE) as reference:
        problem |= {"tanh_inputs": reference["in/X1"], "tanh_stds": np.array(TANH)}
    return problem


def tasks(problem: dict[str, np.ndarray], dtype: type) -> dict[str, Call]:
    x, examples = jnp.asarray(problem["inputs"], dtype), jnp.asarray(problem["examples"], dtype)
    arrays = [jnp.asarray(problem[f"params{i}"], dtype) for i in range(2 * len(WIDTHS) - 2)]
    params = list(zip(arrays[::2], arrays[1::2], strict=True))
    kernel = fully_connected(4, "relu", weight_std=2**0.5)
    product = jax.jit(lambda x: jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST))
    return {
        "product": lambda: product(x),
        "both": lambda: kernel.nngp_and_ntk(x),
        "ntk": lambda: kernel.ntk(x),
        "empirical": lambda: empirical_ntk(relu_network, params, examples),
    }


def measure(call: Call, calls: int) -> dict[str, float]:
    """Seconds of the fastest of some calls, by the clock and of all threads."""
    walls, cpus = [], []
    for _ in range(calls):
        begun = time.perf_counter(), time.process_time()
        jax.block_until_ready(call())
        walls.append(time.perf_counter() - begun[0])
        cpus.append(time.process_time() - begun[1])
    return {"wall": min(walls), "cpu": min(cpus)}


def largest(error: np.ndarray) -> str:
    return f"{np.abs(error).max():.1e}"


def accuracy(problem: dict[str, np.ndarray], theirs: dict[str, np.ndarray], methods: list[str], rule: int) -> None:
    """Print the largest errors, relative unless said."""
    ours = {name: np.asarray(call(), float) for name, call in tasks(problem, np.float32).items() if name != "both"}
    with jax.enable_x64(True):
        exact = {name: np.asarray(call()) for name, call in tasks(problem, np.float64).items() if name != "both"}
        weight, bias, last_weight, last_bias = TANH
        stds = {"weight_std": weight, "bias_std": bias, "last_weight_std": last_weight, "last_bias_std": last_bias}
        tanh = np.asarray(fully_connected(1, "tanh", **stds).ntk(problem["tanh_inputs"]))
    with np.load(REFERENCE) as file:
        reference = file["exact/fc_tanh_d1/ntk_11"]
    # of 4 ReLU layers each keeps S = 2|x|²/d and adds it to T; the readout halves both: 5/2 S
    diagonal = 5 * np.square(problem["inputs"].astype(float)).mean(axis=1)
    others = ~np.eye(len(diagonal), dtype=bool)
    off = lambda gram: largest((gram / exact["ntk"] - 1)[others])
    size = np.abs(exact["empirical"]).max()
    empirical = lambda gram: largest((gram - exact["empirical"]) / size)
    print("| largest error | ours | neural-tangents |\n|---|---|---|")
    diagonals = [largest(np.diagonal(gram) / diagonal - 1) for gram in (ours["ntk"], theirs["ntk"])]
    print(f"| NTK, ReLU depth 4, diagonal, float32 | {diagonals[0]} | {diagonals[1]} |")
    print(f"| its other entries, against our float64 | {off(ours['ntk'])} | {off(theirs['ntk'])} |")
    diagonals = [largest(np.diagonal(gram) / diagonal - 1) for gram in (exact["ntk"], theirs["ntk64"])]
    print(f"| the diagonal in float64 | {diagonals[0]} | {diagonals[1]} |")
    print(f"| its other entries in float64, from each other | | {off(theirs['ntk64'])} |")
    for method in methods:
        gram = theirs[method].transpose(0, 2, 1, 3).reshape(exact["empirical"].shape)
        print(f"| empirical, {method}, of its largest entry | {empirical(ours['empirical'])} | {empirical(gram)} |")
    print(f"| NTK, tanh depth 1, float64; theirs by {rule} nodes |", end="")
    print(f" {largest(tanh / reference - 1)} | {largest(theirs['tanh'] / reference - 1)} |\n")


def span(seconds: list[float]) -> str:
    form = ".1f" if min(seconds) < 1 else ".0f"
    return f"{min(seconds) * 1e3:{form}}–{max(seconds) * 1e3:{form}}"


def compare(python: str, folder: Path, turns: int) -> None:
    """Measure in turn, and print."""
    problem = make_problem()
    np.savez(folder / "problem.npz", **problem)
    command = [python, str(Path(__file__).with_name("peer_kernels.py")), str(folder / "problem.npz")]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    ours, load = tasks(problem, np.float32), os.getloadavg()[0]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, env=quiet, **streams) as peer:
        hello = json.loads(peer.stdout.readline())
        pairs = {task: task for task in LABELS} | dict.fromkeys(hello["methods"], "empirical")

        def turn(calls: dict[str, int]) -> dict[str, tuple[dict, dict]]:
            count = lambda task: calls.get(task, 1)
            return {
                task: (measure(ours[mine], count(task)), ask(peer, task=task, calls=count(task)))
                for task, mine in pairs.items()
            }

        first, measured = turn({}), [turn(CALLS) for _ in range(turns)]
        ask(peer, save=str(folder / "peer.npz"))
        peer.stdin.close()
    print(f"{cpu_model()}, {os.cpu_count()} cores, load average {load:.1f} before and {os.getloadavg()[0]:.1f} after.")
    print(f"Python {platform.python_version()}, jax {jax.__version__}; the peer: {hello['versions']}.")
    print(f"{turns} turns, least–most over turns of each turn's fastest call; ratios of the least.\n")
    print("| ms | ours, clock | theirs, clock | ratio | ours, CPU | theirs, CPU | ratio | first call, s |")
    print("|---|---|---|---|---|---|---|---|")
    for task in pairs:
        cells = []
        for clock in ("wall", "cpu"):
            mine, other = ([both[task][side][clock] for both in measured] for side in (0, 1))
            cells += [span(mine), span(other), f"{min(other) / min(mine):.1f}"]
        compiled = next(other for other in pairs if pairs[other] == pairs[task])  # ours once, for all methods of theirs
        firsts = f"{first[compiled][0]['wall']:.1f} / {first[task][1]['wall']:.1f}"
        print(f"| {LABELS.get(task, f'empirical, {task}')} | {' | '.join(cells)} | {firsts} |")
    print()
    with np.load(folder / "peer.npz") as file:
        accuracy(problem, dict(file), hello["methods"], hello["rule"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", help="an interpreter that has neural-tangents")
    parser.add_argument("--environment", type=Path, help="a folder for the peer's environment, made where it is absent")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = options.peer_python or peer_python(options.environment or Path(folder, "environment"), PEER)
        compare(python, Path(folder), options.turns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
