from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def reference():
    """Numbers of public packages and of closed forms; tests/reference/README.md tells their origin."""
    with np.load(Path(__file__).parents[1] / "reference" / "ntk_reference.npz") as arrays:
        return dict(arrays)
