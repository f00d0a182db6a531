"""λ and m against theorems that do not share their formula: codimensions, other families, exact enumerations."""

from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pytest

from llc import zoo


def test_monomial_at_a_point_and_under_a_prior():
    at_dot, on_line = zoo.monomial_coefficient((1, 2), at=(1, 0)), zoo.monomial_coefficient((1, 2), at=(0, 1))
    assert (at_dot, on_line) == ((Fraction(1, 4), 1), (Fraction(1, 2), 1))
    assert zoo.monomial_coefficient((1, 2), prior_exponents=(0, 1)) == (Fraction(1, 2), 2)


def test_linear_programme_agrees_with_monomials_and_adds_over_disjoint_variables():
    for exponents in product((1, 2, 3), repeat=3):
        assert zoo.monomial_sum_coefficient((exponents,)) == zoo.monomial_coefficient(exponents)
    for a, b in product(product((1, 2), repeat=2), repeat=2):
        together = zoo.monomial_sum_coefficient(((*a, 0, 0), (0, 0, *b)))
        (first, m_first), (second, m_second) = zoo.monomial_coefficient(a), zoo.monomial_coefficient(b)
        assert together == (first + second, m_first + m_second - 1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("node", (Fraction(1, 2), 2)), ("cusp", (Fraction(5, 12), 1)), ("x3_plus_y3", (Fraction(1, 3), 1))],
)
def test_curves(kind, expected):
    entry = zoo.quasi_homogeneous(kind)
    assert (entry.learning_coefficient, entry.multiplicity) == expected
    assert zoo.quasi_homogeneous_coefficient((2, 1), 4, definite=True) == (Fraction(3, 8), 1)


def test_reduced_rank_is_the_deep_linear_network_of_two_layers():
    for inputs, hidden, outputs in product(range(1, 6), repeat=3):
        for rank in range(min(inputs, hidden, outputs) + 1):
            deep = zoo.deep_linear_coefficient((inputs, hidden, outputs), rank)
            assert zoo.reduced_rank_coefficient(inputs, outputs, hidden, rank) == deep


def test_local_reduced_rank_is_global_when_aligned_and_no_less_elsewhere():
    for rank_a, rank_b, rank in product(range(4), repeat=3):
        if rank <= min(rank_a, rank_b) and rank_a + rank_b - rank <= 4 and max(rank_a, rank_b) <= 3:
            local, _ = zoo.reduced_rank_local_coefficient(3, 5, 4, rank, (rank_a, rank_b))
            least, _ = zoo.reduced_rank_coefficient(3, 5, 4, rank)
            assert local >= least
            assert local == least or (rank_a, rank_b) != (rank, rank)
    assert zoo.reduced_rank_local_coefficient(10, 10, 10, 0, (10, 0)) == (50, 1)


def smallest_codimension(widths):
    """Of {W_L ⋯ W_1 = 0}: over all sums of intervals without [0, L], dim Ext¹(V, V) = Σ ext([a, b], [c, d])."""
    length = len(widths)
    intervals = [(a, b) for a in range(length) for b in range(a, length) if (a, b) != (0, length - 1)]
    ext = np.array([[a < c <= b + 1 <= d for c, d in intervals] for a, b in intervals], int)
    cover = [[a <= place <= b for place in range(length)] for a, b in intervals]
    best = [10**9]

    def choose(index, left, counts):
        if index == len(intervals):
            if not any(left):
                best[0] = min(best[0], int(np.array(counts) @ ext @ np.array(counts)))
            return
        inside = [w for w, c in zip(left, cover[index], strict=True) if c]
        for count in range(min(inside) + 1):
            rest = [w - count * c for w, c in zip(left, cover[index], strict=True)]
            choose(index + 1, rest, [*counts, count])

    choose(0, list(widths), [])
    return best[0]


def test_deep_linear_coefficient_is_half_a_codimension():
    for widths in [*product((1, 2, 3), repeat=3), *product((1, 2), repeat=4), (2, 3, 3, 2), (2, 2, 2, 2, 2)]:
        for rank in (0, 1):
            spare = [width - rank for width in widths]
            codimension = rank * (widths[0] + widths[-1] - rank) + smallest_codimension(spare)
            assert zoo.deep_linear_coefficient(widths, rank)[0] == Fraction(codimension, 2)


def test_deep_linear_multiplicities_and_the_narrowest_input():
    assert zoo.deep_linear_coefficient((4, 4, 4, 4), 2) == (Fraction(15, 2), 3)
    assert zoo.deep_linear_coefficient((2, 2, 2, 2, 2))[1] == 5
    for hidden in product((1, 2, 3), repeat=3):  # a product of χ²: min(h)/2, m = how many attain it
        assert zoo.deep_linear_coefficient((1, *hidden)) == (Fraction(min(hidden), 2), hidden.count(min(hidden)))


def test_tanh_follows_its_table():
    for hidden in range(1, 30):
        i = int(hidden**0.5)
        assert zoo.tanh_coefficient(hidden) == (Fraction(hidden + i * i + i, 4 * i + 2), 2 if hidden == i * i else 1)
    assert [zoo.tanh_coefficient(2, 2), zoo.tanh_coefficient(3, 2)] == [(1, 2), (Fraction(7, 6), 1)]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(zoo.monomial, (1, 1), at=(1, 1)), "no zero of K"),
        (partial(zoo.deep_linear, (2, 3), rank=3), "rank=3"),
        (partial(zoo.reduced_rank, 2, 2, 2, ranks=(2, 1)), "ranks="),
        (partial(zoo.line_and_dot, (2, 0)), "no zero of K"),
        (partial(zoo.quasi_homogeneous, "swallowtail"), "choose one of"),
        (partial(zoo.tanh, 0), "positive"),
    ],
)
def test_what_has_no_answer_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
