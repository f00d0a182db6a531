"""The peer's half of `speed/peer.py`: devinterp's SGLD on the same problem; runs in the peer's own environment.

Reads one JSON request a line, {"configuration": name, "steps": count}, and answers each with one JSON line.
"""

import json
import os
import platform
import sys
import time
import warnings
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from devinterp.optim.sgld import SGLD
from devinterp.optim.sgmcmc import SGMCMC
from devinterp.slt.callback import SamplerCallback
from devinterp.slt.sampler import sample
from devinterp.utils import evaluate_ce
from peers import serve
from torch.utils.data import DataLoader, TensorDataset


class Clock(SamplerCallback):
    """The time and the loss of each step, in memory shared with the peer's worker processes."""

    def __init__(self, chains: int, steps: int) -> None:
        super().__init__()
        self.times = torch.zeros(chains, steps, dtype=torch.float64).share_memory_()
        self.losses = torch.zeros(chains, steps).share_memory_()

    def __call__(self, chain: int, draw: int, loss: torch.Tensor, **_: object) -> None:
        """Called by the peer after each step."""
        self.times[chain, draw] = time.perf_counter()
        self.losses[chain, draw] = loss

    def get_results(self) -> dict:
        """Nothing: the record is read directly."""
        return {}


class Gathered(TensorDataset):
    """A data set that fetches a batch by one indexing, an expert's way round the loader's one example at a time."""

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, ...]:
        """The whole batch."""
        return tuple(tensor[torch.as_tensor(indices)] for tensor in self.tensors)


def as_is(batch: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return batch


def configurations() -> dict[str, tuple]:
    """Name ↦ (sampling method, whether gathered, worker processes, threads of each)."""
    cpus = os.cpu_count() or 1
    return {
        f"{method_name}, {loader}, cores={cores}": (method, loader == "gathered batches", cores, max(1, cpus // cores))
        for method_name, method in {"SGLD": SGLD, "SGMCMC.sgld": SGMCMC.sgld}.items()
        for loader in ("plain loader", "gathered batches")
        for cores in (1, 2)
    }


def network(file: dict[str, np.ndarray]) -> torch.nn.Module:
    """The ReLU network at the checkpoint that our half wrote."""
    layers: list[torch.nn.Module] = []
    for index in range(sum(name.startswith("w") for name in file)):
        weight = torch.from_numpy(file[f"w{index}"])
        linear = torch.nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T.contiguous(), torch.zeros(weight.shape[1])
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def run(problem: dict[str, np.ndarray], settings: dict, configuration: str, steps: int) -> dict:
    """One public call of the peer.

    "step" is the time between the first and the last step of a chain, averaged over chains and divided by the chains
    that run at once: it leaves out all of the peer's preparation.
    """
    method, gathered, cores, threads = configurations()[configuration]
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for worker processes
    data = torch.from_numpy(problem["inputs"]), torch.from_numpy(problem["targets"])
    options = {"batch_size": settings["batch"], "shuffle": True}
    loader = (
        DataLoader(Gathered(*data), collate_fn=as_is, **options)
        if gathered
        else DataLoader(TensorDataset(*data), **options)
    )
    chains, model = settings["chains"], network(problem)
    clock = Clock(chains, steps)
    begun = time.perf_counter(), processors()
    sample(
        model,
        loader,
        [clock],
        evaluate=evaluate_ce,
        sampling_method=method,
        optimizer_kwargs={name: settings[name] for name in ("lr", "localization", "nbeta")},
        num_draws=steps,
        num_chains=chains,
        init_loss=1.0,  # given, so that the peer spends no time on it
        cores=cores,
        seed=0,
        verbose=False,
    )
    ended = time.perf_counter(), processors()
    wall, cpu = ((end - begin) / (chains * steps) for begin, end in zip(begun, ended, strict=True))
    spans = clock.times[:, -1] - clock.times[:, 0]
    step = spans.mean().item() / (steps - 1) / min(cores, chains)
    return {"step": step, "wall": wall, "cpu": cpu, "loss": clock.losses.mean().item()}


def processors() -> float:
    """Seconds that this process and the workers it has waited for spent on processors."""
    return sum(os.times()[:4])


def main() -> None:
    warnings.simplefilter("ignore")
    settings = json.loads(sys.argv[2])
    with np.load(sys.argv[1]) as file:
        problem = dict(file)
    versions = f"devinterp {version('devinterp')}, torch {torch.__version__}, Python {platform.python_version()}"
    serve({"versions": versions, "configurations": list(configurations())}, partial(run, problem, settings))


if __name__ == "__main__":
    main()
