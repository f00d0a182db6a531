"""Softmax regression with a logit for every class: one common shift of them is redundant, λ = p(C − 1)/2."""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from llc.problem import Categorical, Problem
from llc.zoo.entry import ZooEntry, build, refuse
from llc.zoo.quadrature import cells


@dataclass(frozen=True)
class SoftmaxExcess:
    """K = (1/p) Σ_j KL(uniform ‖ softmax(W_j)), inputs being one of p symbols: log mean e^z with z the centred logits.

    As log(1 + mean(e^z − 1 − z)): every term of that mean is positive, so nothing cancels near 0.
    """

    def __call__(self, params: Any) -> Any:
        """K in nats, over any leading axes; W has a row for each symbol."""
        xp = params.__array_namespace__()
        z = params - params.mean(-1, keepdims=True)
        small = xp.max(xp.abs(z), axis=-1, keepdims=True) < 1
        near, far = xp.where(small, z, 0.0), xp.where(small, 0.0, z)
        series = 1.0
        for k in range(11, 2, -1):  # e^z − 1 − z = ½z² (1 + z/3 (1 + z/4 (1 + …)))
            series = 1 + near / k * series
        peak = xp.max(far, axis=-1, keepdims=True)
        divergence = xp.log1p((near**2 / 2 * series).mean(-1)) + xp.log(xp.exp(far - peak).mean(-1)) + peak[..., 0]
        return divergence.mean(-1)


def table_logits(
    params: Float[Array, "symbols classes"], inputs: Float[Array, "batch symbols"]
) -> Float[Array, "batch classes"]:
    """The logits of each example, inputs being one-hot.

    >>> table_logits(jax.numpy.eye(2), jax.numpy.eye(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return inputs @ params


def softmax(
    inputs: int = 2, classes: int = 3, *, n: int = 10_000, simulate: bool = False, rng_key: int = 0
) -> ZooEntry:
    """Regression of C classes on p one-hot inputs, at W = 0 and a uniform truth: λ = p(C − 1)/2, m = 1.

    >>> softmax(2, 3)
    ZooEntry(softmax(2, 3): d=6, λ=2, m=1)

    Args:
        inputs: p.
        classes: C ≥ 2.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: p is not positive, or there are fewer than two classes.
    """
    refuse(inputs < 1 or classes < 2, f"softmax({inputs}, {classes}): give at least 1 input and 2 classes.")

    def sample(key: PRNGKeyArray, n: int) -> Problem:
        key_inputs, key_targets = jax.random.split(key)
        symbols = jax.nn.one_hot(jax.random.randint(key_inputs, (n,), 0, inputs), inputs)
        targets = jax.random.randint(key_targets, (n,), 0, classes)
        return Problem.supervised(table_logits, Categorical(), symbols, targets)

    return build(
        f"softmax({inputs}, {classes})",
        np.zeros((inputs, classes), np.float32),
        (Fraction(inputs * (classes - 1), 2), 1),
        "shift symmetry of the logits",
        excess=SoftmaxExcess(),
        sample=sample,
        quadrature=partial(softmax_finite_n, inputs, classes) if classes <= 3 else None,
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )


def softmax_finite_n(inputs: int, classes: int, nbeta: float, gamma: float) -> float | None:
    """λ_n: the p symbols are independent, and each moves in its C − 1 contrasts only.

    >>> f"{softmax_finite_n(2, 3, nbeta=1e4, gamma=1.0):.3f}"
    '1.999'

    Args:
        inputs: p.
        classes: C ≤ 3.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
    """
    contrasts = np.linalg.svd(np.ones((1, classes)))[2][1:]
    excess = SoftmaxExcess()
    each = cells(lambda v: excess((v @ contrasts)[..., None, :]), np.zeros(classes - 1), nbeta / inputs, gamma)
    return None if each is None else inputs * each
