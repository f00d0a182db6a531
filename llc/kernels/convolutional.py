"""NNGP and NTK of convolutional networks with infinitely many channels (Novak et al. 2019; Arora et al. 2019).

S and T live between pixels. A flattened readout needs pixels of one place only, S[h, w]: n m P numbers. Average pooling
needs all pairs of places, S[h, h′, w, w′]: n m P². The taps of a filter shift both pixels of a pair together.
"""

from collections.abc import Callable
from typing import Any, Literal, cast, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from llc.kernels.activations import Activation
from llc.kernels.infinite_width import InfiniteWidthKernel, Kernels, Std

Padding = Literal["SAME", "VALID", "CIRCULAR"]
Pooling = Literal["flatten", "average"]

_SAME_PLACE = ((-2,), (-1,))  # the axes of height, and of width
_ALL_PLACES = ((-4, -3), (-2, -1))
_HELD = 2**24  # numbers of a state held at once: so many rows of the Gram matrix are computed together


class Convolutional(InfiniteWidthKernel):
    """The kernels that `convolutional` describes."""

    filter_size: int = eqx.field(static=True)
    padding: Padding = eqx.field(static=True)
    pooling: Pooling = eqx.field(static=True)

    def grams(self, x1: Float[Array, "n h w c"], x2: Float[Array, "m h w c"] | None) -> Kernels:
        """Both Gram matrices, some rows at a time."""
        second = x1 if x2 is None else x2
        columns = self._features(second)[1]

        def row(image: tuple[Array, Array, list[Any]]) -> Kernels:
            i, x, features = image
            raw = self._products(x, second)
            if x2 is None:  # an image with itself has its own rule; a Mehler series would take long over it
                raw = raw.at[i].set(0)
            expect = lambda layer, nngp: self.activation.pairs(features[layer], columns[layer], nngp)
            return self.propagate(raw, expect, self._mix, self._readout)

        images = jnp.arange(len(x1)), x1, self._features(x1)[0]
        return jax.lax.map(row, images, batch_size=self._batch_size(len(second), x1.shape))

    def diagonals(self, x: Float[Array, "n h w c"]) -> Kernels:
        """Both diagonals; where S holds pairs of places, those of one place come from the rule for equal inputs."""

        def image(given: tuple[Array, tuple[list[Any], list[Any]]]) -> Kernels:
            one, (rows, columns) = given
            raw = self._products(one, one[None])[0]
            flat = self.pooling == "flatten"

            def expect(layer: int, nngp: Array) -> tuple[Array, Array]:
                exact = self.activation.diagonal(rows[layer])
                if flat:
                    return exact
                same = _one_place(*nngp.shape[::2])
                pairs = self.activation.pairs(rows[layer], columns[layer], jnp.where(same, 0, nngp))
                return jnp.where(same, exact[0], pairs[0]), jnp.where(same, exact[1], pairs[1])

            return self.propagate(raw, expect, self._mix, self._readout)

        return jax.lax.map(image, (x, self._features(x)), batch_size=self._batch_size(1, x.shape))

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse inputs that are not images, or too small for the filters."""
        if len(shape) != 4 or 0 in shape[1:]:
            msg = f"inputs are of shape {list(shape)}; a convolutional network takes [n, height, width, channels]."
            raise ValueError(msg)
        lost = self.depth * (self.filter_size - 1)
        if self.padding == "VALID" and min(shape[1:3]) <= lost:
            msg = (
                f"images of {shape[1]} x {shape[2]} have no pixels left after {self.depth} filters of size "
                f"{self.filter_size}, which take {lost} from each side; use padding='SAME', or fewer layers."
            )
            raise ValueError(msg)

    def _features(self, x: Array) -> tuple[list[Any], list[Any]]:
        """What each activation needs of the first and of the second pixel of a pair."""
        per_pixel = self.variances(jnp.square(x).mean(axis=-1), lambda q: self._tap_mean(q, _SAME_PLACE))
        if self.pooling == "flatten":
            features = [self.activation.features(q) for q in per_pixel]
            return features, features
        first = [self.activation.features(q[:, :, None, :, None]) for q in per_pixel]
        return first, [self.activation.features(q[:, None, :, None, :]) for q in per_pixel]

    def _products(self, x: Float[Array, "h w c"], others: Float[Array, "m h w c"]) -> Array:
        places = "hwc,mhwc->mhw" if self.pooling == "flatten" else "hwc,mgvc->mhgwv"
        return jnp.einsum(places, x, others, precision=jax.lax.Precision.HIGHEST) / x.shape[-1]

    def _mix(self, state: Array) -> Array:
        return self._tap_mean(state, _SAME_PLACE if self.pooling == "flatten" else _ALL_PLACES)

    def _readout(self, state: Array) -> Array:
        return state.mean(axis=(-2, -1) if self.pooling == "flatten" else (-4, -3, -2, -1))

    def _tap_mean(self, state: Array, axes: tuple[tuple[int, ...], ...]) -> Array:
        """The mean over the taps of a filter, height and width one after the other."""
        for together in axes:
            state = _window_sum(state, together, self.filter_size, self.padding) / self.filter_size
        return state

    def _batch_size(self, num_columns: int, shape: tuple[int, ...]) -> int:
        pixels = shape[1] * shape[2]
        return max(1, _HELD // (num_columns * (pixels if self.pooling == "flatten" else pixels**2)))


def _window_sum(state: Array, axes: tuple[int, ...], size: int, padding: Padding) -> Array:
    """The sum over `size` shifts along some axes together; outside of an image is zero, its other side, or nothing."""
    if padding != "VALID":
        before = (size - 1) // 2
        widths = [(0, 0)] * state.ndim
        for axis in axes:
            widths[axis] = (before, size - 1 - before)
        state = jnp.pad(state, widths, mode="constant" if padding == "SAME" else "wrap")
    length = state.shape[axes[0]] - size + 1
    moved = {axis % state.ndim for axis in axes}
    whole = slice(None)
    window = lambda a: state[tuple(slice(a, a + length) if axis in moved else whole for axis in range(state.ndim))]
    total = window(0)
    for shift in range(1, size):
        total = total + window(shift)
    return total


def _one_place(height: int, width: int) -> Array:
    return jnp.eye(height, dtype=bool)[:, :, None, None] & jnp.eye(width, dtype=bool)[None, None]


def convolutional(
    depth: int,
    activation: str | Callable[[Array], Array] | Activation,
    *,
    weight_std: Std,
    bias_std: Std = 0.0,
    last_weight_std: Std = 1.0,
    last_bias_std: Std = 0.0,
    filter_size: int = 3,
    padding: str = "SAME",
    pooling: str = "flatten",
) -> Convolutional:
    """The kernels of a network of `depth` convolutions with an activation each, and a dense readout.

    Images are [n, height, width, channels], strides 1, a filter's fan-in channels · filter_size². The methods are those
    of `llc.kernels.fully_connected`, less `truncation_error`.

    >>> import jax.numpy as jnp
    >>> kernel = convolutional(1, "relu", weight_std=2**0.5, padding="CIRCULAR", pooling="average")
    >>> kernel.nngp(jnp.ones((2, 4, 4, 1))).shape
    (2, 2)

    Args:
        depth: convolutions; 0 leaves the readout alone, a linear model.
        activation: as for `llc.kernels.fully_connected`.
        weight_std: w of the convolutions.
        bias_std: b of the convolutions.
        last_weight_std: w of the readout.
        last_bias_std: b of the readout.
        filter_size: the filters' height and width.
        padding: "SAME" with zeros, "VALID" for none, "CIRCULAR" with the image's other side.
        pooling: "flatten" joins all pixels to the readout; "average" gives it their mean, at as many times the cost
            as an image has pixels.

    Raises:
        ValueError: the depth or a standard deviation is negative, or a name unknown.
    """
    for what, name, known in (("padding", padding, get_args(Padding)), ("pooling", pooling, get_args(Pooling))):
        if name not in known:
            msg = f"{what}={name!r} is not known; use one of {', '.join(map(repr, known))}."
            raise ValueError(msg)
    if filter_size < 1:
        msg = f"filter_size={filter_size}: a filter is 1 pixel wide or more."
        raise ValueError(msg)
    return Convolutional(
        depth,
        activation,
        weight_std,
        bias_std,
        last_weight_std,
        last_bias_std,
        filter_size,
        cast(Padding, padding),
        cast(Pooling, pooling),
    )
