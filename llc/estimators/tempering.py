"""Expectations at every inverse temperature up to nβ, from the draws at all temperatures of a ladder at once.

A chain's N draws at each of the inverse temperatures s_k, taken together, are draws of a mixture of the tempered
posteriors; weighted against it they give those at any s (MBAR, Shirts & Chodera 2008; Geyer 1994):

    exp(−f(s)) = Σ_i exp(−s ΔL_i) / D_i,   E_s[ΔL] = Σ_i ΔL_i exp(f(s) − s ΔL_i) / D_i,
    D_i = N Σ_k exp(f_k − s_k ΔL_i)

with f_k = f(s_k), f(0) = 0. With two temperatures it is Bennett's acceptance ratio (1976). f(s) = −log E_0[exp(−s ΔL)]
is the integral ∫_0^s E_t[ΔL] dt, of the estimates exactly as of what they estimate: thermodynamic integration without
quadrature, and without the mean at s = 0, which may be infinite.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp, softmax
from xarray import DataTree

_MAX_ITERATIONS = 100
_TOLERANCE = 1e-7  # nats
_LONGEST_STEP = 1.0  # nats, that an iteration may change a free energy by
_BLOCK_ELEMENTS = 2**22  # memberships held at a time: 32 MiB
_OVERFLOWN = 1e200  # stands for an infinite loss, whose weight at every s > 0 is 0
_ROUNDING = 1e-5  # nβ is kept in float32


class Reweighted(NamedTuple):
    """One value a draw, the estimate plus the draw's influence on it: the mean is the estimate."""

    free_energy: Float[np.ndarray, "draw"]
    loss: Float[np.ndarray, "draw"]


