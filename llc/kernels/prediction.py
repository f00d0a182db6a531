"""What a kernel predicts: Gaussian processes, gradient flow of wide networks at any time, and leave-one-out residuals.

Everything comes from one eigendecomposition, K + δ = U diag(μ) Uᵀ, in float64 whatever the Gram matrix is in. Modes
whose μ is rounding noise of the Gram matrix's own precision are left out (the pseudo-inverse), and counted.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Num

Matrix = Array | np.ndarray
_CERTAIN = 1e-3  # relative error


class Grams(NamedTuple):
    """A kernel's values between train points D and test points."""

    train: Float[Matrix, "n n_again"]
    """K(D, D)."""
    cross: Float[Matrix, "test n"]
    """K(x, D)."""
    test: Float[Matrix, "test test_again"] | None = None
    """K(x, x'); None where no covariance is asked for."""

    @classmethod
    def of(cls, kernel: Callable[..., Any], train: Any, test: Any) -> "Grams":
        """Those of `kernel(x1, x2=None)`, such as the `ntk` of `llc.kernels.fully_connected`.

        >>> [part.shape for part in Grams.of(lambda a, b=None: a @ (a if b is None else b).T, np.eye(3), np.eye(3)[:2])]
        [(3, 3), (2, 3), (2, 2)]
        """
        return cls(kernel(train), kernel(test, train), kernel(test))


class Prediction(NamedTuple):
    """Outputs at the test points: their mean, and the covariance that every output has between points."""

    mean: Float[np.ndarray, "..."]
    """Axes: times, if there are several; test points; outputs."""
    covariance: Float[np.ndarray, "*times test test"] | None
    condition_number: float
    """Of K + δ, the largest eigenvalue over the smallest; infinite where that is not positive."""
    rank: int
    """How many modes were used, of n."""
    diagnosis: str | None
    """What is wrong with the Gram matrix: modes that are left out, or too few digits."""


def gaussian_process(nngp: Grams, targets: Num[Matrix, "n *outputs"], *, ridge: float | int = 0.0) -> Prediction:
    """The posterior given noisy targets: mean K(x,D) (K+δ)⁻¹ y, covariance K(x,x') − K(x,D) (K+δ)⁻¹ K(D,x').

    Its mean is kernel ridge regression's, of any kernel (Rasmussen & Williams 2006, eqs. 2.25 and 2.26).

    >>> gaussian_process(Grams(np.eye(2), np.ones((1, 2)), np.full((1, 1), 2.0)), np.array([1.0, 3.0]), ridge=1.0)[:2]
    (array([2.]), array([[1.]]))
    >>> gaussian_process(Grams(np.ones((2, 2)), np.ones((1, 2))), np.array([1.0, 3.0])).diagnosis
    'rank 1 of 2 (condition number inf): the modes beyond it were left out; give a larger ridge.'

    Args:
        nngp: the kernel's Gram matrices.
        targets: y at the train points.
        ridge: δ, the variance of the noise, added to the diagonal as it is.

    Raises:
        ValueError: shapes do not match, the ridge is negative, or K is not positive semi-definite.
    """
    return nngp_gradient_flow(nngp, targets, np.inf, ridge=ridge)


def nngp_gradient_flow(
    nngp: Grams,
    targets: Num[Matrix, "n *outputs"],
    times: Num[Matrix, "*times"] | Sequence[float | int] | float | int,
    *,
    ridge: float | int = 0.0,
) -> Prediction:
    """Wide networks whose last layer alone is trained: mean K(x,D) G_t y, covariance K(x,x') − K(x,D) G_2t K(D,x').

    G_t = (I − exp(−(K+δ) t/nC)) (K+δ)⁻¹: gradient flow at unit rate on Σ (f − y)² / 2nC, with C outputs
    (Lee et al. 2019, arXiv:1902.06720).

    Args:
        nngp: Gram matrices of the NNGP.
        targets: y at the train points.
        times: t; several, on one axis, come first in the result. Infinity is the end of training.
        ridge: δ, added to the diagonal as it is.

    Raises:
        ValueError: as `gaussian_process`, or a time is negative.
    """
    flow = _Flow(nngp, targets, times, ridge)
    covariance = None
    if nngp.test is not None:
        projected = flow.cross @ flow.modes.vectors
        covariance = np.asarray(nngp.test, float) - projected * flow.gains(2.0)[..., None, :] @ projected.T
    return flow.prediction(covariance)


