"""Laplace's approximation at w*, under the localising prior   (Tierney & Kadane 1986)."""

import numpy as np

from llc.comparators.measurements import Measurements
from llc.comparators.row import Result, row
from llc.kernels.curvature import Curvature

_NOT_NEGLIGIBLE = 0.1  # of the coefficient


@row("Laplace", "n L_n is quadratic, by its Hessian at w*, as far as the posterior reaches; prior N(w*, Γ⁻¹)")
def free_energy(at: Measurements) -> Result:
    """n L_n(w*) + ½ log det(I + A) − ½ bᵀ (I + A)⁻¹ b, of n L_n in whitened coordinates, in nats."""
    return of_quadratic(at.hessian.at(at.n))


def of_quadratic(curvature: Curvature) -> Result:
    """The free energy, were the loss the quadratic of this curvature around w*."""
    value, error = curvature.free_energy()
    if np.isnan(value):
        return Result(value, error, f"no minimum, even of n L_n + prior: an eigenvalue is {curvature.nodes.min():.3g}")
    return Result(value, error, ", ".join(["the quadratic's own", *doubts(curvature)]))


def doubts(curvature: Curvature) -> list[str]:
    """Why w* should not be taken for a minimum with a quadratic around it."""
    term, coefficient = curvature.gradient_term(), curvature.coefficient().value
    found = []
    if term > _NOT_NEGLIGIBLE * abs(coefficient):
        found.append(f"not a minimum: the gradient term is {term:.3g}, the coefficient without it {coefficient:.3g}")
    if curvature.saturated:
        found.append("the outputs are saturated, where the tangent tends to 0 whatever the network uses")
    return found
