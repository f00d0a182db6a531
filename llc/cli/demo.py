"""`llcoef demo`: the main job, from data to picture."""

import json
from pathlib import Path

import jax.numpy as jnp
from rich.console import Console

from llc import checkpoints
from llc.cli.compare import show_comparison
from llc.cli.show import show_estimate
from llc.comparators.compare import compare
from llc.digits import digits_problem, initialize, network, train
from llc.draws.storage import save
from llc.report import write_report

_PROBLEM_FILE = '''"""The problem that `llcoef demo` trained on; use it as a pattern for your own."""

from llc.digits import digits_problem

problem = digits_problem()
'''


def run_demo(out: Path, seed: int, *, as_json: bool, quiet: bool) -> None:
    """Train, save checkpoints, estimate and compare the last one, save its draws and pictures."""
    console = Console(stderr=True, quiet=quiet or as_json)
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    (out / "problem.py").write_text(_PROBLEM_FILE)
    problem = digits_problem()
    console.print("Training a 64-16-10 tanh network on 1500 handwritten digits ...")
    path, params = folder, initialize(seed=seed)
    for step, weights in train(problem, params):
        params = weights
        path = checkpoints.save(folder / f"step_{step:06d}.npz", params, step=step)
    inputs, targets = problem.test_data or problem.data
    accuracy = float((network(params, inputs).argmax(axis=1) == targets).mean())
    loss = float(jnp.mean(problem.losses(params, problem.data)))
    console.print(
        f"Loss {loss:.2g} nats per example, {accuracy:.1%} right on held-out digits. Sampling around {path} ..."
    )
    comparison = compare(
        problem,
        checkpoints.read(path).params,
        rng_key=seed,
        integrate=False,  # minutes, where the rest takes one
        localization_factors=(),
        progress=not (quiet or as_json),
    )
    result, picture = comparison.estimate, out / "chains.png"
    result.plot().savefig(picture, dpi=150)
    comparison.plot().savefig(out / "comparison.png", dpi=150)
    save(result.draws, out / "draws.nc")
    page = write_report(out / "report.html", estimates={path.name: result}, comparison=comparison, title="llcoef demo")
    if as_json:
        where = {"checkpoint": str(path), "picture": str(picture)}
        print(json.dumps(where | {"comparison": comparison.to_dict()} | result.to_dict(), indent=2))
    else:
        show_estimate(result, as_json=False, quiet=quiet)
        show_comparison(comparison, as_json=False, quiet=quiet)
    console.print(
        f"Of {result.dimension} parameters, the network effectively uses about {2 * result.value:.0f} here (2 λ̂).\n"
        f"All of it: {page}. Pictures: {picture}, {out / 'comparison.png'}. Draws: {out / 'draws.nc'}.\n"
        f"Next: llcoef trajectory {out / 'problem.py'} {folder} --out {out / 'run'}"
    )
