"""Estimates by default settings against exact finite-n values, case by case: is the 95 % interval one?

Every row of tests/reference/finite_n.csv on R^d (prior `gauss`) with γ ≥ 1 is estimated ten times, with ten seeds, on
the population loss K; by NUTS and SGLD those with n = 1e3 or 1e5 only. Oscillators are compared with the quadrature on
all of R^d, where the reference cuts g and t_0 off.

    python benchmarks/truth.py exchange              # all rows, by replica exchange, the default for such problems
    python benchmarks/truth.py nuts                  # all cases
    python benchmarks/truth.py sgld                  # regular, deep linear, reduced rank, tanh, ReLU
    python benchmarks/truth.py table nuts.jsonl      # the table of what was measured

Results are appended to a file as they come; a run that was stopped goes on where it ended.
"""

import csv
import os
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

# small arrays: threads would only wait for each other
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np
import results

import llc
from llc import zoo

REFERENCE = Path(__file__).parents[1] / "tests" / "reference" / "finite_n.csv"
ENTRIES = {
    "regular_1d": partial(zoo.regular, 1),
    "regular_2d": partial(zoo.regular, 2),
    "regular_3d": partial(zoo.regular, 3),
    "quartic_1d": partial(zoo.monomial, (2,)),
    "sextic_1d": partial(zoo.monomial, (3,)),
    "mono_1_1": partial(zoo.monomial, (1, 1)),
    "mono_1_2": partial(zoo.monomial, (1, 2)),
    "mono_2_2": partial(zoo.monomial, (2, 2)),
    "mono_1_1_2": partial(zoo.monomial, (1, 1, 2)),
    "mono_1_1_at_1_0": partial(zoo.monomial, (1, 1), at=(1, 0)),
    "mono_1_2_at_1_0": partial(zoo.monomial, (1, 2), at=(1, 0)),
    "mono_1_2_at_0_1": partial(zoo.monomial, (1, 2), at=(0, 1)),
    "sum_x2_y4": partial(zoo.monomial_sum, ((1, 0), (0, 2))),
    "sum_x2y2_z2": partial(zoo.monomial_sum, ((1, 1, 0), (0, 0, 1))),
    "node": partial(zoo.quasi_homogeneous, "node"),
    "x3_plus_y3": partial(zoo.quasi_homogeneous, "x3_plus_y3"),
    "circle_at_half_0": zoo.circle,
    "rrr_M2N2H1_r0": partial(zoo.reduced_rank, 2, 2, 1),
    "rrr_M1N1H2_r0": partial(zoo.reduced_rank, 1, 1, 2),
    "rrr_M2N2H2_r0": partial(zoo.reduced_rank, 2, 2, 2),
    "rrr_M3N2H2_r0": partial(zoo.reduced_rank, 3, 2, 2),
    "rrr_M3N3H2_r0": partial(zoo.reduced_rank, 3, 3, 2),
    "rrr_M5N5H3_r0": partial(zoo.reduced_rank, 5, 5, 3),
    "rrr_M8N4H3_r0": partial(zoo.reduced_rank, 8, 4, 3),
    "dln_1_2_2_r0": partial(zoo.deep_linear, (1, 2, 2)),
    "dln_1_2_3_r0": partial(zoo.deep_linear, (1, 2, 3)),
    "dln_1_1_1_1_r0": partial(zoo.deep_linear, (1, 1, 1, 1)),
    "tanh_H1_zero": partial(zoo.tanh, 1),
    "tanh_H2_zero": partial(zoo.tanh, 2),
    "tanh_H3_out2_zero": partial(zoo.tanh, 3, 2),
    "relu_zero_sym": partial(zoo.relu, "zero_symmetric"),
    "oscillator_3p_moving": partial(zoo.oscillator, "moving"),
    "oscillator_3p_rest": partial(zoo.oscillator, "rest"),
    "oscillator_4p_rest": partial(zoo.oscillator, "clock_rest"),
}
KERNELS = {"exchange": llc.samplers.ReplicaExchange, "nuts": llc.samplers.NUTS, "sgld": llc.samplers.SGLD}
SGLD_CASES = ("regular", "dln", "rrr", "tanh", "relu")