def ntk_ensemble(
    ntk: Grams,
    targets: Num[Matrix, "n *outputs"],
    times: Num[Matrix, "*times"] | Sequence[float | int] | float | int = np.inf,
    *,
    nngp: Grams | None = None,
    ridge: float | int = 0.0,
) -> Prediction:
    """Wide networks trained on all weights: mean A_t y, covariance K(x,x') + A_t K A_tᵀ − A_t K(D,x') − (A_t K(D,x'))ᵀ.

    A_t = Θ(x,D) G_t, with G_t = (I − exp(−(Θ+δ) t/nC)) (Θ+δ)⁻¹: gradient flow at unit rate on Σ (f − y)² / 2nC, with C
    outputs, from random weights (Lee et al. 2019, arXiv:1902.06720). For one network, linearised at its own f₀, give
    its empirical NTK, for targets y − f₀(D), raveled for the full kernel, and add f₀(x) to the mean.

    >>> ntk_ensemble(Grams(np.eye(2), np.eye(2)), np.array([1.0, 3.0]), [0.0, 2.0, np.inf]).mean.round(3).tolist()
    [[0.0, 0.0], [0.632, 1.896], [1.0, 3.0]]

    Args:
        ntk: Gram matrices of the NTK; its `test` is not needed.
        targets: y at the train points.
        times: t; several, on one axis, come first in the result. Infinity is the end of training.
        nngp: Gram matrices of the NNGP, the covariance of the initial outputs; None for the mean alone.
        ridge: δ, added to the diagonal of Θ as it is.

    Raises:
        ValueError: as `gaussian_process`, a time is negative, or the Gram matrices of the NNGP are not all there.
    """
    flow = _Flow(ntk, targets, times, ridge)
    if nngp is None:
        return flow.prediction(None)
    if nngp.test is None:
        msg = "nngp has no test Gram matrix, which the covariance needs; give it, or nngp=None for the mean alone."
        raise ValueError(msg)
    initial, cross, test = (np.asarray(part, float) for part in nngp)
    _check_shapes(nngp, len(flow.targets))
    if cross.shape != flow.cross.shape:
        msg = f"nngp is of {len(cross)} test points, ntk of {len(flow.cross)}; give both at the same ones."
        raise ValueError(msg)
    weights = flow.weights()
    mixed = weights @ cross.T
    return flow.prediction(test + weights @ initial @ weights.mT - mixed - mixed.mT)


def leave_one_out(
    gram: Float[Matrix, "rows columns"],
    targets: Num[Matrix, "n *outputs"],
    *,
    ridge: float | int = 0.0,
    groups: Num[Matrix, "n_labels"] | Sequence[Any] | None = None,
) -> Any:
    """Residuals y_i − ŷ_i of kernel regression on all examples but i: (P y)_i / P_ii, with P = (K + δ)⁻¹.

    Of a group S that is left out together, (P_SS)⁻¹ (P y)_S (Rasmussen & Williams 2006, eq. 5.12).

    >>> gram, y = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([1.0, 3.0])
    >>> leave_one_out(gram, y)  # 1 − 3/2 and 3 − 1/2
    array([-0.5,  2.5])
    >>> leave_one_out(gram, y, groups=np.array([0, 0]))
    array([1., 3.])

    Args:
        gram: K.
        targets: y.
        ridge: δ, added to the diagonal as it is.
        groups: None for single examples; an integer label for each example, those of one label being left out together;
            or a list of arrays of indices.

    Returns:
        The residuals, like the targets; for a list of groups, a list of each one's.

    Raises:
        ValueError: shapes do not match, the ridge is negative, or K + δ is numerically singular.
    """
    y = np.asarray(targets, float)
    modes = _decompose(gram, len(y), ridge)
    if not modes.used.all():
        msg = (
            f"K + {ridge:g} is numerically singular: rank {modes.rank} of {len(y)}, condition number "
            f"{modes.condition_number:.2g}. Give a larger ridge, or leave out repeated examples."
        )
        raise ValueError(msg)
    values, vectors = modes.values, modes.vectors
    solved = vectors @ (vectors.T @ y.reshape(len(y), -1) / values[:, None])
    if groups is None:
        diagonal = (vectors**2 / values).sum(axis=1)
        return (solved / diagonal[:, None]).reshape(y.shape)

    def residuals(indices: np.ndarray) -> np.ndarray:
        rows = vectors[indices]
        return np.linalg.solve(rows / values @ rows.T, solved[indices]).reshape(len(indices), *y.shape[1:])

    if all(np.ndim(group) == 0 for group in groups):
        labels = np.asarray(groups)
        if len(labels) != len(y):
            msg = f"groups holds {len(labels)} labels for {len(y)} examples; give each example one, or index arrays."
            raise ValueError(msg)
        left_out = np.empty_like(y)
        for label in np.unique(labels):
            left_out[labels == label] = residuals(np.flatnonzero(labels == label))
        return left_out
    return [residuals(np.asarray(group)) for group in groups]


