"""Files of results, a JSON object a line, and the command line that measures them or prints their table."""

import argparse
import json
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, Any]]:
    """All records of a file; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, record: dict[str, Any]) -> None:
    """So that a run that is stopped can go on where it ended."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def parser(description: str | None, what: list[str], path: Path | None = None) -> argparse.ArgumentParser:
    """WHAT to do, and the file; a run may be one part of several."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=what)
    parser.add_argument("path", type=Path, nargs="?", default=path, help="file of results")
    parser.add_argument("--part", type=int, default=0, help="which part of the cases, for several processes")
    parser.add_argument("--parts", type=int, default=1)
    return parser
