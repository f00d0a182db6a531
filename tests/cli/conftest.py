import sys

import numpy as np
import pytest

from llc import checkpoints
from llc.cli.main import main

PROBLEM = """
import jax.numpy as jnp
import numpy as np
import llc

examples = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)


def loss(params, batch):
    return 0.5 * jnp.square(params["w"] - batch).sum(axis=1)


problem = llc.Problem(loss, examples - examples.mean(0))
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a problem file and a checkpoint of it."""
    (tmp_path / "problem.py").write_text(PROBLEM)
    checkpoints.save(tmp_path / "step_000100.npz", {"w": np.zeros(2, np.float32)}, step=100)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def llcoef(monkeypatch, capsys):
    """Run the command in this process: arguments in, (exit status, stdout, stderr) out."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["llcoef", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return run
