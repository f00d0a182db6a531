"""A bar with rate and time left, for work that lasts over two seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PATIENCE = 2.0  # seconds


@contextmanager
def progress_bar(
    description: str, total: int, enabled: bool, *, unit: str = "draws", patience: float | None = None
) -> Iterator[Callable[[int], None]]:
    """Gives a function that reports so many more done; the bar shows on standard error after two seconds' patience."""
    begun, done = time.monotonic(), 0
    patience = _PATIENCE if patience is None else patience
    rate = TextColumn("{task.fields[rate]:.3g} " + unit + "/s")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=console.is_terminal)  # into a log goes one line at the end
    task = bar.add_task(description, total=total, rate=0.0)

    def report(more: int) -> None:
        nonlocal done
        done += more
        elapsed = time.monotonic() - begun
        if enabled and elapsed > patience:
            bar.start()  # a second start does nothing
        bar.update(task, completed=done, rate=done / max(elapsed, 1e-9))

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()
