"""Each example runs as its reader would run it, its own checks hold, and it leaves its figure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example(path, tmp_path):
    assert "assert abs(value - expected) <= tolerance" in path.read_text(encoding="utf-8")
    environment = os.environ | {"LLC_EXAMPLES_OUT": str(tmp_path), "MPLBACKEND": "Agg"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", path], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / f"{path.stem}.png").read_bytes().startswith(b"\x89PNG")
