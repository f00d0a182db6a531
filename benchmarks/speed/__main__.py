"""Speed: what a step costs beside its natural floors and beside devinterp, and how cost and memory grow.

    python -m benchmarks.speed                          # all of it, about an hour on two quiet cores
    python -m benchmarks.speed training breakdown       # sections; --quick: small nets, few turns
    python -m benchmarks.speed --gpu                    # and what a graphics processor is used for

    training      a chain-step beside Optax's training step            goal 1.25, with the control variate 2.25
    peer          a chain-step beside devinterp 1.3.2's                goals 15 and 100 times as fast
    arithmetic    useful operations beside the matrix product's rate   goal 0.75
    growth        cost as parameters, examples and chains grow         two figures
    breakdown     the parts of a step, and every stochastic kernel
    memory        bytes a parameter and chain
    launch        a command to its first draw                          goal 2 s
    devices       weak scaling over simulated devices
    transformer   ten million parameters, one estimate                 goal: inside 24 GiB
    gpu           the share of a graphics processor's peak             only with --gpu or by name

From the root of the repository; it needs `pip install pytest-benchmark`. Each section is a process of its own, prints
Markdown, and keeps its times in SECTION.json in the folder `--out`. Cold and warm are apart: a first call with its
compilation, and steps afterwards.
"""

import argparse
import subprocess
import sys
from pathlib import Path

SECTIONS = ("training", "peer", "arithmetic", "growth", "breakdown", "memory", "launch", "devices", "transformer")
UNRECORDED = ("memory", "launch", "transformer")  # these keep no times


def main() -> int:
    """Run the sections one after the other, and name those that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="all but gpu unless given")
    parser.add_argument("--quick", action="store_true", help="to see that it runs")
    parser.add_argument("--gpu", action="store_true", help="the section gpu too")
    parser.add_argument("--out", type=Path, default=Path("speed"), help="folder for records and figures")
    parser.add_argument("--peer-python", help="an interpreter that has devinterp; an environment is made unless given")
    options = parser.parse_args()
    sections = options.sections or list(SECTIONS)
    if unknown := set(sections) - {*SECTIONS, "gpu"}:
        parser.error(f"{', '.join(unknown)}: no such section; there are {', '.join(SECTIONS)} and gpu.")
    if options.gpu and "gpu" not in sections:
        sections.append("gpu")
    failed = []
    for section in sections:
        print(f"\n## {section}\n", flush=True)
        command = [sys.executable, "-m", f"benchmarks.speed.{section}", *(["--quick"] if options.quick else [])]
        if section not in UNRECORDED:
            command += ["--out", str(options.out)]
        if section == "peer" and options.peer_python:
            command += ["--peer-python", options.peer_python]
        if subprocess.run(command, check=False).returncode:
            failed.append(section)
    if failed:
        print(f"\nFailed: {', '.join(failed)}.", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
