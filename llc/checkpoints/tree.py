"""Arrays named by path (`layers/0/w`) and the trees they make."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from llc.problem import named_leaves


def nest(leaves: Mapping[str, Any]) -> PyTree:
    """The dicts and lists that a mapping from paths to leaves spells out; `params` alone is a bare leaf.

    >>> nest({"layers/0/w": 1.0, "layers/1/w": 2.0, "scale": 3.0})
    {'layers': [{'w': 1.0}, {'w': 2.0}], 'scale': 3.0}

    Args:
        leaves: leaves by path; a level whose keys are 0 … k−1 becomes a list.

    Raises:
        ValueError: a path is both a leaf and a level.
    """
    if list(leaves) == ["params"]:
        return leaves["params"]
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        level = tree
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                break
        if not isinstance(level, dict) or last in level:
            msg = f"{path!r} names a leaf where another path has one already; give each leaf a path of its own"
            raise ValueError(msg)
        level[last] = leaf
    return _with_lists(tree)


def fill(template: PyTree, weights: Mapping[str, Any], others: Mapping[str, Any]) -> PyTree:
    """The template with its arrays replaced by those of the same path; what is no array in it stays.

    >>> fill(("b", np.zeros(2)), {"1": np.ones(2)}, {})
    ('b', array([1., 1.]))

    Args:
        template: a tree of arrays (or `jax.ShapeDtypeStruct`) of the wanted structure and shapes.
        weights: arrays by path, each of which the template must have.
        others: arrays by path that the template may have (integers, buffers).

    Raises:
        ValueError: leaves are missing, left over, or of another shape or kind than the template's.
    """
    leaves = named_leaves(template)
    names = _slashed(name for name, _ in leaves)
    wanted = {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True) if _is_array(leaf)}
    extra = set(_slashed(weights)) - wanted.keys()
    given = dict(zip(_slashed([*others, *weights]), [*others.values(), *weights.values()], strict=True))
    found = [(name, given[name], leaf) for name, leaf in wanted.items() if name in given]
    wrong = [f"{name} ({_kind(came)}, not {_kind(leaf)})" for name, came, leaf in found if _kind(came) != _kind(leaf)]
    faults = {"missing": wanted.keys() - given.keys(), "extra": extra, "wrong": wrong}
    if any(faults.values()):
        told = "; ".join(f"{fault}: {_listing(sorted(leaves))}" for fault, leaves in faults.items() if leaves)
        msg = f"the leaves do not fit the template ({told}); give the params of the model that was saved as template"
        raise ValueError(msg)
    filled = [given[name] if name in wanted else leaf for name, (_, leaf) in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(template), filled)


def split_dots(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Paths split on "." as PyTorch writes them (`layers.0.weight`), unless a path has a "/"."""
    if any("/" in path for path in arrays):
        return dict(arrays)
    return {path.replace(".", "/"): array for path, array in arrays.items()}


def is_floating(leaf: Any) -> bool:
    """Whether a leaf holds floating-point numbers, bfloat16 among them."""
    return jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.floating)


def _with_lists(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    positions = [str(position) for position in range(len(tree))]
    if tree.keys() == set(positions):
        return [_with_lists(tree[position]) for position in positions]
    return {key: _with_lists(child) for key, child in tree.items()}


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, float) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))


def _kind(leaf: Any) -> str:
    return f"{'float' if is_floating(leaf) else 'integer'} {np.shape(leaf)}"


def _slashed(paths: Iterable[str]) -> list[str]:
    # A flat {"layers.0.w": …}, as PyTorch's named_parameters give it, and {"layers": [{"w": …}]} are the same leaves.
    paths = list(paths)
    slashed = [path.replace(".", "/") for path in paths]
    return slashed if len(set(slashed)) == len(paths) else paths


def _listing(names: list[str], at_most: int = 6) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
