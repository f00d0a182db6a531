"""Where a step's time goes: its parts compiled apart, and whole steps of every stochastic kernel, in turn.

Parts that are compiled apart cannot share passes over memory with each other, so that their sum may exceed the step.
"Whole" steps are those of `llc.draw`, of one chain.
"""

import argparse
from functools import partial
from typing import Any

import jax

import llc
from benchmarks.speed.nets import STEP_SIZE, Sampling, dimension, make_posterior, make_problem, repeated, widths_of
from benchmarks.speed.turns import Records, Steps, in_turns, milliseconds, ratios, run_section, table
from llc import samplers
from llc.samplers.kernel import virial
from llc.samplers.noise import standard_normal

PARAMETERS = (100_000, 1_000_000, 10_000_000)
N = 8192
KERNELS = {
    "SGLD, minibatch": partial(samplers.SGLD, gradient="minibatch"),
    "SGLD, control_variate": samplers.SGLD,
    "SGLD, anchored": partial(samplers.SGLD, gradient="anchored"),
    "PreconditionedSGLD, rmsprop": partial(samplers.PreconditionedSGLD, gradient="minibatch"),
    "SGHMC": partial(samplers.SGHMC, gradient="minibatch"),
    "SGNHT": partial(samplers.SGNHT, gradient="minibatch"),
    "UnderdampedLangevin": partial(samplers.UnderdampedLangevin, gradient="minibatch"),
}
WHOLE = "SGLD, minibatch"


def measure(options: argparse.Namespace, records: Records) -> None:
    """A table a net."""
    for parameters in PARAMETERS[: 1 if options.quick else None]:
        jax.clear_caches()
        widths = widths_of(parameters)
        posterior = make_posterior(make_problem(widths, N), widths, options.batch)
        calls: dict[str, Steps] = {f"part: {name}": repeated(*part) for name, part in parts(posterior).items()}
        for name, kernel in KERNELS.items():
            calls[name] = Sampling(kernel(step_size=STEP_SIZE), posterior, 1)
        times = in_turns(calls, turns=options.turns, seconds=options.seconds)
        for name, measured in times.items():
            records.add(f"{dimension(widths)} parameters", name, measured, dimension=dimension(widths))
        whole = times[WHOLE]
        rows = [
            [name, milliseconds(t.wall), milliseconds(t.cpu), ratios(t.wall, whole.wall)] for name, t in times.items()
        ]
        print(f"\nd = {dimension(widths):,}, batch {options.batch}:")
        table(f"of one chain | ms | ms of processors | of a step of {WHOLE}", rows)


def parts(posterior: llc.LocalPosterior) -> dict[str, tuple[Any, ...]]:
    """Each part: a function and its arguments."""
    key = jax.random.key(0)
    v = 1e-3 * jax.random.normal(key, (posterior.dimension,))
    indices = lambda p, key: jax.random.randint(key, (p.batch_size,), 0, p.n)
    examples, center_losses = posterior.batch(indices(posterior, key))
    difference = lambda p, v, examples, losses: p.mean_difference(v, examples, losses)
    root = STEP_SIZE**0.5
    return {
        "gradient of a batch at hand": (
            jax.value_and_grad(difference, argnums=1),
            posterior,
            v,
            examples,
            center_losses,
        ),
        "its value alone": (difference, posterior, v, examples, center_losses),
        "weights from coordinates": (lambda p, v: p.params(v), posterior, v),
        "indices and gather": (lambda p, key: p.batch(indices(p, key)), posterior, key),
        "normal numbers": (standard_normal, key, v),
        "the move, noise at hand": (
            lambda p, v, g, noise: v - 0.5 * STEP_SIZE * (p.nbeta * g + v) + root * noise,
            posterior,
            v,
            v,
            v,
        ),
        "virial": (virial, posterior, v, v),
        "nothing: what a call from Python costs each of these": (lambda p: p.nbeta, posterior),
        "squared distance, once a draw": (lambda p, v: p.squared_distance(v), posterior, v),
    }


if __name__ == "__main__":
    run_section(measure, __doc__, batch=512)
