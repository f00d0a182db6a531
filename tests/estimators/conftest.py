"""Draws made without a sampler, of posteriors whose every expectation is known."""

import json

import numpy as np
import pytest
from xarray import DataArray, Dataset, DataTree

from tests.regression import Regression


@pytest.fixture(scope="session")
def regression():
    return Regression.make()


@pytest.fixture(scope="session")
def tempered():
    """Draws as replica exchange records them: `sample(rng, nbeta, size)` gives ΔL, each chain has a ladder of its own.

    With `coupled` all temperatures of a draw come from the same state of the generator.
    """

    def make(sample, ladders, rng, *, num_draws, n, center_loss=0.5, coupled=False, **settings):
        losses = []
        for ladder in ladders:
            state = rng.bit_generator.state
            columns = []
            for nbeta in ladder:
                if coupled:
                    rng.bit_generator.state = state
                columns.append(sample(rng, nbeta, num_draws))
            losses.append(np.stack(columns, axis=1))
        ladders = np.repeat(np.array(ladders)[:, None, :], num_draws, axis=1)
        statistics = {"tempered_loss_difference": np.array(losses), "tempered_nbeta": ladders}
        variables = {name: (("chain", "draw", "temperature"), values) for name, values in statistics.items()}
        settings = {"nbeta": float(ladders[0, 0, -1]), "n": n, "center_loss": center_loss, **settings}
        return labelled(variables, len(losses), num_draws, "ReplicaExchange", settings)

    return make


@pytest.fixture(scope="session")
def drawn():
    """Independent draws of a regression at one temperature, as any kernel records them."""

    def make(regression, nbeta, rng, *, num_chains=4, num_draws=500, keep_weights=False):
        size = (num_chains, num_draws, regression.dimension)
        weights = regression.weights(nbeta, rng.normal(size=size)).astype(np.float32).astype(float)
        away = weights - regression.center
        slope = nbeta * (regression.gradient + away @ regression.hessian) + regression.gamma * away
        loss = regression.loss_difference(weights)
        fields = {
            "loss_difference": loss,
            "full_loss_difference": loss,
            "whitened_squared_distance": regression.gamma * np.square(away).sum(axis=2),
        }
        variables = {name: (("chain", "draw"), values) for name, values in fields.items()}
        variables["virial"] = (("chain", "draw", "leaf"), np.sum(away * slope, axis=2, keepdims=True))
        settings = {
            "nbeta": float(np.float32(nbeta)),
            "n": regression.n,
            "center_loss": regression.center_loss,
            "dimension": regression.dimension,
            "leaf_dimensions": json.dumps([regression.dimension]),
            "localization": json.dumps([regression.gamma]),
        }
        tree = labelled(variables, num_chains, num_draws, "NUTS", settings)
        if keep_weights:
            tree["posterior"] = DataTree(Dataset({"params": (("chain", "draw", "params_dim_0"), weights)}))
        return tree

    return make


def labelled(variables, num_chains, num_draws, kernel, settings):
    coords = {"chain": np.arange(num_chains), "draw": np.arange(num_draws)}
    variables = variables | {"diverging": (("chain", "draw"), np.zeros((num_chains, num_draws), bool))}
    if "virial" in variables:
        coords["leaf"] = DataArray(np.array(["params"], dtype=object), dims="leaf")
    tree = DataTree.from_dict({"/sample_stats": Dataset(variables, coords)})
    tree.attrs = {"kernel": kernel, "num_chains": num_chains, "num_draws": num_draws, "interrupted": 0, **settings}
    return tree
