"""How many parameters a trained network effectively uses: the local learning coefficient, with an honest error bar.

The names below stand in the order of the pipeline. They load on first use, so that `import llc` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llc import checkpoints, kernels, samplers, zoo
    from llc.batches import from_batches
    from llc.checkpoints.recorder import Recorder
    from llc.comparators.compare import compare
    from llc.comparators.comparison import Comparison, Comparisons
    from llc.draws.draw import draw
    from llc.draws.memory import Memory, OutOfMemory
    from llc.draws.room import memory
    from llc.estimators.calibrate import Calibration, calibrate
    from llc.estimators.estimate import estimate
    from llc.estimators.evidence import free_energy, waic, wbic
    from llc.estimators.example_losses import per_example_losses
    from llc.estimators.free_energy import free_energy_from, slope_from
    from llc.estimators.influence import bayesian_influence
    from llc.estimators.learning_coefficient import learning_coefficient
    from llc.estimators.measure import Measure
    from llc.estimators.multiplicity import multiplicity_from
    from llc.estimators.refined import refine, restricted_to_data, susceptibility
    from llc.estimators.result import Estimate
    from llc.estimators.waic import waic_from
    from llc.estimators.wbic import wbic_from
    from llc.own_truth import behavioral
    from llc.posterior.local_posterior import LocalPosterior
    from llc.posterior.localization import PerLeaf, Relative
    from llc.posterior.rematerialize import rematerialized
    from llc.precision import mixed_precision
    from llc.problem import Bernoulli, Categorical, Gaussian, Problem
    from llc.trajectories.result import Trajectory
    from llc.trajectories.trajectory import trajectory

_HOMES = {
    "Problem": "llc.problem",
    "Gaussian": "llc.problem",
    "Categorical": "llc.problem",
    "Bernoulli": "llc.problem",
    "from_batches": "llc.batches",
    "mixed_precision": "llc.precision",
    "rematerialized": "llc.posterior.rematerialize",
    "checkpoints": "",
    "Recorder": "llc.checkpoints.recorder",
    "zoo": "",
    "behavioral": "llc.own_truth",
    "LocalPosterior": "llc.posterior.local_posterior",
    "Relative": "llc.posterior.localization",
    "PerLeaf": "llc.posterior.localization",
    "samplers": "",
    "draw": "llc.draws.draw",
    "memory": "llc.draws.room",
    "Memory": "llc.draws.memory",
    "OutOfMemory": "llc.draws.memory",
    "estimate": "llc.estimators.estimate",
    "Estimate": "llc.estimators.result",
    "calibrate": "llc.estimators.calibrate",
    "Calibration": "llc.estimators.calibrate",
    "free_energy": "llc.estimators.evidence",
    "wbic": "llc.estimators.evidence",
    "waic": "llc.estimators.evidence",
    "compare": "llc.comparators.compare",
    "Comparison": "llc.comparators.comparison",
    "Comparisons": "llc.comparators.comparison",
    "trajectory": "llc.trajectories.trajectory",
    "Trajectory": "llc.trajectories.result",
    "kernels": "",
    "refine": "llc.estimators.refined",
    "Measure": "llc.estimators.measure",
    # from draws already made
    "learning_coefficient": "llc.estimators.learning_coefficient",
    "free_energy_from": "llc.estimators.free_energy",
    "slope_from": "llc.estimators.free_energy",
    "multiplicity_from": "llc.estimators.multiplicity",
    "wbic_from": "llc.estimators.wbic",
    "waic_from": "llc.estimators.waic",
    "restricted_to_data": "llc.estimators.refined",
    "susceptibility": "llc.estimators.refined",
    "bayesian_influence": "llc.estimators.influence",
    "per_example_losses": "llc.estimators.example_losses",
}

__all__ = [
    "Bernoulli",
    "Calibration",
    "Categorical",
    "Comparison",
    "Comparisons",
    "Estimate",
    "Gaussian",
    "LocalPosterior",
    "Measure",
    "Memory",
    "OutOfMemory",
    "PerLeaf",
    "Problem",
    "Recorder",
    "Relative",
    "Trajectory",
    "bayesian_influence",
    "behavioral",
    "calibrate",
    "checkpoints",
    "compare",
    "draw",
    "estimate",
    "free_energy",
    "free_energy_from",
    "from_batches",
    "kernels",
    "learning_coefficient",
    "memory",
    "mixed_precision",
    "multiplicity_from",
    "per_example_losses",
    "refine",
    "rematerialized",
    "restricted_to_data",
    "samplers",
    "slope_from",
    "susceptibility",
    "trajectory",
    "waic",
    "waic_from",
    "wbic",
    "wbic_from",
    "zoo",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'llc' has no attribute {name!r}"
        raise AttributeError(msg)
    home = _HOMES[name]
    return getattr(import_module(home), name) if home else import_module(f"llc.{name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
