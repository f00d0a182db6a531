"""Zoo entries on simulated data by default settings, against quadrature on the same data: is the 95 % interval one?"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from quadrature import LossDifference, coefficient, scaled_input
from records import Records, print_table

import llc
from llc import zoo

N, GAMMA, SEEDS = 10_000, 1.0, 20


class Case(NamedTuple):
    """How an entry is made, and ΔL of its data."""

    make: Callable[..., zoo.ZooEntry]
    loss_difference: Callable[[Any, Any], LossDifference]


def of_residual(residual: LossDifference) -> Callable[[Any, Any], LossDifference]:
    """ΔL of y = f(w) x, where f(w*) = 0."""
    return lambda inputs, targets: scaled_input(residual, inputs, targets[:, 0])


def of_unit(activation: Callable[[Any], Any]) -> Callable[[Any, Any], LossDifference]:
    """ΔL of y = a·φ(b x) at a = b = 0: quadratic in a, with sufficient statistics that depend on b."""

    def on_data(inputs: Any, targets: Any) -> LossDifference:
        x, y = np.ravel(inputs).astype(float), np.ravel(targets).astype(float)

        def loss_difference(a: Any, b: Any) -> Any:
            hidden = activation(b.ravel()[:, None] * x)
            return a**2 * (hidden**2).mean(axis=1) / 2 - a * (hidden * y).mean(axis=1)

        return loss_difference

    return on_data


CASES = {
    "w²": Case(partial(zoo.monomial, (2,)), of_residual(lambda w: w**2)),
    "w1 w2": Case(partial(zoo.monomial, (1, 1)), of_residual(lambda w1, w2: w1 * w2)),
    "w1 w2²": Case(partial(zoo.monomial, (1, 2)), of_residual(lambda w1, w2: w1 * w2**2)),
    "w1² w2²": Case(partial(zoo.monomial, (2, 2)), of_residual(lambda w1, w2: (w1 * w2) ** 2)),
    "w1 w2 at (1, 0)": Case(partial(zoo.monomial, (1, 1), at=(1, 0)), of_residual(lambda w1, w2: w1 * w2)),
    "tanh(1)": Case(zoo.tanh, of_unit(np.tanh)),
}


def measure(case: Case, seed: int) -> dict[str, Any]:
    """The estimate by default settings, and λ_n of its data."""
    entry = case.make(n=N, simulate=True, rng_key=seed)
    center = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(entry.params)]).tolist()
    loss_difference = case.loss_difference(*(np.asarray(array) for array in entry.problem.data))
    exact = coefficient(loss_difference, center, N / np.log(N), GAMMA)
    estimate = llc.estimate(entry.problem, entry.params, localization=GAMMA, rng_key=seed, progress=False)
    verdicts = [str(verdict) for verdict in estimate.verdicts]
    return {"exact": exact, "value": estimate.value, "std_error": estimate.std_error, "verdicts": verdicts}


def summary(kept: list[dict[str, Any]]) -> str:
    """Coverage, errors and verdicts of some estimates."""
    exact, value, error = np.array([[r["exact"], r["value"], r["std_error"]] for r in kept]).T
    converged = np.array(["converged" in r["verdicts"] for r in kept])
    z = (value - exact) / error
    worst = np.abs(z[converged]).max() if converged.any() else np.nan
    return (
        f"{len(kept)} | {exact.min():.3f} to {exact.max():.3f} | {np.mean(np.abs(z) < 1.96):.0%} | {z.mean():+.2f} | "
        f"{np.median(np.abs(value / exact - 1)):.1%} | {np.mean(error / exact):.1%} | {converged.sum()} | {worst:.1f}"
    )


def report(records: Records) -> None:
    """One row a case, seeds together."""
    kept = {name: [] for name in CASES}
    for seed in range(SEEDS):
        for name, case in CASES.items():
            found = records.get({"case": name, "seed": seed, "n": N}, lambda c=case, s=seed: measure(c, s))
            kept[name].append(found)
    print(f"\nn = {N}, γ = {GAMMA:g}, nβ = n / log n")
    everything = [record for rows in kept.values() for record in rows]
    rows = [f"{name} | {summary(found)}" for name, found in kept.items()]
    print_table(
        "case | estimates | exact λ_n | coverage | bias (s.e.) | median error | mean s.e. | converged | "
        "worst z of those",
        [*rows, f"**all** | {summary(everything)}"],
    )
