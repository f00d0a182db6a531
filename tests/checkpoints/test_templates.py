"""A template gives params its structure; leaves are matched by path and shape."""

from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
import pytest

from llc.checkpoints import read, save


class Layer(NamedTuple):
    w: np.ndarray
    b: np.ndarray


LAYERS = (Layer(np.ones((2, 3)), np.zeros(3)), Layer(np.ones((3, 1)), np.zeros(1)))


@pytest.fixture(params=[".npz", ".safetensors"])
def path(request, tmp_path):
    return tmp_path / f"weights{request.param}"


def test_tuples_come_back_as_tuples(path):
    save(path, LAYERS)
    params = read(path, template=jax.tree.map(np.zeros_like, LAYERS)).params
    assert jax.tree.structure(params) == jax.tree.structure(LAYERS)
    np.testing.assert_array_equal(params[1].w, LAYERS[1].w)
    assert isinstance(read(path).params[0], dict)


def test_a_template_may_be_shapes_only(path):
    save(path, LAYERS)
    template = jax.eval_shape(lambda: LAYERS)
    np.testing.assert_array_equal(read(path, template).params[0].w, LAYERS[0].w)


def test_a_module_keeps_what_is_no_array(path):
    model, template = (eqx.nn.MLP(2, 1, 4, 1, key=jax.random.key(seed)) for seed in (0, 1))
    save(path, eqx.filter(model, eqx.is_array))
    params = read(path, template).params
    assert params.activation is template.activation
    np.testing.assert_array_equal(params(np.ones(2)), model(np.ones(2)))


def test_dotted_names_match_nested_ones(path):
    save(path, [{"w": np.ones(2)}, {"w": np.zeros(2)}])
    template = {"0.w": np.empty(2), "1.w": np.empty(2)}
    np.testing.assert_array_equal(read(path, template).params["0.w"], np.ones(2))


def test_a_template_takes_integers_it_asks_for(path):
    save(path, {"w": np.ones(2), "count": np.asarray(3)})
    assert read(path, {"w": np.empty(2), "count": np.asarray(0)}).params["count"] == 3
    assert read(path, {"w": np.empty(2)}).metadata == {"count": 3}


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ({"w": np.empty(2), "b": np.empty(1), "c": np.empty(1)}, "missing: c"),
        ({"w": np.empty(2)}, "extra: b"),
        ({"w": np.empty(3), "b": np.empty(1)}, r"wrong: w \(float \(2,\), not float \(3,\)\)"),
        ({"w": np.empty(2, int), "b": np.empty(1)}, r"w \(float \(2,\), not integer \(2,\)\)"),
        ({f"l{i}": np.empty(1) for i in range(9)}, "l5 and 3 more; extra: b, w"),
        (np.empty(2), "missing: params; extra: b, w"),
    ],
)
def test_a_misfit_is_named(path, template, match):
    save(path, {"w": np.ones(2), "b": np.ones(1)})
    with pytest.raises(ValueError, match=match) as caught:
        read(path, template)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
