"""The virial as a control variate: how many times fewer draws it leaves to make, on default runs."""

from functools import partial
from typing import Any

import numpy as np
from records import Records, print_table

import llc
from llc import zoo
from llc.estimators.uncertainty import mean_with_error

N, GAMMA = 1000, 10.0
ENTRIES = {
    "regular(5)": partial(zoo.regular, 5),
    "reduced_rank(5, 5, 3)": partial(zoo.reduced_rank, 5, 5, 3),
    "monomial(1, 1)": partial(zoo.monomial, (1, 1)),
    "tanh(2)": partial(zoo.tanh, 2),
    "monomial(1, 1) at (1, 0)": partial(zoo.monomial, (1, 1), at=(1, 0)),
}


def measure(name: str) -> dict[str, Any]:
    """λ̂ by default settings, the plain mean of the same draws, and λ_n by quadrature."""
    entry = ENTRIES[name](n=N)
    estimate = llc.estimate(entry.problem, entry.params, localization=GAMMA, progress=False)
    losses = np.asarray(estimate.draws["sample_stats"]["loss_difference"].values, np.float64)
    plain = mean_with_error(estimate.nbeta * losses)
    return {
        "exact": entry.finite_n(estimate.nbeta, GAMMA),
        "value": estimate.value,
        "std_error": estimate.std_error,
        "plain": plain.value,
        "plain_std_error": plain.std_error,
        "draws": losses.size,
    }


def report(records: Records) -> None:
    """One row a problem."""
    print(f"\nn = {N}, γ = {GAMMA:g}, nβ = n / log n")

    def row(name: str) -> str:
        r = records.get({"problem": name}, lambda: measure(name))
        plain, used = f"{r['plain']:.4f} ± {r['plain_std_error']:.4f}", f"{r['value']:.5f} ± {r['std_error']:.5f}"
        used = used if r["value"] != r["plain"] else "not used"
        fewer = (r["plain_std_error"] / r["std_error"]) ** 2
        return f"{name} | {r['draws']} | {plain} | {used} | {r['exact']:.5f} | {fewer:.3g}"

    print_table("problem | draws | λ̂, plain | λ̂ | exact | variance ÷", [row(name) for name in ENTRIES])
