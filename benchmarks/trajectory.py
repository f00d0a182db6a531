"""Trajectories: killed runs, their cost beside sampling, their memory, and devinterp's loop beside ours.

    python benchmarks/trajectory.py resume      # SIGKILL at random moments, of the run and of a Dask cluster's workers
    python benchmarks/trajectory.py overhead    # 100 checkpoints of 85,002 weights: sampling against everything else
    python benchmarks/trajectory.py memory      # peak of resident memory over checkpoints and over draws
    python benchmarks/trajectory.py peer --peer-python PATH      # or --environment FOLDER, as for speed

All networks are trained on scikit-learn's digits, n = 1500, by full-data Adam; their checkpoints lie on disk. A run is
a process of its own, timed from the call of `llc.trajectory` to its end: imports are left out, compilation is not.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import redirect_stderr
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
from parts import COMPILATION, REST, Clock
from peers import DEVINTERP, ask, cpu_model, peer_python, summary

import llc
from llc.digits import digits_problem, initialize, train
from llc.draws.storage import load

FIXED = {"localization": 100.0, "num_chains": 4, "num_warmup": 10, "num_draws": 100, "thinning": 1, "step_size": 1e-2}
BIG = FIXED | {"num_draws": 40, "thinning": 8, "step_size": 1e-3}
_STEPS_A_DRAW = 10  # of ours beside the peer's
FOUND = {"localization": 1e4, "num_chains": 2, "num_draws": 50, "thinning": 1, "max_gradient_evaluations": 2e5}


def checkpoints(folder: Path, widths: list[int], count: int) -> Path:
    """The last of a run's log-spaced checkpoints, on disk."""
    folder.mkdir(parents=True)
    run = train(digits_problem(), initialize(widths), num_checkpoints=2 * count + 20)
    for step, params in list(run)[-count:]:
        llc.checkpoints.save(folder / f"step_{step:06d}.npz", params, step=step)
    return folder


def settings_of(asked: dict[str, Any]) -> dict[str, Any]:
    """Keywords of `llc.trajectory` from what JSON can say."""
    kernel = {name: asked[name] for name in ("step_size", "gradient") if name in asked}
    others = {name: value for name, value in asked.items() if name not in kernel}
    return {"kernel": llc.samplers.SGLD(**kernel), "progress": False, **others}


def once(request: dict[str, Any]) -> None:
    """What a process of its own does: the same run `calls` times, the times and values of each on a line of JSON."""
    problem, paths = digits_problem(), sorted(Path(request["checkpoints"]).glob("*.npz"))[: request["count"]]
    settings, clock = settings_of(request["settings"]), Clock()
    print("begins", flush=True)
    for call in range(request.get("calls", 1)):
        clock.seconds.clear()
        clock.compilations = 0
        begun = time.perf_counter(), time.process_time()
        with clock.part(REST):
            run = llc.trajectory(problem, paths, store=Path(request["store"]) / str(call), **settings)
        answer = {
            "wall": time.perf_counter() - begun[0],
            "cpu": time.process_time() - begun[1],
            "parts": clock.seconds,
            "compilations": clock.compilations,
            "peak": peak_memory(),
            "llc": [row["llc"] for row in run.rows],
            "std_error": [row["std_error"] for row in run.rows],
            "verdicts": [[str(verdict) for verdict in row["verdicts"]] for row in run.rows],
        }
        print(json.dumps(answer), flush=True)


