"""The peer's half of `trajectory.py peer`: devinterp over the same checkpoints; runs in the peer's own environment.

Reads one JSON request a line, {"configuration": name, "count": checkpoints}, and answers each with one JSON line.
"""

import json
import os
import platform
import sys
import time
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from devinterp.slt.sampler import estimate_learning_coeff_with_summary
from devinterp.utils import evaluate_ce
from peer_speed import Gathered, as_is, configurations
from peers import serve
from torch.utils.data import DataLoader, TensorDataset


def network(path: Path) -> torch.nn.Module:
    """The tanh network at a checkpoint that our half wrote: "0/w", "0/b", "1/w" and so on."""
    layers: list[torch.nn.Module] = []
    with np.load(path) as file:
        for index in range(sum(name.endswith("/w") for name in file)):
            weight, bias = torch.from_numpy(file[f"{index}/w"]), torch.from_numpy(file[f"{index}/b"])
            linear = torch.nn.Linear(*weight.shape)
            linear.weight.data, linear.bias.data = weight.T.contiguous(), bias
            layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def run(data: tuple[torch.Tensor, ...], folder: Path, settings: dict, configuration: str, count: int) -> dict:
    """The loop that its users write: read a checkpoint, call the public function, keep the mean and its spread."""
    method, gathered, cores, _ = configurations()[configuration]
    torch.set_num_threads(1)  # a second thread only slows down so small a network
    os.environ["OMP_NUM_THREADS"] = "1"  # for worker processes
    options = {"batch_size": settings["batch_size"], "shuffle": True}
    begun, results = (time.perf_counter(), os.times()), []
    loader = (
        DataLoader(Gathered(*data), collate_fn=as_is, **options)
        if gathered
        else DataLoader(TensorDataset(*data), **options)
    )
    for path in sorted(folder.glob("*.npz"))[:count]:
        results.append(
            estimate_learning_coeff_with_summary(
                network(path),
                loader,
                evaluate=evaluate_ce,
                sampling_method=method,
                optimizer_kwargs={name: settings[name] for name in ("lr", "localization", "nbeta")},
                num_draws=settings["num_draws"],
                num_chains=settings["num_chains"],
                num_burnin_steps=settings["num_warmup"],
                cores=cores,
                verbose=False,
            )
        )
    wall, spent = time.perf_counter() - begun[0], os.times()
    cpu = sum(spent[:4]) - sum(begun[1][:4])  # of its worker processes too
    return {
        "wall": wall,
        "cpu": cpu,
        "llc": [float(result["llc/mean"]) for result in results],
        "std": [float(result["llc/std"]) for result in results],
    }


def main() -> None:
    warnings.simplefilter("ignore")
    with np.load(sys.argv[1]) as file:
        data = torch.from_numpy(file["inputs"]), torch.from_numpy(file["targets"]).long()
    versions = f"devinterp {version('devinterp')}, torch {torch.__version__}, Python {platform.python_version()}"
    answer = partial(run, data, Path(sys.argv[2]), json.loads(sys.argv[3]))
    serve({"versions": versions, "configurations": list(configurations())}, answer)


if __name__ == "__main__":
    main()
