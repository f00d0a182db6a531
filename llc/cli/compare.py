"""`llcoef compare`: every measure of one checkpoint, or of several."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from llc.cli.checkpoint import check_picture, load_checkpoints
from llc.comparators.compare import compare
from llc.comparators.comparison import Comparison, Comparisons
from llc.comparators.row import Row, shown


def run_compare(
    problem_path: Path,
    checkpoint_paths: list[Path],
    *,
    plot: Path | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Compare, show, and save what was asked for."""
    if plot is not None:
        check_picture(plot)
    loaded = load_checkpoints(problem_path, checkpoint_paths)
    if len(loaded) == 1:
        ((problem, params),) = loaded.values()
        result = compare(problem, params, progress=not quiet, **settings)
    else:
        result = compare(loaded, progress=not quiet, **settings)
    if out is not None:
        out.write_text(json.dumps(result.to_dict(), indent=2))
    if plot is not None:
        result.plot().savefig(plot, dpi=150)
    show_comparison(result, as_json=as_json, quiet=quiet)


def show_comparison(result: Comparison | Comparisons, *, as_json: bool, quiet: bool) -> None:
    """One line and the tables; or the line alone; or JSON."""
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    print(result)
    if quiet:
        return
    console = Console()
    parts = {"": result} if isinstance(result, Comparison) else result
    for name, part in parts.items():
        for title, rows in part.tables.items():
            console.print(_table(f"{name} {title.replace('_', ' ')}".strip(), rows))
    if isinstance(result, Comparisons):
        console.print(_ranking(result))


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("measure", style="bold", no_wrap=True)
    table.add_column("value", no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        table.add_row(row.measure, shown(row), row.verdict)
    return table


def _ranking(result: Comparisons) -> Table:
    table = Table(title="places, 1 the best, and rank correlation with the held-out loss", title_justify="left")
    for name in ("criterion", *result, "correlation"):
        table.add_column(name)
    for criterion, *cells in result.ranking.itertuples():
        table.add_row(criterion, *("—" if np.isnan(cell) else f"{cell:.3g}" for cell in cells))
    return table
