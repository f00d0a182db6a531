"""Staircases whose changes are known, runs that are only noise, and every way for a run to change."""

import itertools
import json

import numpy as np
import pytest

from llc.trajectories import segmentation
from llc.trajectories.transitions import find_transitions

NUM_RUNS = 100


def staircase(levels, losses, lengths, *, error=0.5, loss_noise=0.02, seed=0):
    """A run at steps 1, 2, ...: λ̂ with its error, the loss with relative noise."""
    generator = np.random.default_rng(seed)
    llc, loss = np.repeat(np.array(levels, float), lengths), np.repeat(np.array(losses, float), lengths)
    noise = generator.standard_normal((2, len(llc)))
    return (
        np.arange(1, len(llc) + 1),
        llc + error * noise[0],
        np.full(len(llc), error),
        loss * np.exp(loss_noise * noise[1]),
    )


def at_least(probability, count, total):
    """Whether a rate is not below a probability, within 4 standard errors."""
    return count / total >= probability - 4 * np.sqrt(probability * (1 - probability) / total)


STAIRCASES = {
    "up and down": ([5, 10, 20, 15], [2.0, 1.0, 0.3, 0.3], [8, 8, 8, 8], 0.5),
    "short plateaus": ([5, 10, 20, 15], [2.0, 1.0, 0.3, 0.3], [3, 3, 3, 3], 0.5),
    "λ̂ alone, 3 errors": ([5, 8], [1.0, 1.0], [10, 10], 1.0),
    "the loss alone": ([5, 5, 5], [1.0, 0.5, 0.1], [6, 6, 6], 0.2),
}


@pytest.mark.parametrize(("levels", "losses", "lengths", "error"), STAIRCASES.values(), ids=STAIRCASES)
def test_changes_of_staircases(levels, losses, lengths, error):
    places = np.cumsum(lengths)[:-1]  # the last step before each
    found, covered, runs_of_known_number, widths = 0, 0, 0, []
    for seed in range(NUM_RUNS):
        changes = find_transitions(*staircase(levels, losses, lengths, error=error, seed=seed)).changes
        found += sum(any(c.step_before - 1 <= place <= c.step_after for c in changes) for place in places)
        if len(changes) == len(places):
            runs_of_known_number += 1
            covered += sum(c.interval_low <= p < c.interval_high for c, p in zip(changes, places, strict=True))
            widths += [c.interval_high - c.interval_low for c in changes]
    assert at_least(0.95, found, NUM_RUNS * len(places))
    assert at_least(0.95, runs_of_known_number, NUM_RUNS)
    assert at_least(0.95, covered, len(widths))
    assert np.mean(widths) < 3


@pytest.mark.parametrize("loss_noise", [0.02, 0.3])
@pytest.mark.parametrize("length", [4, 8, 20, 50])
def test_noise_is_no_change(length, loss_noise):
    runs = [staircase([10], [1.0], [length], error=2.0, loss_noise=loss_noise, seed=i) for i in range(NUM_RUNS)]
    silent = sum(not find_transitions(*run).changes for run in runs)
    assert at_least(0.95, silent, NUM_RUNS)


def test_levels_and_differences_have_the_errors_they_claim():
    scores = []
    for seed in range(NUM_RUNS):
        result = find_transitions(*staircase([5, 10], [2.0, 0.5], [6, 9], error=0.2, seed=seed))
        (change,), (before, after) = result.changes, result.plateaus
        assert (before.num_checkpoints, after.num_checkpoints) == (6, 9)
        differences = (before.llc - 5, after.llc - 10, change.difference - 5)
        errors = (before.std_error, after.std_error, change.difference_std_error)
        scores.append(np.divide(differences, errors))
    scores = np.array(scores)
    assert (np.abs(scores.mean(axis=0)) < 4 / np.sqrt(NUM_RUNS)).all()
    # the variance of N normal squares has relative error √(2/N)
    assert (np.abs((scores**2).mean(axis=0) - 1) < 4 * np.sqrt(2 / NUM_RUNS)).all()


LABELS = {
    "complexity bought": (8, 0.5),
    "better fit, same complexity": (5, 0.5),
    "better fit, simpler": (3, 0.5),
    "complexity without gain": (8, 1.0),
    "simplification": (3, 1.0),
    "worse fit, more complex": (8, 2.0),
    "worse fit, same complexity": (5, 2.0),
    "complexity given up": (3, 2.0),
}


@pytest.mark.parametrize(("label", "after"), LABELS.items())
def test_labels_say_what_moved(label, after):
    llc, loss = after
    (change,) = find_transitions(*staircase([5, llc], [1.0, loss], [5, 5], error=0.05)).changes
    assert change.label == label
    assert (change.step_before, change.step_after) == (change.interval_low, change.interval_high) == (5, 6)
    assert change.probability == 1.0
    assert (change.loss_before, change.loss_after) == pytest.approx((1.0, loss), rel=0.05)


