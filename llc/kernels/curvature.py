"""What the quadratic model of the loss at a checkpoint says about its posterior, as sums over one spectrum.

    nβ (L_n − L_n(w*)) ≈ b·v + ½ vᵀA v,     prior N(0, I/s),     v = Γ^{1/2} (w − w*), s = 1 unless said

so that A = nβ Γ^{−1/2} H Γ^{−1/2} and b = nβ Γ^{−1/2} g have no unit, and s multiplies every γ.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from llc.estimators.show import html_table, plain, show
from llc.kernels.spectral_sums import Function, SpectralMeasure, Sum


@dataclass(frozen=True, repr=False)
class Curvature:
    """The spectrum of A, and what follows from it; of `tangent` (Gauss–Newton) or of `hessian`."""

    name: str
    """Whose curvature it is."""
    spectrum: SpectralMeasure
    """The eigenvalues of A."""
    gradient: SpectralMeasure
    """bᵀ f(A) b, which is 0 at a minimum."""
    dimension: int
    """d, the free parameters."""
    nbeta: float
    """nβ."""
    center_loss: float
    """L_n(w*), in nats per example."""
    rank_tolerance: float
    """The eigenvalue that rounding gives to a zero, relative to the largest: max(nC, d) · ε."""
    num_outputs: int | None = None
    """nC, the outputs of all examples; None for the Hessian."""
    ridge: float | None = None
    """δ = σ²/β of kernel regression by J Γ^{−1} Jᵀ; None unless the likelihood is Gaussian."""
    saturated: bool = False
    """Whether the outputs say p ≈ 0 or 1 on nearly all data: A tends to 0, whatever the network uses."""

    @property
    def nodes(self) -> Float[np.ndarray, "probes k"]:
        """The eigenvalues of A, or for each probe those of Lanczos' matrix."""
        return self.spectrum.nodes

    @property
    def weights(self) -> Float[np.ndarray, "probes k"]:
        """How much each counts: their sum is d, for each probe."""
        return self.spectrum.weights

    @property
    def exact(self) -> bool:
        """Whether all eigenvalues are known; else they were sampled."""
        return not self.spectrum.sampled

    def trace(self, f: Function) -> Sum:
        """tr f(A); f takes and gives arrays."""
        return self.spectrum.trace(f)

    def at(self, nbeta: float | int) -> "Curvature":
        """The same at another nβ, which costs nothing."""
        factor = float(nbeta) / self.nbeta
        return replace(
            self,
            spectrum=self.spectrum.scaled(factor),
            gradient=self.gradient.scaled(factor, mass=factor**2),
            nbeta=float(nbeta),
            ridge=None if self.ridge is None else self.ridge / factor,
        )

    def coefficient(self, scale: float | int = 1.0) -> Sum:
        """½ tr[A (A + s)⁻¹], half the effective dimension: λ̂ of the quadratic model, but for `gradient_term`.

        For a Gaussian likelihood it is ½ tr[Θ (Θ + δ)⁻¹], Θ = J Γ^{−1} Jᵀ, δ = s σ²/β. NaN where A + s is not positive
        definite: at such a saddle the quadratic model has no posterior.

        Args:
            scale: s, a factor on every γ; a sweep over it costs nothing.
        """
        return self._normalised(scale, lambda h: 0.5 * h / (h + scale))

    def gradient_term(self, scale: float | int = 1.0) -> float:
        """½ bᵀ (A + 2s) (A + s)⁻² b: by how much λ̂ is less than `coefficient`, as w* is not a minimum."""
        if not self._has_posterior(scale):
            return math.nan
        return self.gradient.integral(lambda h: 0.5 * (h + 2 * scale) / (h + scale) ** 2)

    def log_determinant(self, scale: float | int = 1.0) -> Sum:
        """log det(I + A/s), in nats; NaN where A + s is not positive definite."""
        return self._normalised(scale, lambda h: np.log1p(h / scale))

    def free_energy(self, scale: float | int = 1.0) -> Sum:
        """−log ∫ e^{−nβ L} N(v; 0, I/s) dv = nβ L_n(w*) + ½ log det(I + A/s) − ½ bᵀ (A + s)⁻¹ b, in nats.

        Its slope in log β, less nβ L_n(w*), is `coefficient` − `gradient_term`.
        """
        determinant = self.log_determinant(scale)
        gain = lambda h: 0.5 / (h + scale)
        value = self.nbeta * self.center_loss + 0.5 * determinant.value - self.gradient.integral(gain)
        return Sum(value, math.hypot(0.5 * determinant.std_error, self.gradient.half_width(gain)))

    @property
    def value(self) -> float:
        """½ tr[A (A + 1)⁻¹]."""
        return self.coefficient().value

    @property
    def std_error(self) -> float:
        """Its standard error, 0 where all eigenvalues are known."""
        return self.coefficient().std_error

    @property
    def kappa(self) -> float | None:
        """κ = δ / (nC − 2 `value`), below which kernel regression by J Γ^{−1} Jᵀ does not resolve eigenvalues.

        It solves Σ_i m_i λ_i / (λ_i + κ) + δ/κ = nC on average over data sets (Simon et al. 2021), λ_i being the
        eigenvalues of that kernel under the inputs' law. For the kernel J Jᵀ, of one γ, it is γ times this.
        """
        if self.ridge is None or self.num_outputs is None:
            return None
        left = self.num_outputs - 2 * self.value
        return self.ridge / left if left > 0 else math.nan

    @property
    def rank(self) -> int | None:
        """The eigenvalues further from 0 than rounding puts them; None where they are not all known."""
        return int(self.weights[np.abs(self.nodes) > self._rounding].sum()) if self.exact else None

    @property
    def rank_gap(self) -> float | None:
        """The smallest eigenvalue that counts for the rank over the largest that does not: near 1, it means little."""
        if not self.exact:
            return None
        sizes = np.abs(self.nodes)
        kept, dropped = sizes[sizes > self._rounding], sizes[sizes <= self._rounding]
        return float(kept.min() / dropped.max()) if kept.size and dropped.any() else math.inf

    @property
    def bounds(self) -> tuple[float, float] | None:
        """(r/2, r/2 + (d − r)/4), r the rank: where the learning coefficient of a minimum lies; None if r is unknown.

        By the splitting lemma K = ½|u|² + g(v), g of order 4 at least and its coefficient at most (d − r)/4. It speaks
        of n → ∞ with the rank of the population; λ̂ at a finite nβ may lie below.
        """
        r = self.rank
        return None if r is None else (r / 2, r / 2 + (self.dimension - r) / 4)

    @property
    def num_negative(self) -> Sum:
        """How many eigenvalues are negative beyond rounding; sampled ones tell of those that carry some weight."""
        rounding = self._rounding
        return self.trace(lambda h: (h < -rounding).astype(float))

    @property
    def _rounding(self) -> float:
        return self.rank_tolerance * float(np.abs(self.nodes).max())

    def _has_posterior(self, scale: float | int) -> bool:
        if not scale > 0:
            msg = f"scale={scale}; it must be positive: it multiplies γ, and γ = 0 has no normalised posterior."
            raise ValueError(msg)
        return bool(min(self.spectrum.smallest, self.gradient.smallest) + scale > 0)

    def _normalised(self, scale: float | int, f: Function) -> Sum:
        return self.trace(f) if self._has_posterior(scale) else Sum(math.nan, math.nan)

    @property
    def remarks(self) -> list[str]:
        """What must be known before believing it."""
        negative = self.num_negative.value
        return [
            *(["outputs saturated: it tends to 0 whatever the network uses"] if self.saturated else []),
            *([f"{negative:.3g} negative eigenvalues: not a minimum"] if negative > 0 else []),
        ]

    def __repr__(self) -> str:
        bounds = [] if self.bounds is None else ["learning coefficient within {:g} to {:g}".format(*self.bounds)]
        beside = [f"gradient term {self.gradient_term():.3g}", *bounds, f"d/2 = {self.dimension / 2:g}", *self.remarks]
        return " · ".join([f"{self.name}: ½ d_eff = {_shown(self.coefficient())}", *beside])

    def rows(self) -> list[tuple[str, str]]:
        """What the table shows, as (name, value)."""
        bounds = self.bounds
        return [
            ("½ d_eff", _shown(self.coefficient())),
            ("gradient term, to subtract", f"{self.gradient_term():.4g}"),
            *([] if bounds is None else [("rank, its gap", f"{self.rank}, {self.rank_gap:.3g}")]),
            *([] if bounds is None else [("learning coefficient within", f"{bounds[0]:g} to {bounds[1]:g}")]),
            ("d/2", f"{self.dimension / 2:g}"),
            ("½ log det(I + A), nats", f"{0.5 * self.log_determinant().value:.6g}"),
            *([] if self.kappa is None else [("κ", f"{self.kappa:.4g}")]),
            ("nβ", f"{self.nbeta:.5g}"),
            ("eigenvalues", "all" if self.exact else f"{len(self.nodes)} random probes"),
            *(("remark", remark) for remark in self.remarks),
        ]

    def _repr_html_(self) -> str:
        return html_table(f"Curvature by the {self.name}", self.rows())

    def to_dict(self) -> dict[str, Any]:
        """Everything but the spectrum, in types that JSON knows; unknown numbers are None."""
        return plain(
            {
                "name": self.name,
                "value": self.value,
                "std_error": self.std_error,
                "gradient_term": self.gradient_term(),
                "log_determinant": self.log_determinant().value,
                "dimension": self.dimension,
                "nbeta": self.nbeta,
                "rank": self.rank,
                "rank_gap": self.rank_gap,
                "bounds": self.bounds,
                "num_outputs": self.num_outputs,
                "kappa": self.kappa,
                "num_negative": self.num_negative.value,
                "saturated": self.saturated,
                "exact": self.exact,
            }
        )


def _shown(total: Sum) -> str:
    return show(total) if total.std_error > 0 else f"{total.value:.6g}"
