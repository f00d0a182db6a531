"""How much of a step is arithmetic: its useful operations a second against matrix products in the same process.

784-128-128-10, batch 512; the goal is 0.75 of the fastest product. Optax's training step, which has no noise to draw,
stands beside.
"""

import argparse
import itertools

import llc
from benchmarks.peers import summary
from benchmarks.speed.nets import (
    STEP_SIZE,
    WIDTHS,
    Sampling,
    Training,
    make_posterior,
    make_problem,
    matrix_product,
    useful_flops,
    weights,
)
from benchmarks.speed.turns import Records, in_turns, run_section, table

SQUARES = (512, 1024, 2048)
N = 20_000


def measure(options: argparse.Namespace, records: Records) -> None:
    """Rates in GFLOP/s, each divided by the fastest product of its turn."""
    layers = [(options.batch, a, b) for a, b in itertools.pairwise(WIDTHS)]
    shapes = [*((size,) * 3 for size in SQUARES[: 1 if options.quick else None]), *layers]
    products = {f"matrix product {m} × {k} × {n}": (m, k, n) for m, k, n in shapes}
    problem = make_problem(WIDTHS, N)
    posterior = make_posterior(problem, WIDTHS, options.batch)
    kernel = llc.samplers.SGLD(STEP_SIZE, gradient="minibatch")
    calls = {name: matrix_product(*shape) for name, shape in products.items()}
    calls["training, compiled loop"] = Training(problem, weights(WIDTHS), options.batch, loop=True)
    steps = {"training, compiled loop": 1}
    for chains in (1, 4):
        calls[name := f"SGLD, {chains} chains"] = Sampling(kernel, posterior, chains)
        steps[name] = chains
    times = in_turns(calls, turns=options.turns, seconds=options.seconds)
    flops = {name: 2 * m * k * n for name, (m, k, n) in products.items()}
    flops |= {name: chains * useful_flops(WIDTHS, options.batch) for name, chains in steps.items()}
    rates = {name: [1e-9 * flops[name] / wall for wall in measured.wall] for name, measured in times.items()}
    best = [max(turn) for turn in zip(*(rates[name] for name in products), strict=True)]
    for name, measured in times.items():
        records.add("-".join(map(str, WIDTHS)), name, measured, gflops=rates[name])
    useful = useful_flops(WIDTHS, options.batch) / 1e6
    print(f"\n{'-'.join(map(str, WIDTHS))}, batch {options.batch}: {useful:.1f} useful Mflop a chain-step.")
    rows = [
        [name, summary(rate, ".1f"), summary([r / b for r, b in zip(rate, best, strict=True)])]
        for name, rate in rates.items()
    ]
    table("float32 | GFLOP/s | of the fastest product", rows)


if __name__ == "__main__":
    run_section(measure, __doc__, batch=512)
