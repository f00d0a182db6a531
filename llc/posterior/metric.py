"""A metric for trajectories: of each weight matrix, a diagonal in bases of its rows and of its columns."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from llc.posterior.local_posterior import LocalPosterior


class Metric(eqx.Module):
    """M = B S⁻² Bᵀ, with S diagonal and B of each weight matrix the Kronecker product of two orthogonal bases.

    Args:
        scales: S, the widths of the posterior along the basis vectors.
        bases: of each leaf, as a matrix, those of its rows and of its columns; None stands for the unit vectors.
        shapes: of those matrices.
    """

    scales: Float[Array, "d"]
    bases: tuple[tuple[Float[Array, "_ _"] | None, Float[Array, "_ _"] | None], ...]
    shapes: tuple[tuple[int, int], ...] = eqx.field(static=True)

    def inverse_root(self, v: Float[Array, "d"]) -> Float[Array, "d"]:
        """M^{−1/2} v, the symmetric root."""
        return self.from_basis(self.scales * self.to_basis(v))

    def to_basis(self, v: Float[Array, "d"]) -> Float[Array, "d"]:
        """Bᵀ v."""
        return self._turned(v, lambda basis: basis.T)

    def from_basis(self, v: Float[Array, "d"]) -> Float[Array, "d"]:
        """B v."""
        return self._turned(v, lambda basis: basis)

    def matrices(self, v: Float[Array, "d"]) -> list[Float[Array, "rows columns"]]:
        """The coordinates of each leaf, as its matrix."""
        parts = jnp.split(v, np.cumsum([math.prod(shape) for shape in self.shapes])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _turned(self, v: Float[Array, "d"], way: Callable[[Array], Array]) -> Float[Array, "d"]:
        if all(rows is None and columns is None for rows, columns in self.bases):
            return v  # which may lie on many devices, in an order of its own
        turned = []
        for matrix, (rows, columns) in zip(self.matrices(v), self.bases, strict=True):
            matrix = matrix if rows is None else way(rows) @ matrix
            turned.append((matrix if columns is None else matrix @ way(columns).T).ravel())
        return jnp.concatenate(turned)


def unit_metric(posterior: LocalPosterior) -> Metric:
    """M = 1; of a leaf with several axes the last are the columns, and what is free of a masked one is a row."""
    leaves = [leaf.shape for leaf in jax.tree.leaves(posterior.center)]
    whole = [(math.prod(shape[:-1]), math.prod(shape[-1:])) for shape in leaves]
    shapes = tuple(
        shape if math.prod(shape) == size else (1, size) for shape, size in zip(whole, posterior.sizes, strict=True)
    )
    return Metric(jnp.ones(posterior.dimension), ((None, None),) * len(shapes), shapes)
