"""From the launch of `llcoef estimate` to its first draw, compiled programs kept from a run before. The goal is 2 s.

    python -m benchmarks.speed.launch            # five launches of each kernel after the first
    python -m benchmarks.speed.launch --quick    # one

The first draw is there when the first compiled call of the warm-up returns: imports, reading, tracing, programs read
from the cache and choices of calibration lie before it. The network is that of the demo, trained on the digits.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KERNELS = ("hmc", "sgld", "replica_exchange", "nuts")
PROBLEM = "from llc.digits import digits_problem\n\nproblem = digits_problem()\n"
FEW = ("--num-warmup", "20", "--num-draws", "20", "--quiet")
# The command, whose first draw is told and ends it; a whole run before leaves what it compiled.
COMMAND = """
import json, os, sys, time
from llc.cli.main import main
from llc.draws import draw

proceed, launched, whole = draw.proceed, float(sys.argv.pop(1)), sys.argv.pop(1) == "whole"

def first(*arguments):
    returned = proceed(*arguments)
    returned[1].loss_difference.block_until_ready()
    print(json.dumps([time.time() - launched, time.process_time()]), flush=True)
    os._exit(0)

if not whole:
    draw.proceed = first
main()
"""


def main() -> None:
    """A row for each kernel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one launch of one kernel")
    options, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        print("| kernel | whole first run, s | to the first draw, s | s of processors |\n|---|---|---|---|", flush=True)
        for kernel in KERNELS[: 1 if options.quick else None]:
            begun = time.perf_counter()
            launch(folder, kernel, "whole")
            whole = time.perf_counter() - begun
            launches = [launch(folder, kernel, "first draw") for _ in range(1 if options.quick else 5)]
            columns = [f"{statistics.median(c):.2f} ({min(c):.2f}–{max(c):.2f})" for c in zip(*launches, strict=True)]
            print(f"| {kernel} | {whole:.1f} | {' | '.join(columns)} |", flush=True)


def prepare(folder: Path) -> None:
    """A problem file, and a checkpoint of a short training run."""
    import llc
    from llc.digits import digits_problem, initialize, train

    (folder / "problem.py").write_text(PROBLEM)
    _, params = list(train(digits_problem(), initialize(), num_checkpoints=2))[-1]
    llc.checkpoints.save(folder / "last.npz", params)


def launch(folder: Path, kernel: str, until: str) -> list[float]:
    """Seconds by the clock and of processors until the first draw; none of a whole run."""
    environment = os.environ | {
        "XDG_CACHE_HOME": str(folder),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),  # as the command does before it imports JAX
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-c", COMMAND, str(time.time()), until, "estimate", "problem.py", "last.npz"]
    command += ["--kernel", kernel, *FEW]
    ran = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return [] if until == "whole" else json.loads(ran.stdout)


if __name__ == "__main__":
    main()
