"""One chain's SGLD step beside a plain Optax SGD step: the same net, batch and data, in turn.

The goal is 1.25 training steps with the plain minibatch gradient and 2.25 with the control variate, which takes two
gradients. The training step is given as users write it (a jitted step called from Python, on a random minibatch of the
same data), inside one compiled loop as our steps are, and on one fixed batch.
"""

import argparse

import jax

import llc
from benchmarks.speed.nets import (
    STEP_SIZE,
    Sampling,
    Training,
    dimension,
    make_posterior,
    make_problem,
    weights,
    widths_of,
)
from benchmarks.speed.turns import Records, Times, in_turns, milliseconds, ratios, run_section, table

PARAMETERS = (100_000, 1_000_000, 10_000_000)
CHAINS = (1, 4)
GOALS = {"minibatch": 1.25, "control_variate": 2.25}
N = 8192
TRAINING = ("training, jitted", "training, compiled loop", "training, fixed batch")


def measure(options: argparse.Namespace, records: Records) -> None:
    """Two tables for each net, as soon as it is measured."""
    print(f"\nn = {N}, batch {options.batch}; {options.turns} turns, median (least–most).", flush=True)
    for parameters in PARAMETERS[: 1 if options.quick else None]:
        widths = widths_of(parameters)
        times = side_by_side(widths, options)
        for name, measured in times.items():
            records.add(f"{dimension(widths)} parameters", name, measured, dimension=dimension(widths))
        print(f"\n{dimension(widths):,} parameters: a chain-step over a training step:")
        over = " | ".join(f"over {name}" for name in TRAINING)
        table(f"step | chains | ms | {over} | processor time, over the first | goal", rows_of(times))
        print("\nCold: the first call, compilation and one step in it.")
        table("step | s", [[name, f"{measured.cold:.2f}"] for name, measured in times.items()])


def rows_of(times: dict[str, Times]) -> list[list[str]]:
    """Our steps, of one chain and of several, and then the training steps."""
    rows, floors = [], [times[name] for name in TRAINING]
    for gradient, goal in GOALS.items():
        for chains in CHAINS:
            ours = a_chain(times[f"{gradient}, {chains} chains"], chains)
            beside = [ratios(ours.wall, floor.wall) for floor in floors]
            in_cpu = ratios(ours.cpu, floors[0].cpu)
            rows.append([gradient, str(chains), milliseconds(ours.wall), *beside, in_cpu, f"{goal}"])
    return rows + [[name, "", milliseconds(times[name].wall), *[""] * 5] for name in TRAINING]


def side_by_side(widths: tuple[int, ...], options: argparse.Namespace) -> dict[str, Times]:
    jax.clear_caches()
    problem = make_problem(widths, N)
    posterior, params = make_posterior(problem, widths, options.batch), weights(widths)
    jitted, loop, fixed = TRAINING
    calls = {
        jitted: Training(problem, params, options.batch),
        loop: Training(problem, params, options.batch, loop=True),
        fixed: Training(problem, params, options.batch, gather=False),
    }
    for gradient in GOALS:
        for chains in CHAINS:
            kernel = llc.samplers.SGLD(STEP_SIZE, gradient=gradient)
            calls[f"{gradient}, {chains} chains"] = Sampling(kernel, posterior, chains)
    return in_turns(calls, turns=options.turns, seconds=options.seconds)


def a_chain(times: Times, chains: int) -> Times:
    """Of one of them."""
    return Times(times.cold, [t / chains for t in times.wall], [t / chains for t in times.cpu])


if __name__ == "__main__":
    run_section(measure, __doc__, batch=512)
