"""The command `llcoef`: flags into the calls of the library, results onto the screen; no mathematics."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="How many parameters does a trained network effectively use, and how sure are we?",
    epilog="Start with **llcoef demo**; then **llcoef estimate problem.py CHECKPOINT** on a network of your own.",
)

ProblemFile = Annotated[Path, typer.Argument(help="A Python file that defines `problem`, or a function of that name.")]
Localization = Annotated[float | None, typer.Option(help="γ, one number; relative to each leaf if not given.")]
Radius = Annotated[float, typer.Option(help="Radius of the relative localisation.")]
Mask = Annotated[
    list[str] | None, typer.Option(help='What may move, as a pattern of paths: "layers/0/*". May be repeated.')
]
RelativeError = Annotated[float, typer.Option(help="Standard error to stop at, as a part of λ̂.")]
Budget = Annotated[float | None, typer.Option(help="Budget of each run, in gradients of one example.")]
Seed = Annotated[int, typer.Option(help="The random seed; the same seed gives the same draws.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars, and one line instead of tables.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, draws and the picture.")] = Path("llcoef-demo"),
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a small network on real handwritten digits, estimate its effective dimension, and compare.

    Examples:

        llcoef demo

        llcoef demo --out my-folder --seed 1
    """
    from llc.cli.demo import run_demo

    run_demo(out, seed, as_json=as_json, quiet=quiet)


@app.command()
def estimate(
    problem: ProblemFile,
    checkpoint: Annotated[Path, typer.Argument(help=".npz, .safetensors, .eqx, .pt, or an Orbax folder.")],
    kernel: Annotated[
        str,
        typer.Option(
            help="auto; replica_exchange, hmc, nuts, mala; sgld, preconditioned_sgld, sghmc, sgnht,"
            " underdamped_langevin."
        ),
    ] = "auto",
    step_size: Annotated[
        float | None, typer.Option(help="In whitened coordinates, without unit; chosen if not given.")
    ] = None,
    gradient: Annotated[str, typer.Option(help="control_variate, anchored, minibatch or full.")] = "control_variate",
    nbeta: Annotated[float | None, typer.Option(help="nβ; n / log n if not given.")] = None,
    localization: Localization = None,
    radius: Radius = 1.0,
    mask: Mask = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a minibatch; at most 128 if not given.")] = None,
    num_chains: Annotated[int, typer.Option(help="Chains, for each step size.")] = 4,
    num_warmup: Annotated[int | None, typer.Option(help="Warm-up of each chain; chosen if not given.")] = None,
    num_draws: Annotated[int | None, typer.Option(help="Draws of each chain; until precision if not given.")] = None,
    relative_error: RelativeError = 0.05,
    max_gradient_evaluations: Budget = None,
    out: Annotated[Path | None, typer.Option(help="Save the draws to this .nc or .zarr.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Save a picture of the chains to this .png, .svg or .pdf.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 on any verdict but `converged`.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Estimate the effective dimension of one checkpoint: one line and a table.

    Examples:

        llcoef estimate problem.py checkpoints/step_001000.npz

        llcoef estimate problem.py model.safetensors --out draws.nc --plot chains.png

        llcoef estimate problem.py model.safetensors --json --strict > estimate.json
    """
    from llc.cli.estimate import build_kernel, held, run_estimate

    result = run_estimate(
        problem,
        checkpoint,
        out=out,
        plot=plot,
        as_json=as_json,
        quiet=quiet,
        localization=held(localization, radius),
        rng_key=seed,
        kernel=build_kernel(kernel, step_size, gradient),
        nbeta=nbeta,
        mask=mask or None,
        batch_size=batch_size,
        num_chains=num_chains,
        num_warmup=num_warmup,
        num_draws=num_draws,
        relative_error=relative_error,
        max_gradient_evaluations=max_gradient_evaluations,
    )
    if strict and tuple(result.verdicts) != ("converged",):
        raise typer.Exit(1)


@app.command()
def compare(
    problem: ProblemFile,
    checkpoints: Annotated[list[Path], typer.Argument(help="One or more: .npz, .safetensors, .eqx, .pt, or Orbax.")],
    localization: Localization = None,
    radius: Radius = 1.0,
    mask: Mask = None,
    integrate: Annotated[
        bool, typer.Option(help="Whether the free energy may take runs at a ladder of temperatures.")
    ] = True,
    num_chains: Annotated[int, typer.Option(help="Chains of each run.")] = 4,
    relative_error: RelativeError = 0.05,
    max_gradient_evaluations: Budget = None,
    out: Annotated[Path | None, typer.Option(help="Save everything but the draws to this .json.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Save a picture to this .png, .svg or .pdf.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set λ̂ beside BIC, Laplace, WAIC, the neural tangent kernel, and the loss on held-out data.

    Examples:

        llcoef compare problem.py checkpoints/step_001000.npz --plot comparison.png

        llcoef compare problem.py small.safetensors wide.safetensors --no-integrate --json
    """
    from llc.cli.compare import run_compare
    from llc.cli.estimate import held

    run_compare(
        problem,
        checkpoints,
        plot=plot,
        out=out,
        as_json=as_json,
        quiet=quiet,
        rng_key=seed,
        localization=held(localization, radius),
        mask=mask or None,
        integrate=integrate,
        num_chains=num_chains,
        relative_error=relative_error,
        max_gradient_evaluations=max_gradient_evaluations,
    )


@app.command()
def zoo(
    family: Annotated[str | None, typer.Argument(help="One family; all of them if not given.")] = None,
    n: Annotated[int, typer.Option(help="The number of examples that nβ = n / log n is taken at.")] = 1000,
    localization: Annotated[float, typer.Option(help="γ.")] = 1.0,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Estimate models whose coefficient is known exactly: pass or fail. Exit 1 if any fails.

    Examples:

        llcoef zoo

        llcoef zoo reduced_rank --n 10000
    """
    from llc.cli.zoo import run_zoo

    if not run_zoo(family, n=n, localization=localization, seed=seed, as_json=as_json, quiet=quiet):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; what the user can mend is one line on standard error and exit status 2."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "llc" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    try:
        app(prog_name="llcoef")
    except (ValueError, ImportError, OSError) as error:
        line = " ".join(str(error).split())
        print(f"llcoef: {line or type(error).__name__}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("llcoef: interrupted before the first draw; nothing to report.", file=sys.stderr)
        sys.exit(130)
