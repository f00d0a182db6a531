"""What to sample with, and why: every kernel tried on the problem itself, and λ̂ against each setting it depends on."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from llc.estimators import calibration
from llc.estimators.diagnoses import SAMPLING_FAULTS, Verdict
from llc.estimators.estimate import estimate
from llc.estimators.measure import mean_of
from llc.estimators.result import Estimate
from llc.estimators.show import html_table, plain, show
from llc.estimators.side_by_side import estimates_at
from llc.estimators.tempering import tempered_loss
from llc.estimators.uncertainty import Mean
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.localization import Localization, Relative, scaled
from llc.problem import Problem
from llc.samplers import HMC, SGLD, PreconditionedSGLD, ReplicaExchange, UnderdampedLangevin
from llc.samplers.kernel import Kernel

_STEP_FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of SGLD's step sizes, against what the curvature at w* allows
_FACTORS = (0.1, 10**-0.5, 1.0, 10**0.5, 10.0)  # of γ and nβ
_PILOTS_SHARE = 0.5  # of the budget; the sweeps have the rest
_PLATEAU_SIGMAS = 2.0
_PLATEAU_WIDTH = 0.05
_DISQUALIFIED = SAMPLING_FAULTS - {Verdict.TOO_FEW_DRAWS, Verdict.ONE_CHAIN}


class Pilot(NamedTuple):
    """A kernel tried: what it estimates, and for how many gradients of one example."""

    kernel: Kernel
    estimate: Estimate
    evaluations: float

    @property
    def name(self) -> str:
        """The kernel's name."""
        return type(self.kernel).__name__

    @property
    def efficiency(self) -> float:
        """1 / (relative variance · evaluations): independent draws of relative variance 1 a gradient evaluation."""
        error = self.estimate.std_error / abs(self.estimate.value) if self.estimate.value else math.inf
        return 1 / (error**2 * self.evaluations) if error > 0 and self.evaluations > 0 else 0.0

    @property
    def faults(self) -> tuple[Verdict, ...]:
        """What speaks against it, other than too little of it."""
        far = (Verdict.DRIFTING,) if self.estimate.rhat > 1.1 else ()
        return tuple(dict.fromkeys((*(v for v in self.estimate.verdicts if v in _DISQUALIFIED), *far)))


