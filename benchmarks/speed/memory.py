"""Bytes a parameter and chain: what sampling holds beside data and intermediates, in units of the parameters' bytes.

    python -m benchmarks.speed.memory            # 1e7 parameters, two minutes
    python -m benchmarks.speed.memory --quick    # 1e5

Batches are small, so that intermediates are too. `compiled` is the compiler's account of the program that `draw` runs,
with the posterior it is given; `resident` what the process came to hold (VmHWM, a process for each row), above its size
before the posterior was made: `made` while that was made, `sampled` while chains were started and drawn; `estimate` is
`llc.memory`. The goal is chains × (2 + preconditioner) + 2.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

KERNELS = {"SGLD": 0, "PreconditionedSGLD": 1, "SGHMC": 1}  # what a chain keeps beside its position: moments, momentum
CHAINS = (1, 2, 4)
N, BATCH = 64, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1e5 parameters")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    if options.row:
        kernel, chains, parameters = options.row
        print(json.dumps(measure(kernel, int(chains), int(parameters))))
        return
    parameters = 10**5 if options.quick else 10**7
    print(f"In units of the bytes of {parameters:.0e} parameters.\n")
    print("| kernel | chains | goal | compiled | resident: made | resident: sampled | estimate |")
    print("|---|---|---|---|---|---|---|")
    for kernel, arrays in KERNELS.items():
        for chains in CHAINS:
            command = [sys.executable, "-m", "benchmarks.speed.memory", "--row", kernel, str(chains), str(parameters)]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            values = " | ".join(f"{row[name]:.1f}" for name in ("compiled", "made", "sampled", "estimate"))
            print(f"| {kernel} | {chains} | {chains * (2 + arrays) + 2} | {values} |", flush=True)


def measure(kernel_name: str, num_chains: int, parameters: int) -> dict[str, float]:
    """One row, in a process of its own."""
    import jax.numpy as jnp

    import llc
    from benchmarks.speed.nets import STEP_SIZE, make_posterior, make_problem, widths_of
    from llc.draws import draw, programs

    widths = widths_of(parameters)
    problem = make_problem(widths, N)
    kernel = getattr(llc.samplers, kernel_name)(step_size=STEP_SIZE)
    small = make_posterior(make_problem((16, 4, 4, 10), N), (16, 4, 4, 10), BATCH)
    draw.advance(draw.start_chains(kernel, small, 0, num_chains=1, num_warmup=0), 1)  # what any program takes
    before = _resident("VmRSS")
    posterior = make_posterior(problem, widths, BATCH)
    made = _resident("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    estimate = llc.memory(kernel, posterior, num_chains=num_chains)
    chains = draw.start_chains(kernel, posterior, 0, num_chains=num_chains, num_warmup=0)
    chains = draw.advance(chains, 3)
    sampled = _resident("VmHWM")
    plan = programs.Plan(*map(jnp.asarray, (1, 0, 1, 1)))
    program = programs.proceed.lower((kernel, posterior, plan), chains.states, programs.CAPACITY, False).compile()
    account = program.compiled.memory_analysis()
    held = account.argument_size_in_bytes + account.output_size_in_bytes - account.alias_size_in_bytes
    unit = 4 * posterior.dimension
    return {
        "compiled": (held + account.temp_size_in_bytes - estimate.data) / unit,
        "made": (made - before) / unit,
        "sampled": (sampled - before) / unit,
        "estimate": (estimate.total - estimate.data) / unit,
    }


def _resident(what: str) -> int:
    """Bytes of resident memory: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{what}:")))


if __name__ == "__main__":
    main()
