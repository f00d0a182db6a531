"""One trained ReLU network, its first layer times 10^k and its second by 10^−k: the same function for every k."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from records import Records, print_table

import llc

N, WIDTHS, NOISE, TRAIN_STEPS = 100, (2, 2, 2, 1), 0.3, 3000
LOCALIZATIONS = {"Relative()": (llc.Relative(), tuple(range(-4, 5))), "γ = 100": (100.0, (-1, 0, 1))}

Network = list[dict[str, Any]]


def network(params: Network, inputs: Any) -> Any:
    """Fully connected, ReLU."""
    *hidden, last = params
    for layer in hidden:
        inputs = jax.nn.relu(inputs @ layer["w"] + layer["b"])
    return inputs @ last["w"] + last["b"]


def trained() -> tuple[llc.Problem, Network]:
    """Noisy outputs of such a network, and the minimum that full-data Adam finds from its weights."""
    rng = np.random.default_rng(0)
    params = [
        {"w": jnp.asarray(rng.normal(0, (2 / a) ** 0.5, (a, b)), jnp.float32), "b": jnp.full(b, 0.5)}
        for a, b in itertools.pairwise(WIDTHS)
    ]
    inputs = rng.normal(size=(N, WIDTHS[0])).astype(np.float32)
    targets = network(params, inputs) + NOISE * rng.normal(size=(N, 1)).astype(np.float32)
    problem = llc.Problem.supervised(network, llc.Gaussian(NOISE), inputs, targets)
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, TRAIN_STEPS))

    def step(_: Any, carry: tuple) -> tuple:
        params, state = carry
        gradients = jax.grad(lambda p: problem.losses(p, problem.data).mean())(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state

    return problem, jax.lax.fori_loop(0, TRAIN_STEPS, step, (params, optimizer.init(params)))[0]


def rescaled(params: Network, power: int) -> Network:
    """The first layer and its biases times 10^k, the second's weights times 10^−k."""
    first, second, *rest = params
    return [jax.tree.map(lambda w: w * 10.0**power, first), second | {"w": second["w"] / 10.0**power}, *rest]


def report(records: Records) -> None:
    """One row a power; by `Relative` and by a single γ."""
    problem, params = trained()
    print(f"\nmean loss {float(problem.losses(params, problem.data).mean()):.4f} nats, widths {WIDTHS}, n = {N}")

    def measure(name: str, power: int) -> dict[str, Any]:
        estimate = llc.estimate(
            problem,
            rescaled(params, power),
            localization=LOCALIZATIONS[name][0],
            rng_key=power + 10,  # independent draws: equal ones would agree whatever they estimate
            progress=False,
        )
        about = {"kernel": estimate.settings["kernel"], "verdicts": [str(v) for v in estimate.verdicts]}
        return about | {"value": estimate.value, "std_error": estimate.std_error, "rhat": estimate.rhat}

    kept = {
        name: {p: records.get({"localization": name, "power": p}, lambda n=name, p=p: measure(n, p)) for p in powers}
        for name, (_, powers) in LOCALIZATIONS.items()
    }
    show = lambda r: f"{r['value']:.3f} ± {r['std_error']:.3f} | {', '.join(r['verdicts'])}" if r else " | "
    powers = sorted({power for row in kept.values() for power in row})
    rows = [f"{p} | {' | '.join(show(row.get(p)) for row in kept.values())}" for p in powers]
    print_table("k | " + " | ".join(f"λ̂ by {name} | verdicts" for name in kept), rows)
    for name, row in kept.items():
        value, error = np.array([[r["value"], r["std_error"]] for r in row.values()]).T
        mean = np.sum(value / error**2) / np.sum(1 / error**2)
        square = np.sum(((value - mean) / error) ** 2)
        print(
            f"\n{name}: weighted mean {mean:.3f}, χ² {square:.1f} of {len(value) - 1} degrees of freedom, largest "
            f"deviation {np.abs((value - mean) / error).max():.1f} standard errors, λ̂ from {value.min():.3f} to "
            f"{value.max():.3f}; {row[0]['kernel']}"
        )
