import json

import numpy as np
import pytest
from xarray import Dataset, DataTree

from llc.estimators.measure import mean_of, measure
from llc.estimators.uncertainty import Mean


def measured(series, chains=None, **settings):
    size = (chains or len(series), series.shape[1])
    tree = DataTree.from_dict({"/sample_stats": Dataset({"diverging": (("chain", "draw"), np.zeros(size, bool))})})
    tree.attrs = {
        "kernel": "NUTS",
        "nbeta": 50.0,
        "n": 300,
        "num_chains": size[0],
        "num_draws": size[1],
        "interrupted": 0,
        **settings,
    }
    return measure("WBIC", "nats", series, tree, {"learning_coefficient": Mean(2.0, 0.1, 400, 1.0)})


@pytest.fixture
def sound():
    return measured(700 + np.random.default_rng(0).normal(size=(4, 500)))


def test_it_is_the_mean_with_its_error(sound):
    assert abs(sound.value - 700) < 4 * sound.std_error
    assert sound.std_error == pytest.approx(1 / np.sqrt(2000), rel=0.1)
    low, high = sound.interval(0.9)
    assert high - low == pytest.approx(2 * 1.644854 * sound.std_error)
    assert sound.converged
    with pytest.raises(ValueError, match=r"prob=0; it must be between 0 and 1"):
        sound.interval(0)


def test_it_shows_itself(sound):
    assert repr(sound).startswith(f"WBIC = {sound.value:.3f} ± {sound.std_error:.3f} nats (95 %: ")
    assert repr(sound).endswith("converged")
    assert "\n" not in repr(sound)
    table = sound._repr_html_()
    assert "<table>" in table
    assert "<td>2.00 ± 0.10</td>" in table
    assert "4 chains × 500 draws" in table
    assert "Ctrl-C" not in table
    assert "Ctrl-C" in measured(np.zeros((4, 5)), interrupted=1)._repr_html_()
    whole = json.loads(json.dumps(sound.to_dict()))
    assert whole["details"]["learning_coefficient"] == {"value": 2.0, "std_error": 0.1}
    assert (whole["unit"], whole["verdicts"], whole["settings"]["nbeta"]) == ("nats", ["converged"], 50.0)


@pytest.mark.parametrize(
    ("series", "chains", "verdicts"),
    [
        (np.random.default_rng(0).normal(size=(3, 500)), 4, ("chains diverged",)),
        (np.random.default_rng(0).normal(size=(1, 500)), None, ("one chain",)),
        (np.random.default_rng(0).normal(size=(4, 20)), None, ("too few draws",)),
        (np.random.default_rng(0).normal(size=(4, 500)) + np.arange(4)[:, None], None, ("too few draws",)),
        (np.ones((4, 500)), None, ("too few draws",)),
        (np.zeros((0, 500)), 4, ("chains diverged",)),
        (np.full((4, 500), np.nan), None, ("too few draws",)),
    ],
)
def test_what_sampling_did_wrong_is_said(series, chains, verdicts):
    result = measured(series, chains)
    assert result.verdicts == verdicts
    assert not result.converged
    assert json.loads(json.dumps(result.to_dict()))["verdicts"] == list(verdicts)
    assert repr(result)


def test_what_is_left_has_no_number():
    assert np.isnan(mean_of(np.zeros((0, 500))).value)
    assert np.isnan(measured(np.zeros((0, 500)), 4).value)
