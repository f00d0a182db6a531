"""Deep linear networks by the protocol of Lau et al. (arXiv:2308.12108) and Furman & Lau (arXiv:2402.03698).

Networks of random depth and widths, noise-free targets, x ~ U(−10, 10), n = 1e5 or 1e6, γ = 1, nβ = n / log n. The
centres are aligned: each layer has the rank of the product, so that Aoyagi's coefficient is that of the point
(elsewhere it is only a lower bound). Each net is estimated by default settings, and by the peers' own: one chain of
SGLD at their ε, batches of 500, of whose steps the first 9 in 10 are thrown away, the loss of a step's batch recorded.

    python benchmarks/deep_linear.py 1K --nets 50             # layers 2 to 5, widths 5 to 50
    python benchmarks/deep_linear.py 10K --nets 50            # layers 2 to 10, widths 5 to 100
    python benchmarks/deep_linear.py 100K --nets 8 --peers 0  # layers 2 to 10, widths 50 to 500, n = 1e6
    python benchmarks/deep_linear.py 1M --nets 8 --peers 0    # layers 2 to 20, widths 100 to 1000: 8 GB of data
    python benchmarks/deep_linear.py table deep_linear.jsonl --picture deep_linear.png

Results are appended to a file as they come; a run that was stopped goes on where it ended.
"""

import math
import resource
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import results

import llc
from llc.plots.colors import IN_ORDER, MARKERS
from llc.problem import over_examples
from llc.zoo.deep_linear import deep_linear_coefficient, linear_network


class Class(NamedTuple):
    """Ranges of a net's layers and widths, examples, and the peers' ε and steps."""

    layers: tuple[int, int]
    widths: tuple[int, int]
    n: int
    step_size: float
    steps: int


CLASSES = {
    "1K": Class((2, 5), (5, 50), 100_000, 5e-7, 10_000),
    "10K": Class((2, 10), (5, 100), 100_000, 5e-7, 10_000),
    "100K": Class((2, 10), (50, 500), 1_000_000, 1e-7, 50_000),
    "1M": Class((2, 20), (100, 1000), 1_000_000, 5e-8, 50_000),
}
GAMMA, PEER_BATCH = 1.0, 500
BLOCK = 10_000  # examples whose targets are made at a time


def make_network(name: str, seed: int) -> tuple[list, list, int]:
    """Widths, aligned weights and rank of a random net: layers Q_{l+1} diag(s_l) Q_l with s_l of a Glorot matrix."""
    (fewest, most), (narrowest, widest) = CLASSES[name].layers, CLASSES[name].widths
    rng = np.random.default_rng([seed, *name.encode()])
    widths = rng.integers(narrowest, widest + 1, rng.integers(fewest, most + 1) + 1).tolist()
    rank = int(rng.integers(0, min(widths) + 1))
    bases = [np.linalg.qr(rng.normal(size=(width, width)))[0][:, :rank] for width in widths]
    weights = []
    for (a, b), before, after in zip(pairwise(widths), bases[:-1], bases[1:], strict=True):
        values = np.linalg.svd(rng.normal(size=(b, a)) * math.sqrt(2 / (a + b)), compute_uv=False)[:rank]
        weights.append(jnp.asarray((after * values) @ before.T, jnp.float32))
    return widths, weights, rank


