"""Steps timed in turn, so that other work on the machine meets all that is compared; the records, and the tables.

pytest-benchmark times one function after the other, and what shares the machine changes in between. So turns are taken
here, and its statistics and its file format are kept: `pytest-benchmark compare training.json` reads a record.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
from pytest_benchmark.plugin import pytest_benchmark_generate_machine_info
from pytest_benchmark.stats import Stats

from benchmarks.peers import cpu_model, summary

Steps = Callable[[int], object]  # makes so many steps; its answer is waited for
_MOST_STEPS = 2**14


class Times(NamedTuple):
    """Seconds: the first call with its compilation, and a warm step's by the clock and of processors, turn by turn."""

    cold: float
    wall: list[float]
    cpu: list[float]


def clocked(call: Steps, steps: int) -> tuple[float, float]:
    """Seconds of a call, by the clock and of processors."""
    begun = time.perf_counter(), time.process_time()
    jax.block_until_ready(call(steps))
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def in_turns(calls: dict[str, Steps], *, turns: int, seconds: float) -> dict[str, Times]:
    """Time a step of each: two lengths of a call differ by steps alone, and the longer takes about so many seconds."""
    times = {name: Times(clocked(call, 1)[0], [], []) for name, call in calls.items()}
    steps = {name: _length(call, seconds) for name, call in calls.items()}
    for _ in range(turns):
        for name, call in calls.items():
            short, long = clocked(call, 1), clocked(call, steps[name])
            for record, less, more in zip(times[name][1:], short, long, strict=True):
                record.append((more - less) / (steps[name] - 1))
    return times


def _length(call: Steps, seconds: float) -> int:
    one, steps = clocked(call, 1)[0], 2
    while steps < _MOST_STEPS and clocked(call, steps)[0] - one < seconds / 2:
        steps *= 2
    return steps


def ratios(times: Sequence[float], floor: Sequence[float]) -> str:
    """Median (least–most) of the ratio within a turn."""
    return summary([a / b for a, b in zip(times, floor, strict=True)])


def milliseconds(times: Sequence[float], form: str = ".3g") -> str:
    """Median (least–most)."""
    return summary([1e3 * t for t in times], form)


class Records:
    """What a section measured, for pytest-benchmark's file."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def add(self, group: str, name: str, times: Times, **numbers: Any) -> None:
        """One thing timed; `numbers` describe it, and its first call and its processor time go along."""
        stats = Stats()
        for seconds in times.wall:
            stats.update(seconds)
        extra = numbers | {"cold": times.cold, "processors": times.cpu}
        self.entries.append(
            {"group": group, "name": name, "fullname": f"{group}::{name}", "params": None, "param": None}
            | {"extra_info": extra, "options": {}, "stats": stats.as_dict() | {"data": times.wall, "iterations": 1}}
        )

    def save(self, path: Path) -> None:
        """Write the file whole."""
        whole = {
            "machine_info": pytest_benchmark_generate_machine_info(),
            "commit_info": {},
            "benchmarks": self.entries,
            "datetime": datetime.now().astimezone().isoformat(),
            "version": version("pytest-benchmark"),
        }
        path.write_text(json.dumps(whole, indent=1))


def table(header: str, rows: Sequence[Sequence[str]]) -> None:
    """Markdown."""
    print(f"\n| {header} |\n|{'---|' * (header.count('|') + 1)}")
    print(*(f"| {' | '.join(row)} |" for row in rows), sep="\n", flush=True)


def machine() -> str:
    """What it ran on, and what else did."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "optax", "numpy"))
    devices = ", ".join(str(device) for device in jax.devices())
    python, load = platform.python_version(), os.getloadavg()[0]
    return f"{cpu_model()}, {os.cpu_count()} cores, {devices}; Python {python}, {packages}; load {load:.1f}"


def run_section(measure: Callable[[argparse.Namespace, Records], None], doc: str | None, **defaults: int) -> None:
    """Read the command line, measure and print, keep the record: what every section's `main` does.

    Args:
        measure: the section's own work.
        doc: its description; the record takes the name of the module's file.
        defaults: further numbers that the command line may change.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small nets and few turns, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the record (JSON) and figures")
    parser.add_argument("--turns", type=int, help="7 unless given, 2 of a quick run")
    parser.add_argument("--seconds", type=float, help="of one timed call; 0.5 unless given, 0.05 of a quick run")
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    options.turns = options.turns or (2 if options.quick else 7)
    options.seconds = options.seconds or (0.05 if options.quick else 0.5)
    records, begun = Records(), time.perf_counter()
    print(machine(), flush=True)
    measure(options, records)
    print(f"\n{time.perf_counter() - begun:.0f} s; load {os.getloadavg()[0]:.1f} at the end.", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    records.save(options.out / f"{Path(measure.__code__.co_filename).stem}.json")
