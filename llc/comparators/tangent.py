"""What the network linearised at w* predicts: its neural tangent kernel   (Jacot, Gabriel & Hongler 2018)."""

import math

from llc.comparators.laplace import doubts, of_quadratic
from llc.comparators.measurements import Measurements
from llc.comparators.row import Result, row
from llc.problem import Gaussian

_LINEAR = "the network is its tangent at w*"
_SIGMAS = 4.0


@row("Gauss–Newton rank/2", "n → ∞, γ fixed: a lower bound of λ, met where the best parameters form a manifold")
def rank(at: Measurements) -> Result:
    """r/2, r the numerical rank of the Fisher information at w*."""
    if at.tangent.rank is None or at.tangent.bounds is None:
        msg = (
            f"needs all eigenvalues of a {at.posterior.dimension} × {at.posterior.dimension} matrix, which is too large"
        )
        raise ValueError(msg)
    low, high = at.tangent.bounds
    return Result(at.tangent.rank / 2, verdict=f"at a minimum λ lies in [{low:g}, {high:g}]")


@row("NTK ½·d_eff", f"{_LINEAR}, at the same n, nβ and γ as λ̂")
def complexity(at: Measurements) -> Result:
    """½ tr[A (A + I)⁻¹], A the Gauss–Newton matrix of nβ L_n in whitened coordinates."""
    (value, error), estimate = at.tangent.coefficient(), at.estimate
    agrees = abs(estimate.value - value) <= _SIGMAS * math.hypot(error, estimate.std_error)
    verdict = "agrees with λ̂" if agrees else f"λ̂ is {estimate.value / value:.3g} of it"
    return Result(value, error, ", ".join([verdict, *doubts(at.tangent)]))


@row("NTK-linearised", f"{_LINEAR}, as far as the posterior reaches; prior N(w*, Γ⁻¹)")
def free_energy(at: Measurements) -> Result:
    """n L_n(w*) + ½ log det(I + A) − ½ bᵀ (I + A)⁻¹ b with A the Gauss–Newton matrix, in nats."""
    return of_quadratic(at.tangent.at(at.n))


@row("NTK/GCV", f"{_LINEAR}; generalised cross-validation with ½·d_eff at nβ = n (Gaussian), L_n + d_eff/n otherwise")
def generalization(at: Measurements) -> Result:
    """Test ≈ training error / (1 − d_eff / nC)² (Craven & Wahba 1979), in nats per example."""
    degrees, likelihood = at.tangent.at(at.n).coefficient(), at.problem.likelihood
    effective = 2 * degrees.value
    if not isinstance(likelihood, Gaussian):
        return Result(at.training_loss + effective / at.n, 2 * degrees.std_error / at.n, f"d_eff is {effective:.4g}")
    targets = at.problem.data[1][:1]
    number, noise = at.n * targets.size, float(likelihood(targets, targets)[0])  # the loss of a perfect fit
    left = 1 - effective / number
    misfit = (at.training_loss - noise) / left**2
    return Result(
        noise + misfit, 4 * misfit / left * degrees.std_error / number, f"d_eff is {effective:.4g} of {number}"
    )
