"""Losses of chosen examples at the draws, whose weights were kept: one table of (draw, example), a block at a time."""

import math
from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped
from xarray import DataArray, DataTree

from llc.draws.schema import read_settings
from llc.draws.weights import weights_of
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem

_MAX_ELEMENTS = 2**28  # numbers of an answer: 1 GiB of float32
_BLOCK_ELEMENTS = 2**22  # weights, or losses, that are held at a time to make them
_SAME_LOSS = 0.01  # devices differ by less

Indices = Sequence[int] | Shaped[np.ndarray, "..."] | Shaped[Array, "..."]


def per_example_losses(problem: Problem, params: PyTree, draws: DataTree, indices: Indices | None = None) -> DataArray:
    """ℓ_i(w) of each example at each draw, in nats; chains that are not finite are left out.

    Args:
        problem: the loss and its data, whether or not the draws were made with it.
        params: the checkpoint w* that the draws were made around.
        draws: as `llc.draw(..., keep_weights=True)` makes them.
        indices: the numbers of the examples; None takes all.

    Returns:
        Dimensions (chain, draw, example), with the numbers of the examples as coordinate.

    Raises:
        ValueError: an index is none, the loss fails on the params, the draws hold no weights or no finite chain, or the
            answer would hold over 2²⁸ numbers.
    """
    numbers, draws = example_indices(problem, indices), finite_chains(draws)
    statistics = draws["sample_stats"].to_dataset()
    losses = loss_table(loss_around(problem, params), weights_of(draws, params), numbers)
    return DataArray(
        losses.reshape(statistics.sizes["chain"], statistics.sizes["draw"], -1),
        coords={"chain": statistics["chain"].values, "draw": statistics["draw"].values, "example": numbers},
        dims=("chain", "draw", "example"),
        name="loss",
        attrs={"units": "nats"},
    )


def example_indices(problem: Problem, indices: Indices | None) -> Int[np.ndarray, "examples"]:
    """The numbers of examples, None standing for all.

    >>> example_indices(Problem(lambda w, x: w * x, np.zeros(5)), [0, 3]).tolist()
    [0, 3]

    Raises:
        ValueError: there are none, or not all are numbers of the problem's examples.
    """
    numbers = np.arange(problem.n) if indices is None else np.asarray(indices)
    allowed = f"give whole numbers from 0 to {problem.n - 1}, for the problem's n={problem.n} examples"
    if numbers.size == 0:
        msg = f"no example was chosen; {allowed}."
        raise ValueError(msg)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        msg = f"examples were chosen by {numbers.dtype}{list(numbers.shape)}; {allowed}, in one row."
        raise ValueError(msg)
    outside = numbers[(numbers < 0) | (numbers >= problem.n)]
    if outside.size:
        msg = f"there is no example number {outside[0]}; {allowed}."
        raise ValueError(msg)
    return numbers


def loss_around(problem: Problem, params: PyTree) -> LocalPosterior:
    """A problem's losses and loss differences around w*, blocked to fit memory; v = w − w*.

    Raises:
        ValueError: the loss fails on the params.
    """
    return LocalPosterior(problem, params, nbeta=1.0, localization=1.0)


def finite_chains(draws: DataTree) -> DataTree:
    """The chains of draws that never diverged.

    Raises:
        ValueError: none did not; or the draws are of a ladder of step sizes.
    """
    diverging = draws["sample_stats"].to_dataset()["diverging"]
    if "step_size" in diverging.dims:
        msg = "the draws hold a ladder of step sizes; choose one, the smallest with draws.isel(step_size=-1)."
        raise ValueError(msg)
    kept = np.flatnonzero(~diverging.values.astype(bool).any(axis=1))
    if kept.size == 0:
        msg = f"none of the {diverging.sizes['chain']} chains stayed finite; draw again with a smaller step size."
        raise ValueError(msg)
    return draws.isel(chain=kept)


