"""Convolutional kernels against neural-tangents 0.6.5, and against sums over taps and pixels written out."""

import importlib
import itertools

import jax
import numpy as np
import pytest

from llc.kernels.convolutional import convolutional
from llc.kernels.fully_connected import fully_connected

POOLINGS = ("flatten", "average")
GENERATOR = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64():
        yield


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
def test_reference(reference, padding, pooling):
    name = f"cnn1_{padding[:4].lower()}_{'flat' if pooling == 'flatten' else 'gap'}"
    stds = {"weight_std": 2**0.5, "bias_std": 0.1} if padding == "SAME" else {"weight_std": 1.0}
    kernel = convolutional(1, "relu", **stds, padding=padding, pooling=pooling)
    for which, images in {"11": ("I1",), "12": ("I1", "I2")}.items():
        computed = kernel.nngp_and_ntk(*(reference[f"in/{image}"] for image in images))
        for kind in ("nngp", "ntk"):
            ours, theirs = np.asarray(getattr(computed, kind)), reference[f"nt/{name}/{kind}_{which}"]
            # the diagonals there are of half the digits
            rtol = np.where(np.eye(*theirs.shape) * (which == "11"), 1e-7, 1e-12)
            assert (np.abs(ours - theirs) <= 1e-12 + rtol * np.abs(theirs)).all()


def erf_pairs(q1, q2, c):
    root = np.sqrt((1 + 2 * q1) * (1 + 2 * q2) - 4 * c**2)
    return 2 / np.pi * np.arctan2(2 * c, root), 4 / np.pi / root


def tap_mean(state, size, padding):
    """The mean over taps of S[h, w, h', w'], entry by entry."""
    height, width = state.shape[:2]
    before = 0 if padding == "VALID" else (size - 1) // 2
    lost = size - 1 if padding == "VALID" else 0
    out = np.zeros((height - lost, width - lost) * 2)
    for place in np.ndindex(out.shape):
        for a, b in itertools.product(range(size), repeat=2):
            h, w, g, v = np.add(place, (a - before, b - before) * 2)
            if padding == "CIRCULAR":
                out[place] += state[h % height, w % width, g % height, v % width]
            elif min(h, g) >= 0 and max(h, g) < height and min(w, v) >= 0 and max(w, v) < width:
                out[place] += state[h, w, g, v]
    return out / size**2


def written_out(x, y, depth, size, padding, pooling, weight, bias, last):
    """Both kernels of one pair of images."""
    images = {"xx": (x, x), "yy": (y, y), "xy": (x, y)}
    nngp = {
        k: weight**2 * tap_mean(np.einsum("hwc,gvc->hwgv", *v) / x.shape[-1], size, padding) + bias**2
        for k, v in images.items()
    }
    ntk = nngp["xy"]
    for layer in range(depth):
        q1, q2 = (np.einsum("hwhw->hw", nngp[k]) for k in ("xx", "yy"))
        sides = {"xx": (q1, q1), "yy": (q2, q2), "xy": (q1, q2)}
        both = {k: erf_pairs(a[:, :, None, None], b, nngp[k]) for k, (a, b) in sides.items()}
        ntk = both["xy"][1] * ntk
        if layer < depth - 1:
            nngp = {k: weight**2 * tap_mean(value, size, padding) + bias**2 for k, (value, _) in both.items()}
            ntk = nngp["xy"] + weight**2 * tap_mean(ntk, size, padding)
    mean = lambda state: state.mean() if pooling == "average" else np.einsum("hwhw->hw", state).mean()
    nngp = last**2 * mean(both["xy"][0])
    return nngp, nngp + last**2 * mean(ntk)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("padding", "size"), [("SAME", 2), ("SAME", 3), ("VALID", 2), ("CIRCULAR", 3)])
