"""What may move, by the paths of parameters or entry by entry (weight-refined coefficient, Wang et al. 2024)."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from llc.problem import named_leaves


def mask_matching(params: PyTree, patterns: str | Sequence[str]) -> PyTree[bool]:
    """True for the leaves whose path matches a pattern, in the tree of `params`.

    Paths are those of `llc.problem.named_leaves`, `layers/0/w`. Patterns are written as for file names (`fnmatch`): `*`
    stands for any text, slashes included, `?` for one character, `[01]` for one of those.

    >>> mask_matching({"layers": [{"w": 0.5, "b": 0.1}, {"w": 0.5, "b": 0.1}]}, "layers/*/w")
    {'layers': [{'b': False, 'w': True}, {'b': False, 'w': True}]}

    Args:
        params: any pytree.
        patterns: one pattern, or several of which one has to match.

    Raises:
        ValueError: there is no pattern, or one that matches no path.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    paths = [path for path, _ in named_leaves(params)]
    if not patterns:
        msg = f"no pattern was given; give some that match among the paths {', '.join(paths)}."
        raise ValueError(msg)
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in paths):
            msg = f"the pattern {pattern!r} matches no parameter; the paths there are: {', '.join(paths)}."
            raise ValueError(msg)
    flags = [any(fnmatchcase(path, pattern) for pattern in patterns) for path in paths]
    return jax.tree.unflatten(jax.tree.structure(params), flags)


def resolve_mask(mask: PyTree | str | Sequence[str], params: PyTree) -> PyTree:
    """The mask that patterns name; a tree of booleans, or None, is passed through.

    A list or tuple is taken for patterns where it holds nothing but strings: params too may be a list.

    >>> resolve_mask(["w*"], {"w1": 0.5, "w2": 0.5, "b": 0.0})
    {'b': False, 'w1': True, 'w2': True}

    Raises:
        ValueError: a pattern matches no path.
    """
    several = isinstance(mask, list | tuple) and all(isinstance(item, str) for item in mask)
    return mask_matching(params, mask) if isinstance(mask, str) or several else mask


def named_masks(masks: Mapping[str, PyTree] | Sequence[str], params: PyTree) -> dict[str, PyTree]:
    """Several masks as trees, by their names; a pattern is its own.

    >>> named_masks(["w*"], {"w1": 0.5, "b": 0.0})
    {'w*': {'b': False, 'w1': True}}

    Raises:
        ValueError: they are no list of patterns or mapping, or one is no mask or frees nothing; it is named.
    """
    if not isinstance(masks, Mapping) and (isinstance(masks, str) or not all(isinstance(m, str) for m in masks)):
        msg = f"masks={masks!r}; give a list of patterns, or a mapping of names to masks."
        raise ValueError(msg)
    trees = {}
    for name, mask in (masks if isinstance(masks, Mapping) else {pattern: pattern for pattern in masks}).items():
        try:
            trees[name] = resolve_mask(mask, params)
            free_coordinates(trees[name], params)
        except ValueError as error:
            msg = f"masks[{name!r}]: {error}"
            raise ValueError(msg) from error
    return trees


def free_coordinates(mask: PyTree | str | Sequence[str], center: PyTree) -> tuple[Int[Array, "free"], ...]:
    """The indices of each raveled leaf that a mask lets move.

    >>> [indices.tolist() for indices in free_coordinates([True, np.array([False, True])], [np.ones(3), np.ones(2)])]
    [[0, 1, 2], [1]]

    Args:
        mask: patterns of paths, or a tree like `center` of booleans or of boolean arrays like its leaves.
        center: the checkpoint w*.

    Raises:
        ValueError: the mask is of another tree or shape, holds no booleans, or frees nothing.
    """
    mask = resolve_mask(mask, center)
    if jax.tree.structure(mask) != jax.tree.structure(center):
        trees = jax.tree.structure(mask), jax.tree.structure(center)
        msg = f"mask is the tree {trees[0]}, params are {trees[1]}; give one of the same tree, or patterns of paths."
        raise ValueError(msg)
    free = []
    for (name, leaf), allowed in zip(named_leaves(center), jax.tree.leaves(mask), strict=True):
        flags = np.asarray(allowed)
        if flags.dtype != bool or flags.shape not in ((), np.shape(leaf)):
            msg = (
                f"mask leaf {name!r} is {flags.dtype}{list(flags.shape)}; it must be one boolean, or booleans of "
                f"the leaf's shape {list(np.shape(leaf))}; True is what may move."
            )
            raise ValueError(msg)
        free.append(jnp.asarray(np.flatnonzero(np.broadcast_to(flags, np.shape(leaf)))))
    if sum(indices.size for indices in free) == 0:
        msg = "mask frees nothing; set at least one entry to True."
        raise ValueError(msg)
    return tuple(free)
