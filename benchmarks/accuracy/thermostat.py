"""SGNHT on quadratics heated by the noise of minibatches: with thermostats λ̂ is to be 1.00 ± 0.02 of what is exact.

Where all directions are stiff that is d/2, which thermostats can hardly miss: they hold the virial, about 2 λ̂ there, at
d. With flat directions among them they can, by taking from these what they leave to the stiff.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from records import Records, print_table
from scipy.linalg import hadamard

import llc
from llc.samplers import SGHMC, SGNHT, UnderdampedLangevin

DIMENSION, GAMMA, BATCH, SEEDS, ERROR = 20, 1.0, 128, 3, 0.005
N = 4096
NBETA = N / np.log(N)
SPECTRA = {  # nβ h in whitened coordinates
    "stiff": np.geomspace(1e2, 1e4, DIMENSION),
    "mixed": np.geomspace(1e-2, 1e4, DIMENSION),
}
NOISE = 400.0  # and there the variance of nβ ∇L_B, of each coordinate
# spectrum, noise, kernel, step sizes h, of which the largest curvature allows those below 0.02
CASES = (
    ("stiff", "independent", SGNHT, (0.004, 0.008, 0.016)),
    ("mixed", "independent", SGNHT, (0.004, 0.008, 0.016)),
    ("mixed", "of one direction", SGNHT, (0.004, 0.008, 0.016)),
    ("stiff", "independent", UnderdampedLangevin, (0.008,)),
    ("stiff", "independent", SGHMC, (0.008,)),
)


def exact(spectrum: str) -> float:
    """λ_n."""
    return 0.5 * float(np.sum(SPECTRA[spectrum] / (1 + SPECTRA[spectrum])))


def make_problem(spectrum: str, noise: str) -> llc.Problem:
    """Losses ½ w·Hw + x·w, the x of mean 0 and equal variance, orthogonal to each other or all the same."""
    signs = np.tile(hadamard(64)[:, 1 : DIMENSION + 1], (N // 64, 1))
    if noise == "of one direction":
        signs = np.repeat(signs[:, :1], DIMENSION, axis=1)
    hessian = jnp.asarray(SPECTRA[spectrum] * GAMMA / NBETA, jnp.float32)
    slopes = jnp.asarray(signs * np.sqrt(BATCH * GAMMA * NOISE) / NBETA, jnp.float32)
    return llc.Problem(lambda w, x: 0.5 * jnp.sum(hessian * w**2) + x @ w, slopes)


def expected(spectrum: str, kernel: type, step: float) -> float:
    """λ̂ by the stationary variances that the docstrings of the kernels give, for independent noise and friction 1."""
    k = 1 + SPECTRA[spectrum]
    if kernel is SGNHT:
        factor = 1 - step**2 * NOISE * np.tanh(0.5 * step * (1 + 0.5 * step * NOISE)) / (4 - step**2 * k)
    elif kernel is SGHMC:
        factor = (1 + 0.5 * step * NOISE) / (1 - step**2 * k / (4 - 2 * step))
    else:
        factor = 1 + step**2 * NOISE / np.tanh(0.5 * step) / (4 - step**2 * k)
    return 0.5 * float(np.sum(SPECTRA[spectrum] / k * factor))


def measure(spectrum: str, noise: str, kernel: type, step: float, seed: int) -> dict[str, Any]:
    """The estimate of kernel and step size as given, everything else by default."""
    estimate = llc.estimate(
        make_problem(spectrum, noise),
        jnp.zeros(DIMENSION),
        kernel=kernel(step_size=step, gradient="minibatch"),
        localization=GAMMA,
        batch_size=BATCH,
        relative_error=ERROR,
        rng_key=seed,
        progress=False,
    )
    return {
        "value": estimate.value,
        "std_error": estimate.std_error,
        "virial": estimate.virial_ratio.value,
        "num_draws": estimate.settings["num_draws"],
        "verdicts": [str(verdict) for verdict in estimate.verdicts],
    }


def report(records: Records) -> None:
    """One row a kernel and step size, seeds together."""
    ranges = ", ".join(f"{name} from {nbeta_h[0]:g} to {nbeta_h[-1]:g}" for name, nbeta_h in SPECTRA.items())
    print(f"\nd = {DIMENSION}, n = {N}, batches of {BATCH}, {SEEDS} seeds; nβ h {ranges}")
    rows = []
    for spectrum, noise, kernel, steps in CASES:
        for step in steps:
            settings = {"spectrum": spectrum, "noise": noise, "kernel": kernel.__name__, "step_size": step}
            kept = [
                records.get(settings | {"seed": i}, partial(measure, spectrum, noise, kernel, step, i))
                for i in range(SEEDS)
            ]
            rows.append(row(settings, kept, expected(spectrum, kernel, step) if noise == "independent" else None))
    print_table(
        "nβ h | noise | kernel | h | λ̂ / (d/2) | λ̂ / λ_n | by formula | z of each seed | virial / d | verdicts", rows
    )


def row(settings: dict[str, Any], kept: list[dict[str, Any]], formula: float | None) -> str:
    """The mean over seeds in units of d/2 and of λ_n, and each seed against the formula."""
    values, errors = np.array([[record["value"], record["std_error"]] for record in kept]).T
    value, error, unit = values.mean(), np.linalg.norm(errors) / len(errors), exact(settings["spectrum"])
    by_formula, z = "", ""
    if formula is not None:
        by_formula, z = f"{formula / unit:.4f}", ", ".join(f"{score:+.1f}" for score in (values - formula) / errors)
    verdicts = "; ".join(sorted({", ".join(record["verdicts"]) for record in kept}))
    cells = [
        *map(str, settings.values()),
        f"{value / (DIMENSION / 2):.3f}",
        f"{value / unit:.4f} ± {error / unit:.4f}",
        by_formula,
        z,
        f"{np.mean([record['virial'] for record in kept]):.3f}",
        verdicts,
    ]
    return " | ".join(cells)
