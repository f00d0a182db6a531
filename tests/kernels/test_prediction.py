"""Predictions against the peer's arrays, dense inverses, integration of the flow, and examples really left out."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from llc.kernels.prediction import Grams, gaussian_process, leave_one_out, nngp_gradient_flow, ntk_ensemble

GENERATOR = np.random.default_rng(0)


def erf_nngp(x, weight_std=1.5, bias_std=0.1):
    """E[erf(u) erf(v)] over (u, v) of covariance weight_std² x·x'/d + bias_std², by its closed form."""
    c = weight_std**2 * x @ x.T / x.shape[1] + bias_std**2
    q = 1 + 2 * np.diag(c)
    return 2 / np.pi * np.arcsin(2 * c / np.sqrt(np.outer(q, q)))


@pytest.fixture
def erf_grams(reference):
    """NNGP and NTK of the peer's network; its closed form gives what is not among the reference arrays."""
    np.testing.assert_allclose(erf_nngp(reference["in/X1"]), reference["nt/fc_erf_d1_b/nngp_11"], rtol=1e-12)
    test = erf_nngp(reference["in/X2"])
    nngp = Grams(reference["nt/fc_erf_d1_b/nngp_11"], reference["nt/fc_erf_d1_b/nngp_12"].T, test)
    return nngp, Grams(reference["nt/fc_erf_d1_b/ntk_11"], reference["nt/fc_erf_d1_b/ntk_12"].T)


