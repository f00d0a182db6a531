"""Models with noise whose flat directions HMC crosses slowly: does it say so? Beside replica exchange on the data."""

from functools import partial
from typing import Any

from records import Records, print_table

import llc
from llc import zoo

N, KEYS = 10_000, (0, 1)
MODELS = {
    "deep_linear(5, 4, 5, rank=2)": (partial(zoo.deep_linear, (5, 4, 5), rank=2), 10.0),
    "reduced_rank(3, 3, 2, rank=1)": (partial(zoo.reduced_rank, 3, 3, 2, rank=1), 1.0),
    "reduced_rank(5, 5, 3)": (partial(zoo.reduced_rank, 5, 5, 3), 1.0),
    "tanh(3, outputs=2)": (partial(zoo.tanh, 3, outputs=2), 1.0),
}
KERNELS = {"HMC": lambda: llc.samplers.HMC(max_leapfrogs=16), "ReplicaExchange": llc.samplers.ReplicaExchange}


def measure(model: str, kernel: str, key: int) -> dict[str, Any]:
    """The estimate, and R̂ of what it is and of how far chains went."""
    make, gamma = MODELS[model]
    entry = make(n=N, simulate=True)
    estimate = llc.estimate(
        entry.problem, entry.params, kernel=KERNELS[kernel](), localization=gamma, rng_key=key, progress=False
    )
    return {
        "value": estimate.value,
        "std_error": estimate.std_error,
        "rhat": estimate.rhat,
        "rhat_of_distance": estimate.squared_distance_ratio.rhat,
        "verdicts": [str(verdict) for verdict in estimate.verdicts],
    }


def report(records: Records) -> None:
    """One row a model, kernel and key."""
    print(f"\nn = {N} simulated examples, nβ = n / log n")
    rows = []
    for model in MODELS:
        for kernel, key in [("HMC", key) for key in KEYS] + [("ReplicaExchange", KEYS[0])]:
            settings = {"model": model, "kernel": kernel, "key": key}
            r = records.get(settings, lambda m=model, k=kernel, i=key: measure(m, k, i))
            value, far = f"{r['value']:.3f} ± {r['std_error']:.3f}", f"{r['rhat']:.3f}, {r['rhat_of_distance']:.3f}"
            rows.append(f"{model} | {kernel} {key} | {value} | {far} | {', '.join(r['verdicts'])} | {r['seconds']:.0f}")
    print_table("model | kernel, key | λ̂ | R̂ of loss, of ‖v‖² | verdicts | s", rows)
