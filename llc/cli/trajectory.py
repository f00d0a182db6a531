"""`llcoef trajectory`: λ̂ over training, into a folder that a later call goes on with."""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cloudpickle
from rich.console import Console
from rich.table import Table

from llc.cli.checkpoint import check_picture
from llc.cli.problem_file import MODULE, load_problem
from llc.estimators.show import with_error
from llc.trajectories.result import Trajectory
from llc.trajectories.trajectory import trajectory

_FEWEST = 3  # checkpoints that a watched folder must hold before settings are found
_PAUSE = 2.0  # seconds between two looks at a watched folder
_PATIENCE = 5  # seconds to wait for a scheduler


def run_trajectory(
    problem_path: Path,
    checkpoints: Path,
    *,
    out: Path,
    plot: Path | None,
    watch: bool,
    idle: float | None,
    workers: int,
    scheduler: str | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> Trajectory:
    """Estimate every checkpoint of a folder, show, and draw."""
    if plot is not None:
        check_picture(plot)
    problem, template = load_problem(problem_path)
    cloudpickle.register_pickle_by_value(sys.modules[MODULE])  # which no worker could import
    with _executor(workers, scheduler) as executor:
        settings |= {"store": out, "executor": executor, "template": template, "progress": not quiet}
        if watch:
            result = _watched(problem, checkpoints, settings, idle, Console(stderr=True, quiet=quiet))
        else:
            result = trajectory(problem, checkpoints, **settings)
    if plot is not None:
        result.plot().savefig(plot, dpi=150)
    _show(result, as_json=as_json, quiet=quiet)
    return result


def _watched(problem: Any, folder: Path, settings: dict[str, Any], idle: float | None, console: Console) -> Trajectory:
    """Look again and again, until Ctrl-C, or nothing new came for `idle` seconds."""
    result, seen, changed = None, None, time.monotonic()
    try:
        while idle is None or time.monotonic() - changed < idle:
            listing = _listing(folder)
            if listing == seen:
                time.sleep(_PAUSE)
                continue
            if len(listing) < _FEWEST:
                console.print(f"{folder} holds {len(listing)} files; waiting for {_FEWEST} checkpoints.")
            else:
                result = trajectory(problem, folder, **settings)
                console.print(repr(result))
                if result.pending:
                    break
            seen, changed = listing, time.monotonic()
    except KeyboardInterrupt:
        pass
    if result is None:
        raise KeyboardInterrupt
    return result


def _listing(folder: Path) -> set[tuple[str, int, int]]:
    if not folder.is_dir():
        return set()
    return {(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in folder.glob("[!.]*")}


@contextmanager
def _executor(workers: int, scheduler: str | None) -> Iterator[Any]:
    """This process, some spawned ones, or the workers of a Dask scheduler."""
    if scheduler is not None:
        with _dask_client(scheduler) as client:
            yield client.get_executor(pure=False)
    elif workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
            yield processes
    else:
        yield None


def _dask_client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        msg = "--scheduler needs Dask; pip install 'llcoef[cluster]'."
        raise ImportError(msg) from error
    try:
        return Client(address, timeout=_PATIENCE)
    except Exception as error:  # what stands there may be no scheduler, and answer anything
        msg = f"--scheduler {address} does not answer; start one with `dask scheduler`, and give the address it prints."
        raise ValueError(msg) from error


def _show(result: Trajectory, *, as_json: bool, quiet: bool) -> None:
    """One line and a table; or the line alone; or JSON."""
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    print(result)
    for name, reason in result.skipped.items():
        print(f"skipped: {name}: {reason}", file=sys.stderr)
    if quiet:
        return
    table = Table(title_justify="left")
    for name in ("step", "λ̂", "change", "loss", "verdicts"):
        table.add_column(name, no_wrap=name != "verdicts")
    for row in result.rows:
        change = with_error(row["difference"], row["difference_std_error"]) if row is not result.rows[0] else ""
        value = with_error(row["llc"], row["std_error"])
        table.add_row(str(row["step"]), value, change, f"{row['loss']:.4g}", ", ".join(row["verdicts"]))
    Console().print(table)
