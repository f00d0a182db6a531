"""The largest curvature of the loss in whitened coordinates, which is what limits a step: step_size · (1 + nβ h̃) < 4."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matfree import decomp

from llc.posterior.local_posterior import LocalPosterior

_MAX_EXAMPLES = 4096  # a largest eigenvalue does not need more
_NUM_PRODUCTS = 16


@eqx.filter_jit
def largest_curvature(posterior: LocalPosterior, positions: Float[Array, "points d"], rng_key: Array) -> Float[Array, "points"]:
    """1 + nβ h̃_max at each point, by Lanczos on Hessian-vector products (Golub & Van Loan, §10.1).

    At most 4096 examples are looked at, the same ones at each point.
    """
    start_key, example_key = jax.random.split(rng_key)
    start = jax.random.normal(start_key, (posterior.dimension,))
    if posterior.n > _MAX_EXAMPLES:
        indices = jax.random.randint(example_key, (_MAX_EXAMPLES,), 0, posterior.n)
        loss = lambda v: posterior.batch_loss_difference(v, indices)
    else:
        loss = posterior.loss_difference
    lanczos = decomp.tridiag_sym(min(_NUM_PRODUCTS, posterior.dimension), reortho="full")

    def at(v: Float[Array, "d"]) -> Float[Array, ""]:
        product = lambda direction: jax.jvp(jax.grad(loss), (v,), (direction,))[1]
        # a loss that is flat to second order ends the recursion at once, in 0/0
        return jnp.linalg.eigvalsh(jnp.nan_to_num(lanczos(product, start).J_small)).max()

    return 1.0 + posterior.nbeta * jnp.maximum(jax.lax.map(at, positions), 0.0)
