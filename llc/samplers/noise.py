"""Standard normal numbers for kernels that need one for every coordinate at every step.

Threefry-2x32 on a counter, in 13 rounds, the fewest that pass BigCrush (Salmon, Moraes, Dror & Shaw 2011, table 2), and
the transform of Box & Muller (1958) with a polynomial for the cosine: arithmetic on each coordinate alone, which
compilers fuse with the step that it belongs to.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

_ROUNDS = 13
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = np.uint32(0x1BD11BDA)
# sin πx = x·p(x²) on [−½, ½] to 3e-9
_SINE = tuple(np.float32(c) for c in (0.07722013, -0.5980452, 2.5500314, -5.167707, 3.1415925))


def standard_normal(rng_key: Array, like: Float[Array, "d"]) -> Float[Array, "d"]:
    """Independent N(0, 1) numbers, as many as `like` has and of its dtype.

    They have the resolution of float32, whatever the dtype: none lies beyond 5.9.
    """
    counter = jax.lax.iota(jnp.uint32, like.size)
    key = jax.random.bits(rng_key, (2,), jnp.uint32)  # of whichever generator the key is
    return _box_muller(*threefry(key, counter, jnp.zeros_like(counter))).astype(like.dtype)


@partial(jax.jit, static_argnames="rounds")  # traced once for each shape
def threefry(
    key: UInt32[Array, "2"], x: UInt32[Array, "*shape"], y: UInt32[Array, "*shape"], rounds: int = _ROUNDS
) -> tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]:
    """Threefry-2x32: two random words for each counter (x, y)."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = x + keys[0], y + keys[1]
    for number in range(rounds):
        rotation = np.uint32(_ROTATIONS[number % 8])
        x = x + y
        y = x ^ (y << rotation | y >> np.uint32(32 - rotation))
        if number % 4 == 3:
            injected = number // 4 + 1
            x, y = x + keys[injected % 3], y + keys[(injected + 1) % 3] + np.uint32(injected)
    return x, y


def _box_muller(x: UInt32[Array, "d"], y: UInt32[Array, "d"]) -> Float[Array, "d"]:
    """√(−2 log u) cos πt, a normal number of two words; its twin by the sine would have to be laid beside or behind it.

    That costs more than it saves: compilers fuse no such layout, and coordinates on several devices would be moved.
    """
    u = ((x >> np.uint32(8)).astype(jnp.float32) + 0.5) * np.float32(2**-24)
    t = jax.lax.bitcast_convert_type(y, jnp.int32).astype(jnp.float32) * np.float32(2**-31)
    return jnp.sqrt(-2 * jnp.log(u)) * _sine(0.5 - jnp.abs(t))


def _sine(x: Float[Array, "d"]) -> Float[Array, "d"]:
    """sin πx for |x| ≤ ½."""
    square, value = x * x, jnp.full_like(x, _SINE[0])
    for coefficient in _SINE[1:]:
        value = value * square + coefficient
    return value * x
