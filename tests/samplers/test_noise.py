"""The generator against the published answers of its authors, its normal numbers against the normal law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from llc.samplers.noise import standard_normal, threefry

COUNT = 1_000_000


def words(*values):
    return jnp.array(values, jnp.uint32)


# Random123 1.14, tests/kat_vectors: "threefry2x32 ROUNDS counter key -> answer"
@pytest.mark.parametrize(
    ("rounds", "counter", "key", "answer"),
    [
        (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        (13, (0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0xFD36D048, 0x2D17272C)),
        (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        (20, (0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        (20, (0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_words(rounds, counter, key, answer):
    x, y = threefry(words(*key), words(counter[0]), words(counter[1]), rounds)
    assert (int(x[0]), int(y[0])) == answer


@pytest.fixture(scope="module")
def numbers():
    many = jax.jit(
        lambda: jax.lax.map(lambda key: standard_normal(key, jnp.zeros(COUNT)), jax.random.split(jax.random.key(5), 8))
    )
    return np.asarray(many(), np.float64)


def test_moments_are_those_of_the_normal_law(numbers):
    for power, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96), 6: (15, 10170)}.items():
        error = (numbers**power).mean() - mean
        assert abs(error) < 4 * np.sqrt(variance / numbers.size), power


def test_the_distribution_is_normal_into_its_tails(numbers):
    edges = stats.norm.ppf(np.linspace(0, 1, 1001))
    edges = np.concatenate([edges[:1], [-4.5, -4, -3.5], edges[1:-1], [3.5, 4, 4.5], edges[-1:]])
    expected = numbers.size * np.diff(stats.norm.cdf(edges))
    chi2 = np.sum((np.histogram(numbers, edges)[0] - expected) ** 2 / expected)
    freedom = expected.size - 1
    assert abs(chi2 - freedom) < 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("function", [lambda z: z, lambda z: z**2 - 1, lambda z: np.abs(z) - np.sqrt(2 / np.pi)])
def test_neighbours_and_keys_are_uncorrelated(numbers, function):
    values = function(numbers)
    products = {
        "neighbours": values[:, 1:] * values[:, :-1],
        "keys": values[1:] * values[:-1],
    }
    for name, product in products.items():
        assert abs(product.mean()) < 4 * product.std() / np.sqrt(product.size), name


def test_one_key_gives_one_answer_and_another_key_another():
    like = jnp.zeros(7)
    first = standard_normal(jax.random.key(1), like)
    assert first.shape == (7,)
    assert (first == standard_normal(jax.random.key(1), like)).all()
    assert (first != standard_normal(jax.random.key(2), like)).all()
    with jax.enable_x64():
        assert standard_normal(jax.random.key(1), jnp.zeros(7, jnp.float64)).dtype == jnp.float64


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_of_every_generator_are_taken(impl):
    values = standard_normal(jax.random.key(0, impl=impl), jnp.zeros(10_001))
    assert abs(float(values.mean())) < 4 / 100
