"""What a graphics processor is used for: the useful operations of a step against the fastest matrix product in it.

Nets of 1e7 and 1e8 parameters, batch 4096; weights in float32, multiplied in float32 (where the device has TF32, JAX
uses it by default) and in bfloat16 (the network casts them; the chain's state stays float32).
"""

import argparse
import sys

import jax
import jax.numpy as jnp

import llc
from benchmarks.peers import summary
from benchmarks.speed.nets import (
    STEP_SIZE,
    Sampling,
    dimension,
    make_posterior,
    make_problem,
    matrix_product,
    relu_network,
    useful_flops,
    widths_of,
)
from benchmarks.speed.turns import Records, in_turns, milliseconds, run_section, table

PARAMETERS = (10_000_000, 100_000_000)
SQUARE = 8192
GRADIENTS = ("minibatch", "control_variate")


def in_bfloat16(params: list, x: jax.Array) -> jax.Array:
    """The same network in half the digits; its log-odds in float32."""
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, x))
    return relu_network(*half).astype(jnp.float32)


def measure(options: argparse.Namespace, records: Records) -> None:
    """A row of the table for each net, type of numbers, gradient and number of chains."""
    size = 256 if options.quick else SQUARE
    rows = []
    for parameters in (100_000,) if options.quick else PARAMETERS:
        widths = widths_of(parameters)
        for kind, network, dtype in (
            ("float32", relu_network, jnp.float32),
            ("bfloat16", in_bfloat16, jnp.bfloat16),
        ):
            jax.clear_caches()
            posterior = make_posterior(make_problem(widths, 2 * options.batch, network), widths, options.batch)
            calls = {"product": matrix_product(size, size, size, dtype)}
            for gradient in GRADIENTS:
                for chains in (1, 4):
                    kernel = llc.samplers.SGLD(STEP_SIZE, gradient=gradient)
                    calls[f"{gradient}, {chains}"] = Sampling(kernel, posterior, chains)
            times = in_turns(calls, turns=options.turns, seconds=options.seconds)
            peak = [2 * size**3 / t for t in times["product"].wall]
            for name, measured in times.items():
                records.add(f"{dimension(widths)} parameters, {kind}", name, measured, dimension=dimension(widths))
                if name == "product":
                    continue
                gradient, chains = name.split(", ")
                flops = int(chains) * useful_flops(widths, options.batch) * (1 + (gradient == "control_variate"))
                rates = [flops / t for t in measured.wall]
                share = [r / p for r, p in zip(rates, peak, strict=True)]
                a_step = milliseconds([t / int(chains) for t in measured.wall])
                cells = [f"{dimension(widths):,}", kind, gradient, chains, a_step]
                rows.append([*cells, summary([1e-12 * r for r in rates], ".3g"), summary(share)])
            rows.append(
                [
                    f"{dimension(widths):,}",
                    kind,
                    "matrix product",
                    "",
                    "",
                    summary([1e-12 * p for p in peak], ".3g"),
                    "1",
                ]
            )
    print(f"\nBatch {options.batch}, products of {size} × {size}:")
    table("parameters | multiplied in | step | chains | ms a chain-step | TFLOP/s | of the product's rate", rows)


def main() -> int:
    """Say that there is no such device, or measure; a quick run measures on any."""
    if jax.default_backend() == "cpu" and "--quick" not in sys.argv:
        print(f"No graphics processor among JAX's devices, {jax.devices()}: nothing measured.")
        return 0
    run_section(measure, __doc__, batch=4096)
    return 0


if __name__ == "__main__":
    sys.exit(main())
