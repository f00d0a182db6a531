"""Masks by the paths of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.posterior.masks import free_coordinates, mask_matching, resolve_mask

LAYER = {"w": np.ones((2, 3)), "b": np.ones(3)}
PARAMS = {"layers": [LAYER, LAYER], "head": {"w": np.ones(4)}}


@pytest.mark.parametrize(
    ("patterns", "freed"),
    [
        ("head/w", {"head/w"}),
        ("layers/0/*", {"layers/0/b", "layers/0/w"}),
        ("*/w", {"head/w", "layers/0/w", "layers/1/w"}),
        ("layers/?/b", {"layers/0/b", "layers/1/b"}),
        ("layers/[!0]/*", {"layers/1/b", "layers/1/w"}),
        (["head/*", "layers/0/b"], {"head/w", "layers/0/b"}),
        (("*",), {"head/w", "layers/0/b", "layers/0/w", "layers/1/b", "layers/1/w"}),
    ],
)
def test_a_pattern_frees_the_leaves_whose_paths_it_matches(patterns, freed):
    mask = mask_matching(PARAMS, patterns)
    assert jax.tree.structure(mask) == jax.tree.structure(PARAMS)
    assert {name for name, flag in llc.problem.named_leaves(mask) if flag} == freed
    assert resolve_mask(patterns, PARAMS) == mask


def test_params_that_are_one_leaf_have_a_name_too():
    assert mask_matching(jnp.ones(3), "params") is True


@pytest.mark.parametrize("mask", [None, [True, False], [True, np.array([False, True])], {"a": True}, (False, True)])
def test_trees_pass_through(mask):
    assert resolve_mask(mask, [jnp.ones(2), jnp.ones(2)]) is mask


def test_patterns_and_trees_free_the_same_coordinates():
    by_pattern = free_coordinates("layers/1/w", PARAMS)
    tree = jax.tree.map(lambda _: False, PARAMS)
    tree["layers"][1]["w"] = np.ones((2, 3), bool)
    assert [indices.tolist() for indices in by_pattern] == [
        indices.tolist() for indices in free_coordinates(tree, PARAMS)
    ]
    assert [len(indices) for indices in by_pattern] == [0, 0, 0, 0, 6]


@pytest.mark.parametrize(
    ("patterns", "match"),
    [
        ("layers/2/*", r"'layers/2/\*' matches no parameter; the paths there are: head/w, layers/0/b, layers/0/w, .*"),
        (["*/w", "bias"], "'bias' matches no parameter"),
        ("Head/w", "'Head/w' matches no parameter"),
        ("", "'' matches no parameter"),
        ([], "no pattern was given; give some that match among the paths head/w, layers/0/b"),
    ],
)
def test_patterns_that_match_nothing(patterns, match):
    for resolve in (lambda: mask_matching(PARAMS, patterns), lambda: free_coordinates(patterns, PARAMS)):
        with pytest.raises(ValueError, match=match):
            resolve()


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        ({"head": True}, "mask is the tree .* give one of the same tree, or patterns of paths"),
        (jax.tree.map(lambda _: False, PARAMS), "mask frees nothing; set at least one entry to True"),
        (jax.tree.map(lambda _: 1, PARAMS), r"mask leaf 'head/w' is int64\[\]; it must be one boolean"),
        (jax.tree.map(lambda _: np.ones(5, bool), PARAMS), r"'head/w' is bool\[5\]; .* the leaf's shape \[4\]"),
    ],
)
def test_trees_that_are_no_masks(mask, match):
    with pytest.raises(ValueError, match=match):
        free_coordinates(mask, PARAMS)
