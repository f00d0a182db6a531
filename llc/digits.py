"""Real data that ships with scikit-learn, and a small network trained on it: what the demo and the benchmarks run on.

1797 handwritten digits of 8 × 8 pixels (Alpaydin & Kaynak 1998), 1500 to train on and 297 held out.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from sklearn.datasets import load_digits

from llc.problem import Categorical, Problem

Params = list[dict[str, Float[Array, "..."]]]

_NUM_TRAIN = 1500


def digits_problem() -> Problem:
    """The digits under a softmax likelihood, pixels scaled to [0, 1], in a fixed random order.

    >>> digits_problem().n
    1500
    """
    pixels, digits = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(digits))
    inputs, targets = (pixels[order] / 16).astype(np.float32), digits[order].astype(np.int32)
    train, held_out = slice(None, _NUM_TRAIN), slice(_NUM_TRAIN, None)
    test = (inputs[held_out], targets[held_out])
    return Problem.supervised(network, Categorical(), inputs[train], targets[train], test=test)


def network(params: Params, inputs: Float[Array, "batch pixels"]) -> Float[Array, "batch classes"]:
    """A fully connected tanh network of any depth, giving logits."""
    *hidden, last = params
    for layer in hidden:
        inputs = jnp.tanh(inputs @ layer["w"] + layer["b"])
    return inputs @ last["w"] + last["b"]


def initialize(widths: Sequence[int] = (64, 16, 10), seed: int = 0) -> Params:
    """Gaussian weights of variance 1 / fan-in, biases zero."""
    rng = np.random.default_rng(seed)
    return [
        {
            "w": jnp.asarray(rng.normal(0, fan_in**-0.5, (fan_in, fan_out)), jnp.float32),
            "b": jnp.zeros(fan_out, jnp.float32),
        }
        for fan_in, fan_out in pairwise(widths)
    ]


def train(
    problem: Problem,
    params: Params,
    *,
    num_steps: int = 1000,
    learning_rate: float = 5e-3,
    num_checkpoints: int = 12,
) -> Iterator[tuple[int, Params]]:
    """Full-data Adam under a cosine schedule, giving log-spaced (step, params) from 0 to the last."""
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    steps = sorted({0, *np.geomspace(1, num_steps, num_checkpoints).round().astype(int).tolist()})

    @jax.jit
    def advance(params: Params, state: optax.OptState, count: Array) -> tuple[Params, optax.OptState]:
        def step(_: Array, carry: tuple) -> tuple:
            params, state = carry
            gradients = jax.grad(lambda p: problem.losses(p, problem.data).mean())(params)
            updates, state = optimizer.update(gradients, state)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, count, step, (params, state))

    state, done = optimizer.init(params), 0
    for step in steps:
        params, state = advance(params, state, jnp.asarray(step - done))
        done = step
        yield step, params
