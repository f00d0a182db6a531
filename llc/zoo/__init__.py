"""Problems whose local learning coefficient is known exactly: one family a file, and the list that checks run over.

>>> import llc.zoo
>>> llc.zoo.monomial((1, 1))
ZooEntry(monomial(1, 1): d=2, λ=1/2, m=2)
"""

from collections.abc import Callable
from functools import partial

from llc.zoo.circle import circle
from llc.zoo.deep_linear import deep_linear, deep_linear_coefficient
from llc.zoo.entry import ZooEntry
from llc.zoo.gaussian_mixture import gaussian_mixture, gaussian_mixture_coefficient
from llc.zoo.line_and_dot import line_and_dot
from llc.zoo.monomials import monomial, monomial_coefficient, monomial_sum, monomial_sum_coefficient
from llc.zoo.oscillator import oscillator, oscillator_coefficient
from llc.zoo.quasi_homogeneous import quasi_homogeneous, quasi_homogeneous_coefficient
from llc.zoo.reduced_rank import reduced_rank, reduced_rank_coefficient, reduced_rank_local_coefficient
from llc.zoo.regular import regular
from llc.zoo.relu import relu, relu_coefficient
from llc.zoo.softmax import softmax
from llc.zoo.tanh import tanh, tanh_coefficient

# Cheap entries with m = 1, 2, 3 and λ from 0 to 15/2; each takes n=, simulate= and rng_key=.
FAMILIES: dict[str, list[Callable[..., ZooEntry]]] = {
    "regular": [partial(regular, 3)],
    "monomial": [
        partial(monomial, (2,)),
        partial(monomial, (1, 1)),
        partial(monomial, (1, 1, 1)),
        partial(monomial, (1, 2)),
        partial(monomial, (1, 2), at=(1, 0)),
        partial(monomial, (1, 2), at=(0, 1)),
    ],
    "monomial_sum": [partial(monomial_sum, ((1, 0), (0, 2))), partial(monomial_sum, ((1, 1, 0), (0, 0, 1)))],
    "quasi_homogeneous": [partial(quasi_homogeneous, kind) for kind in ("node", "cusp", "x3_plus_y3")],
    "circle": [circle],
    "line_and_dot": [partial(line_and_dot, (0, 0)), partial(line_and_dot, (1, 0))],
    "reduced_rank": [
        partial(reduced_rank, 2, 2, 1),
        partial(reduced_rank, 3, 3, 2),
        partial(reduced_rank, 3, 3, 3),
        partial(reduced_rank, 2, 2, 2, rank=1),
        partial(reduced_rank, 4, 8, 3),
        partial(reduced_rank, 3, 3, 3, ranks=(3, 0)),
    ],
    "deep_linear": [
        partial(deep_linear, (1, 2, 2, 2)),
        partial(deep_linear, (2, 2, 2, 2)),
        partial(deep_linear, (4, 4, 4, 4), rank=2),
    ],
    "tanh": [partial(tanh, hidden) for hidden in (1, 2, 3)],
    "gaussian_mixture": [partial(gaussian_mixture, kind) for kind in ("one_free", "half_half", "two_free")],
    "relu": [partial(relu, kind) for kind in ("zero_symmetric", "zero_positive", "active")],
    "softmax": [partial(softmax, 2, 3)],
    "oscillator": [
        partial(oscillator, kind) for kind in ("moving", "rest", "clock_moving", "clock_rest", "one_observation")
    ],
}

__all__ = [
    "FAMILIES",
    "ZooEntry",
    "circle",
    "deep_linear",
    "deep_linear_coefficient",
    "gaussian_mixture",
    "gaussian_mixture_coefficient",
    "line_and_dot",
    "monomial",
    "monomial_coefficient",
    "monomial_sum",
    "monomial_sum_coefficient",
    "oscillator",
    "oscillator_coefficient",
    "quasi_homogeneous",
    "quasi_homogeneous_coefficient",
    "reduced_rank",
    "reduced_rank_coefficient",
    "reduced_rank_local_coefficient",
    "regular",
    "relu",
    "relu_coefficient",
    "softmax",
    "tanh",
    "tanh_coefficient",
]
