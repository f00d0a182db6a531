"""Mixtures of more unit Gaussians than the truth N(0, I) has (Watanabe 2009; Yamazaki & Watanabe 2003)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from llc.problem import Problem
from llc.zoo.entry import ZooEntry, build, refuse
from llc.zoo.quadrature import REACH, orthant, panels

Kind = Literal["one_free", "half_half", "two_free"]
KINDS = ("one_free", "half_half", "two_free")
NODES_PER_AXIS = {1: 40, 2: 24, 3: 16}


@dataclass(frozen=True)
class Components:
    """log p_k(x)/p_0(x) = b_k·x − |b_k|²/2 of each component at points x, and its weight."""

    kind: str

    def __call__(self, params: Any, points: Any) -> tuple[Any, Any]:
        """The weights and the log ratios, components on the last axis but one, over any leading axes."""
        b = params["b"]
        xp = b.__array_namespace__()
        ratios = b @ points.T - ((b**2).sum(-1) / 2)[..., None]
        if self.kind == "half_half":
            return xp.full_like(ratios, 0.5), ratios
        # Weights beyond [0, 1] are mirrored into it: K stays finite, continuous and even, with the same λ.
        a = params["a"] - 2 * xp.round(params["a"] / 2)
        a = xp.abs(a)[..., None, None]
        other = xp.zeros_like(ratios) if self.kind == "one_free" else ratios[..., 1:, :]
        ratios = xp.concat([other, ratios[..., :1, :]], axis=-2)
        return xp.concat([(1 - a) * xp.ones_like(other), a * xp.ones_like(other)], axis=-2), ratios


def log_mixture(weights: Any, ratios: Any) -> Any:
    """The logarithm of Σ_k a_k e^{t_k} over the last axis but one, for weights that may be 0.

    >>> float(log_mixture(np.array([[0.0], [1.0]]), np.array([[9.0], [2.0]]))[0])
    2.0
    """
    xp = ratios.__array_namespace__()
    peak = xp.max(ratios, axis=-2, keepdims=True)
    total = (weights * xp.exp(ratios - peak)).sum(-2)
    return xp.log(xp.maximum(total, 1e-37)) + peak[..., 0, :]


@dataclass(frozen=True)
class MixtureExcess:
    """K = KL(N(0, I) ‖ p_w) = E[u − log(1 + u)] with u = Σ_k a_k (e^{t_k} − 1), by Gauss–Hermite quadrature.

    Since E[u] = 0 exactly, the second form is the divergence with every term positive: nothing cancels.
    """

    kind: str
    features: int

    def __call__(self, params: Any) -> Any:
        """K in nats, over any leading axes."""
        xp = params["b"].__array_namespace__()
        nodes, mass = (xp.asarray(array, dtype=params["b"].dtype) for array in hermite(self.features))
        weights, ratios = Components(self.kind)(params, nodes)
        u = (weights * xp.expm1(ratios)).sum(-2)
        small = xp.abs(u) < 0.5
        near, log_total = xp.where(small, u, 0.0), log_mixture(weights, ratios)
        far = xp.where(small, 0.0, log_total)
        # u − log(1 + u) = q u − 2(q³/3 + q⁵/5 + …) with q = u/(2 + u); |q| < 1/3 where it is used.
        q = near / (2 + near)
        series = sum(q ** (2 * i + 1) / (2 * i + 1) for i in range(12, 0, -1))
        return ((q * near - 2 * series + xp.expm1(far) - far) * mass).sum(-1)


@dataclass(frozen=True)
class MixtureLoss:
    """−log p_w(x) of each example."""

    kind: str

    def __call__(self, params: PyTree, batch: Float[Array, "batch features"]) -> Float[Array, " batch"]:
        """In nats."""
        log_ratio = log_mixture(*Components(self.kind)(jax.tree.map(jnp.asarray, params), batch))
        return (batch**2).sum(1) / 2 + batch.shape[1] / 2 * math.log(2 * math.pi) - log_ratio


def hermite(features: int) -> tuple[Float[np.ndarray, "points features"], Float[np.ndarray, " points"]]:
    """Nodes and weights of an expectation over N(0, I).

    >>> nodes, mass = hermite(2)
    >>> round(float(mass @ nodes[:, 0] ** 4), 10)
    3.0
    """
    node, weight = np.polynomial.hermite_e.hermegauss(NODES_PER_AXIS[features])
    nodes = np.stack(np.meshgrid(*[node] * features, indexing="ij"), -1).reshape(-1, features)
    masses = np.prod(np.meshgrid(*[weight / weight.sum()] * features, indexing="ij"), axis=0)
    return nodes, masses.ravel()


def gaussian_mixture_coefficient(kind: Kind, *, features: int = 1) -> tuple[Fraction, int]:
    """λ and m where p_w = N(0, I_N).

    one_free, (1 − a)N(0, I) + aN(b, I) at a = b = 0:  K ≍ a²|b|²,  λ = ½, m = 2 if N = 1 else 1.
    half_half, ½N(b_1, I) + ½N(b_2, I) at b = 0:  K ≍ |u|² + |v|⁴,  λ = N/2 + N/4, m = 1.
    two_free, aN(b_1, 1) + (1 − a)N(b_2, 1) at a = ½, b = 0:  the same with N = 1,  λ = ¾, m = 1.

    >>> gaussian_mixture_coefficient("half_half", features=2)
    (Fraction(3, 2), 1)

    Args:
        kind: which weights and means are free.
        features: N.

    Raises:
        ValueError: the kind is unknown, or N is not positive, or not 1 for two_free.
    """
    refuse(kind not in KINDS, f"gaussian_mixture got kind={kind!r}; choose one of {', '.join(KINDS)}.")
    refuse(features < 1, f"features={features}: give a positive number.")
    refuse(
        kind == "two_free" and features > 1, f"two_free is known for features=1 only, not {features}; use half_half."
    )
    if kind == "one_free":
        return Fraction(1, 2), 2 if features == 1 else 1
    return Fraction(3 * features, 4), 1


def gaussian_mixture(
    kind: Kind = "one_free", *, features: int = 1, n: int = 10_000, simulate: bool = False, rng_key: int = 0
) -> ZooEntry:
    """K = KL(N(0, I) ‖ p_w) for an overcomplete mixture; simulated, x ~ N(0, I) and the loss −log p_w(x).

    Params: b, the free means, and a, the free weight (mirrored into [0, 1] from beyond it).

    >>> gaussian_mixture("two_free")
    ZooEntry(gaussian_mixture(two_free): d=3, λ=3/4, m=1)

    Args:
        kind: one_free (a component of free weight and mean), half_half (two free means) or two_free (both).
        features: N ≤ 3, of x.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: as `gaussian_mixture_coefficient`, or N > 3.
    """
    coefficient = gaussian_mixture_coefficient(kind, features=features)
    refuse(features > 3, f"features={features}: K is a quadrature in at most 3.")
    params = {"b": np.zeros((1 if kind == "one_free" else 2, features), np.float32)}
    if kind != "half_half":
        params["a"] = np.array(0.0 if kind == "one_free" else 0.5, np.float32)
    excess: Callable[[Any], Any] = MixtureExcess(kind, features)

    def sample(key: PRNGKeyArray, n: int) -> Problem:
        return Problem(MixtureLoss(kind), jax.random.normal(key, (n, features)))

    return build(
        f"gaussian_mixture({kind}{f', features={features}' if features > 1 else ''})",
        params,
        coefficient,
        "Watanabe 2009; Yamazaki & Watanabe 2003",
        excess=excess,
        sample=sample,
        quadrature=partial(gaussian_mixture_finite_n, kind) if features == 1 and kind != "two_free" else None,
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )


def gaussian_mixture_finite_n(kind: Kind, nbeta: float, gamma: float) -> float:
    """λ_n for one feature: one_free on grids in log a and log b, half_half in the logs of b_1 ± b_2.

    >>> round(gaussian_mixture_finite_n("half_half", nbeta=1085.736205, gamma=10.0), 4)
    0.6651

    Args:
        kind: one_free or half_half.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
    """
    excess = MixtureExcess(kind, 1)
    if kind == "half_half":
        turn = np.array([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)
        return orthant(lambda w: excess({"b": (w @ turn)[..., None]}), 2, 2, nbeta, gamma)
    log_a, mass = panels(np.linspace(-18.0, 0.0, 21), 5)
    a, b = np.exp(log_a), np.exp(np.arange(-14 - abs(math.log(nbeta / gamma)) / 2, 2, 0.2)) / math.sqrt(gamma)
    # N(0, 1/γ) of a, mirrored into [0, 1] as the weight itself is.
    turns = 2 * np.arange(-math.ceil(REACH / math.sqrt(gamma)), math.ceil(REACH / math.sqrt(gamma)) + 1)[:, None]
    mass = mass * a * np.exp(-gamma / 2 * (turns + a) ** 2).sum(axis=0)
    exponent = nbeta * excess({"a": np.tile(a[:, None], b.size), "b": np.tile(b[:, None, None], (a.size, 1, 1, 1))})
    density = mass[:, None] * b * np.exp(-exponent - gamma / 2 * b**2)
    return float((density * exponent).sum() / density.sum())
