import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_example(tmp_path):
    """Run an example as its reader would: its own checks must hold, and it must leave its figure."""

    def run(name):
        path = EXAMPLES / f"{name}.py"
        assert "assert abs(value - expected) <= tolerance" in path.read_text(encoding="utf-8")
        environment = os.environ | {"MPLBACKEND": "Agg"}  # and XLA's flags, those of all tests
        command = [sys.executable, "-W", "error", path]
        ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    return run
