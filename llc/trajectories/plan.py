"""Settings that hold for a whole run: found on a few of its checkpoints, then the same at every step."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from llc.estimators import calibration
from llc.estimators.diagnoses import Verdict
from llc.estimators.result import Estimate
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.localization import PerLeaf, Relative
from llc.problem import Problem
from llc.samplers import ReplicaExchange
from llc.samplers.kernel import Kernel, with_step_size

_OF_THE_GOAL = ("relative_error", "max_gradient_evaluations")  # which only the pilots need


def pilots_of(steps: Sequence[int]) -> list[int]:
    """The first, the middle and the last.

    >>> pilots_of([0, 1, 10, 100, 1000]), pilots_of([5])
    ([0, 10, 1000], [5])
    """
    return [steps[place] for place in sorted({0, len(steps) // 2, len(steps) - 1})]


def pilot_settings(asked: dict[str, Any], problems: Sequence[Problem], centers: Sequence[PyTree]) -> dict[str, Any]:
    """What the pilots share, and with them all steps: a kernel, and γ of each leaf, relative to the last of them.

    Were γ relative to each checkpoint, λ̂ would move with the size of the weights alone. The last has the value that
    `llc.estimate` gives there.
    """
    shared = dict(asked)
    if isinstance(asked["localization"], Relative):
        shared["localization"] = PerLeaf(tuple(asked["localization"].resolve(centers[-1]).tolist()))
    if asked["kernel"] is None:
        # cost, and so the choice, is that of the network
        where = {name: shared[name] for name in ("nbeta", "localization", "mask", "batch_size")}
        posterior = LocalPosterior(problems[-1], centers[-1], **where)
        shared["kernel"], _ = calibration.choose_kernel(
            posterior, asked["num_chains"], asked["max_gradient_evaluations"]
        )
    return shared


def needs_pilots(shared: dict[str, Any]) -> bool:
    """Whether something is left to find."""
    return shared["kernel"].step_size is None or shared["num_draws"] is None or shared["num_warmup"] is None


def fixed_settings(shared: dict[str, Any], pilots: Sequence[Estimate], posterior: LocalPosterior) -> dict[str, Any]:
    """The settings of every step: the smallest steps, the longest warm-up and the most draws that a pilot took.

    Of pilots that are no minima the draws do not count: there λ̂ may be 0, and no relative precision be reached.

    Args:
        shared: of `pilot_settings`.
        pilots: their estimates; none where nothing is left to find.
        posterior: of any of them.
    """
    fixed = {name: value for name, value in shared.items() if name not in _OF_THE_GOAL}
    kernel, told = shared["kernel"], [pilot.settings for pilot in pilots]
    fixed["kernel"] = _fixed_kernel(kernel, told, posterior)
    if not pilots:
        return fixed
    minima = [pilot.settings for pilot in pilots if Verdict.NOT_A_MINIMUM not in pilot.verdicts]
    thinning = max(settings["thinning"] for settings in told)
    draws = [settings["num_draws"] * settings["thinning"] for settings in minima or told]
    warmup = [settings.get("warmup_steps", settings["num_warmup"] * settings["thinning"]) for settings in told]
    found = {
        "batch_size": max(settings["batch_size"] for settings in told),
        "thinning": thinning,
        "num_draws": math.ceil(max(draws) / thinning),
        "num_warmup": math.ceil(max(warmup) / thinning),
    }
    return fixed | {name: value for name, value in found.items() if fixed[name] is None}


def _fixed_kernel(kernel: Kernel, told: Sequence[dict[str, Any]], posterior: LocalPosterior) -> Kernel:
    if isinstance(kernel, ReplicaExchange):
        usual = kernel.replicas_of(posterior)
        numbers = [settings["kernel_num_replicas"] for settings in told]
        return dataclasses.replace(kernel, num_replicas=max([usual, *(n for n in numbers if isinstance(n, int))]))
    if kernel.step_size is None:
        ladders = np.array([settings["kernel_step_size"] for settings in told])
        return with_step_size(kernel, jnp.asarray(ladders.min(axis=0), jnp.result_type(float)))
    return kernel
