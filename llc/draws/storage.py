"""Draws on disk: one netCDF file or one zarr folder, written whole or not at all."""

from pathlib import Path
from typing import Any

import xarray
from xarray import DataTree

from llc.files import written_whole

_FORMATS = (".nc", ".zarr")


def check_destination(path: str | Path) -> Path:
    """Refuse a place that draws cannot be saved to, before the work of making them.

    Raises:
        ValueError: the ending is unknown, the folder is missing, or the path is of another kind.
    """
    path = Path(path)
    if path.suffix not in _FORMATS:
        msg = f"{path}: draws are saved as {' or '.join(_FORMATS)}; change the file's ending to one of them."
        raise ValueError(msg)
    if not path.absolute().parent.is_dir():
        msg = f"{path}: the folder {path.parent} does not exist; make it first."
        raise ValueError(msg)
    if path.exists() and path.is_dir() != (path.suffix == ".zarr"):
        msg = f"{path} stands already and is a {'folder' if path.is_dir() else 'file'}; choose another name."
        raise ValueError(msg)
    return path


def save(draws: DataTree, path: str | Path) -> Path:
    """Save draws as netCDF (`.nc`) or zarr (`.zarr`): what stood there before is replaced only by a whole file.

    Of processes that drew together, the first saves.

    Raises:
        ValueError: the path is not one that draws can be saved to.
    """
    path = check_destination(path)
    if draws.attrs.get("processes", 1) > 1 and not _first_process():
        return path
    with written_whole(path) as made:
        if path.suffix == ".nc":
            draws.to_netcdf(made, engine="netcdf4")
        else:
            draws.to_zarr(made, consolidated=False)
    return path


def _first_process() -> bool:
    import jax

    return jax.process_index() == 0


def load(path: str | Path) -> DataTree:
    """Draws that `save` wrote, in memory.

    Raises:
        ValueError: the file is missing or cannot be read.
    """
    path = Path(path)
    if not path.exists():
        msg = f"{path} does not exist; give a file that was saved with --out or llc.draws.storage.save."
        raise ValueError(msg)
    options: dict[str, Any] = (
        {"engine": "netcdf4"} if path.suffix == ".nc" else {"engine": "zarr", "consolidated": False}
    )
    try:
        with xarray.open_datatree(path, **options) as tree:
            return tree.load()
    except Exception as error:
        msg = f"{path} cannot be read as draws ({type(error).__name__}); make it again."
        raise ValueError(msg) from error
