"""Orbits of data under groups: every image of an example that a symmetry takes it to, along a new first axis."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Array, Float, Int, Real, Shaped
from scipy.ndimage import map_coordinates

_CLOSED = 1e-5  # relative: a group of float32 data


def orbit(
    x: Real[Array | np.ndarray, "..."], generator: Callable[[np.ndarray], np.ndarray], order: int
) -> Shaped[np.ndarray, "order ..."]:
    """x, gx, g²x, … of a cyclic group of `order` elements.

    >>> orbit(np.array([1.0, 2.0]), lambda x: -x, 2)
    array([[ 1.,  2.],
           [-1., -2.]])

    Args:
        x: one example.
        generator: g.
        order: N, with gᴺx = x.

    Raises:
        ValueError: N applications do not lead back to x, or N is below 1.
    """
    if order < 1:
        msg = f"order={order}; a group has 1 element or more."
        raise ValueError(msg)
    images = [np.asarray(x)]
    for _ in range(order):
        images.append(np.asarray(generator(images[-1])))
    start, end = images[0], images.pop()
    if start.shape != end.shape or not np.linalg.norm(end - start) <= _CLOSED * np.linalg.norm(start):
        msg = f"after order={order} applications the generator does not lead back to x; give the order of its group."
        raise ValueError(msg)
    return np.stack(images)


def cyclic_shifts(
    image: Shaped[Array | np.ndarray, "..."], num: int | None = None, *, axis: int = -1
) -> Shaped[np.ndarray, "num ..."]:
    """The image moved along an axis, around the edge, by equal steps that close.

    >>> cyclic_shifts(np.array([1, 2, 3, 4]), 2)
    array([[1, 2, 3, 4],
           [3, 4, 1, 2]])

    Args:
        image: of any number of axes.
        num: how many, a divisor of the length along the axis; one a pixel unless given.
        axis: that it moves along.

    Raises:
        ValueError: the number does not divide the length.
    """
    length = image.shape[axis]
    count = length if num is None else num
    if count < 1 or length % count:
        msg = f"num={count} does not divide the {length} pixels along axis {axis}; give a divisor."
        raise ValueError(msg)
    return np.stack([np.roll(image, j * (length // count), axis) for j in range(count)])


def rotations(
    image: Real[Array | np.ndarray, "height width ..."], num: int, *, interpolation_order: int = 1
) -> Float[np.ndarray, "num height width ..."]:
    """The image turned counterclockwise about its centre by j·360°/num, on its own grid, zero from outside it.

    Quarter turns are exact. Others interpolate and cut the corners off, so their orbit is a group's only nearly:
    `orbit_rows` measures by how much.

    >>> rotations(np.array([[1.0, 2.0], [3.0, 4.0]]), 4)[1]
    array([[2., 4.],
           [1., 3.]])

    Args:
        image: height × width, and channels if there are any.
        num: N, how many.
        interpolation_order: of the splines, 0 (nearest) to 5; 1 is bilinear.

    Raises:
        ValueError: the image is not square, the number is below 1, or the order is not from 0 to 5.
    """
    pixels = np.asarray(image, float)
    if pixels.shape[0] != pixels.shape[1]:
        msg = f"the image is {pixels.shape[0]} × {pixels.shape[1]}; turning needs a square one, so cut or pad it."
        raise ValueError(msg)
    if num < 1 or not 0 <= interpolation_order <= 5:
        msg = f"num={num}, interpolation_order={interpolation_order}; 1 or more, and 0 to 5."
        raise ValueError(msg)
    channels = pixels.reshape(*pixels.shape[:2], -1)
    turned = [_turned(channels, j, num, interpolation_order).reshape(pixels.shape) for j in range(num)]
    return np.stack(turned)


def permutations(
    x: Shaped[Array | np.ndarray, "..."],
    generators: Sequence[Sequence[int]] | Int[Array | np.ndarray, "generators length"],
    *,
    axis: int = -1,
) -> Shaped[np.ndarray, "order ..."]:
    """x with an axis reordered in every way of the group that some permutations generate, x itself first.

    >>> permutations(np.array([10, 20, 30]), [[1, 2, 0]])
    array([[10, 20, 30],
           [20, 30, 10],
           [30, 10, 20]])

    Args:
        x: one example.
        generators: each names the places that the entries are taken from, x[..., p, ...].
        axis: that is reordered.

    Raises:
        ValueError: a generator is no permutation of the places along the axis.
    """
    array, length = np.asarray(x), x.shape[axis]
    steps = [tuple(int(place) for place in generator) for generator in generators]
    for step in steps:
        if sorted(step) != list(range(length)):
            msg = f"{list(step)} is no permutation of 0 … {length - 1}, the places along axis {axis}."
            raise ValueError(msg)
    group = {tuple(range(length)): None}  # a set that keeps its order
    frontier = list(group)
    while frontier:
        reached = [tuple(element[place] for place in step) for element in frontier for step in steps]
        frontier = [element for element in dict.fromkeys(reached) if element not in group]
        group |= dict.fromkeys(frontier)
    return np.stack([np.take(array, element, axis) for element in group])


def normalized(images: Real[Array | np.ndarray, "images ..."]) -> Float[np.ndarray, "images ..."]:
    """Each image less its own mean, at norm 1: what Perin & Deny (2024) do after rotating.

    >>> normalized(np.array([[3.0, 1.0]])).round(4)
    array([[ 0.7071, -0.7071]])

    Args:
        images: along the first axis.

    Raises:
        ValueError: an image is constant.
    """
    pixels = np.asarray(images, float)
    rows = pixels.reshape(len(pixels), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.all(norms > 0):
        msg = f"image {int(np.argmin(norms))} is constant and cannot be brought to norm 1; leave it out."
        raise ValueError(msg)
    return (rows / norms).reshape(pixels.shape)


def _turned(
    channels: Float[np.ndarray, "side side channels"], j: int, num: int, interpolation_order: int
) -> Float[np.ndarray, "side side channels"]:
    if 4 * j % num == 0:
        return np.rot90(channels, 4 * j // num)
    angle, middle = 2 * np.pi * j / num, (len(channels) - 1) / 2
    down, right = np.mgrid[: len(channels), : len(channels)] - middle
    places = [
        np.cos(angle) * down + np.sin(angle) * right + middle,
        -np.sin(angle) * down + np.cos(angle) * right + middle,
    ]
    turned = [map_coordinates(channel, places, order=interpolation_order) for channel in np.moveaxis(channels, -1, 0)]
    return np.stack(turned, axis=-1)
