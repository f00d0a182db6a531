"""What a chain-step of SGLD costs as parameters, examples and chains grow.

Parameters from 1e3 to 1e8 (4 chains; the largest, 1), batch 128; examples from 1e3 to 1e6, where a step should cost the
same and a full loss, of which a draw records one, in proportion; chains from 1 to 64.
"""

import argparse

import jax
import numpy as np

import llc
from benchmarks.speed.nets import (
    STEP_SIZE,
    WIDTHS,
    Sampling,
    dimension,
    make_posterior,
    make_problem,
    repeated,
    widths_of,
)
from benchmarks.speed.turns import Records, Times, in_turns, milliseconds, run_section, table
from llc.plots.colors import IN_ORDER, MARKERS, STYLES

PARAMETERS = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8)
EXAMPLES = (10**3, 10**4, 10**5, 10**6)
CHAINS = (1, 2, 4, 8, 16, 32, 64)
GRADIENTS = ("minibatch", "control_variate")
LARGE = 3 * 10**7  # parameters from which one chain is enough


def measure(options: argparse.Namespace, records: Records) -> None:
    """Three tables, and two figures of the first and the last."""
    by_size = over_parameters(options, records)
    over_examples(options, records)
    by_chains = over_chains(options, records)
    options.out.mkdir(parents=True, exist_ok=True)
    curve(by_size, "parameters", options.out / "growth_parameters.png", proportional=True)
    curve(by_chains, "chains", options.out / "growth_chains.png", proportional=False)


def over_parameters(options: argparse.Namespace, records: Records) -> dict[str, dict[int, list[float]]]:
    """Milliseconds a chain-step by gradient and number of parameters."""
    curves: dict[str, dict[int, list[float]]] = {gradient: {} for gradient in GRADIENTS}
    rows = []
    for parameters in PARAMETERS[: 3 if options.quick else None]:
        jax.clear_caches()
        widths, chains = widths_of(parameters), 1 if parameters > LARGE else 4
        d, n = dimension(widths), 1024  # few examples: the full loss of a draw costs 8 batches
        posterior = make_posterior(make_problem(widths, n), widths, options.batch)
        for gradient in GRADIENTS:
            times = sampled(gradient, posterior, chains, options)
            records.add("parameters", f"{gradient}, {d}", times, dimension=d, chains=chains)
            a_step = [t / chains for t in times.wall]
            curves[gradient][d] = [1e3 * t for t in a_step]
            ns = 1e9 * np.median(a_step) / d
            rows.append([f"{d:,}", gradient, str(chains), milliseconds(a_step), f"{ns:.3g}", f"{times.cold:.1f}"])
    table("parameters | gradient | chains | ms a chain-step | ns a parameter | first call, s", rows)
    return curves


def over_examples(options: argparse.Namespace, records: Records) -> None:
    """A step, and the full loss that a draw adds."""
    rows = []
    for n in EXAMPLES[: 2 if options.quick else None]:
        jax.clear_caches()
        problem = make_problem(WIDTHS, n)
        posterior = make_posterior(problem, WIDTHS, options.batch)
        v = np.full(posterior.dimension, 1e-3, np.float32)
        calls = {
            "step": Sampling(llc.samplers.SGLD(STEP_SIZE), posterior, 1),
            "full loss": repeated(lambda posterior, v: posterior.loss_difference(v), posterior, v),
        }
        times = in_turns(calls, turns=options.turns, seconds=options.seconds)
        for name, measured in times.items():
            records.add("examples", f"{name}, {n}", measured, n=n)
        step, loss = times["step"].wall, times["full loss"].wall
        rows.append([f"{n:,}", milliseconds(step), milliseconds(loss), f"{1e6 * np.median(loss) / n:.3g}"])
    table("examples | ms a step, control variate, 1 chain | ms a full loss | µs an example", rows)


def over_chains(options: argparse.Namespace, records: Records) -> dict[str, dict[int, list[float]]]:
    """Milliseconds a chain-step by gradient and number of chains."""
    curves: dict[str, dict[int, list[float]]] = {gradient: {} for gradient in GRADIENTS}
    posterior, rows = make_posterior(make_problem(WIDTHS, 1024), WIDTHS, options.batch), []
    for chains in CHAINS[: 3 if options.quick else None]:
        for gradient in GRADIENTS:
            jax.clear_caches()
            times = sampled(gradient, posterior, chains, options)
            records.add("chains", f"{gradient}, {chains}", times, chains=chains)
            a_step = [t / chains for t in times.wall]
            curves[gradient][chains] = [1e3 * t for t in a_step]
            rows.append([str(chains), gradient, milliseconds(a_step), f"{times.cold:.1f}"])
    print(f"\n{'-'.join(map(str, WIDTHS))}, d = {posterior.dimension:,}:")
    table("chains | gradient | ms a chain-step | first call, s", rows)
    return curves


def sampled(gradient: str, posterior: llc.LocalPosterior, chains: int, options: argparse.Namespace) -> Times:
    kernel = llc.samplers.SGLD(STEP_SIZE, gradient=gradient)
    calls = {"ours": Sampling(kernel, posterior, chains)}
    return in_turns(calls, turns=options.turns, seconds=options.seconds)["ours"]


def curve(curves: dict[str, dict[int, list[float]]], what: str, path: object, *, proportional: bool) -> None:
    """Medians, and bars from the least to the most."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for (gradient, points), color, style, marker in zip(curves.items(), IN_ORDER, STYLES, MARKERS, strict=False):
        x, turns = list(points), np.array(list(points.values()))
        middle = np.median(turns, axis=1)
        spread = np.abs(np.stack([turns.min(axis=1), turns.max(axis=1)]) - middle)
        ax.errorbar(x, middle, spread, color=color, linestyle=style, marker=marker, capsize=3, label=gradient)
        if proportional and gradient == GRADIENTS[0]:
            line = middle[-1] * np.array(x) / x[-1]
            ax.plot(x, line, color="0.6", linewidth=0.8, zorder=0, label="in proportion")
    ax.set(xscale="log", yscale="log", xlabel=what, ylabel="ms a chain-step")
    if not proportional:
        ax.set_xscale("log", base=2)
        ax.set_yscale("linear")
        ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    run_section(measure, __doc__, batch=128)
