"""What is timed: ReLU networks of any size, our chains on them, and plain training of them by Optax."""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import llc
from llc.draws.draw import advance, start_chains
from llc.samplers.kernel import Kernel

WIDTHS = (784, 128, 128, 10)
LOCALIZATION, NBETA, STEP_SIZE = 100.0, 2000.0, 1e-6  # steps so small that no net leaves its place


def relu_network(params: list, x: jax.Array) -> jax.Array:
    *hidden, (weight, bias) = params
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return x @ weight + bias


def widths_of(parameters: int) -> tuple[int, ...]:
    """784-h-h-10 with about so many parameters; 16-h-h-10 where that is too large."""
    inputs = 784 if parameters >= 50_000 else 16
    linear = inputs + 12
    hidden = round((-linear + math.sqrt(linear**2 + 4 * parameters)) / 2)
    return inputs, max(hidden, 1), max(hidden, 1), 10


def dimension(widths: tuple[int, ...]) -> int:
    return sum((a + 1) * b for a, b in itertools.pairwise(widths))


def useful_flops(widths: tuple[int, ...], batch: int) -> int:
    """Of one chain's step: forward, weight gradients, and input gradients of all layers but the first."""
    products = [fan_in * fan_out for fan_in, fan_out in itertools.pairwise(widths)]
    return 2 * batch * (2 * sum(products) + sum(products[1:]))


def weights(widths: tuple[int, ...]) -> list:
    """He's initialization (2015)."""
    rng = np.random.default_rng(0)
    pairs = itertools.pairwise(widths)
    normal = lambda a, b: math.sqrt(2 / a) * rng.standard_normal((a, b), np.float32)
    return [(jnp.asarray(normal(a, b)), jnp.zeros(b)) for a, b in pairs]


def make_problem(widths: tuple[int, ...], n: int, network: object = relu_network) -> llc.Problem:
    """Noise to be told apart."""
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((n, widths[0]), np.float32)
    return llc.Problem.supervised(network, llc.Categorical(), inputs, rng.integers(0, widths[-1], n))


def make_posterior(problem: llc.Problem, widths: tuple[int, ...], batch: int) -> llc.LocalPosterior:
    return llc.LocalPosterior(problem, weights(widths), nbeta=NBETA, localization=LOCALIZATION, batch_size=batch)


class Sampling:
    """Chains that go on for so many steps a call, by the program that `llc.draw` runs."""

    def __init__(self, kernel: Kernel, posterior: llc.LocalPosterior, chains: int) -> None:
        self.chains = start_chains(kernel, posterior, 0, num_chains=chains, num_warmup=0)

    def __call__(self, steps: int) -> None:
        """One draw of every chain; its full loss is the same in a short call and a long one."""
        self.chains = advance(self.chains._replace(draws=None), 1, thinning=steps)


class Training:
    """Optax's SGD on random minibatches of the same data, or on one batch, a jitted step at a time or in one loop."""

    def __init__(
        self, problem: llc.Problem, params: list, batch: int, *, gather: bool = True, loop: bool = False
    ) -> None:
        optimizer, n = optax.sgd(1e-6), problem.n
        self.state = jax.tree.map(jnp.copy, params), optimizer.init(params), jax.random.key(0)
        self.data, self.loop = problem.data, loop

        def step(data: tuple, state: tuple) -> tuple:
            params, moments, key = state
            key, batch_key = jax.random.split(key)
            indices = jax.random.randint(batch_key, (batch,), 0, n)
            examples = jax.tree.map(lambda leaf: leaf[indices] if gather else leaf[:batch], data)
            gradient = jax.grad(lambda p: problem.loss_fn(p, examples).mean())(params)
            updates, moments = optimizer.update(gradient, moments, params)
            return optax.apply_updates(params, updates), moments, key

        def steps(data: tuple, state: tuple, count: int) -> tuple:
            return jax.lax.fori_loop(0, count, lambda _, state: step(data, state), state)

        # the data are an argument: in a closure they would be a constant of the program
        self.step, self.steps = jax.jit(step, donate_argnums=1), jax.jit(steps, donate_argnums=1)

    def __call__(self, steps: int) -> object:
        """So many steps."""
        if self.loop:
            self.state = self.steps(self.data, self.state, steps)
        else:
            for _ in range(steps):
                self.state = self.step(self.data, self.state)
        return self.state


def repeated(function: Callable[..., object], *arguments: object) -> Callable[[int], None]:
    """A compiled call a step, each waited for."""
    compiled = jax.jit(function)

    def steps(count: int) -> None:
        for _ in range(count):
            jax.block_until_ready(compiled(*arguments))

    return steps


def matrix_product(m: int, k: int, n: int, dtype: object = jnp.float32) -> Callable[[int], None]:
    """Products of that shape, one a step."""
    return repeated(jnp.matmul, jnp.ones((m, k), dtype), jnp.ones((k, n), dtype))
