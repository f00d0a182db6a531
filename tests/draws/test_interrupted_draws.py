"""Ctrl-C keeps the draws so far; counts that are none are refused; the bar shows itself to the patient only."""

import itertools

import numpy as np
import pytest

import llc
from llc.draws import draw as module
from llc.draws import progress
from llc.samplers import SGLD

KERNEL = SGLD(step_size=0.01)


@pytest.fixture
def short(draws_of, one_leaf):
    return lambda **settings: draws_of(KERNEL, one_leaf, **{"num_warmup": 5, "keep_weights": False, **settings})


@pytest.fixture
def interrupt_after(monkeypatch):
    """Calls of one draw each, and Ctrl-C instead of the one after so many."""

    def install(num_calls):
        calls, advance = itertools.count(), module.proceed

        def interrupted(*args):
            if next(calls) >= num_calls:
                raise KeyboardInterrupt
            return advance(*args)

        monkeypatch.setattr(module, "_SECONDS_PER_CALL", 0.0)
        monkeypatch.setattr(module, "proceed", interrupted)

    return install


@pytest.mark.parametrize("kept", [1, 7])
def test_an_interruption_keeps_the_draws_so_far(interrupt_after, short, kept):
    whole = short()
    interrupt_after(5 + kept)
    part = short()
    assert (part.attrs["interrupted"], part.attrs["num_draws"], part.attrs["num_warmup"]) == (1, kept, 5)
    assert whole.attrs["interrupted"] == 0
    for name, values in part.sample_stats.data_vars.items():
        np.testing.assert_array_equal(values, whole.sample_stats[name][:, :kept])


@pytest.mark.parametrize("calls", [0, 3, 5])
def test_an_interruption_before_the_first_draw_is_passed_on(interrupt_after, short, calls):
    interrupt_after(calls)
    with pytest.raises(KeyboardInterrupt):
        short()


@pytest.mark.parametrize("name", ["num_chains", "num_draws", "thinning", "num_warmup"])
def test_counts_that_are_none(short, name):
    with pytest.raises(ValueError, match=f"{name}=-1; it must be at least "):
        short(**{name: -1})
    if name != "num_warmup":
        with pytest.raises(ValueError, match=f"{name}=0; it must be at least 1"):
            short(**{name: 0})


def test_a_kernel_without_a_step_size(one_leaf):
    with pytest.raises(ValueError, match=r"SGLD\(\) has no step_size"):
        llc.draw(SGLD(), one_leaf)


@pytest.mark.parametrize(("patience", "enabled", "seen"), [(0.0, True, True), (0.0, False, False), (1e9, True, False)])
def test_the_bar(short, monkeypatch, capsys, patience, enabled, seen):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if standard error were a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_PATIENCE", patience)
    short(progress=enabled)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("sampling" in err) == ("draws/s" in err) == ("20/20" in err) == seen
    if not seen:
        assert err == ""


def test_the_bar_waits_for_two_seconds():
    assert progress._PATIENCE == 2.0
