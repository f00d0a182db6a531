"""Wall time of one chain's SGLD step, ours and devinterp 1.3.2's in turn.

    python -m benchmarks.speed.peer --peer-python PATH      # an environment that has devinterp
    python -m benchmarks.speed.peer --environment FOLDER    # makes one there; in a temporary folder by default

Two nets: 784-128-128-10 on batches of 512 (goal 15 times), and 20-20-20-10 on all of its thousand examples (goal 100).
Same update rule, problem, checkpoint and hyperparameters: plain minibatch gradient, localisation, noise. "Steps" leave
out preparation (ours: the difference of two run lengths; theirs: first to last step of a chain); "whole call" is all of
the public calls, compiled, by the clock and of processors. Ours records the full loss once a chain in it; the peer
records none. Ours draws batches with replacement, theirs by shuffled epochs; theirs runs the fastest of its
configurations on this machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import llc
from benchmarks.peers import DEVINTERP, ask, peer_python, summary
from benchmarks.speed.nets import WIDTHS, make_problem, weights
from benchmarks.speed.turns import Records, Times, machine, milliseconds, ratios, table
from llc.draws.draw import advance, start_chains

GAMMA, LR, NBETA = 100.0, 1e-5, 2000.0  # a step of ours is GAMMA · LR in whitened coordinates
CHAINS = 4
SCREENING = 30  # steps that choose the peer's configuration


class Case(NamedTuple):
    """A net, its data, and the steps of a chain in one turn: so many of ours as take a time that can be measured."""

    widths: tuple[int, ...]
    n: int
    batch: int
    steps: int
    our_steps: int
    goal: float


CASES = (Case(WIDTHS, 20_000, 512, 200, 200, 15), Case((20, 20, 20, 10), 1000, 1000, 200, 10_000, 100))


class Ours:
    """Our half: the problem, and one measurement of it."""

    def __init__(self, case: Case) -> None:
        problem, self.center = make_problem(case.widths, case.n), weights(case.widths)
        self.inputs, self.targets = map(np.asarray, problem.data)
        self.posterior = llc.LocalPosterior(
            problem, self.center, nbeta=NBETA, localization=GAMMA, batch_size=case.batch
        )
        self.kernel, self.steps = llc.samplers.SGLD(step_size=GAMMA * LR, gradient="minibatch"), case.our_steps
        self.cold = self.run(2)["wall"]

    def save(self, path: Path) -> None:
        """The problem and the checkpoint, for the peer."""
        layers = {f"w{i}": np.asarray(w) for i, (w, _) in enumerate(self.center)}
        np.savez(path, inputs=self.inputs, targets=self.targets.astype(np.int64), **layers)  # as torch's loss wants

    def run(self, steps: int) -> dict[str, float]:
        """Seconds of a whole call, and the mean loss on its minibatches."""
        begun = time.perf_counter(), time.process_time()
        chains = start_chains(self.kernel, self.posterior, 0, num_chains=CHAINS, num_warmup=0)
        draws = advance(chains, 1, thinning=steps).draws
        wall, cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
        loss = float(np.mean(draws.loss_difference) + np.mean(self.posterior.center_losses))
        return {"wall": wall, "cpu": cpu, "loss": loss}

    def measure(self) -> dict[str, float]:
        """Seconds a chain-step."""
        short, long = self.run(1), self.run(self.steps)
        step = (long["wall"] - short["wall"]) / (CHAINS * (self.steps - 1))
        return {"step": step, **{name: long[name] / (CHAINS * self.steps) for name in ("wall", "cpu")}} | {
            "loss": long["loss"]
        }


def compare(case: Case, python: str, turns: int, records: Records) -> None:
    """Measure in turn, and print."""
    ours = Ours(case)
    with tempfile.TemporaryDirectory() as folder:
        ours.save(Path(folder, "problem.npz"))
        settings = {"batch": case.batch, "chains": CHAINS, "lr": LR, "localization": GAMMA, "nbeta": NBETA}
        script = str(Path(__file__).parents[1] / "peer_speed.py")
        command = [python, script, str(Path(folder, "problem.npz")), json.dumps(settings)]
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}  # for its worker processes too
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet) as peer:
            hello = json.loads(peer.stdout.readline())
            names = hello["configurations"]
            screened = {name: ask(peer, configuration=name, steps=SCREENING)["step"] * 1e3 for name in names}
            chosen = min(screened, key=screened.get)
            pairs = [(ours.measure(), ask(peer, configuration=chosen, steps=case.steps)) for _ in range(turns)]
            peer.stdin.close()
    name = f"{'-'.join(map(str, case.widths))} ReLU"
    print(f"\n{name}, n = {case.n}, batch {case.batch}, {CHAINS} chains; {turns} turns, median (least–most).")
    print(f"{hello['versions']}: {case.steps} steps of a chain; ours {case.our_steps}, first call {ours.cold:.1f} s.")
    rows = []
    for what, key in {"steps": "step", "whole call": "wall", "whole call, of processors": "cpu"}.items():
        mine, theirs = ([half[key] for half in halves] for halves in zip(*pairs, strict=True))
        goal = f"{case.goal:g}" if key == "step" else ""
        rows.append([what, milliseconds(mine), milliseconds(theirs), ratios(theirs, mine), goal])
    table("ms a chain-step | ours | devinterp | theirs over ours | goal", rows)
    mine, theirs = ([half["loss"] for half in halves] for halves in zip(*pairs, strict=True))
    print(f"\nMean minibatch loss: ours {summary(mine, '.3f')}, theirs {summary(theirs, '.3f')} nats.")
    print(f"The peer ran as `{chosen}`; ms a chain-step over {SCREENING} steps of each of its configurations:")
    print("; ".join(f"{name}: {ms:.2g}" for name, ms in screened.items()) + ".", flush=True)
    for who, half in (("llc", 0), ("devinterp", 1)):
        step, cpu = ([pair[half][key] for pair in pairs] for key in ("step", "cpu"))
        records.add(name, who, Times(ours.cold if who == "llc" else float("nan"), step, cpu))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn of few steps, of the small net")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the record (JSON)")
    parser.add_argument("--peer-python", help="an interpreter that has devinterp")
    parser.add_argument("--environment", type=Path, help="a folder for the peer's environment, made where it is absent")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    records = Records()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        python = options.peer_python or peer_python(options.environment or Path(folder, "environment"), DEVINTERP)
        for case in CASES[1:] if options.quick else CASES:
            few = case._replace(steps=30, our_steps=1000) if options.quick else case
            compare(few, python, 1 if options.quick else options.turns, records)
    options.out.mkdir(parents=True, exist_ok=True)
    records.save(options.out / "peer.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
