"""A model of which everything is known in closed form: conjugate Bayesian linear regression."""

from dataclasses import dataclass

import numpy as np


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
