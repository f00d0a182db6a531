"""The nine normal crossings of devinterp's example notebook, against quadrature of the same posterior.

The regression of y = 0.25 ξ on f(w) x with f = w1^a w2^b and x ~ N(0, 4), n = 1000, under the mean square error at
nβ = n / log n around w* = 0, as in `examples/normal_crossing.ipynb` of timaeus-research/devinterp, where a box
|w_i| <= 1 stands in the place of our prior N(0, I). Its numbers are those that the notebook's stored output shows.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from quadrature import coefficient, scaled_input
from records import Records, print_table

import llc

N, NOISE, INPUT_SCALE, GAMMA, SEEDS = 1000, 0.25, 2.0, 1.0, 2
# (a, b): the notebook's SGLD and SGNHT
NOTEBOOK = {
    (0, 1): (0.524100, 0.524466),
    (0, 2): (0.191117, 0.263785),
    (0, 3): (0.160964, 0.169278),
    (1, 1): (0.412496, 0.364667),
    (1, 2): (0.197618, 0.231239),
    (1, 3): (0.158449, 0.144448),
    (2, 2): (0.114830, 0.169836),
    (2, 3): (0.064240, 0.100171),
    (3, 3): (0.050441, 0.091435),
}


def power(base: Any, exponent: Any) -> Any:
    """base^exponent for a traced exponent from 0 to 3."""
    return math.prod(jnp.where(exponent > i, base, 1.0) for i in range(3))


def square_error(weights: Any, batch: Any) -> Any:
    """(y − w1^a w2^b x)²; a and b travel with the data, so that all cases share one program."""
    inputs, targets, powers = batch
    return (targets - power(weights[0], powers[0, 0]) * power(weights[1], powers[0, 1]) * inputs) ** 2


def measure(powers: tuple[int, int], seed: int) -> dict[str, Any]:
    """The estimate by default settings, and λ_n by quadrature."""
    rng = np.random.default_rng(seed)
    inputs = (INPUT_SCALE * rng.normal(size=N)).astype(np.float32)
    targets = (NOISE * rng.normal(size=N)).astype(np.float32)
    problem = llc.Problem(square_error, (inputs, targets, np.tile(powers, (N, 1))))
    estimate = llc.estimate(problem, jnp.zeros(2), localization=GAMMA, rng_key=seed, progress=False)
    residual = lambda w1, w2: w1 ** powers[0] * w2 ** powers[1]
    exact = coefficient(scaled_input(residual, inputs, targets, scale=2.0), [0.0, 0.0], N / np.log(N), GAMMA)
    verdicts = [str(verdict) for verdict in estimate.verdicts]
    return {"exact": exact, "value": estimate.value, "std_error": estimate.std_error, "verdicts": verdicts}


def report(records: Records) -> None:
    """One row a case."""
    rows, errors, relative = [], [], []
    for powers in NOTEBOOK:
        kept = [
            records.get({"powers": list(powers), "seed": seed}, lambda p=powers, s=seed: measure(p, s))
            for seed in range(SEEDS)
        ]
        limit = 1 / (2 * max(powers))
        error = [record["value"] / record["exact"] - 1 for record in kept]
        z = [(record["value"] - record["exact"]) / record["std_error"] for record in kept]
        peers = [value / limit - 1 for value in NOTEBOOK[powers]]
        finite = np.mean([record["exact"] for record in kept]) / limit - 1
        ours = np.mean([record["value"] for record in kept]) / limit - 1
        listed = ", ".join(f"{r['value']:.4f} ± {r['std_error']:.4f} ({r['exact']:.4f})" for r in kept)
        converged = sum("converged" in record["verdicts"] for record in kept)
        rows.append(
            f"{powers} | {listed} | {', '.join(f'{e:+.1%}' for e in error)} | {', '.join(f'{s:+.1f}' for s in z)} | "
            f"{converged} of {SEEDS} | {limit:.4f} | {finite:+.0%} | {ours:+.0%} | {peers[0]:+.0%} | {peers[1]:+.0%}"
        )
        errors.append(np.abs(error))
        relative.append(np.abs([finite, ours, *peers]))
    print_table(
        "a, b | λ̂ (exact λ_n), by seed | error against λ_n | z | converged | λ | exact λ_n against λ | λ̂ against λ | "
        "notebook's SGLD against λ | its SGNHT",
        rows,
    )
    finite, ours, sgld, sgnht = np.mean(relative, axis=0)
    print(f"\nmean |relative error| against λ_n: {np.mean(errors):.1%} (worst {np.max(errors):.1%}, goal 5 %)")
    print(f"against λ: exact λ_n {finite:.0%}, λ̂ {ours:.0%}, notebook's SGLD {sgld:.0%}, its SGNHT {sgnht:.0%}")
