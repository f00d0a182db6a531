"""What draws from the posterior say   (Watanabe 2009, 2010, 2013)."""

import numpy as np

from llc.comparators.measurements import Measurements
from llc.comparators.row import Result, row
from llc.estimators.show import Sampled
from llc.estimators.wbic import wbic_from


@row("λ̂", "the chains have found where the posterior is")
def complexity(at: Measurements) -> Result:
    """The local learning coefficient at nβ = n / log n."""
    return _of(at.estimate)


@row("ν̂", "as above; the singular fluctuation ½ Σ_i Var[ℓ_i] at nβ = n, which is λ for regular models")
def fluctuation(at: Measurements) -> Result:
    """The singular fluctuation."""
    found = at.waic.details["singular_fluctuation"]
    return Result(found.value, found.std_error, _verdict(at.waic))


@row("WBIC", "the free energy's leading terms; those of order √log n are left out")
def wbic(at: Measurements) -> Result:
    """E[n L_n] at nβ = n / log n, in nats."""
    return _of(wbic_from(at.draws))


@row("λ̂-corrected", "singular models too; terms of order log log n and 1, the prior's among them, are left out")
def corrected_bic(at: Measurements) -> Result:
    """n L_n(w*) + λ̂ log n, in nats."""
    log_n = np.log(at.n)
    return Result(
        at.n * at.training_loss + at.estimate.value * log_n, at.estimate.std_error * log_n, _verdict(at.estimate)
    )


@row("thermodynamic integration", "none but that the chains mix: the definition itself, under the prior N(w*, Γ⁻¹)")
def free_energy(at: Measurements) -> Result:
    """−log ∫ e^{−n L_n(w)} φ(w) dw, in nats."""
    return _of(at.free_energy)


@row("WAIC", "Bayes' predictive density at nβ = n; singular models too")
def waic(at: Measurements) -> Result:
    """T_n + V_n / n, in nats per example."""
    return _of(at.waic)


@row("λ/n", "the training loss lies λ/n below the best there is, Bayes' λ/n above: exact for regular models (AIC)")
def generalization(at: Measurements) -> Result:
    """L_n(w*) + 2 λ̂ / n, in nats per example."""
    return Result(
        at.training_loss + 2 * at.estimate.value / at.n, 2 * at.estimate.std_error / at.n, _verdict(at.estimate)
    )


def _of(sampled: Sampled) -> Result:
    return Result(sampled.value, sampled.std_error, _verdict(sampled))


def _verdict(sampled: Sampled) -> str:
    return ", ".join(sampled.verdicts)