def check(prediction, reference, name):
    np.testing.assert_allclose(prediction.mean, reference[f"{name}_mean"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(prediction.covariance, reference[f"{name}_cov"], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "ridge"), [("r0", 0), ("r01", 1e-2)])
def test_nngp_of_the_peer(reference, erf_grams, name, ridge):
    nngp, targets, times = erf_grams[0], reference["pred/Y1"], reference["pred/t"]
    check(nngp_gradient_flow(nngp, targets, times, ridge=ridge), reference, f"pred/nngp_{name}_t")
    check(nngp_gradient_flow(nngp, targets, np.inf, ridge=ridge), reference, f"pred/nngp_{name}_inf")
    check(gaussian_process(nngp, targets, ridge=ridge), reference, f"pred/nngp_{name}_inf")


def test_ntk_ensemble_of_the_peer(reference, erf_grams):
    (nngp, ntk), targets, times = erf_grams, reference["pred/Y1"], reference["pred/t"]
    check(ntk_ensemble(ntk, targets, times, nngp=nngp), reference, "pred/ntk_r0_t")
    check(ntk_ensemble(ntk, targets, nngp=nngp), reference, "pred/ntk_r0_inf")
    several = ntk_ensemble(ntk, targets, [*times, np.inf], nngp=nngp)
    np.testing.assert_allclose(several.mean[-1], reference["pred/ntk_r0_inf_mean"], atol=1e-10)
    alone = ntk_ensemble(ntk, targets, times)
    np.testing.assert_array_equal(alone.mean, several.mean[:-1])
    assert alone.covariance is None


def random_grams(n=6, m=3, features=20):
    f = GENERATOR.standard_normal((n + m, features)) / np.sqrt(features)
    k = f @ f.T
    return Grams(k[:n, :n], k[n:, :n], k[n:, n:])


def test_ntk_ensemble_with_ridge_follows_its_own_definition():
    ntk, nngp, ridge, t = random_grams(), random_grams(), 0.3, 7.0
    targets = GENERATOR.standard_normal((6, 2))
    gram = ntk.train + ridge * np.eye(6)
    g = (np.eye(6) - expm(-gram * t / 12)) @ np.linalg.inv(gram)
    a = ntk.cross @ g
    covariance = nngp.test + a @ nngp.train @ a.T - a @ nngp.cross.T - nngp.cross @ a.T
    prediction = ntk_ensemble(ntk, targets, t, nngp=nngp, ridge=ridge)
    np.testing.assert_allclose(prediction.mean, a @ targets, rtol=1e-12)
    np.testing.assert_allclose(prediction.covariance, covariance, rtol=0, atol=1e-13)
    assert prediction.condition_number == pytest.approx(np.linalg.cond(gram), rel=1e-10)


def test_flow_of_a_linear_model_by_integration():
    """Weights that really move: df/dt = −X ∂L/∂w, with L = Σ (f − y)² / 2nC."""
    x, x_test, y = (GENERATOR.standard_normal(shape) for shape in [(6, 4), (3, 4), (6, 2)])
    path = solve_ivp(
        lambda t, w: -(x.T @ (x @ w.reshape(4, 2) - y) / 12).ravel(), (0, 5), np.zeros(8), rtol=1e-11, atol=1e-13
    )
    predicted = ntk_ensemble(Grams(x @ x.T, x_test @ x.T), y, 5.0)
    np.testing.assert_allclose(predicted.mean, x_test @ path.y[:, -1].reshape(4, 2), atol=1e-9)
    # 4 weights, 6 examples
    assert predicted.rank == 4
    assert "rank 4 of 6 (condition number" in predicted.diagnosis
    # raveled targets and the kernel of all outputs, as the full empirical kernel has it
    full = Grams(np.kron(x @ x.T, np.eye(2)), np.kron(x_test @ x.T, np.eye(2)))
    np.testing.assert_allclose(ntk_ensemble(full, y.ravel(), 5.0).mean.reshape(3, 2), predicted.mean, atol=1e-13)


def test_ridgeless_of_a_singular_gram_is_least_squares():
    x, x_test, y = (GENERATOR.standard_normal(shape) for shape in [(20, 4), (3, 4), 20])
    for dtype, tolerance in [(np.float64, 1e-12), (np.float32, 1e-5)]:
        grams = Grams((x @ x.T).astype(dtype), (x_test @ x.T).astype(dtype))
        predicted = gaussian_process(grams, y)
        np.testing.assert_allclose(predicted.mean, x_test @ np.linalg.lstsq(x, y)[0], atol=tolerance)
        assert predicted.rank == 4
    assert gaussian_process(grams, y, ridge=0.1).diagnosis is None


def test_diagnosis_depends_on_the_precision_of_the_gram():
    gram = np.diag([1.0, 1.0, 3e-5])
    y, cross = np.ones(3), np.ones((1, 3))
    assert gaussian_process(Grams(gram, cross), y).diagnosis is None
    single = gaussian_process(Grams(gram.astype(np.float32), cross), y)
    assert single.diagnosis.startswith("ill-conditioned (condition number 3.3e+04) in a precision of 1.2e-07")
    assert single.rank == 3
    tiny = np.diag([1.0, 1.0, 1e-9])
    assert gaussian_process(Grams(tiny, cross), y).rank == 3
    assert gaussian_process(Grams(tiny.astype(np.float32), cross), y).rank == 2


def left_out(gram, y, indices, ridge):
    """Residuals at some examples of regression on the others."""
    others = np.setdiff1d(np.arange(len(y)), indices)
    k = gram[np.ix_(others, others)] + ridge * np.eye(len(others))
    return y[indices] - gram[np.ix_(indices, others)] @ np.linalg.solve(k, y[others])


@pytest.mark.parametrize("ridge", [0, 0.2])
@pytest.mark.parametrize("shape", [(9,), (9, 2)])
def test_leave_one_out(ridge, shape):
    gram, y = random_grams(9).train, GENERATOR.standard_normal(shape)
    expected = np.concatenate([left_out(gram, y, [i], ridge) for i in range(9)])
    np.testing.assert_allclose(leave_one_out(gram, y, ridge=ridge), expected, rtol=1e-9)
    labels = np.array([0, 3, 0, 1, 1, 3, 0, 2, 1])
    by_label = leave_one_out(gram, y, ridge=ridge, groups=labels)
    groups = [np.array([0, 2, 6]), [7, 1]]
    by_group = leave_one_out(gram, y, ridge=ridge, groups=groups)
    np.testing.assert_allclose(by_label[[0, 2, 6]], by_group[0], rtol=1e-12)
    for label in range(4):
        members = np.flatnonzero(labels == label)
        np.testing.assert_allclose(by_label[members], left_out(gram, y, members, ridge), rtol=1e-9)
    for group, residuals in zip(groups, by_group, strict=True):
        np.testing.assert_allclose(residuals, left_out(gram, y, group, ridge), rtol=1e-9)


SINGULAR = np.ones((3, 3)) + np.diag([1.0, 0, 0])
GRAMS = random_grams()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y: leave_one_out(SINGULAR, y[:3]), r"K \+ 0 is numerically singular: rank 2 of 3, condition number"),
        (lambda y: leave_one_out(SINGULAR, y[:3], ridge=1e-16), r"K \+ 1e-16 is numerically singular"),
        (lambda y: leave_one_out(GRAMS.train, y[:5]), r"Gram matrix is \(6, 6\) for 5 targets; it must be \(5, 5\)"),
        (lambda y: leave_one_out(GRAMS.cross, y), r"Gram matrix is \(3, 6\) for 6 targets"),
        (lambda y: leave_one_out(GRAMS.train, y, ridge=-0.1), r"ridge=-0.1; it must be a number ≥ 0"),
        (lambda y: leave_one_out(-GRAMS.train, y), r"not positive semi-definite: its eigenvalues go from -"),
        (lambda y: leave_one_out(GRAMS.train * np.nan, y), r"holds NaN or infinity"),
        (lambda y: leave_one_out(GRAMS.train, y, groups=np.zeros(5, int)), r"groups holds 5 labels for 6 examples"),
        (lambda y: gaussian_process(GRAMS, y[:5]), r"K\(D, D\) is \(6, 6\) and K\(x, D\) \(3, 6\) for 5 targets"),
        (lambda y: gaussian_process(Grams(GRAMS.train, GRAMS.cross.T), y), r"must be \(6, 6\) and \(test points, 6\)"),
        (lambda y: gaussian_process(GRAMS._replace(test=np.eye(2)), y), r"K\(x, x'\) is \(2, 2\) for 3 test points"),
        (lambda y: nngp_gradient_flow(GRAMS, y, [1.0, -1.0]), r"give a time t ≥ 0"),
        (lambda y: nngp_gradient_flow(GRAMS, y, np.nan), r"give a time t ≥ 0"),
        (lambda y: ntk_ensemble(GRAMS, y, nngp=GRAMS._replace(test=None)), r"no test Gram matrix"),
        (lambda y: ntk_ensemble(GRAMS, y, nngp=Grams(GRAMS.train, GRAMS.cross[:2], np.eye(2))), r"of 2 test points"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.arange(6.0))
