"""The same 503 examples in memory and wherever else they may lie."""

import jax.numpy as jnp
import numpy as np
import pytest

N = 503
GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(N, 6)).astype(np.float32)
TARGETS = np.sin(INPUTS[:, 0] * INPUTS[:, 1])
PARAMS = {
    "a": jnp.asarray(0.3 * GENERATOR.normal(size=(6, 5)), jnp.float32),
    "b": jnp.asarray(0.3 * GENERATOR.normal(size=5), jnp.float32),
}


class Source:
    """What Grain's random-access sources and PyTorch's map-style datasets are."""

    def __init__(self, inputs=INPUTS, targets=TARGETS):
        self.inputs, self.targets = inputs, targets

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, number):
        return self.inputs[number], self.targets[number]


def in_memory(folder):
    return INPUTS, TARGETS


def memmap(folder):
    for name, array in {"x": INPUTS, "y": TARGETS}.items():
        np.save(folder / f"{name}.npy", array)
    return tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy")


def mixed(folder):
    return memmap(folder)[0], TARGETS


def in_zarr(folder):
    zarr = pytest.importorskip("zarr")
    stored = []
    for name, array in {"x": INPUTS, "y": TARGETS}.items():
        chunks = (100, *array.shape[1:])
        stored.append(zarr.create_array(folder / f"{name}.zarr", shape=array.shape, chunks=chunks, dtype=array.dtype))
        stored[-1][:] = array
    return tuple(stored)


def in_hdf5(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "data.h5", "w") as file:
        file["x"], file["y"] = INPUTS, TARGETS
    file = h5py.File(folder / "data.h5", "r")
    return file["x"], file["y"]


def records(folder):
    return Source()


def loss(params, batch):
    inputs, targets = batch
    return 0.5 * jnp.square(targets - jnp.tanh(inputs @ params["a"]) @ params["b"])
