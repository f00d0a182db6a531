"""Conjugate Bayesian linear regression, of which every quantity has a closed form."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from records import Records, print_table

import llc

N, DIMENSION, GAMMA, SEEDS, WAIC_DRAWS = 1000, 5, 1.0, 5, 20_000
# of these only what the data adds to n L_n(w*) is random, and an error is a part of that
IN_TOTAL = ("WBIC", "free energy", "WAIC")


def linear(weights: Any, inputs: Any) -> Any:
    """x·w, one output."""
    return (inputs @ weights)[:, None]


def data(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets and the least-squares w*, all rounded to float32."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(N, DIMENSION)).astype(np.float32)
    targets = (inputs @ rng.normal(size=DIMENSION) + rng.normal(size=N)).astype(np.float32)
    center = np.linalg.lstsq(inputs.astype(float), targets.astype(float), rcond=None)[0].astype(np.float32)
    return inputs, targets, center


def closed_forms(inputs: np.ndarray, targets: np.ndarray, center: np.ndarray) -> dict[str, float]:
    """Every quantity in float64, around the rounded w*, and what of it lies above the loss at w*."""
    x, y, w = (array.astype(float) for array in (inputs, targets, center))
    hessian, residuals, log_norm = x.T @ x, y - x @ w, 0.5 * np.log(2 * np.pi)
    gradient, at_center = -x.T @ residuals, N * log_norm + 0.5 * residuals @ residuals

    def posterior(beta: float) -> tuple[np.ndarray, np.ndarray]:
        covariance = np.linalg.inv(beta * hessian + GAMMA * np.eye(DIMENSION))
        return -beta * covariance @ gradient, covariance

    def excess(beta: float) -> float:
        mean, covariance = posterior(beta)
        return gradient @ mean + 0.5 * (np.trace(hessian @ covariance) + mean @ hessian @ mean)

    beta = 1 / np.log(N)
    mean, covariance = posterior(1.0)
    spread = np.einsum("ij,jk,ik->i", x, covariance, x)
    squares = (residuals - x @ mean) ** 2
    variance = (0.5 * spread**2 + squares * spread).sum()
    training = (log_norm + 0.5 * np.log1p(spread) + 0.5 * squares / (1 + spread)).mean()
    marginal = 0.5 * np.linalg.slogdet(np.eye(DIMENSION) + hessian / GAMMA)[1] - 0.5 * gradient @ covariance @ gradient
    return {
        "λ_n": beta * excess(beta),
        "WBIC": at_center + excess(beta),
        "free energy": at_center + marginal,
        "WAIC": training + variance / N,
        "V_n": variance,
        "ν̂": variance / 2,
        "at center": at_center,
    }


def measure(seed: int) -> dict[str, Any]:
    """Value and standard error of each quantity, and the exact ones."""
    inputs, targets, center = data(seed)
    problem = llc.Problem.supervised(linear, llc.Gaussian(), inputs, targets[:, None])
    common = {"localization": GAMMA, "rng_key": seed, "progress": False}
    params = jnp.asarray(center)
    tempered = llc.estimate(problem, params, **common)
    # the default ends when λ̂ is known, which by the virial takes hardly any draws
    waic = llc.waic(problem, params, num_draws=WAIC_DRAWS, **common)
    measures = {
        "λ_n": tempered,
        "WBIC": llc.wbic_from(tempered.draws),  # as llc.wbic draws them
        "free energy": llc.free_energy(problem, params, **common),
        "WAIC": waic,
        "V_n": waic.details["functional_variance"],
        "ν̂": waic.details["singular_fluctuation"],
    }
    return {
        "exact": {name: float(value) for name, value in closed_forms(inputs, targets, center).items()},
        "measured": {name: [float(m.value), float(m.std_error)] for name, m in measures.items()},
        "converged": all(m.converged for m in measures.values() if hasattr(m, "converged")),
    }


def report(records: Records) -> None:
    """One row a quantity."""
    kept = [records.get({"seed": seed}, lambda s=seed: measure(s)) for seed in range(SEEDS)]
    print(f"\nn = {N}, d = {DIMENSION}, γ = {GAMMA:g}; converged: {sum(r['converged'] for r in kept)} of {SEEDS} seeds")
    header = "quantity | exact, by seed | z, by seed | worst z | worst error | of what lies above n L_n(w*) | mean s.e."
    print_table(header, [row(quantity, kept) for quantity in kept[0]["measured"]])


def row(quantity: str, kept: list[dict[str, Any]]) -> str:
    """z-scores and relative errors of a quantity."""
    exact = np.array([record["exact"][quantity] for record in kept])
    value, error = np.array([record["measured"][quantity] for record in kept]).T
    base = np.array([record["exact"]["at center"] for record in kept]) / (N if quantity == "WAIC" else 1)
    above = np.abs(exact - base) if quantity in IN_TOTAL else np.abs(exact)
    z = (value - exact) / error
    listed = lambda numbers, form: ", ".join(f"{number:{form}}" for number in numbers)
    return (
        f"{quantity} | {listed(exact, '.5g')} | {listed(z, '+.2f')} | {np.abs(z).max():.2f} | "
        f"{np.max(np.abs(value / exact - 1)):.3%} | {np.max(np.abs(value - exact) / above):.2%} | "
        f"{np.mean(error / above):.2%}"
    )
