"""Random keys: JAX's own Threefry, bit for bit, in a form that compilers fuse.

On a CPU JAX computes Threefry in loops, of which a step that splits its key and picks a minibatch makes five; on
small networks these are most of the step. Written out they cost next to nothing.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl, threefry_prng_impl
from jaxtyping import Array, UInt32

from llc.samplers.noise import threefry

_ROUNDS = 20  # JAX's


def as_key(rng_key: int | Array) -> Array:
    """A JAX key, from a seed or a key."""
    key = jax.random.key(rng_key) if isinstance(rng_key, int | np.integer) else rng_key
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or str(jax.random.key_impl(key)) != "threefry2x32":
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_written_out)


def in_loops(key: Array) -> Array:
    """The same key in JAX's own form, for what derives keys from keys and runs seldom.

    Written out, that took XLA's older fusion emitters half a minute to compile; the newer ones hardly differ.

    >>> key = as_key(0)
    >>> bool((jax.random.bits(in_loops(key)) == jax.random.bits(key)).all())
    True
    >>> in_loops(key).dtype == jax.random.key(0).dtype != key.dtype
    True
    """
    if key.dtype != as_key(0).dtype:
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl="threefry2x32")


def describe_key(rng_key: int | Array) -> str:
    """A key as text, for the record."""
    return str(rng_key) if isinstance(rng_key, int | np.integer) else str(jax.random.key_data(rng_key).tolist())


def _words(key: UInt32[Array, "2"], shape: tuple[int, ...]) -> tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]:
    low = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return threefry(key, jnp.zeros_like(low), low, _ROUNDS)


@partial(jax.jit, static_argnames="shape", inline=True)  # one program where it is called by itself
def _split(key: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, "... 2"]:
    return jnp.stack(_words(key, shape), axis=-1)


def _random_bits(key: UInt32[Array, "2"], width: int, shape: tuple[int, ...]) -> Array:
    high, low = _words(key, shape)
    if width == 64:
        return high.astype(jnp.uint64) << 32 | low.astype(jnp.uint64)
    return (high ^ low).astype(f"uint{width}")


def _fold_in(key: UInt32[Array, "2"], data: int | Array) -> UInt32[Array, "2"]:
    words = threefry_prng_impl.seed(jnp.asarray(data))
    return jnp.stack(threefry(key, words[0], words[1], _ROUNDS))


_written_out = define_prng_impl(
    key_shape=(2,),
    seed=threefry_prng_impl.seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry2x32, written out",
    tag="fry",
)