def peak_memory() -> float:
    """Largest resident memory of this process in MB; `getrusage` would also know that of the one that started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in status if line.startswith("VmHWM"))


def command(**request: Any) -> list[str]:
    return [sys.executable, __file__, "once", json.dumps(request, default=str)]


def fresh(**request: Any) -> list[dict[str, Any]]:
    """The answers of a new process."""
    done = subprocess.run(command(**request), stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()[1:]]


# What is left of a killed run


class Left:
    """Stores that runs were killed in, held against an undisturbed one; what is wrong stops the benchmark."""

    def __init__(self, whole: Path) -> None:
        self.whole, self.numbers = whole, numbers_of(whole)
        self.phases: Counter = Counter()
        self.temporary = self.runs = 0

    def killed(self, store: Path, begun: bool) -> None:
        """Note what had been done."""
        pilots, draws = (len(list(folder.glob("*.nc"))) for folder in (store / "pilots", store))
        phase = "between pilots and the last checkpoint" if draws < len(self.numbers) else "after the last checkpoint"
        phase = phase if pilots else "survey, compilation, first pilot"
        self.phases[phase if begun else "start of Python, imports"] += 1

    def finished(self, store: Path) -> None:
        """Bit for bit the same rows and draws, and nothing else but temporary files."""
        assert numbers_of(store) == self.numbers, store
        for folder in ("pilots", "."):
            draws = readable(store / folder)
            assert draws.keys() == readable(self.whole / folder).keys()
            for name, tree in draws.items():
                assert tree.identical(load(self.whole / folder / name)), name
        left = {path.name for path in store.glob("*")} - {path.name for path in self.whole.glob("*")}
        left |= {path.name for path in store.glob("pilots/*")} - {path.name for path in self.whole.glob("pilots/*")}
        assert all(name.startswith((".tmp-", ".task-")) for name in left), left
        self.temporary += len(left)
        self.runs += 1


def readable(folder: Path) -> dict[str, Any]:
    """The draws of a folder; `load` refuses what is damaged."""
    return {path.name: load(path) for path in sorted(folder.glob("*.nc"))}


def numbers_of(store: Path) -> list[str]:
    return [json.dumps(row) for row in llc.Trajectory.read(store).to_dict()["steps"]]


def resume(options: argparse.Namespace) -> None:
    """Kill, go on, compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        given = {"checkpoints": checkpoints(folder / "given", options.widths, options.count), "count": options.count}
        given["settings"] = FOUND
        fresh(**given, store=folder / "first")
        begun = time.perf_counter()
        fresh(**given, store=folder / "whole")
        duration = time.perf_counter() - begun
        print(f"Undisturbed {duration:.1f} s, imports included.\n\n| killed | kills | finished runs |", end="")
        print(" half-written folders left | when |\n|---|---|---|---|---|")
        left = Left(folder / "whole" / "0")
        left.finished(folder / "first" / "0")
        left.runs = 0
        kill_runs(folder, given, duration, left, options.kills)
        if options.kills:
            print_left("the run itself", left, options.kills)
        left = Left(folder / "whole" / "0")
        lost = kill_workers(folder, given, left, options.worker_kills)
        killed = f"a Dask worker of two ({lost} times `ChildProcessError`, then called again)"
        print_left(killed, left, options.worker_kills)


def print_left(killed: str, left: Left, kills: int) -> None:
    when = ", ".join(f"{count} {phase}" for phase, count in left.phases.most_common())
    print(f"| {killed} | {kills} | {left.runs}, all bit-identical | {left.temporary} | {when} |", flush=True)


def kill_runs(folder: Path, given: dict[str, Any], duration: float, left: Left, kills: int) -> None:
    rng, dealt = np.random.default_rng(0), 0
    while dealt < kills:
        store, log = folder / f"run{left.runs}", folder / "log"
        done = False
        while not done:
            with log.open("w") as out, subprocess.Popen(command(**given, store=store), stdout=out) as process:
                try:
                    process.wait(rng.uniform(0, duration) if dealt < kills else None)
                    done = True
                except subprocess.TimeoutExpired:
                    process.kill()
                    dealt += 1
            if not done:
                left.killed(store / "0", begun="begins" in log.read_text())
                readable(store / "0")
        assert process.returncode == 0
        left.finished(store / "0")


