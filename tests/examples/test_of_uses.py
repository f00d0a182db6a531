"""Examples 01 to 04 and 08: what a user does first."""

import pytest


@pytest.mark.parametrize(
    "name",
    ["01_first_estimate", "02_checkpoint_of_your_own", "03_over_training", "04_two_runs", "08_while_training"],
)
def test_example(run_example, name):
    run_example(name)