class Mixture(NamedTuple):
    """The draws of one chain at all its temperatures, ΔL in nats per example, and their free energies f_k in nats.

    `influence` is each draw's on f_k; its temperatures may depend on each other, as replicas that swap do.
    """

    nbetas: Float[np.ndarray, "temperature"]
    losses: Float[np.ndarray, "draw temperature"]
    free_energies: Float[np.ndarray, "temperature"]
    influence: Float[np.ndarray, "draw temperature"]

    def at(self, nbeta: float) -> Reweighted:
        """f(s) in nats and E_s[ΔL] in nats per example, at s = nβ > 0.

        >>> mixture = mix(np.array([0.0, 1.0]), np.array([[2.0, 0.0], [0.0, 1.0]]))
        >>> bool(np.isclose(mixture.at(1.0).free_energy.mean(), mixture.free_energies[1]))
        True
        """
        num_draws, blocks = len(self.losses), self._blocks()
        log_weights = np.concatenate([-nbeta * x - np.asarray(logsumexp(self._logits(x), axis=2)) for x in blocks])
        free_energy = float(np.log(num_draws) - logsumexp(log_weights))
        weights = np.exp(log_weights + free_energy)
        loss = float(np.sum(weights * self.losses) / num_draws)
        excess = weights * (self.losses - loss)
        by_f = np.zeros((2, self.nbetas.size))  # ∂f(s)/∂f_k and −∂E_s/∂f_k, through D
        parts = zip(blocks, np.array_split(weights, len(blocks)), np.array_split(excess, len(blocks)), strict=True)
        for x, weight, away in parts:
            members = softmax(self._logits(x), axis=2)
            by_f += np.stack([np.tensordot(weight, members, 2), np.tensordot(away, members, 2)]) / num_draws
        return Reweighted(
            free_energy + 1 - weights.sum(axis=1) + self.influence @ by_f[0],
            loss + excess.sum(axis=1) - self.influence @ by_f[1],
        )

    def _blocks(self) -> Sequence[Float[np.ndarray, "block temperature"]]:
        return np.array_split(self.losses, -(-self.losses.size * self.nbetas.size // _BLOCK_ELEMENTS))

    def _logits(self, losses: Float[np.ndarray, "block temperature"]) -> Float[np.ndarray, "block temperature other"]:
        """log of each temperature's part in the mixture at each draw."""
        return self.free_energies - losses[:, :, None] * self.nbetas

    def _score(self) -> tuple[Float[np.ndarray, "draw temperature"], Float[np.ndarray, "temperature other"]]:
        """Slopes and curvature in f of −Σ_i log(probability of draw i's temperature, were only its loss known)."""
        scores, curvature = [], np.zeros((self.nbetas.size, self.nbetas.size))
        for x in self._blocks():
            members = softmax(self._logits(x), axis=2)
            scores.append(members.sum(axis=1) - 1)
            curvature += np.diag(members.sum(axis=(0, 1))) - np.tensordot(members, members, ((0, 1), (0, 1)))
        return np.concatenate(scores), curvature / len(self.losses)


def mix(nbetas: Float[np.ndarray, "temperature"], losses: Float[np.ndarray, "draw temperature"]) -> Mixture:
    """Find the free energies of a chain's temperatures: Newton's method on a convex function.

    They are NaN where temperatures do not overlap.

    Args:
        nbetas: the ladder s_k, from 0 upwards.
        losses: ΔL of each draw at each temperature; infinite where it overflows, at s = 0.
    """
    losses = np.where(losses == np.inf, _OVERFLOWN, losses)
    upwards = logsumexp(-np.diff(nbetas) * losses[:, :-1], axis=0) - np.log(len(losses))
    mixture = Mixture(nbetas, losses, np.append(0.0, -np.cumsum(upwards)), np.zeros_like(losses))
    for _ in range(_MAX_ITERATIONS):
        score, curvature = mixture._score()
        inverse = np.zeros_like(curvature)  # f_0 stays 0
        try:
            inverse[1:, 1:] = np.linalg.inv(curvature[1:, 1:])
        except np.linalg.LinAlgError:
            break
        influence = -score @ inverse
        change = influence.mean(axis=0)
        largest = float(np.abs(change).max())
        change /= max(1.0, largest / _LONGEST_STEP)
        mixture = mixture._replace(free_energies=mixture.free_energies + change, influence=influence)
        if largest < _TOLERANCE:
            return mixture
    return mixture._replace(free_energies=np.full_like(nbetas, np.nan))


def read_ladders(
    draws: DataTree,
) -> tuple[Float[np.ndarray, "chain temperature"], Float[np.ndarray, "chain draw temperature"]]:
    """The ladder s_k of each chain, and ΔL of its draws; chains that are not finite are left out.

    A loss that overflows under the prior, NaN included, is a likelihood of zero there, and no fault.

    Raises:
        ValueError: the draws are of one temperature.
    """
    statistics = draws["sample_stats"].to_dataset()
    if "tempered_loss_difference" not in statistics:
        msg = (
            f"these draws of {draws.attrs['kernel']} are all at nbeta={draws.attrs['nbeta']:.5g}; make them with "
            "llc.samplers.ReplicaExchange, which draws at a ladder of temperatures from 0 to it."
        )
        raise ValueError(msg)
    order = ("chain", "draw", "temperature")
    losses = statistics["tempered_loss_difference"].transpose(*order).values.astype(np.float64)
    nbetas = statistics["tempered_nbeta"].transpose(*order).values.astype(np.float64)[:, 0]
    sound = ~statistics["diverging"].values.astype(bool).any(axis=1)
    finite = np.isfinite(losses)
    sound &= finite[:, :, 1:].all(axis=(1, 2)) & (losses[:, :, 0] != -np.inf).all(axis=1)
    return nbetas[sound], np.where(finite, losses, np.inf)[sound]


def mixtures(draws: DataTree) -> list[Mixture]:
    """Each finite chain's draws at all its temperatures.

    Raises:
        ValueError: the draws are of one temperature.
    """
    return [mix(ladder, chain) for ladder, chain in zip(*read_ladders(draws), strict=True)]


def tempered_loss(draws: DataTree, nbeta: float | int) -> Float[np.ndarray, "chain draw"]:
    """A series whose mean is E_s[ΔL] at s = nβ (nats per example), and whose standard error is the estimate's.

    Args:
        draws: of `ReplicaExchange`.
        nbeta: above 0, where the mean may be infinite, and at most the draws' own.

    Raises:
        ValueError: the draws are of one temperature, or nβ is off their ladder.
    """
    chains, nbeta = mixtures(draws), on_ladder("nbeta", nbeta, draws)
    return stacked([chain.at(nbeta).loss for chain in chains], draws)


def tempered_free_energy(draws: DataTree, nbeta: float | int) -> Float[np.ndarray, "chain draw"]:
    """A series whose mean is f(s) = −log E_0[exp(−s ΔL)] at s = nβ (nats), and whose standard error is the estimate's.

    Args:
        draws: of `ReplicaExchange`.
        nbeta: above 0 and at most the draws' own.

    Raises:
        ValueError: the draws are of one temperature, or nβ is off their ladder.
    """
    chains, nbeta = mixtures(draws), on_ladder("nbeta", nbeta, draws)
    return stacked([chain.at(nbeta).free_energy for chain in chains], draws)


def stacked(series: Sequence[Float[np.ndarray, "draw"]], draws: DataTree) -> Float[np.ndarray, "chain draw"]:
    """The series of all finite chains, of which there may be none."""
    return np.array(series).reshape(len(series), draws["sample_stats"].sizes["draw"])


def on_ladder(name: str, nbeta: float | int, draws: DataTree) -> float:
    """An inverse temperature times n that draws reach.

    Raises:
        ValueError: it is not above 0, or beyond the draws' own.
    """
    highest = float(draws.attrs["nbeta"])
    if not 0 < nbeta <= highest * (1 + _ROUNDING):
        msg = f"{name}={nbeta}; these draws' ladder ends at nbeta={highest:.6g}: choose one above 0 and up to there."
        raise ValueError(msg)
    return float(min(nbeta, highest))
