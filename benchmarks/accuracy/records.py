"""Results that outlive a stopped run: a file of one JSON object a line, appended to as they come."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Records:
    """The file of one part, whose records are found again by the settings that they were measured with."""

    path: Path

    def get(self, settings: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What the file holds of these settings, or else what `measure` gives now, and the seconds that took."""
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            record = json.loads(line)
            if all(record.get(name) == value for name, value in settings.items()):
                return record
        begun = time.time()
        record = settings | measure()
        record["seconds"] = round(time.time() - begun, 1)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        return record


def print_table(header: str, rows: list[str]) -> None:
    """Markdown."""
    print(f"\n| {header} |\n|{'---|' * (header.count('|') + 1)}", *(f"| {row} |" for row in rows), sep="\n")
