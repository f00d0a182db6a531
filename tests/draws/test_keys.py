"""Keys are JAX's own, whatever the form their arithmetic is written in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llc.draws.keys import as_key, describe_key


@pytest.fixture(params=[0, 7, 2**31 + 5])
def pair(request):
    return jax.random.key(request.param), as_key(request.param)


def test_words_of_every_width_are_those_of_jax(pair):
    theirs, ours = pair
    for dtype in ("uint8", "uint16", "uint32"):
        np.testing.assert_array_equal(jax.random.bits(ours, (3, 7), dtype), jax.random.bits(theirs, (3, 7), dtype))
    with jax.enable_x64():
        np.testing.assert_array_equal(jax.random.bits(ours, (5,), "uint64"), jax.random.bits(theirs, (5,), "uint64"))


def test_keys_split_and_fold_like_those_of_jax(pair):
    for make in (lambda key: jax.random.split(key, (2, 3)), lambda key: jax.random.fold_in(key, 11)):
        theirs, ours = (jax.random.key_data(make(key)) for key in pair)
        np.testing.assert_array_equal(ours, theirs)


def test_under_vmap_and_jit_they_stay_the_same(pair):
    of_each = jax.jit(jax.vmap(lambda key: jax.random.normal(key, (4,))))
    theirs, ours = (of_each(jax.random.split(key, 3)) for key in pair)
    np.testing.assert_array_equal(ours, theirs)


def test_keys_are_taken_as_they_come():
    theirs = jax.random.key(4)
    np.testing.assert_array_equal(jax.random.key_data(as_key(theirs)), jax.random.key_data(theirs))
    np.testing.assert_array_equal(jax.random.key_data(as_key(as_key(theirs))), jax.random.key_data(theirs))
    other = jax.random.key(4, impl="rbg")
    assert jax.random.key_impl(as_key(other)) == jax.random.key_impl(other)


def test_nothing_loops(pair):
    theirs, ours = (jax.jit(lambda k: jax.random.split(k, 3)).lower(key).compile().as_text() for key in pair)
    assert "while" in theirs  # else JAX has mended it, and this module may go
    assert "while" not in ours


def test_a_key_is_recorded_as_it_was_given():
    assert describe_key(5) == "5"
    assert describe_key(jax.random.key(5)) == describe_key(as_key(5)) == "[0, 5]"
    assert jnp.issubdtype(as_key(5).dtype, jax.dtypes.prng_key)
