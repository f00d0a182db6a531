"""What the tangent of a large network costs: a 784-700-600-10 tanh net of a million weights on 10,000 examples.

Its Jacobian would hold 10¹¹ numbers. Printed are ½ d_eff and the trace of A with their errors, seconds, and the peak of
resident memory, whose goal is 4 GiB.

    python benchmarks/tangent_memory.py [MAX_PRODUCTS]
"""

import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import llc
from llc.kernels.tangent import tangent

WIDTHS = (784, 700, 600, 10)
N = 10_000
STEPS = 100  # of Adam, on batches of 256
GIB = 2**30


def apply_fn(params: list, x: jax.Array) -> jax.Array:
    """A tanh network."""
    for w, b in params[:-1]:
        x = jnp.tanh(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def trained() -> tuple[llc.Problem, list]:
    """Ten noisy patterns to tell apart, and a network that has begun to."""
    keys = jax.random.split(jax.random.key(0), 6)
    labels = jax.random.randint(keys[0], (N,), 0, WIDTHS[-1])
    inputs = 0.08 * jax.random.normal(keys[1], (WIDTHS[-1], WIDTHS[0]))[labels] + jax.random.normal(keys[2], (N, 784))
    sizes = zip(keys[3:], WIDTHS[:-1], WIDTHS[1:], strict=True)
    params = [(jax.random.normal(key, (a, b)) / np.sqrt(a), jnp.zeros(b)) for key, a, b in sizes]
    problem = llc.Problem.supervised(apply_fn, llc.Categorical(), inputs, labels)
    optimizer = optax.adam(3e-4)
    state = optimizer.init(params)

    @jax.jit
    def step(params: list, state: tuple, batch: tuple) -> tuple:
        gradient = jax.grad(lambda p: problem.losses(p, batch).mean())(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    for i in range(STEPS):
        some = slice(256 * i % (N - 256), 256 * i % (N - 256) + 256)
        params, state = step(params, state, (inputs[some], labels[some]))
    return problem, params


def peak() -> float:
    """GiB of resident memory at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def main() -> None:
    """Print the figures."""
    max_products = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    problem, params = trained()
    posterior = llc.LocalPosterior(problem, params)
    print(f"d = {posterior.dimension}, n = {posterior.n}, blocks of {posterior.block_size} examples, {peak():.2f} GiB")
    begun = time.perf_counter()
    predicted = tangent(posterior, max_products=max_products)
    seconds = time.perf_counter() - begun
    print(predicted)
    value, error = predicted.trace(lambda h: h)
    probes, depth = predicted.nodes.shape
    print(f"tr A = {value:.6g} ± {error:.2g}, the largest eigenvalue {predicted.nodes.max():.4g}")
    print(f"{probes} probes of {depth} products: {seconds:.0f} s, peak {peak():.2f} GiB")


if __name__ == "__main__":
    main()
