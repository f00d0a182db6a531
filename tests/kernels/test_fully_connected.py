"""Kernels of infinite width against neural-tangents 0.6.5, and against exact ones where it is inaccurate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.kernels.fully_connected import fully_connected

ARCHITECTURES = [
    *(f"fc_relu_d{suffix}" for suffix in ("1", "2", "4", "1_el", "4_el", "1_gp")),
    *(f"fc_erf_d{suffix}" for suffix in ("1", "4", "1_b")),
    "fc_linear_d0",
]
INPUTS = {"11": ("X1", None), "12": ("X1", "X2"), "EE": ("XE", None)}
KINDS = ("nngp", "ntk")
GENERATOR = np.random.default_rng(0)


@pytest.fixture
def double():
    with jax.enable_x64():
        yield


def kernel_of(config, activation):
    depth, *stds = config
    names = ("weight_std", "bias_std", "last_weight_std", "last_bias_std")
    return fully_connected(int(depth), activation, **dict(zip(names, np.maximum(stds, 0), strict=True)))


def inputs_of(reference, which):
    return [None if name is None else reference[f"in/{name}"] for name in INPUTS[which]]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reference(reference, architecture):
    activation = architecture.split("_")[1]
    kernel = kernel_of(reference[f"nt/{architecture}/cfg"], activation)
    for which in INPUTS:
        computed = kernel.nngp_and_ntk(*inputs_of(reference, which))
        for kind in KINDS:
            ours, theirs = np.asarray(getattr(computed, kind)), reference[f"nt/{architecture}/{kind}_{which}"]
            # the diagonals there are of half the digits
            rtol = np.where(np.eye(*theirs.shape) * (activation == "relu" and which != "12"), 1e-7, 1e-12)
            assert ours.shape == theirs.shape
            assert (np.abs(ours - theirs) <= 1e-12 + rtol * np.abs(theirs)).all()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("which", ["11", "12"])
def test_tanh_is_exact_where_gauss_hermite_quadrature_is_not(reference, which):
    kernel = kernel_of(reference["nt/fc_tanhnum40_d1/cfg"], "tanh")
    computed = kernel.nngp_and_ntk(*inputs_of(reference, which))
    for kind in KINDS:
        exact = reference[f"exact/fc_tanh_d1/{kind}_{which}"]
        np.testing.assert_allclose(getattr(computed, kind), exact, rtol=0, atol=1e-10)
    if which == "11":
        ntk = reference["exact/fc_tanh_d1/ntk_11"]
        assert np.abs(reference["nt/fc_tanhnum40_d1/ntk_11"] - ntk).max() > 0.1 * ntk.max()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("activation", ["relu", "erf", "gelu", "tanh"])
def test_diagonals_and_the_kernel_of_equal_inputs(reference, activation):
    kernel = fully_connected(2, activation, weight_std=1.7, bias_std=0.3, last_bias_std=0.2)
    x = np.concatenate([reference["in/X1"], reference["in/XE"]])
    of_itself, of_two = kernel.nngp_and_ntk(x), kernel.nngp_and_ntk(x, x)
    np.testing.assert_array_equal(np.diag(of_itself.nngp), kernel.nngp_diagonal(x))
    np.testing.assert_array_equal(np.diag(of_itself.ntk), kernel.ntk_diagonal(x))
    np.testing.assert_allclose(of_two, of_itself, rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures("double")
def test_one_kernel_alone(reference):
    kernel = fully_connected(2, "relu", weight_std=1.7, bias_std=0.3)
    for given in ((reference["in/X1"],), (reference["in/X1"], reference["in/X2"])):
        both = kernel.nngp_and_ntk(*given)
        np.testing.assert_allclose(kernel.nngp(*given), both.nngp, rtol=1e-14)
        np.testing.assert_allclose(kernel.ntk(*given), both.ntk, rtol=1e-14)


@pytest.mark.parametrize("inputs", ["normal", "digits-like"])
def test_float32_diagonals(inputs):
    x = GENERATOR.standard_normal((200, 784)) if inputs == "normal" else GENERATOR.uniform(0, 1, (200, 784))
    x = x.astype(np.float32)
    kernel = fully_connected(4, "relu", weight_std=2**0.5, bias_std=0.1)
    single = kernel.ntk(x)
    with jax.enable_x64():
        exact = np.asarray(kernel.ntk(x.astype(float)))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(np.diag(single), np.diag(exact), rtol=1e-6)
    np.testing.assert_allclose(single, exact, rtol=3e-6)


def test_float32_knows_equal_and_opposite_inputs():
    x = GENERATOR.standard_normal((50, 20)).astype(np.float32)
    kernel = fully_connected(4, "relu", weight_std=2**0.5)
    diagonal = kernel.ntk_diagonal(x)
    np.testing.assert_allclose(np.diag(kernel.ntk(x, x)), diagonal, rtol=2e-6)
    np.testing.assert_allclose(np.diag(kernel.ntk(x, 3 * x)), 3 * diagonal, rtol=2e-6)
    shallow = fully_connected(1, "relu", weight_std=2**0.5)
    np.testing.assert_allclose(np.diag(shallow.ntk(x, -x)), 0, atol=1e-6 * float(diagonal.max()))


@pytest.mark.usefixtures("double")
def test_truncation_error():
    x = GENERATOR.standard_normal((5, 4))
    settings = {"weight_std": 2.0, "bias_std": 0.5}
    for bound in fully_connected(3, "gelu", **settings).truncation_error(x):
        np.testing.assert_array_equal(bound, np.zeros(3))
    for bound in fully_connected(3, "tanh", **settings).truncation_error(x):
        assert bound.shape == (3,)
        assert (bound > 0).all()
        assert (bound < 1e-12).all()


def test_a_sweep_compiles_once():
    traces = 0

    def counted(z):
        nonlocal traces
        traces += 1
        return jax.nn.relu(z)

    x = GENERATOR.standard_normal((3, 4))
    grams, seen = [], []
    for weight_std in (1.0, 1.5, 2.0):
        grams.append(fully_connected(1, counted, weight_std=weight_std).nngp(x))
        seen.append(traces)
    assert seen[0] == seen[-1] > 0
    np.testing.assert_allclose(grams[2], 4 * grams[0], rtol=1e-5)


def test_standard_deviations_may_be_traced():
    x = GENERATOR.standard_normal((3, 4))
    grams = jax.vmap(lambda std: fully_connected(2, "relu", weight_std=std).ntk(x))(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(grams[1], 16 * grams[0], rtol=1e-5)


def test_whole_numbers_become_floating():
    x = GENERATOR.integers(0, 255, (3, 4)).astype(np.uint8)
    kernel = fully_connected(1, "relu", weight_std=1)
    np.testing.assert_array_equal(kernel.ntk(x, x[:2]), kernel.ntk(x.astype(np.float32), x[:2].astype(np.float32)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"depth": -1}, "depth=-1"),
        ({"weight_std": -1.0}, "-1.0.*0 or more"),
        ({"bias_std": float("nan")}, "nan"),
        ({"activation": "rleu"}, "'rleu'.*relu"),
    ],
)
def test_bad_settings(arguments, said):
    arguments = {"depth": 1, "activation": "relu", "weight_std": 1.0} | arguments
    with pytest.raises(ValueError, match=said):
        fully_connected(**arguments)


def test_bad_inputs():
    kernel = fully_connected(1, "relu", weight_std=1.0)
    with pytest.raises(ValueError, match=r"\[2, 3, 3, 1\].*flatten"):
        kernel.ntk(np.ones((2, 3, 3, 1)))
    with pytest.raises(ValueError, match=r"\(4,\).*\(5,\)"):
        kernel.nngp(np.ones((2, 4)), np.ones((2, 5)))
