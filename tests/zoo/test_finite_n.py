"""finite_n against the reference: every row whose prior is the Gaussian factor on R^d, and boxes where none has."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from llc import zoo
from llc.zoo.oscillator import oscillator_finite_n
from llc.zoo.quadrature import cells

REFERENCE = Path(__file__).parents[1] / "reference"
with (REFERENCE / "finite_n.csv").open() as file:
    ROWS = list(csv.DictReader(file))
with (REFERENCE / "finite_n_cases.csv").open() as file:
    CASES = {row["case"]: row for row in csv.DictReader(file)}

ENTRIES = {
    "regular_1d": partial(zoo.regular, 1),
    "regular_2d": partial(zoo.regular, 2),
    "regular_3d": zoo.regular,
    "quartic_1d": partial(zoo.monomial, (2,)),
    "sextic_1d": partial(zoo.monomial, (3,)),
    "mono_1_1": zoo.monomial,
    "mono_1_2": partial(zoo.monomial, (1, 2)),
    "mono_2_2": partial(zoo.monomial, (2, 2)),
    "mono_1_1_2": partial(zoo.monomial, (1, 1, 2)),
    "mono_1_1_at_1_0": partial(zoo.monomial, (1, 1), at=(1, 0)),
    "mono_1_2_at_1_0": partial(zoo.monomial, (1, 2), at=(1, 0)),
    "mono_1_2_at_0_1": partial(zoo.monomial, (1, 2), at=(0, 1)),
    "sum_x2_y4": partial(zoo.monomial_sum, ((1, 0), (0, 2))),
    "sum_x2y2_z2": zoo.monomial_sum,
    "node": partial(zoo.quasi_homogeneous, "node"),
    "x3_plus_y3": partial(zoo.quasi_homogeneous, "x3_plus_y3"),
    "circle_at_half_0": zoo.circle,
    "rrr_M2N2H1_r0": partial(zoo.reduced_rank, 2, 2, 1),
    "rrr_M1N1H2_r0": partial(zoo.reduced_rank, 1, 1, 2),
    "rrr_M2N2H2_r0": partial(zoo.reduced_rank, 2, 2, 2),
    "rrr_M3N2H2_r0": partial(zoo.reduced_rank, 3, 2, 2),
    "rrr_M3N3H2_r0": partial(zoo.reduced_rank, 3, 3, 2),
    "rrr_M5N5H3_r0": partial(zoo.reduced_rank, 5, 5, 3),
    "rrr_M8N4H3_r0": partial(zoo.reduced_rank, 8, 4, 3),
    "dln_1_2_2_r0": partial(zoo.deep_linear, (1, 2, 2)),
    "dln_1_2_3_r0": partial(zoo.deep_linear, (1, 2, 3)),
    "dln_1_1_1_1_r0": partial(zoo.deep_linear, (1, 1, 1, 1)),
    "tanh_H1_zero": zoo.tanh,
    "tanh_H2_zero": partial(zoo.tanh, 2),
    "tanh_H3_out2_zero": partial(zoo.tanh, 3, 2),
    "gm_one_free": zoo.gaussian_mixture,
    "gm_half_half": partial(zoo.gaussian_mixture, "half_half"),
    "relu_zero_sym": zoo.relu,
    "relu_active": partial(zoo.relu, "active"),
    "oscillator_3p_moving": zoo.oscillator,
    "oscillator_3p_rest": partial(zoo.oscillator, "rest"),
    "oscillator_4p_rest": partial(zoo.oscillator, "clock_rest"),
}
OSCILLATORS = {"oscillator_3p_moving": "moving", "oscillator_3p_rest": "rest", "oscillator_4p_rest": "clock_rest"}


def rows(case, prior, gammas=("1", "10", "100"), sizes=("1000", "100000")):
    """(nβ, γ, λ_n) of the reference; λ_n is printed to six decimals."""
    wanted = [r for r in ROWS if (r["case"], r["prior"]) == (case, prior) and r["gamma"] in gammas and r["n"] in sizes]
    assert wanted
    return [(float(r["nbeta"]), float(r["gamma"]), float(r["lambda_exact_finite_n"])) for r in wanted]


@pytest.mark.parametrize("case", CASES)
def test_coefficient_and_dimension_match_the_cases(case):
    entry = ENTRIES[case]()
    expected = CASES[case]
    assert str(entry.learning_coefficient) == expected["lambda"]
    assert (entry.multiplicity, entry.dimension) == (int(expected["multiplicity"]), int(expected["dim"]))


@pytest.mark.parametrize(
    "case", [c for c in ENTRIES if c not in OSCILLATORS and not c.startswith(("gm", "relu_active"))]
)
def test_finite_n_matches_the_reference(case):
    entry = ENTRIES[case]()
    for nbeta, gamma, expected in rows(case, "gauss"):
        assert entry.finite_n(nbeta, gamma) == pytest.approx(expected, rel=5e-4, abs=6e-7)


@pytest.mark.parametrize(("case", "kind"), OSCILLATORS.items())
def test_oscillators_match_the_reference_within_its_interval_and_on_the_line_where_that_is_wide(case, kind):
    for nbeta, gamma, expected in rows(case, "gauss"):
        assert oscillator_finite_n(kind, nbeta, gamma, reach=1.0) == pytest.approx(expected, abs=6e-7)
    entry = ENTRIES[case]()
    for nbeta, gamma, expected in rows(case, "gauss", gammas=("100",)):
        assert entry.finite_n(nbeta, gamma) == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize("case", ["gm_one_free", "gm_half_half"])
def test_mixtures_match_the_box_where_it_holds_all_the_mass(case):
    entry = ENTRIES[case]()
    for nbeta, gamma, expected in rows(case, "box", gammas=("100",)):
        assert entry.finite_n(nbeta, gamma) == pytest.approx(expected, rel=5e-4)


BOXES = [
    ("gm_one_free", "box", [0, -1], [1, 1]),
    ("gm_half_half", "box", [-1, -1], [1, 1]),
    ("relu_active", "box_half", [0.5, 0.5], [1.5, 1.5]),
]


@pytest.mark.parametrize(("case", "prior", "low", "high"), BOXES)
def test_population_loss_gives_the_reference_in_its_box(case, prior, low, high):
    entry = ENTRIES[case]()
    box = np.array(low, float), np.array(high, float)
    for nbeta, gamma, expected in rows(case, prior, gammas=("0", "10"), sizes=("1000",)):
        assert cells(entry.problem.loss_fn.excess, entry.params, nbeta, gamma, box=box) == pytest.approx(
            expected, rel=1e-4
        )


@pytest.mark.parametrize(
    "make", [partial(zoo.relu, "zero_positive"), partial(zoo.monomial_sum, ((1, 1), (2, 0), (0, 2)))]
)
def test_special_quadratures_agree_with_cells(make):
    entry = make()
    expected = cells(entry.problem.loss_fn.excess, entry.params, 500.0, 10.0)
    assert entry.finite_n(500.0, 10.0) == pytest.approx(expected, rel=5e-4)


def test_finite_n_tends_to_the_coefficient_and_is_refused_or_unknown_where_it_must_be():
    for make in (
        partial(zoo.reduced_rank, 3, 3, 2),
        partial(zoo.softmax, 2, 3),
        partial(zoo.oscillator, "clock_moving"),
    ):
        entry = make()
        assert entry.finite_n(1e7, 1.0) == pytest.approx(float(entry.learning_coefficient), rel=2e-3)
    assert zoo.deep_linear((2, 2, 2, 2)).finite_n(100, 1) is None
    assert zoo.regular(simulate=True, n=10).finite_n(100, 1) is None
    with pytest.raises(ValueError, match="gamma=0"):
        zoo.regular().finite_n(100, 0)
