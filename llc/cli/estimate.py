"""`llcoef estimate`: one checkpoint."""

from pathlib import Path
from typing import Any

from llc import samplers
from llc.cli.checkpoint import check_picture, load_checkpoint
from llc.cli.problem_file import load_problem
from llc.cli.show import show_estimate
from llc.draws.storage import check_destination, save
from llc.estimators.estimate import estimate
from llc.estimators.result import Estimate
from llc.posterior.localization import Relative

_STOCHASTIC = {
    "sgld": samplers.SGLD,
    "preconditioned_sgld": samplers.PreconditionedSGLD,
    "underdamped_langevin": samplers.UnderdampedLangevin,
    "sghmc": samplers.SGHMC,
    "sgnht": samplers.SGNHT,
}
_EXACT = {"replica_exchange": samplers.ReplicaExchange, "hmc": samplers.HMC, "nuts": samplers.NUTS}


def build_kernel(name: str, step_size: float | None, gradient: str) -> Any:
    """The kernel that flags ask for; None leaves the choice.

    Raises:
        ValueError: the name is unknown, or MALA has no step size.
    """
    if name == "auto":
        asked = step_size is not None or gradient != "control_variate"
        return samplers.SGLD(step_size, gradient=gradient) if asked else None
    if name in _STOCHASTIC:
        return _STOCHASTIC[name](step_size, gradient=gradient)
    if name in _EXACT:
        return _EXACT[name]() if step_size is None else _EXACT[name](step_size)
    if name != "mala":
        msg = f"--kernel {name}: it must be {', '.join(('auto', *_STOCHASTIC, *_EXACT))} or mala."
        raise ValueError(msg)
    if step_size is None:
        msg = "--kernel mala needs --step-size; take one that accepts 50 to 90 % of its proposals."
        raise ValueError(msg)
    return samplers.MALA(step_size)


def held(localization: float | None, radius: float) -> float | Relative:
    """γ as flags say it."""
    return Relative(radius) if localization is None else localization


def run_estimate(
    problem_path: Path,
    checkpoint_path: Path,
    *,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> Estimate:
    """Estimate, show, and save what was asked for."""
    if out is not None:
        check_destination(out)
    if plot is not None:
        check_picture(plot)
    problem, template = load_problem(problem_path)
    checkpoint = load_checkpoint(problem, checkpoint_path, template)
    result = estimate(problem, checkpoint.params, progress=not quiet, **settings)
    if out is not None:
        save(result.draws, out)
    if plot is not None:
        result.plot().savefig(plot, dpi=150)
    where = {"checkpoint": str(checkpoint_path), "step": checkpoint.step}
    show_estimate(result, as_json=as_json, quiet=quiet, extra=where)
    return result