class _Modes(NamedTuple):
    """The eigendecomposition of K + δ."""

    values: Float[np.ndarray, "n"]
    vectors: Float[np.ndarray, "n n"]
    used: Bool[np.ndarray, "n"]
    precision: float

    @property
    def rank(self) -> int:
        return int(self.used.sum())

    @property
    def condition_number(self) -> float:
        smallest, largest = self.values[[0, -1]]
        return float(largest / smallest) if smallest > 0 else np.inf

    @property
    def diagnosis(self) -> str | None:
        condition = f"(condition number {self.condition_number:.2g})"
        if self.rank < len(self.values):
            all_modes = f"rank {self.rank} of {len(self.values)} {condition}"
            return f"{all_modes}: the modes beyond it were left out; give a larger ridge."
        if self.condition_number * self.precision > _CERTAIN:
            came = f"in a precision of {self.precision:.1e}"
            return f"ill-conditioned {condition} {came}: three digits are not certain; give a larger ridge, or float64."
        return None


def _decompose(gram: Matrix, n: int, ridge: float | int) -> _Modes:
    """The modes of K + δ, those beyond the noise of rounding marked as used."""
    precision = float(np.finfo(np.result_type(np.asarray(gram), np.float16)).eps)
    k = np.asarray(gram, float)
    if k.shape != (n, n):
        msg = f"the Gram matrix is {k.shape} for {n} targets; it must be ({n}, {n})."
        raise ValueError(msg)
    if not (np.isfinite(ridge) and ridge >= 0):
        msg = f"ridge={ridge}; it must be a number ≥ 0, and is added to the diagonal as it is."
        raise ValueError(msg)
    if not np.isfinite(k).all():
        msg = "the Gram matrix holds NaN or infinity; look at the inputs and at the network's weights."
        raise ValueError(msg)
    values, vectors = np.linalg.eigh((k + k.T) / 2)
    if values[0] < -np.sqrt(precision) * np.abs(values).max():
        span = f"{values[0]:.3g} to {values[-1]:.3g}"
        msg = (
            f"the Gram matrix is not positive semi-definite: its eigenvalues go from {span}; it must be symmetric too."
        )
        raise ValueError(msg)
    # errors of the decomposition, and of entries rounded at random, whose matrix has the norm 2 √n eps max K
    noise = n * np.finfo(float).eps * values[-1] + 4 * np.sqrt(n) * precision * np.abs(k).max()
    return _Modes(values + ridge, vectors, values + ridge > noise, precision)


class _Flow:
    """Gradient flow with one Gram matrix: G_t = U diag(gains) Uᵀ."""

    def __init__(self, grams: Grams, targets: Any, times: Any, ridge: float | int) -> None:
        self.targets, self.times = np.asarray(targets, float), np.asarray(times, float)
        if not (self.times >= 0).all() or self.times.ndim > 1:
            msg = f"times={times}; give a time t ≥ 0 (infinity is the end of training), or several on one axis."
            raise ValueError(msg)
        _check_shapes(grams, len(self.targets))
        self.cross = np.asarray(grams.cross, float)
        self.modes = _decompose(grams.train, len(self.targets), ridge)

    def gains(self, speed: float = 1.0) -> Float[np.ndarray, "*times n"]:
        """The eigenvalues of G at each time."""
        values = np.where(self.modes.used, self.modes.values, 1.0)
        exponents = speed * self.times[..., None] * values / self.targets.size
        return np.where(self.modes.used, -np.expm1(-exponents) / values, 0.0)

    def weights(self) -> Float[np.ndarray, "*times test n"]:
        """K(x,D) G_t."""
        return self.cross @ self.modes.vectors * self.gains()[..., None, :] @ self.modes.vectors.T

    def prediction(self, covariance: Float[np.ndarray, "*times test test"] | None) -> Prediction:
        mean = np.tensordot(self.weights(), self.targets, axes=1)
        return Prediction(mean, covariance, self.modes.condition_number, self.modes.rank, self.modes.diagnosis)


def _check_shapes(grams: Grams, n: int) -> None:
    train, cross, test = (None if part is None else np.shape(part) for part in grams)
    if train != (n, n) or cross is None or len(cross) != 2 or cross[1] != n:
        msg = f"K(D, D) is {train} and K(x, D) {cross} for {n} targets; they must be ({n}, {n}) and (test points, {n})."
        raise ValueError(msg)
    if test is not None and test != (cross[0], cross[0]):
        msg = f"K(x, x') is {test} for {cross[0]} test points in K(x, D); it must be {(cross[0], cross[0])}."
        raise ValueError(msg)
