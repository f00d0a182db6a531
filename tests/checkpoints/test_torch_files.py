"""PyTorch files: state_dicts, bare or wrapped, without PyTorch's bookkeeping."""

import ml_dtypes
import numpy as np
import pytest

from llc.checkpoints import find, read

torch = pytest.importorskip("torch")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))


def test_a_state_dict_is_nested_on_its_dots(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "model_5.pt")
    checkpoint = read(tmp_path / "model_5.pt")
    assert checkpoint.step == 5
    assert [sorted(layer) for layer in checkpoint.params] == [["bias", "weight"]] * 3
    np.testing.assert_array_equal(checkpoint.params[2]["weight"], model[2].weight.detach().numpy())


def test_batch_statistics_are_metadata(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "model.pth")
    checkpoint = read(tmp_path / "model.pth")
    assert checkpoint.metadata["1/num_batches_tracked"] == 0
    np.testing.assert_array_equal(checkpoint.metadata["1/running_var"], np.ones(3))


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("step", ["step", "global_step"])
def test_a_wrapper_tells_the_step(tmp_path, model, wrapper, step):
    optimizer = torch.optim.Adam(model.parameters()).state_dict()
    wrapped = {wrapper: model.state_dict(), step: 40, "loss": torch.tensor(0.5), "optimizer": optimizer}
    torch.save(wrapped, tmp_path / "epoch=1.ckpt")
    checkpoint = read(tmp_path / "epoch=1.ckpt")
    assert checkpoint.step == 40
    assert checkpoint.metadata["loss"] == 0.5
    assert "optimizer" not in checkpoint.metadata
    assert find(tmp_path) == [tmp_path / "epoch=1.ckpt"]


def test_parameters_are_a_template(tmp_path, model):
    torch.save({"model": model.state_dict()}, tmp_path / "model.pt")
    parameters = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    params = read(tmp_path / "model.pt", template=parameters).params
    assert params.keys() == parameters.keys()
    assert all((params[name] == parameters[name]).all() for name in params)


def test_tied_weights_count_once(tmp_path):
    first = torch.nn.Linear(3, 3, bias=False)
    second = torch.nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    torch.save(torch.nn.ModuleDict({"out": first, "emb": second}).state_dict(), tmp_path / "model.pt")
    assert list(read(tmp_path / "model.pt").params) == ["out"]
    both = {"out": {"weight": np.empty((3, 3))}, "emb": {"weight": np.empty((3, 3))}}
    assert (read(tmp_path / "model.pt", both).params["emb"]["weight"] == first.weight.detach().numpy()).all()


@pytest.mark.parametrize("legacy", [True, False])
def test_dtypes_views_and_a_bare_tensor(tmp_path, legacy):
    weights = torch.arange(6.0, dtype=torch.bfloat16).reshape(2, 3).T
    torch.save(weights, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    params = read(tmp_path / "w.pt").params
    assert params.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(params.astype(float), [[0, 3], [1, 4], [2, 5]])


def test_an_old_pytorch_is_refused(tmp_path, model, monkeypatch):
    torch.save(model.state_dict(), tmp_path / "model.pt")
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.5.1+cpu"))
    with pytest.raises(ImportError, match=r"pip install -U 'torch>=2\.10'"):
        read(tmp_path / "model.pt")
