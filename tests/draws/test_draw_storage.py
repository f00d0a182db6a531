"""Draws on disk are whole or not there."""

import pytest
import xarray as xr

from llc.draws import storage

FIRST, SECOND = (xr.DataTree.from_dict({"/sample_stats": xr.Dataset({"x": ("draw", [float(i)])})}) for i in (1, 2))


@pytest.fixture(params=["draws.nc", "draws.zarr"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_a_second_saving_replaces_the_first(path):
    for draws in (FIRST, SECOND):
        assert storage.save(draws, path) == path
        xr.testing.assert_identical(storage.load(path), draws)
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_saving_that_fails_leaves_what_stood_there(path, monkeypatch):
    storage.save(FIRST, path)

    def full_disk(self, made, **options):
        made.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    for method in ("to_netcdf", "to_zarr"):
        monkeypatch.setattr(xr.DataTree, method, full_disk)
    with pytest.raises(OSError, match="No space left"):
        storage.save(SECOND, path)
    xr.testing.assert_identical(storage.load(path), FIRST)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_places_that_are_none(tmp_path):
    (tmp_path / "file.zarr").touch()
    (tmp_path / "folder.nc").mkdir()
    for name, match in {
        "draws.csv": r"draws are saved as .nc or .zarr; change the file's ending",
        "none/draws.nc": "the folder .* does not exist; make it first",
        "file.zarr": "stands already and is a file; choose another name",
        "folder.nc": "stands already and is a folder; choose another name",
    }.items():
        with pytest.raises(ValueError, match=match):
            storage.check_destination(tmp_path / name)
        with pytest.raises(ValueError, match=match):
            storage.save(FIRST, tmp_path / name)


def test_files_that_are_none(path):
    with pytest.raises(ValueError, match="does not exist; give a file that was saved"):
        storage.load(path)
    path.write_bytes(b"noise")
    with pytest.raises(ValueError, match=f"{path.name} cannot be read as draws"):
        storage.load(path)
