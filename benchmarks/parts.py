"""Where the time of a trajectory goes: wall time of its parts, taken around the functions of `llc` that do them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from llc import fingerprint
from llc.estimators import estimate
from llc.trajectories import measure, sources, trajectory
from llc.trajectories.store import Store

PARTS = [  # what is wrapped, and the name of its time
    (estimate, "warm_up", "sampling"),
    (estimate, "advance", "sampling"),
    (measure, "estimate", "the rest of `llc.estimate`: baseline, error bar, verdicts"),
    (measure, "_loss", "training and test loss"),
    (sources, "read", "reading checkpoints"),
    (fingerprint, "of_arrays", "hashing"),
    (fingerprint, "of_problem", "hashing"),
    (fingerprint, "of_settings", "hashing"),
    (Store, "save", "writing draws"),
    (Store, "load", "reading draws back"),
    (trajectory, "assembled", "assembling: error bars again, differences"),
]
COMPILATION, REST = "compilation and tracing", "all else"


class Clock:
    """Wall time of each part without the parts inside it, and a count of compilations."""

    def __init__(self) -> None:
        self.seconds: Counter = Counter()
        self.compilations = 0
        self._inside: list[float] = []  # of each part under way, what its own parts took
        self._compiled: list[tuple[float, float]] = []
        for owner, name, part in PARTS:
            setattr(owner, name, self._timed(getattr(owner, name), part))
        jax.monitoring.register_event_duration_secs_listener(self._compilation)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens within as this part's."""
        begun = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - begun
            self.seconds[name] += whole - self._inside.pop()
            if self._inside:
                self._inside[-1] += whole

    def _timed(self, call: Callable, part: str) -> Callable:
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.part(part):
                return call(*arguments, **options)

        return timed

    def _compilation(self, event: str, duration: float, **_: object) -> None:
        """Of a part under way; events end inside out, and an inner one is not counted twice."""
        if not event.startswith("/jax/core/compile/") or not self._inside:
            return
        self.compilations += event.endswith("/backend_compile_duration")
        begun = time.perf_counter() - duration
        while self._compiled and self._compiled[-1][0] >= begun:
            duration -= self._compiled.pop()[1]
        self._compiled.append((begun, time.perf_counter() - begun))
        self.seconds[COMPILATION] += duration
        self._inside[-1] += duration