def test_two_layers_of_any_padding_and_pooling(padding, size, pooling):
    x = GENERATOR.standard_normal((3, 4, 5, 2))
    kernel = convolutional(
        2, "erf", weight_std=1.5, bias_std=0.3, last_weight_std=1.2, filter_size=size, padding=padding, pooling=pooling
    )
    computed = kernel.nngp_and_ntk(x)
    for i, j in [(0, 0), (0, 1), (2, 1)]:
        reference = written_out(x[i], x[j], 2, size, padding, pooling, 1.5, 0.3, 1.2)
        np.testing.assert_allclose([gram[i, j] for gram in computed], reference, rtol=1e-12)
    np.testing.assert_array_equal(kernel.nngp_diagonal(x), np.diag(computed.nngp))
    np.testing.assert_array_equal(kernel.ntk_diagonal(x), np.diag(computed.ntk))


@pytest.mark.parametrize(("activation", "pooling"), [("relu", "flatten"), ("tanh", "average")])
def test_an_image_of_one_pixel_is_a_vector(activation, pooling):
    x = GENERATOR.standard_normal((4, 1, 1, 5))
    settings = {"weight_std": 1.7, "bias_std": 0.2, "last_bias_std": 0.1}
    image = convolutional(2, activation, **settings, filter_size=1, pooling=pooling).nngp_and_ntk(x)
    vector = fully_connected(2, activation, **settings).nngp_and_ntk(x.reshape(4, 5))
    for ours, reference in zip(image, vector, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-12)


def test_average_pooling_does_not_see_cyclic_shifts():
    x = GENERATOR.standard_normal((2, 3, 4, 1))
    kernel = convolutional(1, "relu", weight_std=1.5, padding="CIRCULAR", pooling="average")
    np.testing.assert_allclose(kernel.ntk(x, np.roll(x, (1, 2), (1, 2))), kernel.ntk(x), rtol=1e-10)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_rows_in_batches(monkeypatch, pooling):
    x = GENERATOR.standard_normal((5, 4, 4, 1))
    kernel = lambda: convolutional(1, "relu", weight_std=1.0, pooling=pooling, bias_std=0.1).ntk(x)
    whole = kernel()
    module = importlib.import_module("llc.kernels.convolutional")  # the package has the function under this name
    monkeypatch.setattr(module, "_HELD", 2 * 5 * 16 ** (2 if pooling == "average" else 1))
    jax.clear_caches()
    np.testing.assert_allclose(kernel(), whole, rtol=1e-14)


def test_a_readout_alone_is_linear():
    x = GENERATOR.standard_normal((3, 4, 4, 2))
    flat = convolutional(0, "relu", weight_std=9.0, last_weight_std=2.0, last_bias_std=0.5).ntk(x)
    np.testing.assert_allclose(flat, 4 * x.reshape(3, -1) @ x.reshape(3, -1).T / 32 + 0.25, rtol=1e-12)
    mean = x.mean(axis=(1, 2))
    average = convolutional(0, "relu", weight_std=9.0, pooling="average").nngp(x)
    np.testing.assert_allclose(average, mean @ mean.T / 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"padding": "same"}, "padding='same'.*'SAME', 'VALID', 'CIRCULAR'"),
        ({"pooling": "max"}, "pooling='max'.*'flatten', 'average'"),
        ({"filter_size": 0}, "filter_size=0"),
        ({"depth": -2}, "depth=-2"),
        ({"activation": "elu"}, "'elu'.*relu"),
    ],
)
def test_bad_settings(arguments, said):
    arguments = {"depth": 1, "activation": "relu", "weight_std": 1.0} | arguments
    with pytest.raises(ValueError, match=said):
        convolutional(**arguments)


def test_bad_inputs():
    with pytest.raises(ValueError, match=r"\[4, 9\].*height"):
        convolutional(1, "relu", weight_std=1.0).ntk(np.ones((4, 9)))
    with pytest.raises(ValueError, match="4 x 4 have no pixels left after 2 filters of size 3"):
        convolutional(2, "relu", weight_std=1.0, padding="VALID").ntk(np.ones((2, 4, 4, 1)))