def kill_workers(folder: Path, given: dict[str, Any], left: Left, kills: int) -> int:
    """Workers of a cluster of two processes, which it starts again; how often the call had to be given again."""
    from distributed import Client, LocalCluster

    rng, dealt, lost, runs = np.random.default_rng(1), 0, 0, 0
    problem, settings = digits_problem(), settings_of(given["settings"])

    def run(store: Path) -> None:
        executor = client.get_executor(pure=False)
        llc.trajectory(problem, given["checkpoints"], store=store, executor=executor, **settings)

    def kill_now_and_then(store: Path, over: threading.Event) -> None:
        nonlocal dealt  # and no look into files, which HDF5 does not allow two threads
        while dealt < kills and not over.wait(rng.uniform(0, duration)):
            # one that dies while it starts is not started again, and a run with no workers waits for some
            running = [w for w in cluster.workers.values() if w.worker_address in cluster.scheduler.workers]
            if len(running) == 2:
                os.kill(running[rng.integers(2)].pid, signal.SIGKILL)
                left.killed(store, begun=True)
                dealt += 1

    with (
        open(os.devnull, "w") as nowhere,
        redirect_stderr(nowhere),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(
            minimum=2, maximum=2, interval="500 ms"
        )  # its nannies give up on workers that die while they start
        run(folder / "dask-first")
        begun = time.perf_counter()
        run(folder / "dask-whole")
        duration = time.perf_counter() - begun
        while dealt < kills:
            store, over = folder / f"dask{runs}", threading.Event()
            killer = threading.Thread(target=kill_now_and_then, args=(store, over))
            killer.start()
            while True:
                try:
                    run(store)
                    break
                except ChildProcessError:
                    lost += 1
            over.set()
            killer.join()
            left.finished(store)
            runs += 1
    return lost


# What a trajectory costs beside sampling, and what memory


def overhead(options: argparse.Namespace) -> None:
    """Sampling against everything else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = {"checkpoints": checkpoints(folder / "given", options.widths, options.count), "settings": BIG}
        few, many = (fresh(**given, count=n, store=folder / f"run{n}")[0] for n in (5, options.count))
        bytes_a_file = np.mean([path.stat().st_size for path in (folder / f"run{options.count}").rglob("*.nc")])
    print(f"{network(options)}, {options.count} checkpoints; {said(BIG)}.\n")
    count, wall, sampling = options.count, many["wall"], many["parts"]["sampling"]
    print("| of a checkpoint | ms | of sampling |\n|---|---|---|")
    for part, seconds in sorted(many["parts"].items(), key=lambda item: -item[1]):
        print(f"| {part} | {1e3 * seconds / count:.1f} | {seconds / sampling:.2%} |")
    print(f"| **everything but sampling** | {1e3 * (wall - sampling) / count:.1f} | **{wall / sampling - 1:.2%}** |")
    without = wall - many["parts"][COMPILATION]
    print(f"| the same without compilation | {1e3 * (without - sampling) / count:.1f} | {without / sampling - 1:.2%} |")
    print(f"\n{wall:.0f} s by the clock, {many['cpu']:.0f} s of processor time; {bytes_a_file / 1e3:.0f} kB a file.")
    print(f"Compilations: {few['compilations']} for 5 checkpoints, {many['compilations']} for {count};", end="")
    print(f" peak of memory {few['peak']:.0f} MB and {many['peak']:.0f} MB.")


def memory(options: argparse.Namespace) -> None:
    """Peak of resident memory, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = {"checkpoints": checkpoints(folder / "given", options.widths, 80)}
        print(f"{network(options)}; {said(FIXED)}.\n\n| checkpoints | draws | peak, MB |\n|---|---|---|")
        for count, draws in [(1, 10), (5, 100), (20, 100), (80, 100), (5, 1000), (5, 10_000)]:
            store = folder / f"{count}-{draws}"
            (answer,) = fresh(**given, count=count, store=store, settings=FIXED | {"num_draws": draws})
            print(f"| {count} | {draws} | {answer['peak']:.0f} |", flush=True)


def network(options: argparse.Namespace) -> str:
    return f"{'-'.join(map(str, options.widths))} tanh, d = {sum((a + 1) * b for a, b in pairwise(options.widths))}"


def said(settings: dict[str, Any]) -> str:
    return "SGLD, " + ", ".join(f"{name}={value:g}" for name, value in settings.items() if name != "gradient")


# devinterp's loop beside it


def peer(options: argparse.Namespace) -> None:
    """Both over the same checkpoints, in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = options.peer_python or peer_python(options.environment or folder / "environment", DEVINTERP)
        compare(python, folder, options)


def compare(python: str, folder: Path, options: argparse.Namespace) -> None:
    problem = digits_problem()
    given = checkpoints(folder / "given", options.widths, options.count)
    inputs, targets = map(np.asarray, problem.data)
    np.savez(folder / "data.npz", inputs=inputs, targets=targets)
    common = {
        "num_chains": 4,
        "localization": 100.0,
        "nbeta": problem.n / np.log(problem.n),
        "batch_size": options.batch,
    }
    # the same steps: the losses of all ten of a draw of ours enter its mean, with one full loss, which theirs has not
    lengths = {"num_warmup": options.steps // _STEPS_A_DRAW, "num_draws": options.steps // _STEPS_A_DRAW}
    kernel = {"gradient": "minibatch", "step_size": 100.0 * options.lr}
    ours = common | lengths | {"thinning": _STEPS_A_DRAW} | kernel
    theirs = common | {"num_warmup": options.steps, "num_draws": options.steps, "lr": options.lr}
    script = str(Path(__file__).with_name("peer_trajectory.py"))
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    arguments = [python, script, str(folder / "data.npz"), str(given), json.dumps(theirs)]
    with subprocess.Popen(arguments, env=quiet, **streams) as other:
        hello = json.loads(other.stdout.readline())
        screened = {name: ask(other, configuration=name, count=1)["wall"] for name in hello["configurations"]}
        chosen = min(screened, key=screened.get)
        turns = []
        for turn in range(options.turns):
            mine = fresh(checkpoints=given, count=options.count, settings=ours, calls=2, store=folder / f"turn{turn}")
            turns.append((*mine, ask(other, configuration=chosen, count=options.count)))
        other.stdin.close()
    print(f"The peer: {hello['versions']}.")
    print(f"{network(options)}, {options.count} checkpoints, {said(ours)}; {options.turns} turns.\n")
    print("| seconds, all checkpoints | ours | devinterp | ratio |\n|---|---|---|---|")
    for label, which in {"first call of a process, compilation in it": 0, "second call": 1}.items():
        for clock in ("wall", "cpu"):
            mine, other_s = [turn[which][clock] for turn in turns], [turn[2][clock] for turn in turns]
            ratios = [t / m for m, t in zip(mine, other_s, strict=True)]
            said_so = f"{label}, {'by the clock' if clock == 'wall' else 'of processors'}"
            print(f"| {said_so} | {summary(mine)} | {summary(other_s, '.1f')} | {summary(ratios, '.1f')} |")
    print(f"\nThe peer ran as `{chosen}`; seconds a checkpoint of each of its configurations:")
    print("; ".join(f"{name}: {seconds:.2f}" for name, seconds in screened.items()) + ".\n")
    mine, others = turns[0][0], [turn[2] for turn in turns]
    print("| checkpoint | ours: λ̂ ± s.e. | verdicts | devinterp: λ̂ (std over chains), by turn |\n|---|---|---|---|")
    for i, path in enumerate(sorted(given.glob("*.npz"))):
        by_turn = ", ".join(f"{other['llc'][i]:.1f} (std {other['std'][i]:.1f})" for other in others)
        value = f"{mine['llc'][i]:.2f} ± {mine['std_error'][i]:.2f}"
        print(f"| {path.stem} | {value} | {', '.join(mine['verdicts'][i])} | {by_turn} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    defaults = {
        resume: {"widths": [64, 4, 10], "count": 30, "kills": 20, "worker-kills": 20},
        overhead: {"widths": [64, 256, 256, 10], "count": 100},
        memory: {"widths": [64, 16, 10]},
        peer: {"widths": [64, 16, 10], "count": 20, "steps": 500, "batch": 128, "turns": 3},
    }
    for call, numbers in defaults.items():
        sub = commands.add_parser(call.__name__, description=call.__doc__)
        sub.set_defaults(call=call)
        for name, default in numbers.items():
            sub.add_argument(f"--{name}", type=int, nargs="+" if name == "widths" else None, default=default)
    sub.add_argument("--lr", type=float, default=1e-4)
    sub.add_argument("--peer-python", help="an interpreter that has devinterp")
    sub.add_argument("--environment", type=Path, help="a folder for the peer's environment, made where it is absent")
    options = parser.parse_args()
    loads = os.getloadavg()[0]
    begun = time.perf_counter()
    options.call(options)
    print(
        f"\n{cpu_model()}, {os.cpu_count()} cores, load average {loads:.1f} before and {os.getloadavg()[0]:.1f} after;",
        end="",
    )
    print(f" Python {platform.python_version()}, jax {jax.__version__}; {time.perf_counter() - begun:.0f} s.")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["once"]:
        once(json.loads(sys.argv[2]))
    else:
        sys.exit(main())
