"""Reading a checkpoint never runs code from it."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from llc.checkpoints import find, read


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def raw_pickle(path, malicious):
    path.write_bytes(pickle.dumps(malicious))


def object_array(path, malicious):
    with path.open("wb") as file:
        np.savez(file, w=np.array([malicious], dtype=object))


def stream_of_arrays(path, malicious):
    with path.open("wb") as file:
        np.save(file, np.array([malicious], dtype=object))


def torch_archive(path, malicious):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": malicious}, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".pth", ".ckpt", ".pkl", ".eqx", ".safetensors"])
@pytest.mark.parametrize("write", [raw_pickle, object_array, stream_of_arrays, torch_archive])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, suffix, write):
    if suffix in {".pt", ".pth", ".ckpt"}:
        pytest.importorskip("torch")
    path, mark = tmp_path / f"step_1{suffix}", tmp_path / "mark"
    write(path, Malicious(mark))
    with pytest.raises(ValueError, match="step_1"):
        read(path, template={"w": np.zeros(1)})
    if suffix not in {".pkl", ".eqx"}:
        with pytest.raises(ValueError, match="step_1"):
            read(find(tmp_path)[0])
    assert not mark.exists()


def test_the_pickles_above_would_run(tmp_path):
    raw_pickle(tmp_path / "w.pkl", Malicious(tmp_path / "mark"))
    pickle.loads((tmp_path / "w.pkl").read_bytes())
    assert (tmp_path / "mark").exists()


def test_a_whole_module_is_refused_with_the_remedy(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 1), tmp_path / "model.pt")
    with pytest.raises(
        ValueError, match=r"pickles other objects than tensors.*torch.save\(\{'model': model.state_dict"
    ):
        read(tmp_path / "model.pt")
