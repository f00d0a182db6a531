"""Examples 14 to 17; and every example is in one of these files."""

from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES


@pytest.mark.parametrize("name", ["14_bic_fails", "15_oscillator", "16_relu_rescaling", "17_over_wide_net"])
def test_example(run_example, name):
    run_example(name)


def test_no_example_is_left_out():
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [path.stem for path in EXAMPLES.glob("*.py") if f'"{path.stem}"' not in tests] == []
