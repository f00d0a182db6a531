"""A transformer of ten million parameters on the text that ships with Python, and one estimate of it.

Decoder-only, on the characters of `pydoc_data.topics`: n sequences of 64, whose loss is −log p of the whole sequence.
It is trained briefly by Adam; then one `llc.estimate`, 4 chains × 200 steps of each step size, three where it chooses
them. The goal is that it ends, inside 24 GiB on two cores, with a value, an error and a verdict.

    python -m benchmarks.speed.transformer                       # 10.7 million parameters, only the budget given
    python -m benchmarks.speed.transformer --step-size 1e-5      # SGLD at one step size
    python -m benchmarks.speed.transformer --quick               # a hundred thousand parameters, to see that it runs
"""

import argparse
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import optax

import llc

HEAD = 64  # width of an attention head
CONTEXT = 64
LARGE = {"width": 384, "layers": 6, "sequences": 1024, "training_steps": 300}
QUICK = {"width": 64, "layers": 2, "sequences": 512, "training_steps": 300}


def sequences(count: int) -> tuple[jax.Array, jax.Array, int]:
    """The first so many sequences of characters, what follows each character, and how many characters there are."""
    text = "".join(topics[name] for name in sorted(topics))
    alphabet, tokens = np.unique(list(text), return_inverse=True)
    tokens = tokens[: count * CONTEXT + 1].astype(np.int32)
    inputs, targets = tokens[:-1].reshape(-1, CONTEXT), tokens[1:].reshape(-1, CONTEXT)
    return jnp.asarray(inputs), jnp.asarray(targets), len(alphabet)


def initialize(rng_key: jax.Array, width: int, layers: int, tokens: int) -> dict[str, jax.Array]:
    """Weights whose variance keeps the scale of what passes; the same matrix of all layers is one array."""
    keys = iter(jax.random.split(rng_key, 6))
    normal = lambda *shape, fan_in: jax.random.normal(next(keys), shape) / math.sqrt(fan_in)
    return {
        "embedding": normal(tokens, width, fan_in=width),
        "position": normal(CONTEXT, width, fan_in=width),
        "query_key_value": normal(layers, width, 3 * width, fan_in=width),
        "mix": normal(layers, width, width, fan_in=2 * layers * width),
        "up": normal(layers, width, 4 * width, fan_in=width),
        "down": normal(layers, 4 * width, width, fan_in=8 * layers * width),
        "gain": jnp.ones((layers, 2, width)),
        "last_gain": jnp.ones(width),
    }


def normalized(x: jax.Array, gain: jax.Array) -> jax.Array:
    """RMSNorm (Zhang & Sennrich 2019)."""
    return gain * x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)


def attention(x: jax.Array, layer: dict[str, jax.Array]) -> jax.Array:
    """Each position looks at itself and at what came before."""
    batch, length, width = x.shape
    heads = (x @ layer["query_key_value"]).reshape(batch, length, 3, width // HEAD, HEAD)
    query, key, value = jnp.moveaxis(heads, 2, 0)
    scores = jnp.einsum("bqhc,bkhc->bhqk", query, key) / math.sqrt(HEAD)
    seen = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
    return jnp.einsum("bhqk,bkhc->bqhc", jax.nn.softmax(seen), value).reshape(x.shape) @ layer["mix"]


def transformer(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """Log-odds of the next character, at each position."""

    def block(x: jax.Array, layer: dict[str, jax.Array]) -> tuple[jax.Array, None]:
        x = x + attention(normalized(x, layer["gain"][0]), layer)
        return x + jax.nn.gelu(normalized(x, layer["gain"][1]) @ layer["up"]) @ layer["down"], None

    x = params["embedding"][inputs] * math.sqrt(params["embedding"].shape[1]) + params["position"]
    stacked = {name: params[name] for name in ("query_key_value", "mix", "up", "down", "gain")}
    x, _ = jax.lax.scan(block, x, stacked)
    return normalized(x, params["last_gain"]) @ params["embedding"].T


def train(problem: llc.Problem, params: dict[str, jax.Array], steps: int, batch: int = 16) -> dict[str, jax.Array]:
    """Adam from 1e-3 down to 0."""
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, steps))

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: dict, state: tuple, indices: jax.Array) -> tuple:
        examples = jax.tree.map(lambda leaf: leaf[indices], problem.data)
        loss, slope = jax.value_and_grad(lambda p: problem.losses(p, examples).mean())(params)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(params, updates), state, loss

    params = jax.tree.map(jnp.copy, params)  # these are given away
    rng, state, loss = np.random.default_rng(0), optimizer.init(params), jnp.nan
    for i in range(steps):
        params, state, loss = step(params, state, rng.integers(0, problem.n, batch))
        if (i + 1) % (steps // 5) == 0:
            print(f"  step {i + 1}: {float(loss) / CONTEXT:.2f} nats a character", flush=True)
    return params


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say how long it took, and how much memory the process has held at most."""
    begun = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
    print(f"{what}: {wall:.1f} s by the clock, {cpu:.1f} s of processors; peak {peak():.2f} GiB", flush=True)


def peak() -> float:
    """GiB of resident memory at most so far (VmHWM)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20


def main() -> None:
    """Train, estimate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a net of a hundred thousand parameters")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=100, help="steps of each chain before it is recorded")
    parser.add_argument("--draws", type=int, default=10, help="with the full loss, of each chain")
    parser.add_argument("--thinning", type=int, default=10, help="steps a draw")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sequences", type=int, help="n: 1024 unless given, 512 of a quick run")
    parser.add_argument("--step-size", type=float, help="of one SGLD; unless given llc chooses kernel and step sizes")
    options = parser.parse_args()
    sizes = QUICK if options.quick else LARGE
    sizes = sizes | ({"sequences": options.sequences} if options.sequences else {})
    print(f"jax {jax.__version__}, load average {os.getloadavg()[0]:.1f}", flush=True)
    inputs, targets, tokens = sequences(sizes["sequences"])
    problem = llc.Problem.supervised(transformer, llc.Categorical(), inputs, targets)
    params = initialize(jax.random.key(0), sizes["width"], sizes["layers"], tokens)
    dimension = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"d = {dimension:,}, {problem.n} sequences of {CONTEXT} of {tokens} characters", flush=True)
    with told(f"{sizes['training_steps']} steps of training"):
        params = train(problem, params, sizes["training_steps"])
    chosen = options.step_size is None
    # a step takes two gradients of a batch; where step sizes are chosen, of three of them, and warm-up is at most half
    steps = (3 if chosen else 1) * (2 * options.warmup + options.draws * options.thinning)
    with told("the estimate"):
        estimate = llc.estimate(
            problem,
            params,
            kernel=None if chosen else llc.samplers.SGLD(options.step_size),
            batch_size=options.batch,
            num_chains=options.chains,
            # warm-up is counted in steps where the step size is chosen, else in draws
            num_warmup=options.warmup if chosen else options.warmup // options.thinning,
            num_draws=options.draws,
            thinning=options.thinning,
            max_gradient_evaluations=2 * options.batch * options.chains * steps,
        )
    print(estimate)
    print(f"verdicts: {', '.join(estimate.verdicts)}; ESS {estimate.ess:.0f}, R̂ {estimate.rhat:.3f}")
    print(f"virial / d: {estimate.virial_ratio}; settings: {estimate.settings}")


if __name__ == "__main__":
    main()
