"""Gradients of one example to a standard error of 5 %: ours by default, and plain minibatch SGLD as peers run it.

Plain SGLD here is the minibatch gradient and minibatch losses less a baseline that is one number, at the step size
where its bias is 5 %, which a line through a ladder of step sizes tells from the exact value. That value comes from
NUTS (benchmarks/control_variate.py and digits.py). Its cost is that of 4 chains' warm-up, four relaxation times of the
flattest direction, and of as many draws as the measured variance asks for (s.e. ∝ 1/√draws). The baseline is one of:
exact, and for free; or the mean of minibatch losses at w*, at a third of a gradient an example, in the best proportion.
Ours is counted as it came, which is more precise than asked for; and likewise by its warm-up and measured variance.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from records import Records, print_table
from scipy.optimize import nnls

import llc
from llc.digits import digits_problem, initialize, train
from llc.estimators.uncertainty import mean_with_error
from llc.samplers import SGLD

GOAL = 0.05  # both the bias and the standard error, as parts of λ_n
NUM_CHAINS, BATCH = 4, 128
_RELAXATIONS = 4.0  # of the flattest direction, 1/step_size steps each: e⁻⁴ of the way is left


class Case(NamedTuple):
    """A posterior, its exact λ_n with the error of that, and step sizes of plain SGLD about the one that is 5 % off."""

    problem: llc.Problem
    params: Any
    localization: float | llc.Relative
    exact: tuple[float, float]
    step_sizes: tuple[float, ...]
    draws: int
    thinning: int


def digits() -> Case:
    """The network of `llcoef demo`, 64-16-10 on the digits, d = 1210."""
    problem = digits_problem()
    *_, (_, params) = train(problem, initialize())
    return Case(problem, params, llc.Relative(), (39.41, 0.15), (1e-3, 2e-3), 200, 40)


def deep_linear() -> Case:
    """Widths (5, 4, 5), true rank 2, n = 10,000, γ = 10, d = 40."""
    entry = llc.zoo.deep_linear((5, 4, 5), rank=2, n=10_000, simulate=True)
    return Case(entry.problem, entry.params, 10.0, (8.556, 0.074), (1e-4, 2e-4, 4e-4), 1000, 40)


CASES = {"DLN (5, 4, 5)": deep_linear, "digits": digits}
KERNELS = {"DLN (5, 4, 5)": {"default": None}, "digits": {"default": None, "SGLD()": SGLD()}}


def evaluations(estimate: llc.Estimate) -> tuple[float, float]:
    """Per-example gradients of all chains, in warm-up (not the attempts that it gave up) and drawing."""
    settings = estimate.settings
    drawn = estimate.draws["sample_stats"]["gradient_evaluations"].to_numpy()
    total = drawn.sum(dtype=float) * settings["thinning"]
    if "warmup_steps" in settings:  # whose draws were of many lengths
        chains = drawn.size / drawn.shape[-1]
        return settings["warmup_steps"] * chains * float(drawn.flat[0]), total
    warmup = estimate.draws["warmup_sample_stats"]["gradient_evaluations"].to_numpy()
    return warmup.sum(dtype=float) * settings["thinning"], total


def ours(case: Case, kernel: Any) -> dict[str, Any]:
    """What an estimate cost, as it came."""
    common = {"localization": case.localization, "kernel": kernel, "progress": False}
    estimate = llc.estimate(case.problem, case.params, **common)
    warmup, drawn = evaluations(estimate)
    return {
        "value": estimate.value,
        "std_error": estimate.std_error,
        "warmup": warmup,
        "evaluations": warmup + drawn,
        "kernel": estimate.settings["kernel"],
        "verdicts": [str(verdict) for verdict in estimate.verdicts],
    }


def plain(case: Case) -> dict[str, Any]:
    """Plain SGLD over its ladder: λ̂ by full-data losses, which tell the bias, and by unpaired minibatch losses."""
    posterior = llc.LocalPosterior(case.problem, case.params, localization=case.localization, batch_size=BATCH)
    losses = np.asarray(posterior.center_losses, float)
    unpaired = eqx.tree_at(lambda p: p.center_losses, posterior, jnp.full_like(posterior.center_losses, losses.mean()))
    draws = llc.draw(
        SGLD(list(case.step_sizes), gradient="minibatch"),
        unpaired,
        0,
        num_chains=NUM_CHAINS,
        num_warmup=int(np.ceil(_RELAXATIONS / min(case.step_sizes) / case.thinning)),
        num_draws=case.draws,
        thinning=case.thinning,
        progress=False,
    )["sample_stats"]
    nbeta = float(posterior.nbeta)
    means = {
        name: [mean_with_error(nbeta * draws[name].to_numpy()[i].astype(float)) for i in range(len(case.step_sizes))]
        for name in ("full_loss_difference", "loss_difference")
    }
    return {
        "full": [[mean.value, mean.std_error] for mean in means["full_loss_difference"]],
        "unpaired": [[mean.value, mean.std_error] for mean in means["loss_difference"]],
        "steps": NUM_CHAINS * case.draws * case.thinning,
        "baseline_variance": nbeta**2 * losses.var() / BATCH,  # of one minibatch
    }


def price(found: dict[str, Any], exact: float, goal: float = GOAL) -> dict[str, float]:
    """What plain SGLD costs to a bias and a standard error that are each this part of λ_n."""
    sizes, (value, error) = np.array(found["step_sizes"]), np.array(found["full"]).T
    slope = np.sum(sizes * (value - exact) / error**2) / np.sum((sizes / error) ** 2)  # bias = slope · ε
    step_size = goal * exact / slope
    # of one step: the batch's noise, and the chain's own, which lasts 1/ε steps
    variances = np.array([error**2 for _, error in found["unpaired"]]) * found["steps"]
    shares, _ = nnls(np.stack([np.ones_like(sizes), 1 / sizes], axis=1) / variances[:, None], np.ones_like(sizes))
    of_step, of_baseline = shares[0] + shares[1] / step_size, found["baseline_variance"]
    mixed, variance = np.sqrt(of_step * of_baseline / 3), (goal * exact) ** 2
    warmup = NUM_CHAINS * _RELAXATIONS / step_size * BATCH
    return {
        "step_size": step_size,
        "warmup": warmup,
        "free": warmup + of_step / variance * BATCH,
        "estimated": warmup + (of_step + mixed + (of_baseline + 3 * mixed) / 3) / variance * BATCH,
        "four_batches": float(np.sqrt(of_baseline / 4) / exact),
    }


def report(records: Records) -> None:
    """Ours and plain SGLD, for each network."""
    cases = {name: make() for name, make in CASES.items()}
    peers = {
        name: records.get({"case": name, "by": "plain", "step_sizes": list(case.step_sizes)}, lambda c=case: plain(c))
        for name, case in cases.items()
    }
    for name, found in peers.items():
        exact, of_exact = cases[name].exact
        cost = price(found, exact)
        print(f"\n{name}: exact {exact} ± {of_exact}")
        sizes = zip(found["step_sizes"], found["full"], found["unpaired"], strict=True)
        ladder = [f"{size:g} | {a:.2f} ± {b:.2f} | {c:.2f} ± {d:.2f}" for size, (a, b), (c, d) in sizes]
        print_table("plain SGLD, step_size | by full-data losses | by minibatch losses, exact baseline", ladder)
        print(
            f"\n5 % off at step_size {cost['step_size']:.2g}, warm-up {cost['warmup']:.2g} gradients; gradients to a "
            f"standard error of 5 %: {cost['free']:.2g} with an exact baseline for free, {cost['estimated']:.2g} with "
            f"an estimated one. A baseline of four minibatches is uncertain by {cost['four_batches']:.0%} of λ_n."
        )
        rows = []
        for label, kernel in KERNELS[name].items():
            r = records.get({"case": name, "by": label}, lambda c=cases[name], k=kernel: ours(c, k))
            apart = (r["value"] - exact) / np.hypot(r["std_error"], of_exact)
            ratios = [f"{cost[key] / r['evaluations']:.2g}" for key in ("free", "estimated")]
            precise = price(found, exact, r["std_error"] / exact)["free"] / r["evaluations"]
            to_goal = r["warmup"] + (r["evaluations"] - r["warmup"]) * (r["std_error"] / (GOAL * exact)) ** 2
            value = f"{r['value']:.2f} ± {r['std_error']:.2f} ({r['std_error'] / r['value']:.1%})"
            verdicts, seconds = ", ".join(r["verdicts"]), f"{r['seconds']:.0f}"
            cells = (f"{label}: {r['kernel']}", value, f"{apart:+.1f}", verdicts, f"{r['evaluations']:.2g}")
            at_goal = [f"{to_goal:.2g}", *(f"{cost[key] / to_goal:.2g}" for key in ("free", "estimated"))]
            rows.append(" | ".join([*cells, *ratios, f"{precise:.2g}", *at_goal, seconds]))
        print_table(
            "ours | λ̂ | joint s.e. from exact | verdicts | gradients | plain's, exact baseline ÷ ours | "
            "estimated baseline ÷ ours | plain's to our standard error, exact baseline ÷ ours | ours to 5 % | "
            "plain's, exact baseline ÷ that | estimated baseline ÷ that | s",
            rows,
        )
