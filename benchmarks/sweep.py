"""Free energy, and λ and m fitted to its growth, over the sweep of n in tests/reference/finite_n.csv.

One run of replica exchange by default settings, at the largest n of a case and γ = 1, gives all of it: the free
energy above n L_n(w*) at the nβ of every smaller n by reweighting, λ and m by `llc.multiplicity_from`. The exact free
energy is ∫ λ_n(s) d log s, of the quadrature that the table's λ_n came from; λ and m are those of the literature.

    python benchmarks/sweep.py run sweep.jsonl      # goes on where the file ends
    python benchmarks/sweep.py table sweep.jsonl
"""

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import results
from truth import ENTRIES, reference_rows

import llc
from llc import zoo
from llc.estimators.measure import mean_of
from llc.estimators.tempering import tempered_free_energy

ESTIMATED = ("free_energy", "learning_coefficient", "multiplicity")
HEADER = (
    *("case", "exact F by n (nats)", "quadrature ±", "worst error", "coverage", "worst z"),
    *("λ", "λ̂", "λ fitted", "z"),
    *("m", "m fitted", "z"),
)
GAMMA, HOTTEST = 1.0, 1e-6  # below which the free energy is s E_0[K]
PANELS, POINTS = 4, (12, 8)  # up to the first nβ; points of a panel, the second for the quadrature's error


def exact_free_energies(entry: zoo.ZooEntry, nbetas: list[float], points: int) -> list[float]:
    """∫_0^{nβ} λ_n(s) ds / s in nats at rising nβ, by Gauss-Legendre rules over log s."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    first = np.linspace(np.log(HOTTEST), np.log(nbetas[0]), PANELS + 1)
    edges = np.append(first, np.log(nbetas[1:]))
    panels = []
    for low, high in pairwise(edges):
        at = np.exp((low + high) / 2 + (high - low) / 2 * nodes)
        panels.append((high - low) / 2 * weights @ [entry.finite_n(float(s), GAMMA) for s in at])
    sums = entry.finite_n(HOTTEST, GAMMA) + np.cumsum(panels)
    return sums[PANELS - 1 :].tolist()


def measure(out: Path, seeds: int, part: int, parts: int) -> None:
    """Run every case that the file does not hold yet."""
    held = {record["case"] for record in results.read(out)}
    rows = [row for row in reference_rows("exchange") if float(row["gamma"]) == GAMMA]
    for case in list(ENTRIES)[part::parts]:
        nbetas = sorted(float(row["nbeta"]) for row in rows if row["case"] == case)
        if case in held or not nbetas:
            continue
        begun, entry = time.time(), ENTRIES[case](n=1000)
        exact, rough = (exact_free_energies(entry, nbetas, points) for points in POINTS)
        runs = []
        for seed in range(seeds):
            at = {"nbeta": nbetas[-1], "localization": GAMMA, "rng_key": seed}
            kernel = llc.samplers.ReplicaExchange()
            draws = llc.estimate(entry.problem, entry.params, kernel=kernel, progress=False, **at).draws
            energies = [mean_of(tempered_free_energy(draws, nbeta)) for nbeta in nbetas]
            growth = llc.multiplicity_from(draws)
            multiplicity = growth.details["multiplicity"]
            runs.append(
                {
                    "free_energy": [[energy.value, energy.std_error] for energy in energies],
                    "learning_coefficient": [growth.value, growth.std_error],
                    "multiplicity": [multiplicity.value, multiplicity.std_error],
                    "llc": growth.details["llc"].value,
                }
            )
        record = {
            "case": case,
            "nbetas": nbetas,
            "free_energy": exact,
            "quadrature_error": float(np.abs(np.subtract(exact, rough)).max()),
            "learning_coefficient": float(entry.learning_coefficient),
            "multiplicity": entry.multiplicity,
            "runs": runs,
            "seconds": time.time() - begun,
        }
        results.append(out, record)
        print(row_of(record), f"{record['seconds']:.0f} s", flush=True)


def z_scores(record: dict) -> dict[str, np.ndarray]:
    """(estimate − exact) / its standard error of every seed, and of F at every n."""
    found = {name: np.array([run[name] for run in record["runs"]]) for name in ESTIMATED}
    return {name: (pairs[..., 0] - np.array(record[name])) / pairs[..., 1] for name, pairs in found.items()}


def row_of(record: dict) -> str:
    """A Markdown row of one case."""
    runs, exact, z = record["runs"], np.array(record["free_energy"]), z_scores(record)
    energies = np.array([run["free_energy"] for run in runs])

    def fitted(name: str) -> tuple[str, str]:
        """What the seeds gave in the mean, and how far each was off."""
        value, error = np.mean([run[name] for run in runs], axis=0)
        return f"{value:.3f} ± {error:.3f}", ", ".join(f"{one:+.1f}" for one in z[name])

    cells = [
        record["case"],
        ", ".join(f"{value:.3f}" for value in exact),
        f"{record['quadrature_error']:.0e}",
        f"{np.abs(energies[..., 0] - exact).max():.3f}",
        f"{np.mean(np.abs(z['free_energy']) < 1.96):.0%}",
        f"{np.abs(z['free_energy']).max():.1f}",
        f"{record['learning_coefficient']:.4g}",
        f"{np.mean([run['llc'] for run in runs]):.3f}",
        *fitted("learning_coefficient"),
        str(record["multiplicity"]),
        *fitted("multiplicity"),
    ]
    return f"| {' | '.join(cells)} |"


def table(path: Path) -> None:
    """A Markdown table by case, and what holds over all of them."""
    records = sorted(results.read(path), key=lambda record: list(ENTRIES).index(record["case"]))
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for record in records:
        print(row_of(record))
    scores = [z_scores(record) for record in records]
    for name in ESTIMATED:
        z = np.concatenate([of_case[name].ravel() for of_case in scores])
        held, worst = np.mean(np.abs(z) < 1.96), np.abs(z).max()
        print(f"\n{name}: {z.size} intervals, {held:.0%} hold it, mean z {np.mean(z):+.2f}, the worst {worst:.1f}")


def main() -> None:
    """Measure, or print what was measured."""
    parser = results.parser(__doc__, ["run", "table"], Path("sweep.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.what == "table":
        table(arguments.path)
        return
    measure(arguments.path, arguments.seeds, arguments.part, arguments.parts)


if __name__ == "__main__":
    main()
