"""Draws made without a sampler, of posteriors whose every expectation is known."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from xarray import DataArray, Dataset, DataTree


@dataclass(frozen=True)
class Regression:
    """Conjugate Bayesian linear regression around w*, with known noise; all in closed form, in float64."""

    inputs: np.ndarray
    targets: np.ndarray
    noise: float
    center: np.ndarray
    gamma: float

    @classmethod
    def make(cls, n=300, dimension=4, noise=0.7, gamma=2.0, seed=0):
        rng = np.random.default_rng(seed)
        inputs = rng.normal(size=(n, dimension)).astype(np.float32).astype(float)
        weights = np.linspace(-1, 1, dimension)
        targets = (inputs @ weights + noise * rng.normal(size=n)).astype(np.float32).astype(float)
        center = np.linalg.lstsq(inputs, targets, rcond=None)[0] + 0.02  # no exact minimum, as checkpoints are
        return cls(inputs, targets, noise, center.astype(np.float32).astype(float), gamma)

    @property
    def n(self):
        return len(self.targets)

    @property
    def dimension(self):
        return self.center.size

    @property
    def hessian(self):
        return self.inputs.T @ self.inputs / (self.n * self.noise**2)

    @property
    def gradient(self):
        return -self.inputs.T @ (self.targets - self.inputs @ self.center) / (self.n * self.noise**2)

    @property
    def center_loss(self):
        return self.losses(self.center).mean()

    def losses(self, weights):
        """ℓ_i of (..., d) weights."""
        residual = (self.targets - weights @ self.inputs.T) / self.noise
        return 0.5 * residual**2 + 0.5 * np.log(2 * np.pi * self.noise**2)

    def loss_difference(self, weights):
        away = weights - self.center
        return away @ self.gradient + 0.5 * np.einsum("...i,ij,...j->...", away, self.hessian, away)

    def posterior(self, nbeta):
        """Mean and covariance at nβ."""
        covariance = np.linalg.inv(nbeta * self.hessian + self.gamma * np.eye(self.dimension))
        return self.center - nbeta * covariance @ self.gradient, covariance

    def weights(self, nbeta, noise):
        """Draws at nβ, made of standard normals (..., d)."""
        mean, covariance = self.posterior(nbeta)
        return mean + noise @ np.linalg.cholesky(covariance).T

    def free_energy(self, nbeta):
        """−log E_0[exp(−nβ ΔL)]."""
        _, covariance = self.posterior(nbeta)
        _, log_determinant = np.linalg.slogdet(covariance * self.gamma)
        return -0.5 * log_determinant - 0.5 * nbeta**2 * self.gradient @ covariance @ self.gradient

    def loss(self, nbeta):
        """E[ΔL]."""
        mean, covariance = self.posterior(nbeta)
        return self.loss_difference(mean) + 0.5 * np.trace(self.hessian @ covariance)

    def criteria(self, nbeta):
        """T_n and V_n, by Gaussian integrals over each residual e − z, z ~ N(0, s²)."""
        mean, covariance = self.posterior(nbeta)
        residual = self.targets - self.inputs @ mean
        spread = np.einsum("ij,jk,ik->i", self.inputs, covariance, self.inputs)
        total = self.noise**2 + spread
        training = np.mean(0.5 * np.log(2 * np.pi * total) + residual**2 / (2 * total))
        variance = np.sum((4 * residual**2 * spread + 2 * spread**2) / (4 * self.noise**4))
        return training, variance


@pytest.fixture(scope="session")
def regression():
    return Regression.make()


@pytest.fixture(scope="session")
def tempered():
    """Draws as replica exchange records them: `sample(rng, nbeta, size)` gives ΔL, each chain has a ladder of its own.

    With `coupled` all temperatures of a draw come from the same state of the generator.
    """

    def make(sample, ladders, rng, *, num_draws, n, center_loss=0.5, coupled=False, **settings):
        losses = []
        for ladder in ladders:
            state = rng.bit_generator.state
            columns = []
            for nbeta in ladder:
                if coupled:
                    rng.bit_generator.state = state
                columns.append(sample(rng, nbeta, num_draws))
            losses.append(np.stack(columns, axis=1))
        ladders = np.repeat(np.array(ladders)[:, None, :], num_draws, axis=1)
        statistics = {"tempered_loss_difference": np.array(losses), "tempered_nbeta": ladders}
        variables = {name: (("chain", "draw", "temperature"), values) for name, values in statistics.items()}
        settings = {"nbeta": float(ladders[0, 0, -1]), "n": n, "center_loss": center_loss, **settings}
        return labelled(variables, len(losses), num_draws, "ReplicaExchange", settings)

    return make


@pytest.fixture(scope="session")
def drawn():
    """Independent draws of a regression at one temperature, as any kernel records them."""

    def make(regression, nbeta, rng, *, num_chains=4, num_draws=500, keep_weights=False):
        size = (num_chains, num_draws, regression.dimension)
        weights = regression.weights(nbeta, rng.normal(size=size)).astype(np.float32).astype(float)
        away = weights - regression.center
        slope = nbeta * (regression.gradient + away @ regression.hessian) + regression.gamma * away
        loss = regression.loss_difference(weights)
        fields = {
            "loss_difference": loss,
            "full_loss_difference": loss,
            "whitened_squared_distance": regression.gamma * np.square(away).sum(axis=2),
        }
        variables = {name: (("chain", "draw"), values) for name, values in fields.items()}
        variables["virial"] = (("chain", "draw", "leaf"), np.sum(away * slope, axis=2, keepdims=True))
        settings = {
            "nbeta": float(np.float32(nbeta)),
            "n": regression.n,
            "center_loss": regression.center_loss,
            "dimension": regression.dimension,
            "leaf_dimensions": json.dumps([regression.dimension]),
            "localization": json.dumps([regression.gamma]),
        }
        tree = labelled(variables, num_chains, num_draws, "NUTS", settings)
        if keep_weights:
            tree["posterior"] = DataTree(Dataset({"params": (("chain", "draw", "params_dim_0"), weights)}))
        return tree

    return make


def labelled(variables, num_chains, num_draws, kernel, settings):
    coords = {"chain": np.arange(num_chains), "draw": np.arange(num_draws)}
    variables = variables | {"diverging": (("chain", "draw"), np.zeros((num_chains, num_draws), bool))}
    if "virial" in variables:
        coords["leaf"] = DataArray(np.array(["params"], dtype=object), dims="leaf")
    tree = DataTree.from_dict({"/sample_stats": Dataset(variables, coords)})
    tree.attrs = {"kernel": kernel, "num_chains": num_chains, "num_draws": num_draws, "interrupted": 0, **settings}
    return tree
