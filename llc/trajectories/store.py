"""Results on disk: a folder of one netCDF file a checkpoint, each named after all that it depends on."""

import contextlib
import json
import os
import shutil
import tempfile
import warnings
import weakref
from pathlib import Path
from typing import Any

from xarray import DataTree

from llc.draws.storage import load, save
from llc.files import remove_remains, written_whole

_INDEX = "trajectory.json"
_PILOTS = "pilots"  # a folder within, of the checkpoints that settings were found on


class Store:
    """A folder of draws by step and key.

    Files are written whole or not at all, so that a process may be killed at any moment, and two may share a folder:
    they write the same bytes, or files of other names.

    Args:
        folder: made if need be; None for one that is gone with this object.

    Raises:
        ValueError: the path is a file.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        if folder is None:
            folder = tempfile.mkdtemp(prefix="llc-trajectory-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            msg = f"{self.folder} is a file; give a folder for the results, it is made if need be."
            raise ValueError(msg)
        self.folder.mkdir(parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Remove what killed processes left half made, a day ago or longer."""
        remove_remains(self.folder, ".tmp-*", ".task-*.pickle")

    def pilots(self) -> "Store":
        """The store of the pilots."""
        return Store(self.folder / _PILOTS)

    def path(self, step: int, key: str) -> Path:
        """Where the draws of a step lie."""
        return self.folder / f"step_{step:08d}-{key}.nc"

    def load(self, step: int, key: str) -> DataTree | None:
        """The draws of a step; None if there are none, or with a warning where the file is damaged."""
        path = self.path(step, key)
        if not path.exists():
            return None
        try:
            return load(path)
        except ValueError as error:
            warnings.warn(f"{error} It is measured again.", stacklevel=2)
            return None

    def save(self, step: int, key: str, draws: DataTree) -> None:
        """Keep the draws of a step.

        Raises:
            OSError: the disk is full or cannot be written; nothing that stood there is lost.
        """
        path = self.path(step, key)
        try:
            save(draws, path)
        except (OSError, RuntimeError) as error:  # what netCDF makes of a full disk
            needed, free = draws.nbytes / 1e6, _free(self.folder) / 1e6
            msg = (
                f"{path} could not be written ({error}): it needs about {needed:.3g} MB and the disk has {free:.3g} MB "
                "free. What was written before is whole; make room and give the same command again."
            )
            raise OSError(msg) from error

    def write_index(self, content: dict[str, Any]) -> None:
        """Keep what the run as a whole consists of.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        with written_whole(self.folder / _INDEX) as made:
            made.write_text(json.dumps(content, indent=1))

    def read_index(self) -> dict[str, Any] | None:
        """What `write_index` kept; None if there is nothing that can be read."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder / _INDEX).read_text())
        return None


def _free(folder: Path) -> float:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