def reference_rows(kernel: str) -> list[dict]:
    """The rows to estimate, cheap ones first."""
    with REFERENCE.open() as file:
        rows = [row for row in csv.DictReader(file) if row["prior"] == "gauss" and float(row["gamma"]) >= 1]
    if kernel != "exchange":
        rows = [row for row in rows if row["n"] in ("1000", "100000")]
    if kernel == "sgld":
        rows = [row for row in rows if row["case"].startswith(SGLD_CASES)]
    large = lambda row: row["case"] in ("rrr_M5N5H3_r0", "rrr_M8N4H3_r0")
    return sorted(rows, key=lambda row: (large(row), float(row["n"]), -float(row["gamma"])))


def measure(kernel: str, out: Path, seeds: int, part: int, parts: int) -> None:
    """Estimate every row that the file does not hold yet."""
    held = {(r["case"], r["n"], r["gamma"]) for r in results.read(out)}
    rows = reference_rows(kernel)
    order = sorted(set(row["case"] for row in rows))
    for row in rows:
        if order.index(row["case"]) % parts != part or (row["case"], row["n"], row["gamma"]) in held:
            continue
        # one n for all rows, so that a case compiles once; nβ is what the posterior knows of it
        entry = ENTRIES[row["case"]](n=1000)
        nbeta, gamma, exact = float(row["nbeta"]), float(row["gamma"]), float(row["lambda_exact_finite_n"])
        if row["case"].startswith("oscillator") or exact < 0.01:  # the reference has six decimals
            exact = entry.finite_n(nbeta, gamma)
        begun, estimates = time.time(), []
        for seed in range(seeds):
            e = llc.estimate(
                entry.problem,
                entry.params,
                kernel=KERNELS[kernel](),
                rng_key=seed,
                nbeta=nbeta,
                localization=gamma,
                progress=False,
            )
            estimates.append([e.value, e.std_error, e.ess, e.rhat, [str(v) for v in e.verdicts]])
        record = {key: row[key] for key in ("case", "n", "gamma")} | {"exact": exact, "estimates": estimates}
        seconds = time.time() - begun
        results.append(out, record | {"seconds": seconds})
        print(f"{row['case']} n={row['n']} γ={row['gamma']}: {summary([record])}, {seconds:.0f} s", flush=True)


def summary(records: list[dict]) -> str:
    """Coverage of the 95 % interval, mean bias in standard errors, median relative error, share called converged."""
    pairs = [(record["exact"], estimate) for record in records for estimate in record["estimates"]]
    exact, value, error = np.array([[exact, estimate[0], estimate[1]] for exact, estimate in pairs]).T
    converged = np.array(["converged" in estimate[4] for _, estimate in pairs])
    z = (value - exact) / error
    relative = np.abs(value - exact) / exact
    worst = np.abs(z[converged]).max() if converged.any() else np.nan
    return (
        f"{np.mean(np.abs(z) < 1.96):.0%} | {np.mean(z):+.2f} | {np.median(relative):.1%} | "
        f"{np.mean(error / exact):.1%} | "
        f"{np.mean(converged):.0%} | {worst:.1f}"
    )


def size(records: list[dict]) -> str:
    """Rows, and estimates in all."""
    return f"{len(records)}, {sum(len(record['estimates']) for record in records)}"


def table(path: Path) -> None:
    """A Markdown table by case and over all rows."""
    records = results.read(path)
    by_case = defaultdict(list)
    for record in records:
        by_case[record["case"]].append(record)
    print(
        "| case | rows, estimates | coverage | bias (s.e.) | median error | mean s.e. | converged | worst z of those |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for case in [name for name in ENTRIES if name in by_case]:
        rows = by_case[case]
        print(f"| {case} | {size(rows)} | {summary(rows)} |")
    print(f"| **all** | {size(records)} | {summary(records)} |")


def main() -> None:
    """Measure, or print what was measured."""
    parser = results.parser(__doc__, [*KERNELS, "table"])
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.what == "table":
        table(arguments.path)
        return
    path = arguments.path or Path(f"{arguments.what}.jsonl")
    measure(arguments.what, path, arguments.seeds, arguments.part, arguments.parts)


if __name__ == "__main__":
    main()
