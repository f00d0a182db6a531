"""The oscillator f(t) = x_0 cos(√g t) + v_0 sin(√g t)/√g, some parameters of which no observation can tell."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from llc.zoo.entry import HalfSquare, ZooEntry, build, refuse, regression
from llc.zoo.quadrature import REACH, linear, panels

Kind = Literal["moving", "rest", "clock_moving", "clock_rest", "one_observation"]
TIMES = (0.3, 0.9, 1.5, 2.1, 2.7)
MOVING, REST = {"x0": 1.0, "v0": 0.5, "g": 2.0}, {"x0": 0.0, "v0": 0.0, "g": 2.0}
# The truth and the times of observation relative to a clock whose own offset t0 may be free.
KINDS = {
    "moving": (MOVING, TIMES),
    "rest": (REST, TIMES),
    "clock_moving": (MOVING | {"t0": 0.0}, TIMES),
    "clock_rest": (REST | {"t0": 0.0}, TIMES),
    "one_observation": (MOVING | {"t0": 0.0}, (1.0,)),
}
COEFFICIENTS = {
    "moving": Fraction(3, 2),
    "rest": Fraction(1),
    "clock_moving": Fraction(3, 2),
    "clock_rest": Fraction(1),
    "one_observation": Fraction(1, 2),
}


def oscillations(g: Any, times: Any) -> tuple[Any, Any]:
    """cos(√g t) and sin(√g t)/√g, which are analytic in g, also where g ≤ 0.

    >>> [float(part) for part in oscillations(np.array(0.0), np.array(3.0))]
    [1.0, 3.0]
    """
    z = g * times**2
    xp = z.__array_namespace__()
    near, grows = xp.abs(z) < 1e-2, z < 0
    root = xp.sqrt(xp.where(near, 1.0, xp.abs(z)))
    small, growth = xp.where(near, z, 0.0), xp.where(grows, root, 0.0)
    cosine = xp.where(grows, xp.cosh(growth), xp.cos(root))
    sine = xp.where(grows, xp.sinh(growth), xp.sin(root)) / root
    cosine = xp.where(near, 1 - small / 2 * (1 - small / 12 * (1 - small / 30)), cosine)
    return cosine, times * xp.where(near, 1 - small / 6 * (1 - small / 20 * (1 - small / 42)), sine)


def oscillator_path(params: Any, inputs: Any) -> Any:
    """The path at the times of each example.

    >>> oscillator_path({"x0": jnp.ones(()), "v0": jnp.zeros(()), "g": jnp.ones(())}, jnp.zeros((1, 2))).tolist()
    [[1.0, 1.0]]
    """
    shift = params["t0"][..., None] if "t0" in params else 0.0
    cosine, sine = oscillations(params["g"][..., None], inputs - shift)
    return params["x0"][..., None] * cosine + params["v0"][..., None] * sine


@dataclass(frozen=True)
class PathError:
    """f_w − f_{w*} at the times of observation."""

    kind: str

    def __call__(self, params: Any) -> Any:
        """The errors at all times, over any leading axes."""
        g = params["g"]
        truth, times = KINDS[self.kind]
        xp = g.__array_namespace__()
        points = xp.asarray(times, dtype=g.dtype)
        target = oscillator_path({name: xp.asarray(value, dtype=g.dtype) for name, value in truth.items()}, points)
        return oscillator_path(params, points) - target


def oscillator_coefficient(kind: Kind) -> tuple[Fraction, int]:
    """λ and m; the zeros of K are smooth and K is Morse–Bott, so that λ = codimension/2 and m = 1.

    moving, (x_0, v_0, g) away from rest:  3/2, regular.   rest, the same at x_0 = v_0 = 0, where g does not matter:  1.
    clock_moving, an unknown clock offset t_0, which the phase can undo:  3/2.   clock_rest:  1.
    one_observation, one scalar at an unknown time:  1/2.

    >>> oscillator_coefficient("clock_moving")
    (Fraction(3, 2), 1)

    Args:
        kind: the free parameters and the truth.

    Raises:
        ValueError: the kind is unknown.
    """
    refuse(kind not in KINDS, f"oscillator got kind={kind!r}; choose one of {', '.join(KINDS)}.")
    return COEFFICIENTS[kind], 1


def oscillator(kind: Kind = "moving", *, n: int = 10_000, simulate: bool = False, rng_key: int = 0) -> ZooEntry:
    """K = ½ Σ_t (f_w(t) − f_{w*}(t))² over five times, or one; simulated, each example is a whole noisy path.

    Truth: x_0 = 1, v_0 = ½, g = 2 in motion, x_0 = v_0 = 0, g = 2 at rest. A clock sees f(t − t_0), t_0 = 0.

    >>> oscillator("rest")
    ZooEntry(oscillator(rest): d=3, λ=1, m=1)

    Args:
        kind: moving, rest, clock_moving, clock_rest or one_observation.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: the kind is unknown.
    """
    coefficient = oscillator_coefficient(kind)
    truth, times = KINDS[kind]
    params = {name: np.array(value, np.float32) for name, value in truth.items()}

    def observe(key: PRNGKeyArray, n: int) -> Float[Array, "n times"]:  # noqa: ARG001, the times are known
        return jnp.tile(jnp.array(times), (n, 1))

    return build(
        f"oscillator({kind})",
        params,
        coefficient,
        "Morse–Bott: codimension/2",
        excess=HalfSquare(PathError(kind)),
        sample=regression(oscillator_path, params, observe),
        quadrature=partial(oscillator_finite_n, kind),
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )


def oscillator_finite_n(kind: Kind, nbeta: float, gamma: float, *, reach: float = math.inf) -> float:
    """λ_n: x_0 and v_0 in closed form, g and t_0 on panels that shrink towards their true values.

    >>> round(oscillator_finite_n("rest", nbeta=1085.736205, gamma=100.0), 6)
    0.943519

    Args:
        kind: the free parameters and the truth.
        nbeta: s = nβ.
        gamma: precision of the Gaussian factor.
        reach: half-width of an interval round the truth that confines g and t_0; all of R unless said.
    """
    truth, times = KINDS[kind]
    far = min(reach, REACH / math.sqrt(gamma))
    halves = far * 2.0 ** -np.arange(max(4, math.ceil(math.log2(far * math.sqrt(nbeta)))) + 2)
    nodes, weights = panels(np.concatenate([-halves, [0.0], halves[::-1]]), 8)
    log_weight = np.log(weights) - gamma / 2 * nodes**2
    shifts, shift_log_weight = (nodes, log_weight) if "t0" in truth else (np.zeros(1), np.zeros(1))
    g, shift = (grid.ravel()[:, None] for grid in np.meshgrid(truth["g"] + nodes, shifts, indexing="ij"))
    design = np.stack(oscillations(g, np.array(times) - shift), axis=-1)
    start = np.array([truth["x0"], truth["v0"]])
    error = (design - np.stack(oscillations(np.array(truth["g"]), np.array(times)), axis=-1)) @ start
    basis, scales, _ = np.linalg.svd(design, full_matrices=False)
    along = np.einsum("ntk,nt->nk", basis, error)
    misfit = ((error - np.einsum("ntk,nk->nt", basis, along)) ** 2).sum(-1)
    log_weights = (log_weight[:, None] + shift_log_weight).ravel()
    return linear(log_weights, scales**2, nbeta, gamma, error=along, misfit=misfit)