@dataclass(frozen=True, repr=False)
class Calibration:
    """What was chosen, what else was tried, and how λ̂ moves with each setting."""

    kernel: Kernel
    """The chosen kernel."""
    settings: dict[str, Any]
    """The keyword arguments that give the chosen estimate: `llc.estimate(problem, params, **settings)`."""
    reasons: tuple[str, ...]
    """Why, a sentence each."""
    pilots: tuple[Pilot, ...]
    """The kernels tried, the chosen one first."""
    sweeps: dict[str, dict[float, Mean]]
    """λ̂ against SGLD's `step_size`, and against factors on `localization` (γ) and `nbeta`."""
    plateaus: dict[str, tuple[float, float]]
    """The range of each about the chosen setting over which λ̂ does not move: within 2 joint errors, or 5 %."""

    @property
    def estimate(self) -> Estimate:
        """λ̂ of the chosen kernel's pilot run."""
        return self.pilots[0].estimate

    def __repr__(self) -> str:
        return f"{type(self.kernel).__name__}: {self.reasons[0]} {self.estimate}"

    def rows(self) -> list[tuple[str, str]]:
        """What the tables show, as (name, value)."""
        return [
            ("chosen", type(self.kernel).__name__),
            *(("because", reason) for reason in self.reasons),
            *((pilot.name, _describe(pilot)) for pilot in self.pilots),
            *((f"plateau of {name}", f"{low:.3g} to {high:.3g}") for name, (low, high) in self.plateaus.items()),
        ]

    def _repr_html_(self) -> str:
        return html_table("Calibration", self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Everything but the draws, in types that JSON knows."""
        pilots = [
            {"kernel": p.name, "evaluations": p.evaluations, "efficiency": p.efficiency} | p.estimate.to_dict()
            for p in self.pilots
        ]
        return plain(
            {
                "kernel": type(self.kernel).__name__,
                "reasons": list(self.reasons),
                "pilots": pilots,
                "sweeps": self.sweeps,
                "plateaus": self.plateaus,
            }
        )

    def plot(self) -> Any:
        """λ̂ against step size, γ and nβ, plateaus marked, and the kernels' efficiency, as a matplotlib figure."""
        from llc.plots.calibration import plot_calibration

        efficiencies = {pilot.name: pilot.efficiency for pilot in self.pilots}
        return plot_calibration(self.sweeps, self.plateaus, self.estimate.mean, efficiencies)


def calibrate(
    problem: Problem,
    params: PyTree,
    *,
    rng_key: int | Array = 0,
    kernels: Sequence[Kernel] | None = None,
    nbeta: float | int | None = None,
    localization: Localization = Relative(),  # noqa: B008, frozen
    mask: Any = None,
    batch_size: int | None = None,
    num_chains: int = 4,
    max_gradient_evaluations: float | int | None = None,
    max_seconds: float | int | None = None,
    progress: bool = True,
) -> Calibration:
    """Try kernels on equal budgets and choose the one of the smallest error among those that sample rightly.

    A kernel is disqualified where its virial is off (hot, or not yet spread), its chains drift, disagree or diverge.
    Then λ̂ is estimated over SGLD's step sizes, and over γ and nβ by the chosen kernel, all values side by side.

    Args:
        problem: the loss and its data.
        params: the checkpoint w*.
        rng_key: a seed or a JAX key.
        kernels: what to try; unless given replica exchange or HMC where it is affordable, SGLD, RMSprop-preconditioned
            SGLD and underdamped Langevin.
        nbeta: nβ, n / log n unless given.
        localization: γ, or `llc.Relative(radius)`.
        mask: what may move.
        batch_size: examples a minibatch.
        num_chains: chains, for each step size.
        max_gradient_evaluations: the budget of everything, in gradients of one example's loss.
        max_seconds: the same in seconds of this machine, by the measured speed of its gradients, compilation apart.
        progress: show bars on standard error.

    Raises:
        ValueError: both budgets are given, or one does not pay for a step of each kernel; or as `llc.estimate`.
    """
    posterior = LocalPosterior(problem, params, nbeta=nbeta, localization=localization, mask=mask)
    budget = _budget(posterior, max_gradient_evaluations, max_seconds)
    common = {"mask": mask, "batch_size": batch_size, "num_chains": num_chains}
    shown, at = {"rng_key": rng_key, "progress": progress}, {"nbeta": nbeta, "localization": localization}
    tried = _candidates(posterior, num_chains, _PILOTS_SHARE * budget) if kernels is None else list(kernels)
    each = _PILOTS_SHARE * budget / len(tried)
    pilots = [_pilot(problem, params, kernel, each, common | shown | at) for kernel in tried]
    pilots.sort(key=lambda pilot: (len(pilot.faults), -pilot.efficiency))
    chosen = pilots[0]
    left = (1 - _PILOTS_SHARE) * budget
    sweeps = _sweeps(posterior, params, localization, chosen.kernel, left, common | shown)
    center = {"step_size": min(sweeps["step_size"], default=0.0), "localization": 1.0, "nbeta": 1.0}
    plateaus = {
        name: _plateau(sweep, center[name], chosen.estimate.mean if name == "step_size" else sweep[1.0])
        for name, sweep in sweeps.items()
        if sweep
    }
    settings = {name: value for name, value in (common | at).items() if value is not None} | {"kernel": chosen.kernel}
    return Calibration(chosen.kernel, settings, tuple(_reasons(pilots)), tuple(pilots), sweeps, plateaus)


def _candidates(posterior: LocalPosterior, num_chains: int, budget: float) -> list[Kernel]:
    default, _ = calibration.choose_kernel(posterior, num_chains, budget)
    exact = {ReplicaExchange: [default], HMC: [default]}.get(type(default), [])
    return [*exact, SGLD(), PreconditionedSGLD(), UnderdampedLangevin(friction=8.0)]


def _budget(
    posterior: LocalPosterior, max_gradient_evaluations: float | int | None, max_seconds: float | int | None
) -> float:
    """Gradients of one example that may be spent; twice those of an estimate's default budget unless given."""
    if max_gradient_evaluations is not None and max_seconds is not None:
        msg = (
            f"max_gradient_evaluations={max_gradient_evaluations} and max_seconds={max_seconds} are both given; "
            "give one of them."
        )
        raise ValueError(msg)
    if max_gradient_evaluations is not None:
        return float(max_gradient_evaluations)
    if max_seconds is None:
        return 2 * calibration.DEFAULT_BUDGET * posterior.n / calibration.full_gradient_cost(posterior)
    if not max_seconds > 0:
        msg = f"max_seconds={max_seconds}; it must be positive."
        raise ValueError(msg)
    v = jnp.zeros(posterior.dimension)
    jax.block_until_ready(calibration.full_gradient(posterior, v))
    begun = time.monotonic()
    for _ in range(3):
        jax.block_until_ready(calibration.full_gradient(posterior, v))
    return max_seconds * 3 * posterior.n / max(time.monotonic() - begun, 1e-6)


def _pilot(problem: Problem, params: PyTree, kernel: Kernel, evaluations: float, settings: dict[str, Any]) -> Pilot:
    settings = settings | {"relative_error": 0.01, "max_gradient_evaluations": evaluations}
    result = estimate(problem, params, kernel=kernel, **settings)
    groups = [result.draws[name] for name in ("sample_stats", "warmup_sample_stats") if name in result.draws.children]
    thinning = result.settings["thinning"]
    spent = sum(float(np.nansum(group["gradient_evaluations"].to_numpy())) for group in groups) * thinning
    return Pilot(kernel, result, spent)


def _sweeps(
    posterior: LocalPosterior,
    params: PyTree,
    localization: Localization,
    kernel: Kernel,
    budget: float,
    settings: dict[str, Any],
) -> dict[str, dict[float, Mean]]:
    """λ̂ over SGLD's step sizes; and by the kernel over γ and nβ, all of which run side by side.

    Of replica exchange the highest nβ is enough: its ladder holds the others.
    """
    share, nbeta = budget / (2 * len(_FACTORS) + 1), float(posterior.nbeta)
    sizes = calibration.CAUTION * 4 / calibration.curvature_at_center(posterior) * np.array(_STEP_FACTORS)
    exchange, highest = isinstance(kernel, ReplicaExchange), _FACTORS[-1]
    over_nbeta = (highest,) if exchange else _FACTORS
    pairs = list(dict.fromkeys([*((1.0, f) for f in _FACTORS), *((f, 1.0) for f in over_nbeta)]))
    of_pair = {"kernel": kernel, "max_gradient_evaluations": 2 * len(_FACTORS) * share / len(pairs)}
    where = [(by_nbeta * nbeta, scaled(localization, by_gamma)) for by_nbeta, by_gamma in pairs]
    results = dict(zip(pairs, estimates_at(posterior.problem, params, where, **of_pair, **settings), strict=True))
    if exchange:
        draws = results[highest, 1.0].draws
        of_nbeta = {f: mean_of(f * nbeta * tempered_loss(draws, f * nbeta)) for f in _FACTORS}
    else:
        of_nbeta = {f: results[f, 1.0].mean for f in _FACTORS}
    at_center = {"nbeta": nbeta, "localization": localization, "max_gradient_evaluations": share}
    return {
        "step_size": estimate(posterior.problem, params, kernel=SGLD(sizes), **at_center, **settings).by_step_size,
        "localization": {f: results[1.0, f].mean for f in _FACTORS},
        "nbeta": of_nbeta,
    }


def _plateau(sweep: dict[float, Mean], center: float, chosen: Mean) -> tuple[float, float]:
    """The settings about `center` over which λ̂ stays at the chosen value."""
    settings = sorted(sweep)

    def flat(setting: float) -> bool:
        mean = sweep[setting]
        joint = _PLATEAU_SIGMAS * math.hypot(mean.std_error, chosen.std_error)
        return abs(mean.value - chosen.value) <= max(joint, _PLATEAU_WIDTH * abs(chosen.value))

    middle = int(np.argmin(np.abs(np.log(np.array(settings) / center))))
    low = high = middle
    while low > 0 and flat(settings[low - 1]):
        low -= 1
    while high + 1 < len(settings) and flat(settings[high + 1]):
        high += 1
    return settings[low], settings[high]


def _reasons(pilots: Sequence[Pilot]) -> list[str]:
    chosen, *others = pilots
    first = f"{chosen.efficiency * 1e6:.3g} independent draws (of relative variance 1) a million gradient evaluations."
    faults = [f"{chosen.name} itself is {', '.join(chosen.faults)}: raise the budget."] if chosen.faults else []
    against = [
        f"{pilot.name} is {', '.join(pilot.faults)}."
        if pilot.faults
        else f"{pilot.name} gives {pilot.efficiency / max(chosen.efficiency, 1e-300):.2g} times as many."
        for pilot in others
    ]
    return [first, *faults, *against]


def _describe(pilot: Pilot) -> str:
    e = pilot.estimate
    return (
        f"{show(e)} · virial {e.virial_ratio.value:.3f} · ESS {e.ess:.0f} · {pilot.evaluations:.2g} evaluations · "
        f"{', '.join(e.verdicts)}"
    )
