"""Accuracy of what llc says by default settings, each part against exact values.

    python benchmarks/accuracy exactness   # conjugate Bayesian linear regression: λ_n, WBIC, F, WAIC in closed form
    python benchmarks/accuracy crossings   # (w1^a w2^b) x: the nine cases of devinterp's notebook, by quadrature
    python benchmarks/accuracy rescaling   # one ReLU network, its layers rescaled by 10^k
    python benchmarks/accuracy cost        # gradients to a standard error of 5 %, beside plain minibatch SGLD
    python benchmarks/accuracy coverage    # simulated data: is the 95 % interval one?
    python benchmarks/accuracy thermostat  # SGNHT on quadratics with the noise of minibatches: 1.00 ± 0.02 of d/2
    python benchmarks/accuracy virial      # how many times fewer draws the virial leaves to make
    python benchmarks/accuracy flat        # flat directions that HMC crosses slowly, beside replica exchange

Every part prints Markdown, and keeps what it measured in PART.jsonl: run again, it goes on where it ended.
"""

import argparse
import os
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

# small arrays: threads would only wait for each other
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

from records import Records

PARTS = ("exactness", "crossings", "rescaling", "cost", "coverage", "thermostat", "virial", "flat")


def main() -> None:
    """Measure what the file does not hold, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("path", type=Path, nargs="?", help="file of results, PART.jsonl unless given")
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "numpyro", "numpy", "arviz-stats"))
    print(f"{date.today()}, {packages}, load average {os.getloadavg()[0]:.1f}")
    import_module(arguments.part).report(Records(arguments.path or Path(f"{arguments.part}.jsonl")))


if __name__ == "__main__":
    main()
