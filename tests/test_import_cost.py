"""`import llc` costs nothing until something is used."""

import subprocess
import sys
from pathlib import Path

import pytest

import llc

HEAVY = ["jax", "matplotlib", "numpyro", "arviz_base", "arviz_stats", "xarray", "equinox", "scipy", "sklearn"]


def loaded_after(statement):
    script = f"import sys; {statement}; print(*(set({HEAVY}) & set(sys.modules)))"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


@pytest.mark.parametrize("statement", ["import llc", "import llc; dir(llc); llc.__version__"])
def test_import_loads_nothing_heavy(statement):
    assert loaded_after(statement) == set()


def test_using_it_loads_jax():
    assert {"jax", "equinox"} <= loaded_after("import llc; llc.Problem")


def test_sampling_waits_for_no_diagnostics():
    """ArviZ and SciPy's distributions take a second, which the first draws need not wait for."""
    script = """
import sys, numpy as np, llc
from llc.draws.draw import advance, start_chains
problem = llc.Problem(lambda w, x: 0.5 * (x - w) ** 2, np.zeros(10, np.float32))
posterior = llc.LocalPosterior(problem, np.zeros((), np.float32))
advance(start_chains(llc.samplers.SGLD(step_size=1e-3), posterior, 0, num_chains=2, num_warmup=0), 2)
assert llc.estimate
sys.exit(", ".join({"arviz_base", "arviz_stats", "scipy.stats"} & set(sys.modules)) or None)
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stderr == ""


def test_no_public_name_is_that_of_a_module():
    """Importing the module would put it in the name's place."""
    root = Path(llc.__file__).parent
    modules = {path.stem for path in root.glob("*.py")} | {path.name for path in root.iterdir() if path.is_dir()}
    assert modules & set(llc.__all__) == {"checkpoints", "kernels", "samplers", "zoo"}  # which are modules
