"""Imports go down the rooms only, files stay short, and no module is named after nothing."""

import ast
from pathlib import Path

import pytest

import llc

ROOMS = [
    "files",
    "cache",
    "data",
    "problem",
    "precision",
    "fingerprint",
    "own_truth",
    "checkpoints",
    "zoo",
    "digits",
    "posterior",
    "samplers",
    "draws",
    "batches",
    "plots",
    "estimators",
    "kernels",
    "comparators",
    "trajectories",
    "report",
    "cli",
    "__main__",
]
MEANINGLESS = {"utils", "util", "misc", "core", "common", "base", "helpers"}
MAX_LINES = 400

ROOT = Path(llc.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path):
    """The rooms that a file imports from; the front door, `llc` itself, opens onto all of them and stands last."""
    package = ("llc", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*above, *([node.module] if node.module else [])])
            modules = [f"llc.{alias.name}" for alias in node.names] if source == "llc" else [source]
        else:
            continue
        for module in modules:
            parts = module.split(".")
            if parts[0] == "llc":
                yield parts[1] if len(parts) > 1 and parts[1] in ROOMS else ROOMS[-1]


def upward_imports(path):
    here = ROOMS.index(room_of(path))
    return [room for room in imported_rooms(path) if ROOMS.index(room) > here]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_file(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    assert not {path.stem, path.parent.name} & MEANINGLESS
    if path != ROOT / "__init__.py":
        assert room_of(path) in ROOMS, f"give {room_of(path)} its place in ROOMS"
        assert upward_imports(path) == []


def test_the_reader_of_imports_sees_every_way_to_write_one(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "samplers" / "sgld.py"
    path.parent.mkdir()
    up = ["import llc.draws.draw", "from llc.draws import draw", "from llc import draws", "from ..draws import draw"]
    for statement in [*up, "from llc import Estimate", "def f():\n    from llc.draws.draw import draw"]:
        path.write_text(statement)
        assert len(upward_imports(path)) == 1, statement
    for statement in ["from llc.samplers.langevin import start", "from .langevin import start", "import llc.problem"]:
        path.write_text(statement)
        assert upward_imports(path) == [], statement
