"""Deep linear networks by the protocol of Lau et al. (arXiv:2308.12108) and Furman & Lau (arXiv:2402.03698).

Networks of random depth and widths, noise-free targets, x ~ U(−10, 10), n = 1e5, γ = 1, nβ = n / log n. The centres are
aligned: each layer has the rank of the product, so that Aoyagi's coefficient is that of the point (elsewhere it is only
a lower bound). Each net is estimated by default settings, and by the peers' own: one chain of SGLD, ε = 5e-7, batches
of 500, 10,000 steps of which the first 9 in 10 are thrown away, the loss of a step's batch recorded.

    python benchmarks/deep_linear.py 1K --nets 50          # layers 2 to 5, widths 5 to 50
    python benchmarks/deep_linear.py 10K --nets 50         # layers 2 to 10, widths 5 to 100
    python benchmarks/deep_linear.py table deep_linear.jsonl --picture deep_linear.png

Results are appended to a file as they come; a run that was stopped goes on where it ended.
"""

import argparse
import json
import math
import time
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import llc
from llc.zoo.deep_linear import deep_linear_coefficient, linear_network

CLASSES = {"1K": ((2, 5), (5, 50)), "10K": ((2, 10), (5, 100))}
N, GAMMA = 100_000, 1.0
PEER = {"step_size": 5e-7, "steps": 10_000, "batch_size": 500, "burn_in": 0.9}


def make_network(name: str, seed: int) -> tuple[list, list, int]:
    """Widths, aligned weights and rank of a random net: layers Q_{l+1} diag(s_l) Q_l with s_l of a Glorot matrix."""
    (fewest, most), (narrowest, widest) = CLASSES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    widths = rng.integers(narrowest, widest + 1, rng.integers(fewest, most + 1) + 1).tolist()
    rank = int(rng.integers(0, min(widths) + 1))
    bases = [np.linalg.qr(rng.normal(size=(width, width)))[0][:, :rank] for width in widths]
    weights = []
    for (a, b), before, after in zip(pairwise(widths), bases[:-1], bases[1:], strict=True):
        values = np.linalg.svd(rng.normal(size=(b, a)) * math.sqrt(2 / (a + b)), compute_uv=False)[:rank]
        weights.append(jnp.asarray((after * values) @ before.T, jnp.float32))
    return widths, weights, rank


def measure(name: str, out: Path, nets: int, peers: int, part: int, parts: int) -> None:
    """Estimate every net that the file does not hold yet."""
    held = {r["seed"] for r in map(json.loads, out.read_text().splitlines())} if out.exists() else set()
    for seed in range(part, nets, parts):
        if seed in held:
            continue
        widths, weights, rank = make_network(name, seed)
        exact, multiplicity = deep_linear_coefficient(widths, rank)
        inputs = jax.random.uniform(jax.random.key(seed), (N, widths[0]), minval=-10, maxval=10)
        problem = llc.Problem.supervised(linear_network, llc.Gaussian(), inputs, linear_network(weights, inputs))
        begun = time.time()
        ours = llc.estimate(problem, weights, localization=GAMMA, rng_key=seed, progress=False)
        seconds = time.time() - begun
        settings = ours.settings
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
            "kernel": settings["kernel"],
            "gradients": float(ours.draws.sample_stats.gradient_evaluations.mean())
            * (settings["num_draws"] + settings["num_warmup"])
            * settings["num_chains"],
            "seconds": seconds,
        }
        begun = time.time()
        if seed < peers:
            record |= {"peer": peer_estimate(problem, weights, seed), "peer_seconds": time.time() - begun}
        with out.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(
            f"{name} {seed} {widths} rank {rank}: λ {record['exact']:.1f}, ours {ours}, {seconds:.0f} s; "
            f"peers' {record.get('peer')}",
            flush=True,
        )


def peer_estimate(problem: llc.Problem, weights: list, seed: int) -> float:
    """λ̂ by the peers' settings, NaN where the chain diverged."""
    posterior = llc.LocalPosterior(problem, weights, localization=GAMMA, batch_size=PEER["batch_size"])
    kernel = llc.samplers.SGLD(PEER["step_size"] * GAMMA, gradient="minibatch")
    steps, thinning = PEER["steps"], 1000
    burn_in = round(PEER["burn_in"] * steps)
    draws = llc.draw(
        kernel,
        posterior,
        seed,
        num_chains=1,
        num_warmup=burn_in // thinning,
        num_draws=(steps - burn_in) // thinning,
        thinning=thinning,
        progress=False,
    )
    return float(posterior.nbeta * draws.sample_stats.loss_difference.mean())


def summary(records: list[dict], key: str) -> str:
    """Median relative error, the share within 30 % and within 15 %, signed mean error, nets without a number."""
    values, exact = (np.array([record[k] for record in records], float) for k in (key, "exact"))
    positive = exact > 0
    off = (values[positive] - exact[positive]) / exact[positive]
    lost = ~np.isfinite(off)
    error = np.where(lost, np.inf, np.abs(off))
    return (
        f"{np.median(error):.1%} | {np.quantile(error, 0.95):.0%} | {np.mean(error < 0.3):.0%} | "
        f"{np.mean(error < 0.15):.0%} | {np.mean(off[~lost]):+.1%} | {lost.sum()}"
    )


def table(path: Path, picture: Path | None) -> None:
    """A Markdown table by class, and λ̂ against λ."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    print(
        "| class | nets | by | median error | 95 % quantile | within 30 % | within 15 % | mean | no number | median s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in CLASSES:
        for key, who, clock in (("ours", "defaults", "seconds"), ("peer", "peers' settings", "peer_seconds")):
            rows = [record for record in records if record["class"] == name and key in record]
            if rows:
                seconds = np.median([row[clock] for row in rows])
                print(f"| {name} | {len(rows)} | {who} | {summary(rows, key)} | {seconds:.0f} |")
    if picture is not None:
        draw_picture(records, picture)


def draw_picture(records: list[dict], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4.5), sharex=True, sharey=True, layout="constrained")
    for ax, key, title in zip(axes, ("ours", "peer"), ("llc, default settings", "the peers' settings"), strict=True):
        for name, color in zip(CLASSES, ("#0072B2", "#D55E00"), strict=True):
            rows = [r for r in records if r["class"] == name and r["exact"] > 0 and key in r]
            ax.scatter([r["exact"] for r in rows], [r[key] for r in rows], s=14, color=color, label=f"class {name}")
        line = np.array([1, 1.2 * max(r["exact"] for r in records)])
        ax.plot(line, line, color="black", linewidth=0.8)
        ax.fill_between(line, 0.7 * line, 1.3 * line, color="0.9", zorder=0)
        ax.set(xscale="log", yscale="log", title=title, xlabel="λ (Aoyagi 2024)")
    axes[0].set_ylabel("λ̂")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*CLASSES, "table"])
    parser.add_argument("path", type=Path, nargs="?", default=Path("deep_linear.jsonl"), help="file of results")
    parser.add_argument("--nets", type=int, default=50)
    parser.add_argument("--peers", type=int, default=50, help="nets that the peers' settings are run on too")
    parser.add_argument("--part", type=int, default=0, help="which part of the nets, for several processes")
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "table":
        table(arguments.path, arguments.picture)
        return
    measure(arguments.what, arguments.path, arguments.nets, arguments.peers, arguments.part, arguments.parts)


if __name__ == "__main__":
    main()
