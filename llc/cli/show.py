"""Results on the screen."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from llc.estimators.result import Estimate


def show_estimate(estimate: Estimate, *, as_json: bool, quiet: bool, extra: dict[str, Any] | None = None) -> None:
    """One line and a table; or the line alone; or JSON."""
    if as_json:
        print(json.dumps({**(extra or {}), **estimate.to_dict()}, indent=2))
        return
    print(estimate)
    if not quiet:
        table = Table(show_header=False, title_justify="left")
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for name, value in estimate.rows():
            table.add_row(name, value)
        Console().print(table)
