"""The empirical kernel against the plain product of Jacobians, the reference network, and infinite width."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from llc.kernels import empirical
from llc.kernels.dense_layers import run_dense_layers
from llc.kernels.empirical import empirical_ntk, ntk_diagonal, ntk_vector_product
from llc.kernels.jacobian import jacobian_factors

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64():
        yield


def plain_ntk(apply_fn, params, x1, x2):
    """Θ(x1, x2) and Θ(x1, x1) from the whole Jacobian of the whole batch."""
    flat, tree = ravel_pytree(params)
    x = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), x1, x2)
    rows = np.asarray(jax.jit(jax.jacrev(lambda w: apply_fn(tree(w), x).ravel()))(flat))
    first = len(rows) * len(jax.tree.leaves(x1)[0]) // len(jax.tree.leaves(x)[0])
    return rows[:first] @ rows[first:].T, rows[:first] @ rows[:first].T


def in_kind(full, num_rows, kind):
    """The kernel of another kind from the full one."""
    classes = len(full) // num_rows
    blocks = full.reshape(num_rows, classes, -1, classes)
    return {
        "full": full,
        "trace": np.einsum("ncmc->nm", blocks) / classes,
        "pseudo": blocks.sum(axis=(1, 3)) / classes,
    }[kind]


def normal(index, *shape):
    return jnp.asarray(np.random.default_rng(index).standard_normal(shape))


def layers(*sizes):
    pairs = itertools.pairwise(sizes)
    return [{"w": normal(i, a, b) / a**0.5, "b": 0.3 * normal(10 + i, b)} for i, (a, b) in enumerate(pairs)]


def mlp(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def scaled(params, x):
    """Every way to write a dense layer: scaled, transposed, reshaped, the other way round, in a jitted function."""
    hidden = jnp.tanh(1.5 / jnp.sqrt(4.0) * (x @ params[0]["w"]) - params[0]["b"] / 2)
    hidden = jax.jit(lambda w, h: jnp.einsum("oi,bi->bo", 1.5 * w, h))(params[1]["w"].T, hidden) + params[1]["b"] * 0.1
    hidden = jax.checkpoint(lambda w, b, h: jax.nn.gelu(h @ (w / 3.0) + b))(params[2]["w"], params[2]["b"], hidden)
    return (params[3]["w"].reshape(3, 5).T.reshape(5, 3).T @ hidden.T).T + jnp.reshape(params[3]["b"], (1, -1))


def positions(params, x):
    """One dense layer at two halves of the input, and a bias to each."""
    halves = jnp.tanh(x.reshape(len(x), 2, 2) @ params[0]["w"] + params[0]["b"])
    return halves.mean(axis=1) @ params[1]["w"] + params[1]["b"]


def tied(params, x):
    hidden = jnp.tanh(x @ params["w"] + params["b"])
    hidden = jnp.tanh(hidden @ params["w"].T + x)
    return hidden @ params["w"][:, :2] + params["b"][:2] * params["unused"][0] ** 0


def between(params, x):
    """An output of a dense layer that is used once with and once without its bias, and a product of leaves."""
    z = x @ (params["u"] @ params["v"])
    return jnp.tanh(z @ params["w"] + params["b"]) + (z @ params["w"]) ** 2 + jax.lax.stop_gradient(params["c"])


def twice_read(params, x):
    z = x @ params["w"]
    return jnp.tanh(z + params["b"]) + z**2


def convolution(params, x):
    images = x.reshape(len(x), 2, 2, 1)
    dimensions = ("NHWC", "HWIO", "NHWC")
    hidden = jax.lax.conv_general_dilated(images, params["k"], (1, 1), "SAME", dimension_numbers=dimensions)
    return (
        jnp.tanh(hidden + jnp.broadcast_to(params["kb"], hidden.shape)).reshape(len(x), -1) @ params["w"] + params["b"]
    )


def layer_norm(params, x):
    h = x @ params["w"] + params["b"]
    h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)
    return jnp.tanh(h * params["scale"] + params["shift"]) @ params["v"]


def scanned(params, x):
    def step(h, layer):
        return jnp.tanh(h @ layer["w"] + layer["b"]), None

    return jax.lax.scan(step, x, params["stack"])[0] @ params["last"]


def without_classes(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


def custom_derivative(params, x):
    @jax.custom_jvp
    def dense(w, h):
        return h @ w

    dense.defjvp(lambda primals, tangents: (dense(*primals), 3.0 * dense(tangents[0], primals[1])))
    return dense(params, jnp.tanh(x))


def equinox_mlp():
    model = eqx.nn.MLP(4, 3, 6, 2, activation=jnp.tanh, key=KEY)
    params, static = eqx.partition(model, eqx.is_array)
    return (lambda params, x: jax.vmap(eqx.combine(params, static))(x)), params


STACK = {"w": lambda: normal(1, 3, 4, 4) / 2, "b": lambda: normal(2, 3, 4)}
NETWORKS = {
    # name: network, params, leaves that are not dense
    "mlp": lambda: (mlp, layers(4, 7, 6, 3), 0),
    "equinox": lambda: (*equinox_mlp(), 0),
    "scaled": lambda: (scaled, layers(4, 6, 5, 5, 3), 0),
    "positions": lambda: (positions, [*layers(2, 5), *layers(5, 3)], 2),
    "tied": lambda: (tied, {"w": normal(1, 4, 4), "b": normal(2, 4), "unused": jnp.ones(3)}, 3),
    "between": lambda: (
        between,
        {"u": normal(1, 4, 2), "v": normal(2, 2, 4), "w": normal(3, 4, 3), "b": normal(4, 3), "c": normal(5, 3)},
        4,
    ),
    "twice read": lambda: (twice_read, {"w": normal(1, 4, 3), "b": normal(2, 3)}, 0),
    "convolution": lambda: (
        convolution,
        {"k": normal(1, 3, 3, 1, 5), "kb": normal(2, 5), "w": normal(3, 20, 3), "b": normal(4, 3)},
        2,
    ),
    "layer norm": lambda: (
        layer_norm,
        {"w": normal(1, 4, 6), "b": normal(2, 6), "scale": normal(3, 6), "shift": normal(4, 6), "v": normal(5, 6, 3)},
        1,
    ),
    "scan": lambda: (scanned, {"stack": {k: v() for k, v in STACK.items()}, "last": normal(3, 4, 2)}, 2),
    "no class axis": lambda: (without_classes, {"w": normal(1, 4, 6), "v": normal(2, 6), "unused": jnp.ones(9)}, 0),
    "custom derivative": lambda: (custom_derivative, normal(1, 4, 3), 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_product_of_jacobians(name):
    apply_fn, params, num_others = NETWORKS[name]()
    x1, x2 = normal(20, 5, 4), normal(21, 3, 4)
    expected, own = plain_ntk(apply_fn, params, x1, x2)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(empirical_ntk(apply_fn, params, x1, x2), expected, rtol=0, atol=1e-13 * scale)
    np.testing.assert_allclose(empirical_ntk(apply_fn, params, x1), own, rtol=0, atol=1e-13 * np.abs(own).max())
    np.testing.assert_allclose(ntk_diagonal(apply_fn, params, x1), np.diag(own), rtol=1e-12)
    vector = normal(22, expected.shape[1])
    product = ntk_vector_product(apply_fn, params, vector, x1, x2)
    np.testing.assert_allclose(product, expected @ vector, rtol=0, atol=1e-12 * scale)

    for kind in ["trace", "pseudo"]:
        other = empirical_ntk(apply_fn, params, x1, x2, kind=kind)
        np.testing.assert_allclose(other, in_kind(expected, 5, kind), rtol=0, atol=1e-13 * scale)

    # that it came by the short way
    leaves, tree = jax.tree.flatten(params)
    network = jax.make_jaxpr(lambda leaves, x: apply_fn(tree.unflatten(leaves), x))(leaves, x1[:1])
    found = []
    jax.eval_shape(lambda *arguments: found.append(run_dense_layers(network, *arguments)[1]), leaves, [x1[:1]])
    assert len(leaves) - len(found[0].leaves) == num_others


def test_a_bias_shares_the_gradients_of_its_layer():
    for name in ["mlp", "equinox"]:
        apply_fn, params, _ = NETWORKS[name]()
        factors = jacobian_factors(apply_fn, params, normal(20, 5, 4))
        assert len(factors) == 3
        assert factors[0].features.shape == (5, 4 + 1)


def erf_network(params, x):
    for i, (weight_std, bias_std) in enumerate([(1.5, 0.2), (1.5, 0.2), (1.0, 0.1)]):
        w, b = params[2 * i : 2 * i + 2]
        x = weight_std / np.sqrt(len(w)) * x @ w + bias_std * b
        x = jax.scipy.special.erf(x) if i < 2 else x
    return x


def test_reference_network(reference):
    params = [jnp.asarray(reference[f"emp/param_{i}"]) for i in range(6)]
    x = jnp.asarray(reference["in/X1"])
    np.testing.assert_allclose(erf_network(params, x), reference["emp/f_X1"], rtol=1e-12)
    full = empirical_ntk(erf_network, params, x).reshape(6, 3, 6, 3).swapaxes(1, 2)
    expected = reference["emp/ntk_full_11"]
    np.testing.assert_allclose(full, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    trace = empirical_ntk(erf_network, params, x, kind="trace")
    np.testing.assert_allclose(trace, reference["emp/ntk_mean_11"], rtol=1e-12)


def wide_network(params, x):
    (w, b), v = params
    hidden = jax.nn.relu(jnp.sqrt(2.0) / np.sqrt(x.shape[1]) * x @ w + 0.1 * b)
    return hidden @ v / np.sqrt(len(v))


def test_wide_networks_have_the_kernel_of_infinite_width(reference):
    x, width, draws = jnp.asarray(reference["in/X1"]), 4096, 16
    kernels, shapes = [], [(5, width), (width,), (width, 1)]
    for key in jax.random.split(KEY, draws):
        w, b, v = (jax.random.normal(k, s) for k, s in zip(jax.random.split(key, 3), shapes, strict=True))
        params = [(w, b), v]
        kernels.append(empirical_ntk(wide_network, params, x))
    mean, error = np.mean(kernels, axis=0), np.std(kernels, axis=0, ddof=1) / np.sqrt(draws)
    limit = reference["nt/fc_relu_d1_el/ntk_11"]
    assert (np.abs(mean - limit) < 4 * error).all()
    assert error.max() < 0.01 * limit.max()
    # and so the peer's
    peer, error = (reference[f"emp/wide4096_relu_d1_ntk_{name}"] for name in ("mean", "se"))
    assert (np.abs(peer - limit) < 4 * error).all()


@pytest.mark.parametrize(("name", "kind"), [("mlp", "full"), ("convolution", "trace"), ("mlp", "pseudo")])
def test_blocks_change_nothing(monkeypatch, name, kind):
    apply_fn, params, _ = NETWORKS[name]()
    x1, x2 = normal(20, 5, 4), normal(21, 3, 4)
    expected, own = plain_ntk(apply_fn, params, x1, x2)
    calls, factors = [], empirical.jacobian_factors
    monkeypatch.setattr(empirical, "_measure_example", lambda *_: empirical._Footprint(3, 2, 2))
    monkeypatch.setattr(empirical, "jacobian_factors", lambda *a, **k: calls.append(len(a[2])) or factors(*a, **k))
    scale = 1e-13 * np.abs(own).max()
    blocks = empirical_ntk(apply_fn, params, x1, x2, kind=kind)
    np.testing.assert_allclose(blocks, in_kind(expected, 5, kind), rtol=0, atol=scale)
    np.testing.assert_allclose(
        empirical_ntk(apply_fn, params, x1, kind=kind), in_kind(own, 5, kind), rtol=0, atol=scale
    )
    # each block of rows with its columns; of the symmetric kernel the upper half
    assert calls == [2, 2, 1, 2, 2, 1, 1, 2, 1, *[2, 2, 1, 2, 1, 1]]
    if kind == "full":
        np.testing.assert_allclose(ntk_diagonal(apply_fn, params, x1), np.diag(own), rtol=1e-13)
        vector = normal(22, 9)
        product = ntk_vector_product(apply_fn, params, vector, x1, x2)
        np.testing.assert_allclose(product, expected @ vector, rtol=0, atol=10 * scale)


def test_blocks_keep_within_their_bound():
    """A Jacobian of 4 MB an example and class in blocks of 256 MiB; a dense layer of that size needs no blocks."""
    x = jnp.zeros((1000, 4))
    wide = {"w": jnp.zeros((4, 50)), "v": jnp.zeros((50, 10))}
    dense = lambda p, x: jnp.tanh(x @ p["w"]) @ p["v"]
    assert empirical._footprint(dense, wide, x).block_size == 409  # √(256 MiB / 2 · 8 B) outputs
    shared = {"w": jnp.zeros(500_000), "v": jnp.zeros((50, 10))}
    others = lambda p, x: x[:, :1] * jnp.tanh(p["w"][:10]) * p["w"][10:20]
    assert empirical._footprint(others, shared, x).block_size == 256 * 2**20 // (10 * 500_000 * 8)


def test_trees_of_inputs_and_of_outputs():
    network = lambda params, x: jnp.tanh(x["a"] @ params[0])[:, None, :] * (x["b"] @ params[1])[:, :, None]
    params, x = [normal(1, 4, 3), normal(2, 2, 2)], {"a": normal(3, 5, 4), "b": normal(4, 5, 2)}
    expected, _ = plain_ntk(network, params, x, x)
    assert expected.shape == (30, 30)
    np.testing.assert_allclose(empirical_ntk(network, params, x), expected, atol=1e-13 * np.abs(expected).max())


def test_it_may_be_compiled_as_part_of_more():
    apply_fn, params, _ = NETWORKS["mlp"]()
    x = normal(20, 5, 4)
    inside = jax.jit(functools.partial(empirical_ntk, apply_fn))(params, x)
    np.testing.assert_allclose(inside, empirical_ntk(apply_fn, params, x), rtol=1e-12)


def test_it_compiles_once():
    traces = []

    def network(params, x):
        traces.append(1)
        return x @ params

    empirical_ntk(network, normal(0, 4, 2), normal(1, 5, 4))
    first = len(traces)
    empirical_ntk(network, normal(2, 4, 2), normal(3, 5, 4))
    assert len(traces) == first


def test_single_precision():
    with jax.enable_x64(False):
        apply_fn, params, _ = NETWORKS["mlp"]()
        x = normal(20, 5, 4)
        single = empirical_ntk(apply_fn, params, x)
        assert single.dtype == jnp.float32
    double, _ = plain_ntk(apply_fn, *jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (params, x, x)))
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-6 * np.abs(double).max())


def batch_norm(params, x):
    h = x @ params["w"]
    return (h - h.mean(axis=0)) / (h.std(axis=0) + 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, p, x: empirical_ntk(f, p, x, kind="sum"), r"kind='sum' is unknown; use one of 'full', 'trace', 'ps"),
        (lambda f, p, x: empirical_ntk(f, p, x, x[:, :3]), r"give inputs of the same shapes"),
        (lambda f, p, x: empirical_ntk(f, p, {"a": x, "b": x[:2]}), r"leading axes \(a: 5, b: 2\)"),
        (lambda f, p, x: empirical_ntk(f, p, x[:0]), r"leading axes \(params: 0\)"),
        (lambda f, p, x: empirical_ntk(f, {"w": jnp.ones((4, 2), int)}, x), r"params leaf 'w' is int64"),
        (lambda f, p, x: empirical_ntk(batch_norm, p, x), r"batch normalisation"),
        (lambda f, p, x: empirical_ntk(lambda p, x: f(p, x).sum(0), p, x), r"float64\[2\] for a batch of one"),
        (lambda f, p, x: empirical_ntk(lambda p, x: (f(p, x),), p, x), r"apply_fn gave tuple for a batch of one"),
        (lambda f, p, x: ntk_vector_product(f, p, jnp.ones(9), x), r"length 9; Θ has 10 columns here: 2 an example"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(lambda p, x: x @ p["w"], {"w": normal(1, 4, 2)}, normal(2, 5, 4))
