"""What a kernel regression learns, mode by mode, from n examples   (Simon, Dickens, Karkada & DeWeese 2023).

κ ≥ 0 solves  Σ_i m_i λ_i / (λ_i + κ) + δ/κ = n,  and  L_i = λ_i / (λ_i + κ)  is the share of mode i that is learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float, Int, Real
from scipy.optimize import root_scalar

_NEGATIVE = 1e-10  # of the largest eigenvalue: what an eigensolver may leave below zero

Numbers = Real[Array | np.ndarray, "..."] | Sequence[float | int]
Number = float | int | Real[Array | np.ndarray | np.number, ""]


@dataclass(frozen=True, repr=False)
class Eigenlearning:
    """The means over training sets of n examples that the eigenlearning equations predict.

    Squared errors are against the noisy targets, so they include σ²; of several outputs they are the sum.
    """

    eigenvalues: Float[np.ndarray, "modes"]
    """λ_i."""
    multiplicities: Float[np.ndarray, "modes"]
    """m_i."""
    coefficients: Float[np.ndarray, "modes *outputs"]
    """v_i; v_i² is the energy of the whole level i."""
    n: float
    """Training examples."""
    ridge: float
    """δ."""
    noise_variance: Float[np.ndarray, "*outputs"]
    """σ², of each output."""
    kappa: float
    """κ, in the unit of the eigenvalues: modes well above it are learned, those below are not."""

    def __repr__(self) -> str:
        return (
            f"Eigenlearning(n={self.n:g}, κ={self.kappa:.4g}, learnability={self.learnability:.4g} of the target, "
            f"ΣL={self.total_learnability:.4g} modes, test MSE={self.test_mse:.4g}, train MSE={self.train_mse:.4g})"
        )

    @property
    def learnabilities(self) -> Float[np.ndarray, "modes"]:
        """L_i = λ_i / (λ_i + κ), from 0 to 1."""
        return 1.0 - self._unlearned

    @property
    def _unlearned(self) -> Float[np.ndarray, "modes"]:
        """1 − L_i without cancellation; a mode of eigenvalue 0 is never learned."""
        total = self.eigenvalues + self.kappa
        return np.divide(self.kappa, total, out=np.ones_like(total), where=total > 0)

    @property
    def total_learnability(self) -> float:
        """Σ m_i L_i = n − δ/κ, the mean of tr K(K + δ)⁻¹ over training sets: the degrees of freedom in use."""
        return float(self.multiplicities @ self.learnabilities)

    @property
    def learnability(self) -> float:
        """Of the whole target, Σ L_i v_i² / Σ v_i²: the mean of ⟨f, f̂⟩ / ⟨f, f⟩; NaN of a target of zeros."""
        energies = _energies(self.coefficients)
        return float(self.learnabilities @ energies / energies.sum()) if energies.any() else float("nan")

    @property
    def overfitting_coefficient(self) -> float:
        """E₀ = n / (n − Σ m_i L_i²) ≥ 1; infinite where n is exactly the rank and δ = 0."""
        # by the equation of κ, n − Σ m L² is a sum of positive terms
        missing = self.multiplicities @ (self.learnabilities * self._unlearned)
        slack = self.ridge / self.kappa if self.kappa > 0 else self.n - self.total_learnability
        return float(self.n / (slack + missing)) if slack + missing > 0 else float("inf")

    @property
    def bias(self) -> float:
        """Σ (1 − L_i)² v_i² + σ², the part of the test error that the mean predictor has."""
        return float(self._bias.sum())

    @property
    def _bias(self) -> Float[np.ndarray, "*outputs"]:
        return np.asarray(self._unlearned**2 @ self.coefficients**2 + self.noise_variance)

    @property
    def test_mse(self) -> float:
        """E₀ · bias."""
        return float(self._test_mse.sum())

    @property
    def _test_mse(self) -> Float[np.ndarray, "*outputs"]:
        # nothing left to overfit stays nothing where E₀ is infinite
        return np.multiply(
            self.overfitting_coefficient, self._bias, out=np.zeros_like(self._bias), where=self._bias > 0
        )

    @property
    def variance(self) -> float:
        """test − bias = (1 − 1/E₀) · test, what the choice of training set and its noise add."""
        return (1.0 - 1.0 / self.overfitting_coefficient) * self.test_mse

    @property
    def train_mse(self) -> float:
        """(1 − Σ m_i L_i / n)² · test, which is (δ/nκ)² · test: generalised cross-validation, read backwards."""
        share = self.ridge / (self.n * self.kappa) if self.kappa > 0 else 1.0 - self.total_learnability / self.n
        return share**2 * self.test_mse if share > 0 else 0.0

    def mean(self) -> Float[np.ndarray, "modes *outputs"]:
        """E[v̂_i] = L_i v_i, the coefficients of the mean predictor."""
        return (self.learnabilities * self.coefficients.T).T

    def covariance(self) -> Float[np.ndarray, "modes modes *outputs"]:
        """Cov[v̂_i, v̂_j] = (L_i L_j / n) · (test δ_ij + E₀ (1 − L_i)(1 − L_j) v_i v_j).

        To leading order in 1/n, for Gaussian features. Its second term, the symmetric fluctuation of the learning
        operator, is not in the paper: without it the modes that carry the target come out up to 1.9 times too low.
        Of a level, it is that of the direction along the target; each of the others has L_i² test / n.
        """
        learned, missed = self.learnabilities, (self._unlearned * self.coefficients.T).T
        outer = missed[:, None] * missed[None, :]
        outer = np.multiply(self.overfitting_coefficient, outer, out=np.zeros_like(outer), where=outer != 0)
        diagonal = np.multiply.outer(np.eye(len(learned)), self._test_mse)
        return ((learned[:, None] * learned[None, :] / self.n) * (diagonal + outer).T).T

    def off_train_mse(self, num_points: int) -> float:
        """(M · test − n · train) / (M − n): the error on the other points, when the n are drawn from M without return.

        Raises:
            ValueError: there are no other points.
        """
        if num_points <= self.n:
            msg = f"num_points={num_points} leaves none beside the n={self.n:g} of training; give the whole domain's."
            raise ValueError(msg)
        return (num_points * self.test_mse - self.n * self.train_mse) / (num_points - self.n)


def eigenlearning(
    eigenvalues: Numbers,
    coefficients: Numbers,
    n: Number,
    *,
    multiplicities: Numbers | None = None,
    ridge: Number = 0.0,
    noise_variance: Number | Numbers = 0.0,
) -> Eigenlearning:
    """Predict what kernel ridge regression k(x, D)(K + δ)⁻¹y learns of f = Σ v_i φ_i from n examples.

    Simon, Dickens, Karkada & DeWeese (2023), in float64. The features are taken for Gaussian and independent: within
    1.5 % for n ≥ 40 where they are, some percent on cubes and spheres, too low by 2 to 4 times on the circle.

    >>> eigenlearning(np.ones(50), np.eye(50)[0], 200, noise_variance=0.25).test_mse  # n σ² / (n − 50)
    0.3333333333333333

    Args:
        eigenvalues: λ_i of the kernel under the law of the inputs, ∫ k(x, x') φ_i(x') dμ = λ_i φ_i(x).
        coefficients: v_i of the target, for φ_i of mean square 1. With multiplicities, v_i² is the energy of the
            whole level i. A second axis is one of outputs, which share κ.
        n: training examples, more than 0; it need not be whole.
        multiplicities: m_i, how many modes have the eigenvalue λ_i; 1 unless given.
        ridge: δ of K + δ·I, not scaled by n.
        noise_variance: σ² of the targets' noise, one number or one an output.

    Raises:
        ValueError: shapes that differ, or a number out of its range.
    """
    eigenvalues, coefficients = np.asarray(eigenvalues, float), np.asarray(coefficients, float)
    multiplicities = np.ones(len(eigenvalues)) if multiplicities is None else np.asarray(multiplicities, float)
    noise = np.broadcast_to(np.asarray(noise_variance, float), coefficients.shape[1:])
    if len(coefficients) != len(eigenvalues) or len(multiplicities) != len(eigenvalues):
        msg = (
            f"there are {len(eigenvalues)} eigenvalues, {len(coefficients)} coefficients and {len(multiplicities)} "
            "multiplicities; give one of each a mode."
        )
        raise ValueError(msg)
    largest = np.max(eigenvalues, initial=0.0, where=np.isfinite(eigenvalues))
    _check("eigenvalues", eigenvalues, -_NEGATIVE * largest)
    _check("multiplicities", multiplicities, 0.0)
    _check("noise_variance", noise, 0.0)
    _check("ridge", np.asarray(ridge, float), 0.0)
    _check("coefficients", coefficients, -np.inf)
    if not 0 < float(n) < np.inf:
        msg = f"n={float(n):g} is no number of training examples; give one above 0."
        raise ValueError(msg)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    return Eigenlearning(
        eigenvalues,
        multiplicities,
        coefficients,
        float(n),
        float(ridge),
        noise,
        _kappa(eigenvalues, multiplicities, float(n), float(ridge)),
    )


def dataset_learnabilities(
    gram: Real[Array | np.ndarray, "points points"],
    modes: Real[Array | np.ndarray, "modes points"],
    train: Int[Array | np.ndarray, "train"] | Sequence[int],
    *,
    ridge: Number = 0.0,
) -> Float[np.ndarray, "modes"]:
    """⟨φ_i, f̂_{φ_i}⟩ of one training set D of a finite domain, by solving the regression of each mode.

    Over a complete orthonormal basis they sum to tr K_DD(K_DD + δ)⁻¹ ≤ n, exactly and for every D: what a kernel
    learns of one function it cannot learn of another (the conservation law of Simon et al. 2023).

    >>> points = np.arange(4)
    >>> gram = np.exp(-np.square(points[:, None] - points) / 2)
    >>> dataset_learnabilities(gram, 2 * np.eye(4), [0, 3]).round(12)
    array([1., 0., 0., 1.])

    Args:
        gram: the kernel on all points of the domain, which have equal weight.
        modes: φ_i at the points, of mean square 1.
        train: which points are trained on.
        ridge: δ of K_DD + δ·I.

    Raises:
        ValueError: the Gram matrix of the training points is numerically singular, as it is with a repeated point.
    """
    gram, modes, train = np.asarray(gram, float), np.asarray(modes, float), np.asarray(train)
    trained = gram[np.ix_(train, train)] + float(ridge) * np.eye(len(train))
    condition = np.linalg.cond(trained)
    if not condition < 1 / (len(train) * np.finfo(float).eps):
        msg = f"the Gram matrix of the training points has the condition number {condition:.2g}; give a ridge."
        raise ValueError(msg)
    predictions = gram[:, train] @ np.linalg.solve(trained, modes[:, train].T)
    return np.mean(modes * predictions.T, axis=1)


def _kappa(
    eigenvalues: Float[np.ndarray, "modes"], multiplicities: Float[np.ndarray, "modes"], n: float, ridge: float
) -> float:
    """The κ of Σ m λ / (λ + κ) + δ/κ = n, which falls in κ: by Brent's method in log κ between two bounds."""
    present = (eigenvalues > 0) & (multiplicities > 0)
    eigenvalues, multiplicities = eigenvalues[present], multiplicities[present]
    rank = multiplicities.sum()
    if ridge == 0 and n >= rank:
        return 0.0
    upper = (multiplicities @ eigenvalues + ridge) / n
    # by δ/κ ≤ n, and by λ / (λ + κ) ≥ 1 − κ/λ
    lower = max(ridge / n, (rank - n) / np.sum(multiplicities / eigenvalues) if n < rank else 0.0)
    excess = lambda log: multiplicities @ (eigenvalues / (eigenvalues + np.exp(log))) + ridge * np.exp(-log) - n
    low, high = np.log(lower) - 1e-9, np.log(upper) + 1e-9  # the bounds themselves may be the root
    if excess(low) <= 0:  # n is the rank, to rounding
        return float(lower)
    return float(np.exp(root_scalar(excess, bracket=(low, high), method="brentq", xtol=1e-15).root))


def _energies(coefficients: Float[np.ndarray, "modes *outputs"]) -> Float[np.ndarray, "modes"]:
    return np.square(coefficients).reshape(len(coefficients), -1).sum(axis=1)


def _check(name: str, values: Float[np.ndarray, "..."], least: float) -> None:
    if not np.all(np.isfinite(values) & (values >= least)):
        worst = values[~(np.isfinite(values) & (values >= least))].flat[0]
        msg = f"{name} has the value {worst:g}; {'they must be finite' if least < 0 else 'give 0 or more'}."
        raise ValueError(msg)
