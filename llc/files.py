"""Files that are written whole or not at all, and what is left of those whose writing was killed."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_DAY = 86_400.0  # seconds


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write a file or a folder to, which then takes its place; what stood there before stands until then.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with written_whole(folder / "answer.txt") as made:
    ...     _ = made.write_text("42")
    >>> [path.name for path in folder.iterdir()]
    ['answer.txt']
    """
    with tempfile.TemporaryDirectory(prefix=".tmp-llc-", dir=path.absolute().parent) as folder:
        made = Path(folder) / path.name
        yield made
        if made.is_dir() and path.is_dir():  # a folder that holds files cannot be replaced in one step
            shutil.rmtree(path)
        os.replace(made, path)


def remove_remains(folder: Path, *patterns: str) -> None:
    """Remove what killed processes left half made, once it is a day old: others may be at work."""
    for path in (path for pattern in patterns for path in folder.glob(pattern)):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _DAY:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
