"""The weights of draws, back in the tree that they were sampled in."""

import jax
import numpy as np
from jaxtyping import Float, PyTree
from xarray import DataTree

from llc.problem import named_leaves

_DIMENSIONS = ("chain", "draw", "step_size", "leaf")


def variable_name(leaf: str) -> str:
    """What a leaf is called in a DataTree, whose variables have no slash in their names, nor a dimension's name.

    >>> variable_name("layers/0/w"), variable_name("chain")
    ('layers.0.w', 'chain_')
    """
    return f"{leaf}_" if leaf in _DIMENSIONS else leaf.replace("/", ".")


def weights_of(draws: DataTree, params: PyTree) -> PyTree[Float[np.ndarray, "chain draw ..."]]:
    """The weights of each draw, stacked in a tree like `params`; a ladder of step sizes is a further axis in front.

    Args:
        draws: as `llc.draw(..., keep_weights=True)` makes them.
        params: a tree of the checkpoint's structure and shapes.

    Raises:
        ValueError: the draws kept no weights, or weights of another tree.
    """
    if "posterior" not in draws.children:
        msg = "these draws kept no weights; make them with llc.draw(..., keep_weights=True)."
        raise ValueError(msg)
    kept = draws["posterior"].to_dataset()
    front = len([name for name in ("step_size", "chain", "draw") if name in kept.dims])
    came = {str(name): variable.shape[front:] for name, variable in kept.data_vars.items()}
    asked = {variable_name(name): np.shape(leaf) for name, leaf in named_leaves(params)}
    if came != asked:
        msg = f"the draws hold the weights {came}, params have {asked}; give params of the tree that was sampled."
        raise ValueError(msg)
    return jax.tree.unflatten(jax.tree.structure(params), [kept[name].values for name in asked])