def test_a_jump_near_the_penalty_may_not_be_found_again():
    llc = np.repeat([5.0, 6.25], 6)
    (change,) = find_transitions(np.arange(12), llc, np.full(12, 0.5), np.ones(12)).changes
    assert 0.2 < change.probability < 0.9
    assert change.interval_low < 5
    assert change.interval_high > 6


def test_a_gradual_passage_is_one_change_between_its_plateaus():
    llc = np.concatenate([np.full(6, 5.0), np.linspace(7, 28, 8), np.full(6, 30.0)])
    loss = np.concatenate([np.full(6, 1.0), np.geomspace(0.8, 0.12, 8), np.full(6, 0.1)])
    result = find_transitions(np.arange(20), llc, 0.02 * llc, loss)
    (change,) = result.changes
    assert (change.step_before, change.step_after) == (5, 14)
    assert (change.llc_before, change.llc_after) == pytest.approx((5, 30))
    assert [(p.first_step, p.last_step) for p in result.plateaus] == [(0, 5), (14, 19)]
    assert change.interval_low <= 5
    assert change.interval_high >= 14


def test_a_curved_passage_is_one_change_unless_something_else_moves():
    at = 1 / (1 + np.exp(-0.8 * np.arange(-10, 11)))
    llc = 5 + 60 * at
    result = find_transitions(np.arange(21), llc, 0.01 * llc, 2.0 - 1.9 * at)
    assert [c.label for c in result.changes] == ["complexity bought"]
    assert len(result.plateaus) == 2
    # λ̂ is bought first, then the loss goes on falling without it
    llc, loss = np.r_[np.linspace(5, 50, 8), np.full(8, 50.0)], np.r_[np.full(8, 2.0), np.geomspace(1.6, 0.1, 8)]
    result = find_transitions(np.arange(16), llc, 0.01 * llc, loss)
    assert [c.label for c in result.changes] == ["complexity without gain", "better fit, same complexity"]


def test_a_checkpoint_in_passing_is_no_plateau_and_an_excursion_is():
    passing = find_transitions(np.arange(9), np.array([5.0] * 4 + [9] + [13] * 4), np.full(9, 0.1), np.ones(9))
    assert [(c.step_before, c.step_after) for c in passing.changes] == [(3, 5)]
    excursion = find_transitions(np.arange(9), np.array([5.0] * 4 + [9] + [5] * 4), np.full(9, 0.1), np.ones(9))
    assert [(c.step_before, c.step_after) for c in excursion.changes] == [(3, 4), (4, 5)]


def test_a_run_that_never_rests_turns_where_it_turns():
    llc = np.concatenate([np.linspace(2, 20, 10), np.linspace(18, 4, 8)])
    result = find_transitions(np.arange(18), llc, np.full(18, 0.1), np.ones(18))
    assert result.plateaus == ()
    assert [c.label for c in result.changes] == ["complexity without gain", "simplification"]
    assert result.changes[0].step_after == result.changes[1].step_before == 8  # or 9, which lies on both lines
    assert (result.changes[0].llc_before, result.changes[1].llc_after) == (2, 4)


def test_small_drift_is_a_plateau():
    steps = np.arange(30)
    drifting = 100 + 2 * np.sin(steps / 5)
    assert find_transitions(steps, drifting, np.full(30, 0.01), np.linspace(1, 0.97, 30)).changes == ()
    assert find_transitions(steps, drifting, np.full(30, 0.01), np.ones(30), smallest=0.005).changes != ()
    # however many checkpoints show it
    step = np.repeat([100.0, 103.0], 40)
    assert find_transitions(np.arange(80), step, np.full(80, 0.01), np.ones(80)).changes == ()
    assert len(find_transitions(np.arange(80), step, np.full(80, 0.01), np.ones(80), smallest=0.02).changes) == 1


def walk(generator):
    return np.cumsum(2 * generator.standard_normal((2, 12)), axis=1)


def ramp(generator):
    slope, noise = generator.uniform(2, 12), generator.standard_normal((2, 12))
    return np.stack([np.linspace(5, 5 + slope, 12) + 0.3 * noise[0], np.cumsum(0.1 * noise[1])])


@pytest.mark.parametrize("seed", [0, 11, 13, 34, 53])  # with PELT's pruning as it is, some of these fail
@pytest.mark.parametrize("kind", [walk, ramp])
def test_no_segmentation_fits_at_less_cost(kind, seed):
    llc, log_loss = kind(np.random.default_rng(seed))
    run = segmentation.Run.of(llc, np.full(12, 0.3), np.exp(log_loss), 0.05)

    def cost(stops):
        return sum(min(misfit.level[s], misfit.line[s]) + run.charge for s in itertools.pairwise([0, *stops, 12]))

    misfit = segmentation._Misfit(run)
    every = [stops for k in range(12) for stops in itertools.combinations(range(1, 12), k)]
    found = segmentation._search(run)
    assert cost([segment.start for segment in found[1:]]) == pytest.approx(min(map(cost, every)))
    # the matrices hold what the fits leave over
    for s in found:
        misfits = (run.weights[s.points] * (run.signal[s.points] - run.fit(s)) ** 2).sum()
        of_matrix = misfit.line[s.start, s.stop] - run.charge if s.passing else misfit.level[s.start, s.stop]
        assert misfits == pytest.approx(of_matrix, abs=1e-6)


