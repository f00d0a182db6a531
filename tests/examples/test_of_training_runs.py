"""Examples 05 to 07: networks whose complexity moves in steps."""

import pytest


@pytest.mark.parametrize("name", ["05_grokking", "06_superposition", "07_saddle_to_saddle"])
def test_example(run_example, name):
    run_example(name)
