"""Wall time of one chain's SGLD step, ours and devinterp 1.3.2's in turn, and how much of it is arithmetic.

    python benchmarks/speed.py --peer-python PATH      # an environment that has devinterp
    python benchmarks/speed.py --environment FOLDER    # makes one there; in a temporary folder by default

Same update rule, problem, checkpoint and hyperparameters: plain minibatch gradient, localisation, noise. Two times:
"steps" leaves out preparation (ours: the difference of two run lengths; theirs: first to last step of a chain), "whole
call" is all of the public calls, compiled. Ours records the full loss once a chain in it (thinning = the steps); the
peer records none. Ours draws batches with replacement, theirs by shuffled epochs; theirs runs the fastest of its
configurations on this machine. A matrix product's rate is measured in our process at every turn.
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
from peers import ask, cpu_model, peer_python, summary

import llc
from llc.draws.draw import advance, start_chains

PEER = ("devinterp==1.3.2", "torch==2.13.0")
GAMMA, LR, NBETA = 100.0, 1e-5, 2000.0  # a step of ours is GAMMA · LR in whitened coordinates
SQUARES = (512, 1024, 2048)
SCREENING = 30  # steps that choose the peer's configuration


def relu_network(params: list, x: jax.Array) -> jax.Array:
    *hidden, (weight, bias) = params
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return x @ weight + bias


def useful_flops(widths: list[int], batch: int) -> int:
    """Of one chain's step: forward, weight gradients, and input gradients of all layers but the first."""
    products = [fan_in * fan_out for fan_in, fan_out in itertools.pairwise(widths)]
    return 2 * batch * (2 * sum(products) + sum(products[1:]))


