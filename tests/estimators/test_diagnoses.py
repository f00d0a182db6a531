import pytest

from llc.estimators.diagnoses import Evidence, Verdict, diagnose, too_few, worst_first
from llc.estimators.uncertainty import Mean

SOUND = Evidence(
    llc=Mean(3.0, 0.05, 500, 1.002),
    drift=Mean(0.02, 0.1, 250, float("nan")),
    virial=Mean(10.1, 0.2, 500, 1.0),
    squared_distance=Mean(6.0, 0.2, 100, 1.03),
    log_localization=Mean(-0.05, 0.02, 500, 1.0),
    log_nbeta=Mean(0.1, 0.1, 500, 1.0),
    gradient_term=0.01,
    dimension=10,
    num_chains=4,
    num_diverged=0,
    frozen=False,
)


def test_sound_draws_have_converged():
    assert diagnose(SOUND) == (Verdict.CONVERGED,)
    assert diagnose(SOUND) == ("converged",)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"num_diverged": 1}, Verdict.DIVERGED),
        ({"llc": Mean(3.0, 0.05, 90, 1.002)}, Verdict.TOO_FEW_DRAWS),
        ({"llc": Mean(3.0, 0.05, 500, 1.02)}, Verdict.TOO_FEW_DRAWS),
        ({"squared_distance": Mean(6.0, 0.2, 20, 1.2)}, Verdict.TOO_FEW_DRAWS),
        ({"frozen": True}, Verdict.TOO_FEW_DRAWS),
        ({"num_chains": 1}, Verdict.ONE_CHAIN),
        ({"virial": Mean(11.0, 0.2, 500, 1.0)}, Verdict.STEP_SIZE),
        ({"llc": Mean(3.0, 0.05, 500, 1.0, 1e-4)}, Verdict.STEP_SIZE),
        ({"virial": Mean(9.0, 0.2, 500, 1.0)}, Verdict.DRIFTING),
        ({"drift": Mean(0.5, 0.1, 250, float("nan"))}, Verdict.DRIFTING),
    ],
)
def test_a_fault_of_sampling_takes_convergence_away(change, verdict):
    verdicts = diagnose(SOUND._replace(**change))
    assert verdict in verdicts
    assert Verdict.CONVERGED not in verdicts


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"llc": Mean(-3.0, 0.05, 500, 1.0)}, Verdict.NOT_A_MINIMUM),
        ({"gradient_term": 0.5}, Verdict.NOT_A_MINIMUM),
        ({"gradient_term": -0.5}, Verdict.NOT_A_MINIMUM),
        ({"gradient_term": 0.6, "llc": Mean(-8.0, 3.0, 500, 1.0)}, Verdict.NOT_A_MINIMUM),
        ({"llc": Mean(5.5, 0.05, 500, 1.0)}, Verdict.OUTSIDE),
        ({"log_localization": Mean(-0.6, 0.02, 500, 1.0)}, Verdict.LOCALIZATION),
        ({"log_nbeta": Mean(0.8, 0.1, 500, 1.0)}, Verdict.TEMPERATURE),
    ],
)
def test_what_a_sound_value_means_is_said_before_it(change, verdict):
    verdicts = diagnose(SOUND._replace(**change))
    assert verdicts[0] is verdict
    assert verdicts[-1] is Verdict.CONVERGED


def test_noise_alone_is_no_fault():
    noisy = SOUND._replace(virial=Mean(11.0, 0.5, 500, 1.0), log_nbeta=Mean(0.6, 0.2, 500, 1.0))
    assert diagnose(noisy) == (Verdict.CONVERGED,)
    seldom_wide = SOUND._replace(virial=Mean(2.4, 0.09, 48, 1.0), dimension=3)  # one mode's square, 0.4 of 1 by chance
    assert diagnose(seldom_wide._replace(llc=Mean(1.0, 0.01, 500, 1.0))) == (Verdict.CONVERGED,)


def test_of_a_value_without_an_error_bar_the_draws_are_too_few_and_no_more():
    bare = SOUND._replace(llc=Mean(3.0, float("nan"), float("nan"), float("nan")))
    assert diagnose(bare) == (Verdict.TOO_FEW_DRAWS,)
    assert Verdict.OUTSIDE in diagnose(bare._replace(llc=bare.llc._replace(value=5.1)))


def test_nothing_left_says_why():
    lost = SOUND._replace(llc=Mean(*[float("nan")] * 4), num_diverged=4)
    assert diagnose(lost) == (Verdict.DIVERGED,)


def test_every_verdict_tells_what_to_do():
    assert all(len(verdict.advice) > 20 for verdict in Verdict)


def test_the_worst_is_first_in_whatever_order_they_are_found():
    assert worst_first([]) == ("converged",)
    found = [Verdict.TEMPERATURE, Verdict.ONE_CHAIN, Verdict.NOT_A_MINIMUM, Verdict.ONE_CHAIN, Verdict.DIVERGED]
    assert worst_first(iter(found)) == ("chains diverged", "not a minimum", "one chain", "temperature not asymptotic")
    meanings = [Verdict.LOCALIZATION, Verdict.CONVERGED, Verdict.OUTSIDE]
    assert worst_first(meanings) == ("outside [0, d/2]", "localization dominates", "converged")


@pytest.mark.parametrize(
    ("ess", "rhat", "few"),
    [
        (100.0, 1.01, False),
        (99.9, 1.0, True),
        (1e4, 1.011, True),
        (float("nan"), 1.0, True),  # of draws that never move
        (500.0, float("nan"), False),  # of one chain
    ],
)
def test_an_error_bar_is_known_from_enough_draws_of_chains_that_agree(ess, rhat, few):
    assert too_few(Mean(3.0, 0.05, ess, rhat)) is few
