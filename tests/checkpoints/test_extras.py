"""PyTorch and orbax are imported when one of their files is read, and asked for when they are missing."""

import subprocess
import sys

import pytest

from llc.checkpoints import read


def test_importing_the_readers_imports_neither():
    code = "import sys, llc.checkpoints; print(*sorted({'torch', 'orbax', 'orbax.checkpoint'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


@pytest.mark.parametrize(("name", "extra"), [("model.pt", "torch"), ("step_1", "orbax")])
def test_a_missing_extra_is_asked_for(tmp_path, monkeypatch, name, extra):
    path = tmp_path / name
    if extra == "torch":
        path.write_bytes(b"weights")
    else:
        path.mkdir()
        (path / "_METADATA").touch()
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=rf"pip install 'llcoef\[{extra}\]'"):
        read(path)