def fastest(call: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some calls after one to compile."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def product_rates(widths: list[int], batch: int) -> dict[tuple[int, int, int], float]:
    """float32 GFLOP/s of jitted matrix products: squares, and this network's layers."""
    layers = [(batch, fan_in, fan_out) for fan_in, fan_out in itertools.pairwise(widths)]
    product, rates = jax.jit(jnp.matmul), {}
    for m, k, n in [(size,) * 3 for size in SQUARES] + layers:
        left, right = jnp.ones((m, k)), jnp.ones((k, n))
        rates[m, k, n] = 2e-9 * m * k * n / fastest(lambda a=left, b=right: product(a, b), 10)
    return rates


class Ours:
    """Our half: the problem, and one measurement of it."""

    def __init__(self, problem: dict[str, np.ndarray], options: argparse.Namespace) -> None:
        center = [(w, np.zeros(w.shape[1], np.float32)) for name, w in problem.items() if name.startswith("w")]
        supervised = llc.Problem.supervised(relu_network, llc.Categorical(), problem["inputs"], problem["targets"])
        self.posterior = llc.LocalPosterior(
            supervised, center, nbeta=NBETA, localization=GAMMA, batch_size=options.batch
        )
        self.kernel, self.options = llc.samplers.SGLD(step_size=GAMMA * LR, gradient="minibatch"), options
        self.run(2)

    def run(self, steps: int) -> tuple[float, float]:
        """Seconds of a whole call, and the mean loss on its minibatches."""
        begun = time.perf_counter()
        chains = start_chains(self.kernel, self.posterior, 0, num_chains=self.options.chains, num_warmup=0)
        draws = advance(chains, 1, thinning=steps).draws
        seconds = time.perf_counter() - begun
        return seconds, float(np.mean(draws.loss_difference) + np.mean(self.posterior.center_losses))

    def measure(self) -> dict[str, float]:
        """Seconds a chain-step."""
        chains, steps = self.options.chains, self.options.steps
        short, _ = self.run(1)
        whole, loss = self.run(steps)
        return {"step": (whole - short) / (chains * (steps - 1)), "whole": whole / (chains * steps), "loss": loss}


def compare(python: str, folder: Path, options: argparse.Namespace) -> None:
    """Measure in turn, and print."""
    rng = np.random.default_rng(0)
    pairs = itertools.pairwise(options.widths)
    problem = {f"w{i}": rng.normal(0, (2 / a) ** 0.5, (a, b)).astype(np.float32) for i, (a, b) in enumerate(pairs)}
    problem["inputs"] = rng.standard_normal((options.n, options.widths[0]), np.float32)
    problem["targets"] = rng.integers(0, options.widths[-1], options.n)
    np.savez(folder / "problem.npz", **problem)
    settings = {"batch": options.batch, "chains": options.chains, "lr": LR, "localization": GAMMA, "nbeta": NBETA}
    command = [
        python,
        str(Path(__file__).with_name("peer_speed.py")),
        str(folder / "problem.npz"),
        json.dumps(settings),
    ]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}  # for its worker processes too
    ours, load = Ours(problem, options), os.getloadavg()[0]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet) as peer:
        hello = json.loads(peer.stdout.readline())
        screened = {
            name: ask(peer, configuration=name, steps=SCREENING)["step"] * 1e3 for name in hello["configurations"]
        }
        chosen = min(screened, key=screened.get)
        turns = []
        for _ in range(options.alternations):
            turns.append(
                (
                    ours.measure(),
                    ask(peer, configuration=chosen, steps=options.steps),
                    product_rates(options.widths, options.batch),
                )
            )
        peer.stdin.close()
    flops = useful_flops(options.widths, options.batch)
    print(f"{cpu_model()}, {os.cpu_count()} cores, load average {load:.1f} before and {os.getloadavg()[0]:.1f} after.")
    print(f"Python {platform.python_version()}, jax {jax.__version__}; the peer: {hello['versions']}.")
    print(
        f"{'-'.join(map(str, options.widths))} ReLU, n={options.n}, batch {options.batch}, {options.chains} chains × ",
        end="",
    )
    print(f"{options.steps} steps, {len(turns)} turns: median (min–max).\n")
    print("| ms a chain-step | ours | devinterp | ratio |\n|---|---|---|---|")
    for name, key in {"steps": "step", "whole call": "whole"}.items():
        mine, theirs = [m[key] * 1e3 for m, _, _ in turns], [t[key] * 1e3 for _, t, _ in turns]
        ratios = [t / m for m, t in zip(mine, theirs, strict=True)]
        print(f"| {name} | {summary(mine)} | {summary(theirs)} | {summary(ratios, '.1f')} |")
    print(f"| mean minibatch loss (nats) | {turns[0][0]['loss']:.3f} | {turns[0][1]['loss']:.3f} | |\n")
    print("| float32 GFLOP/s | |\n|---|---|")
    for shape in turns[0][2]:
        print(f"| matrix product {' × '.join(map(str, shape))} | {summary([r[shape] for _, _, r in turns], '.1f')} |")
    rates, best = [1e-9 * flops / m["step"] for m, _, _ in turns], [max(r.values()) for _, _, r in turns]
    print(f"| our steps, {flops / 1e6:.1f} useful Mflop each | {summary(rates, '.1f')} |")
    print(f"| as a fraction of the fastest product | {summary([r / b for r, b in zip(rates, best, strict=True)])} |\n")
    print(f"The peer ran as `{chosen}`; ms a chain-step over {SCREENING} steps of each of its configurations:")
    print("; ".join(f"{name}: {ms:.1f}" for name, ms in screened.items()) + ".")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", help="an interpreter that has devinterp")
    parser.add_argument("--environment", type=Path, help="a folder for the peer's environment, made where it is absent")
    parser.add_argument("--widths", type=int, nargs="+", default=[784, 128, 128, 10])
    for name, default in {"n": 20_000, "batch": 512, "chains": 4, "steps": 200, "alternations": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = options.peer_python or peer_python(options.environment or Path(folder, "environment"), PEER)
        compare(python, Path(folder), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
