"""How many parameters a trained network effectively uses: the local learning coefficient, with an honest error bar.

The names below stand in the order of the pipeline. They load on first use, so that `import llc` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llc import checkpoints, samplers, zoo
    from llc.draws.draw import draw
    from llc.estimators.estimate import estimate
    from llc.estimators.result import Estimate
    from llc.posterior.local_posterior import LocalPosterior, Relative
    from llc.problem import Bernoulli, Categorical, Gaussian, Problem

_HOMES = {
    "Problem": "llc.problem",
    "Gaussian": "llc.problem",
    "Categorical": "llc.problem",
    "Bernoulli": "llc.problem",
    "checkpoints": "",
    "zoo": "",
    "LocalPosterior": "llc.posterior.local_posterior",
    "Relative": "llc.posterior.local_posterior",
    "samplers": "",
    "draw": "llc.draws.draw",
    "estimate": "llc.estimators.estimate",
    "Estimate": "llc.estimators.result",
}

__all__ = [
    "Bernoulli",
    "Categorical",
    "Estimate",
    "Gaussian",
    "LocalPosterior",
    "Problem",
    "Relative",
    "checkpoints",
    "draw",
    "estimate",
    "samplers",
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
