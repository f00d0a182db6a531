"""Which criterion knows how well a trained network generalises? 48 networks, each by every row of `llc.compare`.

    python benchmarks/generalization.py measure            # appends to generalization.jsonl, goes on where it ended
    python benchmarks/generalization.py table --picture generalization.png

Two tasks. Digits: 500 of scikit-learn's to train on, 1297 held out, softmax. Teacher and student: n = 300, 8 inputs, a
tanh teacher of 4 hidden units, noise 0.3 (the likelihood's own), 3000 held out. Networks: tanh, of one or two hidden
layers and two or three widths; weight decay 0 or some, which the optimiser minimises with the loss; a fifth of the
training labels drawn at random, or none (digits), or one of three seeds (students). Full-data Adam, 2000 steps, cosine
schedule. Draws by HMC to 10 % of λ̂; all else is default: γ relative, nβ by row, budgets.
"""

import argparse
import itertools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import results
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import llc
from llc.digits import initialize, network

TRUTH = "measured on held-out data"
CRITERIA = ("training loss", "BIC / n", "AIC", "WAIC", "λ/n", "NTK/GCV", "eigenlearning")
NUM_STEPS, LEARNING_RATE = 2000, 5e-3
SETTINGS = {
    "kernel": llc.samplers.HMC(),  # the default but for the smallest, which would take minutes of replica exchange
    "relative_error": 0.1,
    "integrate": False,
    "localization_factors": (),
    "progress": False,
}


def digits_cases() -> list[dict]:
    return [
        {"task": "digits", "hidden": [width] * depth, "decay": decay, "label_noise": noise, "seed": seed}
        for seed, (width, depth, decay, noise) in enumerate(
            itertools.product((4, 8, 16), (1, 2), (0.0, 1e-3), (0.0, 0.2))
        )
    ]


def student_cases() -> list[dict]:
    return [
        {"task": "student", "hidden": [width] * depth, "decay": decay, "label_noise": 0.0, "seed": seed}
        for width, depth, decay, seed in itertools.product((2, 8), (1, 2), (0.0, 1e-3), (0, 1, 2))
    ]


def scalar_network(params: list, inputs: jax.Array) -> jax.Array:
    return network(params, inputs)[:, 0]


def digits(case: dict) -> llc.Problem:
    rng = np.random.default_rng(case["seed"])
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    order = rng.permutation(len(labels))
    inputs, labels = (pixels[order] / 16).astype(np.float32), labels[order].astype(np.int32)
    train, test = slice(None, 500), slice(500, None)
    wrong = rng.random(500) < case["label_noise"]
    noisy = np.where(wrong, rng.integers(0, 10, 500), labels[train]).astype(np.int32)
    return llc.Problem.supervised(network, llc.Categorical(), inputs[train], noisy, test=(inputs[test], labels[test]))


def student(case: dict) -> llc.Problem:
    rng = np.random.default_rng(case["seed"])
    first, second = rng.normal(size=(8, 4)) / 8**0.5, rng.normal(size=4)
    inputs = rng.normal(size=(3300, 8))
    targets = np.tanh(2 * inputs @ first) @ second + 0.3 * rng.normal(size=3300)
    inputs, targets = inputs.astype(np.float32), targets.astype(np.float32)
    held_out = (inputs[300:], targets[300:])
    return llc.Problem.supervised(scalar_network, llc.Gaussian(0.3), inputs[:300], targets[:300], test=held_out)


def trained(problem: llc.Problem, case: dict) -> list:
    inputs = problem.data[0]
    params = initialize((inputs.shape[1], *case["hidden"], 10 if case["task"] == "digits" else 1), case["seed"])
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, NUM_STEPS))

    def objective(params: list) -> jax.Array:
        squares = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
        return problem.losses(params, problem.data).mean() + 0.5 * case["decay"] * squares

    @jax.jit
    def run(params: list) -> list:
        def step(_: jax.Array, carry: tuple) -> tuple:
            params, state = carry
            updates, state = optimizer.update(jax.grad(objective)(params), state)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, NUM_STEPS, step, (params, optimizer.init(params)))[0]

    return run(params)


def measure(out: Path) -> None:
    held = [record["case"] for record in results.read(out)]
    pairs = itertools.zip_longest(student_cases(), digits_cases())
    for case in [case for pair in pairs for case in pair if case and case not in held]:
        problem = {"digits": digits, "student": student}[case["task"]](case)
        params, begun = trained(problem, case), time.time()
        found = llc.compare(problem, params, **SETTINGS)
        rows = {row.measure: [row.value, row.error, row.verdict] for row in found.tables["generalization"]}
        complexity = {row.measure: row.value for row in found.tables["complexity"]}
        record = {"case": case, "rows": rows, "complexity": complexity, "seconds": time.time() - begun}
        results.append(out, record)
        print(case, found, f"{record['seconds']:.0f} s", flush=True)


def statistics(records: list[dict], criterion: str) -> str:
    """Rank correlation with the truth, median and mean absolute error, over the networks that have both."""
    pairs = np.array([(r["rows"][criterion][0], r["rows"][TRUTH][0]) for r in records], float)
    predicted, true = pairs[np.isfinite(pairs).all(axis=1)].T
    if len(true) < 3:
        return "— | — | —"
    error = np.abs(predicted - true)
    return f"{spearmanr(predicted, true)[0]:+.2f} | {np.median(error):.3f} | {error.mean():.3f}"


def table(path: Path, picture: Path | None) -> None:
    records = results.read(path)
    tasks = {name: [r for r in records if r["case"]["task"] == name] for name in ("digits", "student")}
    head = " | ".join(f"{name}: rank correlation | median error | mean error" for name in tasks)
    print(f"| criterion | {head} |\n|---|{'---|' * 3 * len(tasks)}")
    for criterion in CRITERIA:
        print(f"| {criterion} | {' | '.join(statistics(group, criterion) for group in tasks.values())} |")
    print("\n" + ", ".join(f"{len(group)} networks of {name}" for name, group in tasks.items()))
    if picture is not None:
        plot(tasks, picture)


def plot(tasks: dict[str, list[dict]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(tasks), figsize=(11, 4.8), layout="constrained")
    for ax, (name, group) in zip(axes, tasks.items(), strict=True):
        true = np.array([r["rows"][TRUTH][0] for r in group], float)
        for criterion, marker in zip(CRITERIA, "osD^vP*", strict=True):
            predicted = np.array([r["rows"][criterion][0] for r in group], float)
            if np.isfinite(predicted).any():
                ax.plot(true, predicted, marker, alpha=0.7, label=criterion)
        ends = [true.min(), true.max()]
        ax.plot(ends, ends, color="0.5", linewidth=1)
        ax.set(title=name, xlabel=f"{TRUTH} (nats per example)", ylabel="predicted (what lies above is cut off)")
        ax.set_ylim(top=2 * true.max())
        ax.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["measure", "table"])
    parser.add_argument("path", type=Path, nargs="?", default=Path("generalization.jsonl"))
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    measure(arguments.path) if arguments.what == "measure" else table(arguments.path, arguments.picture)


if __name__ == "__main__":
    main()
