"""What the rows of a comparison share: each thing measured once, and only when a row asks for it."""

from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree
from xarray import DataTree

from llc.data.off_device import whole
from llc.draws.keys import as_key
from llc.estimators import evidence
from llc.estimators.estimate import estimate
from llc.estimators.example_losses import per_example_losses
from llc.estimators.free_energy import free_energy_from
from llc.estimators.measure import Measure
from llc.estimators.result import Estimate
from llc.estimators.waic import waic_from
from llc.kernels.curvature import Curvature
from llc.kernels.tangent import hessian, tangent
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem

_MAX_WEIGHTS = 2**29  # numbers that draws may hold: 2 GiB of float32
_MAX_DRAWS = 20_000
_FEWEST_DRAWS = 100
_PURPOSES = ("llc", "bayes", "integral", "sweep", "traces")  # of keys


class Measurements:
    """A checkpoint, and what was measured of it so far.

    Args:
        problem: the loss and its data.
        params: the checkpoint w*.
        rng_key: a seed or a JAX key.
        where: `localization` and `mask`, of every posterior here.
        integrate: whether to integrate over temperatures where that takes runs of its own.
        settings: of every call of `llc.estimate`.
    """

    def __init__(
        self,
        problem: Problem,
        params: PyTree,
        rng_key: int | Array,
        where: dict[str, Any],
        settings: dict[str, Any],
        *,
        integrate: bool,
    ) -> None:
        self.problem, self.params = problem, params
        self._where, self._settings, self._integrate = where, settings, integrate
        self._keys = dict(zip(_PURPOSES, jax.random.split(as_key(rng_key), len(_PURPOSES)), strict=True))
        self.posterior = LocalPosterior(problem, params, **where)

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.problem.n

    @property
    def training_loss(self) -> float:
        """L_n(w*), in nats per example."""
        return self.posterior.center_loss

    @cached_property
    def test_losses(self) -> Float[np.ndarray, "examples"]:
        """ℓ at w* of each test example, in nats."""
        return np.asarray(self._held_out.losses(self.params, whole(self._held_out.data)), np.float64)

    @cached_property
    def test_losses_of_draws(self) -> Float[np.ndarray, "draws examples"]:
        """ℓ of each test example at each draw of Bayes' posterior (nβ = n), in nats."""
        losses = per_example_losses(self._held_out, self.params, self.bayes_draws).to_numpy()
        return losses.reshape(-1, losses.shape[-1]).astype(np.float64)

    @property
    def _held_out(self) -> Problem:
        if self.problem.test_data is None:
            msg = "needs held-out data: Problem(..., test_data=...), or Problem.supervised(..., test=...)"
            raise ValueError(msg)
        return Problem(self.problem.loss_fn, self.problem.test_data)

    @cached_property
    def estimate(self) -> Estimate:
        """λ̂ at nβ = n / log n."""
        return estimate(self.problem, self.params, rng_key=self._keys["llc"], **self._where, **self._settings)

    @property
    def draws(self) -> DataTree:
        """The draws behind it; of a ladder of step sizes the smallest, which is the nearest to none."""
        return self.estimate.finest_draws

    def estimate_at(self, localization: Any) -> Estimate:
        """λ̂ at another localisation."""
        where = self._where | {"localization": localization}
        return estimate(self.problem, self.params, rng_key=self._keys["sweep"], **where, **self._settings)

    @cached_property
    def bayes_draws(self) -> DataTree:
        """Draws of Bayes' own posterior, nβ = n, with their weights."""
        num_chains = self._settings.get("num_chains", 4)
        fit = _MAX_WEIGHTS // (num_chains * self.posterior.dimension)
        if fit < _FEWEST_DRAWS:
            msg = (
                f"needs the weights of draws, and of {num_chains} chains × {self.posterior.dimension} parameters only "
                f"{fit} draws fit 2 GiB; a mask of some layers makes it possible"
            )
            raise ValueError(msg)
        limit = {} if fit >= _MAX_DRAWS else {"num_draws": min(fit, 1000)}
        return estimate(
            self.problem,
            self.params,
            rng_key=self._keys["bayes"],
            nbeta=self.n,
            keep_weights=True,
            **self._where,
            **(limit | self._settings),
        ).finest_draws

    @cached_property
    def waic(self) -> Measure:
        """WAIC, with the singular fluctuation in its details."""
        return waic_from(self.problem, self.params, self.bayes_draws)

    @cached_property
    def free_energy(self) -> Measure:
        """F by thermodynamic integration: from the replicas of the draws, else from runs of its own."""
        if "tempered_loss_difference" in self.bayes_draws["sample_stats"]:
            return free_energy_from(self.bayes_draws)
        if not self._integrate:
            msg = "needs a run at each of a ladder of temperatures: integrate=True"
            raise ValueError(msg)
        return evidence.free_energy(
            self.problem, self.params, rng_key=self._keys["integral"], **self._where, **self._settings
        )

    @cached_property
    def tangent(self) -> Curvature:
        """The Gauss–Newton matrix of nβ L_n at w*, nβ = n / log n."""
        return tangent(self.posterior, rng_key=self._keys["traces"])

    @cached_property
    def hessian(self) -> Curvature:
        """The Hessian of nβ L_n at w*, nβ = n / log n."""
        return hessian(self.posterior, rng_key=self._keys["traces"])
