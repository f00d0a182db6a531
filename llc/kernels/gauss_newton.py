"""Products with the Gauss–Newton matrix of a network under its likelihood, never holding the Jacobian J.

    A = β Σ_i J_iᵀ Λ_i J_i,     Λ_i = ∇² ℓ_i in the outputs,     J_i = ∂f(x_i)/∂v at w*

in the posterior's whitened coordinates v. Each product runs through the examples in blocks, and holds the intermediates
of one.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from llc.posterior.blocks import over_blocks
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Bernoulli, Categorical, Gaussian, Likelihood

_NEGLIGIBLE = 1e-3  # a negative eigenvalue by rounding alone, relative to the largest
_SATURATED = 0.01


class GaussNewton(eqx.Module):
    """The network and its likelihood at the center of a posterior.

    Raises:
        ValueError: the problem is a bare loss, or its data are off the device.
    """

    posterior: LocalPosterior
    apply_fn: Callable[[Any, Any], Any] = eqx.field(static=True)
    likelihood: Likelihood = eqx.field(static=True)

    def __init__(self, posterior: LocalPosterior) -> None:
        apply_fn, likelihood = posterior.problem.apply_fn, posterior.problem.likelihood
        if apply_fn is None or likelihood is None:
            msg = (
                "the tangent kernel needs the network's outputs: make the problem by "
                "Problem.supervised(apply_fn, likelihood, inputs, targets)."
            )
            raise ValueError(msg)
        posterior.problem.in_memory("the tangent kernel")
        self.posterior, self.apply_fn, self.likelihood = posterior, apply_fn, likelihood

    @property
    def num_outputs(self) -> int:
        """nC, the outputs of all examples."""
        return jax.eval_shape(lambda inputs: _flat(self.apply_fn(self.posterior.center, inputs)), self._inputs).size

    def product(self, x: Float[Array, "d"]) -> Float[Array, "d"]:
        """A x."""

        def add(total: Float[Array, "d"], block: PyTree) -> tuple[Float[Array, "d"], None]:
            inputs, targets = block
            outputs, push = jax.linearize(self._network(inputs), jnp.zeros_like(x))
            slope = jax.grad(lambda outputs: jnp.sum(self.likelihood(outputs, targets)))
            curved = jax.jvp(slope, (outputs,), (push(x),))[1]
            return total + jax.linear_transpose(push, x)(curved)[0], None

        with jax.default_matmul_precision("highest"):
            total, _ = over_blocks(add, jnp.zeros_like(x), self.posterior.problem.data, self.posterior.block_size)
        return self._beta(x) * total

    def gram_product(self, root: Float[Array, "n c c"], y: Float[Array, "nc"]) -> Float[Array, "nc"]:
        """β Λ^{1/2} J Jᵀ Λ^{1/2} y, of the same eigenvalues but for zeros."""
        zero, size = jnp.zeros_like(self.posterior.center_gradient), self.posterior.block_size
        flat = lambda inputs: lambda v: _flat(self._network(inputs)(v))

        def pull(total: Float[Array, "d"], block: PyTree) -> tuple[Float[Array, "d"], None]:
            inputs, cotangent = block
            return total + jax.vjp(flat(inputs), zero)[1](cotangent)[0], None

        def push(x: Float[Array, "d"], inputs: PyTree) -> tuple[Float[Array, "d"], Float[Array, "block c"]]:
            return x, jax.jvp(flat(inputs), (zero,), (x,))[1]

        with jax.default_matmul_precision("highest"):
            weighted = jnp.einsum("nij,nj->ni", root, y.reshape(root.shape[:2]))
            x, _ = over_blocks(pull, zero, (self._inputs, weighted), size)
            _, moved = over_blocks(push, x, self._inputs, size)
            return self._beta(y) * jnp.einsum("nij,nj->ni", root, moved).ravel()

    def root_of_output_curvature(self) -> Float[Array, "n c c"]:
        """Λ^{1/2} of each example."""
        curvature = _output_curvature(self)
        values, vectors = np.linalg.eigh(np.asarray(curvature, np.float64))
        self.check_convex(values)
        root = np.einsum("nik,nk,njk->nij", vectors, np.sqrt(np.maximum(values, 0.0)), vectors)
        return jnp.asarray(root, curvature.dtype)

    def check_convex(self, eigenvalues: Float[np.ndarray, "..."]) -> None:
        """Refuse a likelihood that gives eigenvalues negative beyond rounding; ours cannot.

        Raises:
            ValueError: the likelihood is not convex in the outputs.
        """
        ours = isinstance(self.likelihood, Gaussian | Categorical | Bernoulli)
        if not ours and eigenvalues.min() < -_NEGLIGIBLE * np.abs(eigenvalues).max():
            msg = (
                f"the likelihood is not convex in the outputs: an eigenvalue is {eigenvalues.min():.3g}, the largest "
                f"{eigenvalues.max():.3g}, and no tangent kernel follows from it; use hessian()."
            )
            raise ValueError(msg)

    def saturated(self) -> bool:
        """Whether nearly all classes are predicted with certainty: two draws of a target differ in under 1 % of cases.

        Then Λ tends to 0, and with it A, whatever the network uses.
        """
        return isinstance(self.likelihood, Categorical | Bernoulli) and float(_diversity(self)) < _SATURATED

    @property
    def _inputs(self) -> PyTree:
        return self.posterior.problem.data[0]

    def _network(self, inputs: PyTree) -> Callable[[Float[Array, "d"]], PyTree]:
        return lambda v: self.apply_fn(self.posterior.params(v), inputs)

    def _beta(self, like: Float[Array, "_"]) -> Float[Array, ""]:
        return (self.posterior.nbeta / self.posterior.n).astype(like.dtype)


@eqx.filter_jit
def _output_curvature(network: GaussNewton) -> Float[Array, "n c c"]:
    posterior = network.posterior

    def of_one(example: PyTree) -> Float[Array, "c c"]:
        inputs, targets = jax.tree.map(lambda a: a[None], example)
        outputs, unravel = ravel_pytree(network.apply_fn(posterior.center, inputs))
        return jax.hessian(lambda o: network.likelihood(unravel(o), targets)[0])(outputs)

    return jax.lax.map(of_one, posterior.problem.data, batch_size=posterior.block_size)


@eqx.filter_jit
def _diversity(network: GaussNewton) -> Float[Array, ""]:
    """The mean chance that two draws of a predicted class differ, 1 − Σ p²."""
    posterior, categorical = network.posterior, isinstance(network.likelihood, Categorical)

    def add(total: Float[Array, ""], inputs: PyTree) -> tuple[Float[Array, ""], None]:
        outputs = network.apply_fn(posterior.center, inputs)
        p = jax.nn.softmax(outputs) if categorical else jax.nn.sigmoid(outputs)
        differ = jnp.sum(p * (1 - p), axis=-1) if categorical else 2 * p * (1 - p)
        return total + jnp.sum(differ / differ[0].size), None

    zero = jnp.zeros((), posterior.center_losses.dtype)
    total, _ = over_blocks(add, zero, network._inputs, posterior.block_size)
    return total / posterior.n


def _flat(outputs: PyTree) -> Float[Array, "batch c"]:
    leaves = jax.tree.leaves(outputs)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)
