"""Examples 10 to 13; in a file apart from the rest, so that two processes share the work."""

import pytest


@pytest.mark.parametrize(
    "name", ["10_eigenlearning", "11_conservation_law", "12_symmetry_of_digits", "13_polynomial_gradients"]
)
def test_example(run_example, name):
    run_example(name)
