"""Checkpoints that the command line names, read and checked against their problem."""

from pathlib import Path
from typing import Any

from llc import checkpoints
from llc.checkpoints import Checkpoint
from llc.cli.problem_file import load_problem
from llc.problem import Problem

_PICTURES = (".png", ".svg", ".pdf")


def load_checkpoint(problem: Problem, path: Path, template: Any) -> Checkpoint:
    """Read a checkpoint that the problem's loss can be computed of.

    Raises:
        ValueError: it cannot be read, or is of another network; the file is named.
    """
    checkpoint = checkpoints.read(path, template)
    try:
        problem.check(checkpoint.params)
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error
    return checkpoint


def load_checkpoints(problem_path: Path, paths: list[Path]) -> dict[str, tuple[Problem, Any]]:
    """Checkpoints of one problem by their names, as `llc.compare` takes them."""
    problem, template = load_problem(problem_path)
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return {
        name: (problem, load_checkpoint(problem, path, template).params)
        for name, path in zip(names, paths, strict=True)
    }


def check_picture(path: Path) -> None:
    """Refuse a picture of an unknown format before anything is computed."""
    if path.suffix not in _PICTURES:
        msg = f"--plot {path}: a picture's name must end in {', '.join(_PICTURES)}."
        raise ValueError(msg)
