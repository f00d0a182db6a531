"""`llcoef demo`: the main job, from data to picture."""

from pathlib import Path

import jax.numpy as jnp
from rich.console import Console

from llc import checkpoints
from llc.cli.show import show_estimate
from llc.digits import digits_problem, initialize, network, train
from llc.draws.storage import save
from llc.estimators.estimate import estimate

_PROBLEM_FILE = '''"""The problem that `llcoef demo` trained on; use it as a pattern for your own."""

from llc.digits import digits_problem

problem = digits_problem()
'''


def run_demo(out: Path, seed: int, *, as_json: bool, quiet: bool) -> None:
    """Train, save checkpoints, estimate the last one, save its draws and its picture."""
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
    result = estimate(problem, checkpoints.read(path).params, rng_key=seed, progress=not (quiet or as_json))
    picture = out / "chains.png"
    result.plot().savefig(picture, dpi=150)
    save(result.draws, out / "draws.nc")
    show_estimate(result, as_json=as_json, quiet=quiet, extra={"checkpoint": str(path), "picture": str(picture)})
    console.print(
        f"Of {result.dimension} parameters, the network effectively uses about {2 * result.value:.0f} here (2 λ̂).\n"
        f"Picture: {picture}. Draws: {out / 'draws.nc'}. Next: llcoef estimate {out / 'problem.py'} {path}"
    )