def test_errors_that_neighbours_share_hide_no_change_and_are_not_averaged_away():
    steps, llc, error, loss = np.arange(12), np.repeat([10.0, 11.5], 6), np.full(12, 1.5), np.ones(12)
    assert find_transitions(steps, llc, error, loss).changes == ()
    paired = np.concatenate([[np.nan], np.full(11, 0.15)])
    result = find_transitions(steps, llc, error, loss, difference_std_error=paired)
    assert [(c.step_before, c.step_after) for c in result.changes] == [(5, 6)]
    # 1 − ρ = 0.15² / (2 · 1.5²), and the variance of a mean of 6 is s² (1/6 + ρ 5/6)
    rho = 1 - 0.15**2 / (2 * 1.5**2)
    assert result.plateaus[0].std_error == pytest.approx(1.5 * np.sqrt((1 + 5 * rho) / 6))


def test_unknown_values_are_left_out():
    steps, llc, error, loss = staircase([5, 10], [2.0, 0.5], [6, 6])
    llc[[2, 6]], loss[[0, 9]] = np.nan, np.nan
    result = find_transitions(steps, llc, error, loss)
    assert [(c.step_before, c.step_after) for c in result.changes] == [(6, 8)]
    assert [p.num_checkpoints for p in result.plateaus] == [5, 5]
    assert np.isfinite(result.plateaus[0].loss)
    without = find_transitions(steps, llc, error, np.full(12, np.nan))
    assert [(c.step_before, c.step_after) for c in without.changes] == [(6, 8)]
    assert without.changes[0].label == "complexity without gain"
    half = find_transitions(steps, llc, error, np.where(steps > 6, np.nan, 2.0))
    assert half.changes[0].label == "complexity without gain"
    assert np.isnan(half.changes[0].loss_after)
    assert find_transitions(steps, np.full(12, np.nan), error, loss) == ((), ())


@pytest.mark.parametrize("losses", [[0.0, -3.0], [1.0, 0.0], [-1.0, -5.0]])
def test_losses_of_zero_and_below(losses):
    (change,) = find_transitions(*staircase([5, 10], losses, [5, 5], error=0.1, loss_noise=0.01)).changes
    assert change.label == "complexity bought"
    assert (change.loss_before, change.loss_after) == pytest.approx(losses, rel=0.05)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-12])
def test_a_run_that_stands_still(value):
    still = np.full(6, value)
    result = find_transitions(np.arange(6), still, np.zeros(6), still)
    assert result.changes == ()
    assert [(p.first_step, p.last_step, p.llc) for p in result.plateaus] == [(0, 5, pytest.approx(value))]


def test_two_checkpoints_or_fewer_tell_nothing():
    for n in (0, 1, 2):
        run = np.arange(n), np.array([1.0, 100.0])[:n], np.full(n, 0.1), np.array([2.0, 0.1])[:n]
        assert find_transitions(*run) == ((), ())


def test_bad_input_is_named():
    steps, llc, error, loss = staircase([5, 10], [2.0, 0.5], [3, 3])
    with pytest.raises(ValueError, match="must increase"):
        find_transitions(steps[::-1], llc, error, loss)
    with pytest.raises(ValueError, match="not negative"):
        find_transitions(steps, llc, -error, loss)
    with pytest.raises(ValueError, match=r"smallest=5\.0; it must be between 0 and 1"):
        find_transitions(steps, llc, error, loss, smallest=5.0)


def test_how_they_show_themselves():
    steps, llc, error, loss = staircase([5, 10, 4], [2.0, 0.5, 0.5], [6, 6, 6], error=0.1)
    result = find_transitions(100.0 * steps, llc, error, loss)
    line = repr(result)
    assert line.startswith("2 changes, 3 plateaus: complexity bought at 600 → 700 (λ̂ +")
    assert "simplification at 1200 → 1300 (λ̂ -" in line
    assert "\n" not in line
    html = result._repr_html_()
    assert html.index("100 to 600") < html.index("600 → 700") < html.index("700 to 1200") < html.index("1200 → 1300")
    assert json.loads(json.dumps(result.to_dict()))["changes"][0]["step_before"] == 600
    frame = result.to_dataframe()
    assert frame["label"].tolist() == ["complexity bought", "simplification"]
    assert frame["interval_low"].tolist() == [600, 1200]
    assert result == find_transitions(100.0 * steps, llc, error, loss)
    nothing = find_transitions(steps[:6], llc[:6], error[:6], loss[:6])
    assert repr(nothing) == "0 changes, 1 plateau"
    assert list(nothing.to_dataframe()) == list(frame)
