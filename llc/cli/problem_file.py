"""A problem file: a Python file that defines `problem`, and perhaps `template`, the tree its checkpoints fill."""

import importlib.util
import sys
from pathlib import Path
from typing import Any, NamedTuple

from llc.problem import Problem

MODULE = "llcoef_problem"  # the name that a problem file is imported under


class ProblemFile(NamedTuple):
    """What a problem file defines."""

    problem: Problem
    template: Any


def load_problem(path: Path) -> ProblemFile:
    """Run a problem file of the user's own.

    Raises:
        ValueError: it is missing, fails, or defines no `problem`.
    """
    if not path.is_file():
        msg = f"{path} is no file; give a Python file that defines `problem = llc.Problem(...)`."
        raise ValueError(msg)
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        msg = f"{path} is no Python file; its name must end in .py."
        raise ValueError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.absolute().parent))  # its neighbours can be imported, as for a script
    try:
        spec.loader.exec_module(module)
        problem = getattr(module, "problem", None)
        problem = problem() if callable(problem) and not isinstance(problem, Problem) else problem
    except Exception as error:
        msg = f"{path} failed with {type(error).__name__}: {error}"
        raise ValueError(msg) from error
    if not isinstance(problem, Problem):
        came = "nothing of that name" if problem is None else f"a {type(problem).__name__}"
        msg = f"{path} must define `problem`, an llc.Problem or a function that returns one; it defines {came}."
        raise ValueError(msg)
    return ProblemFile(problem, getattr(module, "template", None))