def measure(name: str, out: Path, *, nets: int, peers: int, part: int, parts: int, evaluations: float | None) -> None:
    """Estimate every net that the file does not hold yet."""
    held = {record["seed"] for record in results.read(out) if record["class"] == name}
    for seed in range(part, nets, parts):
        if seed in held:
            continue
        jax.clear_caches()  # every net has other shapes
        widths, weights, rank = make_network(name, seed)
        exact, multiplicity = deep_linear_coefficient(widths, rank)
        inputs = jax.random.uniform(jax.random.key(seed), (CLASSES[name].n, widths[0]), minval=-10, maxval=10)
        targets = over_examples(partial(linear_network, weights), inputs, BLOCK)
        problem = llc.Problem.supervised(linear_network, llc.Gaussian(), inputs, targets)
        begun = time.time()
        budget = {"max_gradient_evaluations": evaluations, "progress": False}
        ours = llc.estimate(problem, weights, localization=GAMMA, rng_key=seed, **budget)
        seconds = time.time() - begun
        record = {
            "class": name,
            "seed": seed,
            "widths": widths,
            "rank": rank,
            "dimension": ours.dimension,
            "exact": float(exact),
            "multiplicity": multiplicity,
            "ours": ours.value,
            "std_error": ours.std_error,
            "ess": ours.ess,
            "rhat": ours.rhat,
            "virial": ours.virial_ratio.value,
            "verdicts": [str(verdict) for verdict in ours.verdicts],
            "kernel": ours.settings["kernel"],
            "gradients": gradients(ours),
            "seconds": seconds,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
        begun = time.time()
        if seed < peers:
            record |= {
                "peer": peer_estimate(CLASSES[name], problem, weights, seed),
                "peer_seconds": time.time() - begun,
            }
        results.append(out, record)
        print(
            f"{name} {seed} {widths} rank {rank}: λ {record['exact']:.1f}, ours {ours}, {seconds:.0f} s; "
            f"peers' {record.get('peer')}",
            flush=True,
        )


def gradients(estimate: llc.Estimate) -> float:
    """Gradients of one example that it took, warm-up included."""
    draws, settings = estimate.draws, estimate.settings
    evaluations = draws.sample_stats.gradient_evaluations.to_numpy()  # of a step, a mean over those of a draw
    steps = settings["num_draws"] * settings["thinning"]
    warmup = settings.get("warmup_steps", settings["num_warmup"] * settings["thinning"])
    return float(np.nanmean(evaluations)) * (steps + warmup) * evaluations.size / settings["num_draws"]


def peer_estimate(protocol: Class, problem: llc.Problem, weights: list, seed: int) -> float:
    """λ̂ by the peers' settings, NaN where the chain diverged."""
    posterior = llc.LocalPosterior(problem, weights, localization=GAMMA, batch_size=PEER_BATCH)
    kernel = llc.samplers.SGLD(protocol.step_size * GAMMA, gradient="minibatch")
    counts = {"num_chains": 1, "num_warmup": 9, "num_draws": 1, "thinning": protocol.steps // 10}
    draws = llc.draw(kernel, posterior, seed, progress=False, **counts)
    return float(posterior.nbeta * draws.sample_stats.loss_difference.mean())


def summary(records: list[dict], key: str) -> str:
    """Median relative error, the share within 30 % and within 15 %, signed mean error, nets without a number."""
    values, exact = (np.array([record[k] for record in records], float) for k in (key, "exact"))
    positive = exact > 0
    off = (values[positive] - exact[positive]) / exact[positive]
    lost = ~np.isfinite(off)
    error = np.where(lost, np.inf, np.abs(off))
    most = np.quantile(error, 0.95, method="higher")  # among infinite ones there is nothing to interpolate
    return (
        f"{np.median(error):.1%} | {most:.0%} | {np.mean(error < 0.3):.0%} | "
        f"{np.mean(error < 0.15):.0%} | {np.mean(off[~lost]):+.1%} | {lost.sum()}"
    )


def table(path: Path, picture: Path | None) -> None:
    """Markdown tables by class and by layers, and λ̂ against λ."""
    records = results.read(path)
    print(
        "| class | nets | by | median error | 95 % quantile | within 30 % | within 15 % | mean | no number | "
        "median s | median gradients |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in CLASSES:
        for key, who, clock in (("ours", "defaults", "seconds"), ("peer", "peers' settings", "peer_seconds")):
            rows = [record for record in records if record["class"] == name and key in record]
            if rows:
                seconds = np.median([row[clock] for row in rows])
                peers = PEER_BATCH * CLASSES[name].steps
                cost = np.median([row["gradients"] for row in rows]) if key == "ours" else peers
                print(f"| {name} | {len(rows)} | {who} | {summary(rows, key)} | {seconds:.0f} | {cost:.1e} |")
    print("\n| class | layers | nets | median error | within 30 % | from, to |\n|---|---|---|---|---|---|")
    for name in CLASSES:
        rows = [record for record in records if record["class"] == name and record["exact"] > 0]
        for layers in sorted({len(row["widths"]) - 1 for row in rows}):
            off = np.array([row["ours"] / row["exact"] - 1 for row in rows if len(row["widths"]) - 1 == layers])
            within, ends = np.sum(np.abs(off) < 0.3), f"{off.min():+.0%} to {off.max():+.0%}"
            print(
                f"| {name} | {layers} | {len(off)} | {np.median(np.abs(off)):.1%} | {within} of {len(off)} | {ends} |"
            )
    if picture is not None:
        draw_picture(records, picture)


def draw_picture(records: list[dict], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4.5), sharex=True, sharey=True, layout="constrained")
    for ax, key, title in zip(axes, ("ours", "peer"), ("llc, default settings", "the peers' settings"), strict=True):
        for name, color, marker in zip(CLASSES, IN_ORDER, MARKERS, strict=False):
            rows = [r for r in records if r["class"] == name and r["exact"] > 0 and key in r]
            if rows:
                points = [r["exact"] for r in rows], [r[key] for r in rows]
                ax.scatter(*points, s=14, color=color, marker=marker, label=f"class {name}")
        line = np.array([1, 1.2 * max(r["exact"] for r in records)])
        ax.plot(line, line, color="black", linewidth=0.8)
        ax.fill_between(line, 0.7 * line, 1.3 * line, color="0.9", zorder=0)
        all_of_them = [r[key] for r in records if key in r]
        lost = sum(value is None or not np.isfinite(value) for value in all_of_them)
        ax.set(xscale="log", yscale="log", xlabel="λ (Aoyagi 2024)")
        ax.set_title(f"{title}\n{lost} of {len(all_of_them)} nets without a number")
    axes[0].set_ylabel("λ̂")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, or print what was measured."""
    parser = results.parser(__doc__, [*CLASSES, "table"], Path("deep_linear.jsonl"))
    parser.add_argument("--nets", type=int, default=50)
    parser.add_argument("--peers", type=int, default=50, help="nets that the peers' settings are run on too")
    parser.add_argument("--evaluations", type=float, help="budget of a net in gradients of one example; the default's")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "table":
        table(arguments.path, arguments.picture)
        return
    counts = {name: getattr(arguments, name) for name in ("nets", "peers", "part", "parts", "evaluations")}
    measure(arguments.what, arguments.path, **counts)


if __name__ == "__main__":
    main()