def check_origin(evaluator: LocalPosterior, draws: DataTree) -> None:
    """Refuse draws of another problem, or around another checkpoint.

    Raises:
        ValueError: n or the loss at w* are not those that the draws record.
    """
    settings, losses = read_settings(draws), np.asarray(evaluator.center_losses, np.float64)
    off = abs(losses.mean() - settings["center_loss"]) > _SAME_LOSS * np.abs(losses).mean()
    if settings["n"] != evaluator.n or off:
        msg = (
            f"the draws record n={settings['n']} and a loss of {settings['center_loss']:.6g} at their center, this "
            f"problem has n={evaluator.n} and {losses.mean():.6g} at params; give those that the draws were made with."
        )
        raise ValueError(msg)


def loss_table(
    evaluator: LocalPosterior, weights: PyTree, numbers: Int[np.ndarray, "examples"]
) -> Float[np.ndarray, "draws examples"]:
    """ℓ_i(w) at all draws, chain after chain, in nats.

    Raises:
        ValueError: it would hold over 2²⁸ numbers.
    """
    count = math.prod(jax.tree.leaves(weights)[0].shape[:2])
    check_fits((count, "draws"), (len(numbers), "examples"))
    losses = np.empty((count, len(numbers)), np.dtype(evaluator.center_losses.dtype))
    for columns, block in loss_blocks(evaluator, weights, numbers):
        losses[:, columns] = block
    return losses


def loss_blocks(
    evaluator: LocalPosterior, weights: PyTree, numbers: Int[np.ndarray, "examples"]
) -> Iterator[tuple[slice, Float[np.ndarray, "draws _"]]]:
    """Columns of `loss_table`, so many at a time, by calls of one shape to one compiled program."""
    count = math.prod(jax.tree.leaves(weights)[0].shape[:2])
    size = _even(len(numbers), min(evaluator.block_size, _BLOCK_ELEMENTS // count))
    for start in range(0, len(numbers), size):
        some = numbers[_filled(start, size, len(numbers))]
        losses = np.empty((count, size), np.dtype(evaluator.center_losses.dtype))
        for rows, part in weight_blocks(weights):
            losses[rows] = np.asarray(_losses(evaluator.problem, part, jnp.asarray(some)))
        yield slice(start, start + size), losses[:, : len(numbers) - start]


def weight_blocks(weights: PyTree) -> Iterator[tuple[Int[np.ndarray, "rows"], PyTree]]:
    """The weights of so many draws at a time, chain after chain; the last block repeats the last draw to be as long."""
    leaves = [np.reshape(leaf, (-1, *leaf.shape[2:])) for leaf in jax.tree.leaves(weights)]
    tree, count = jax.tree.structure(weights), len(leaves[0])
    size = _even(count, _BLOCK_ELEMENTS * count // sum(leaf.size for leaf in leaves))
    for start in range(0, count, size):
        rows = _filled(start, size, count)
        yield rows, jax.tree.unflatten(tree, [leaf[rows] for leaf in leaves])


def check_fits(rows: tuple[int, str], columns: tuple[int, str]) -> None:
    """Refuse an answer of over 2²⁸ numbers.

    Raises:
        ValueError: saying how many rows, or columns, would fit.
    """
    (r, of_rows), (c, of_columns) = rows, columns
    if r * c > _MAX_ELEMENTS:
        msg = (
            f"{r} {of_rows} × {c} {of_columns} are over {_MAX_ELEMENTS} numbers: {_MAX_ELEMENTS // r} {of_columns} fit "
            f"with all these {of_rows}, {_MAX_ELEMENTS // c} {of_rows} with all these {of_columns}. Choose fewer "
            "examples, or thin the draws: draws.isel(draw=slice(None, None, 10))."
        )
        raise ValueError(msg)


def _even(total: int, most: int) -> int:
    """The length of blocks, no longer than `most` and as few as can be, of which the last is nearly full."""
    return -(-total // -(-total // max(1, most)))


def _filled(first: int, length: int, total: int) -> Int[np.ndarray, "length"]:
    """`length` positions from `first` on, the last one again and again where they end."""
    return np.minimum(np.arange(first, first + length), total - 1)


@eqx.filter_jit
def _losses(problem: Problem, weights: PyTree, numbers: Int[Array, "e"]) -> Float[Array, "draws e"]:
    examples = problem.take(numbers)
    return jax.lax.map(lambda w: problem.losses(w, examples), weights)
