"""The command `llcoef`: flags into the calls of the library, results onto the screen; no mathematics."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from llc.cache import cache_folder

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
KernelName = Annotated[
    str,
    typer.Option(
        help="auto; replica_exchange, hmc, nuts, mala; sgld, preconditioned_sgld, sghmc, sgnht, underdamped_langevin."
    ),
]
StepSize = Annotated[float | None, typer.Option(help="In whitened coordinates, without unit; chosen if not given.")]
Gradient = Annotated[str, typer.Option(help="control_variate, anchored, minibatch or full.")]
Nbeta = Annotated[float | None, typer.Option(help="nβ; n / log n if not given.")]
NumChains = Annotated[int, typer.Option(help="Chains, for each step size.")]
NumDraws = Annotated[int | None, typer.Option(help="Draws of each chain; until precision if not given.")]
PicturePath = Annotated[Path | None, typer.Option(help="Save a picture to this .png, .svg or .pdf.")]
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
    kernel: KernelName = "auto",
    step_size: StepSize = None,
    gradient: Gradient = "control_variate",
    nbeta: Nbeta = None,
    localization: Localization = None,
    radius: Radius = 1.0,
    mask: Mask = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a minibatch; at most 128 if not given.")] = None,
    num_chains: NumChains = 4,
    num_warmup: Annotated[int | None, typer.Option(help="Warm-up of each chain; chosen if not given.")] = None,
    num_draws: NumDraws = None,
    relative_error: RelativeError = 0.05,
    max_gradient_evaluations: Budget = None,
    out: Annotated[Path | None, typer.Option(help="Save the draws to this .nc or .zarr.")] = None,
    plot: PicturePath = None,
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
    num_chains: NumChains = 4,
    relative_error: RelativeError = 0.05,
    max_gradient_evaluations: Budget = None,
    out: Annotated[Path | None, typer.Option(help="Save everything but the draws to this .json.")] = None,
    plot: PicturePath = None,
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
def trajectory(
    problem: ProblemFile,
    checkpoints: Annotated[Path, typer.Argument(help="A folder of checkpoints; their steps are in their names.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; given again, the command goes on with it.")],
    watch: Annotated[bool, typer.Option("--watch", help="Go on with checkpoints that a training job adds.")] = False,
    idle: Annotated[
        float | None, typer.Option(help="End --watch after so many seconds with nothing new; Ctrl-C ends it too.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes on this machine.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, whose workers do the work.")
    ] = None,
    behavioral: Annotated[
        bool, typer.Option("--behavioral", help="Take the network at each step for its own truth.")
    ] = False,
    refine: Annotated[
        list[str] | None, typer.Option(help="Also λ̂ of these weights alone, by a pattern of paths. May be repeated.")
    ] = None,
    ntk: Annotated[bool, typer.Option("--ntk", help="Also what the neural tangent kernel predicts.")] = False,
    localization: Localization = None,
    radius: Radius = 1.0,
    mask: Mask = None,
    nbeta: Nbeta = None,
    kernel: KernelName = "auto",
    step_size: StepSize = None,
    gradient: Gradient = "control_variate",
    num_chains: NumChains = 4,
    num_draws: NumDraws = None,
    relative_error: RelativeError = 0.05,
    max_gradient_evaluations: Budget = None,
    plot: PicturePath = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Estimate every checkpoint of a training run: λ̂ over steps, with errors, losses and verdicts.

    Settings are found on the first, middle and last checkpoint and then held fixed. Killed at any moment, the same
    command goes on where it stopped.

    Examples:

        llcoef trajectory problem.py checkpoints/ --out run/ --plot trajectory.png

        llcoef trajectory problem.py checkpoints/ --out run/ --watch --idle 3600

        llcoef trajectory problem.py checkpoints/ --out run/ --scheduler tcp://10.0.0.1:8786
    """
    from llc.cli.estimate import build_kernel, held
    from llc.cli.trajectory import run_trajectory

    run_trajectory(
        problem,
        checkpoints,
        out=out,
        plot=plot,
        watch=watch,
        idle=idle,
        workers=workers,
        scheduler=scheduler,
        as_json=as_json,
        quiet=quiet,
        behavioral=behavioral,
        refine=refine or (),
        ntk=ntk,
        rng_key=seed,
        kernel=build_kernel(kernel, step_size, gradient),
        nbeta=nbeta,
        localization=held(localization, radius),
        mask=mask or None,
        num_chains=num_chains,
        num_draws=num_draws,
        relative_error=relative_error,
        max_gradient_evaluations=max_gradient_evaluations,
    )


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of `llcoef trajectory` or demo, or one with draws (*.nc).")],
    out: Annotated[Path | None, typer.Option(help="The page; report.html in the folder if not given.")] = None,
) -> None:
    """Write one HTML page with everything that a run measured; it opens from disk and needs no network.

    Examples:

        llcoef report run/

        llcoef report run/ --out report.html
    """
    from llc.report import report_of_run

    typer.echo(report_of_run(run, out))


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
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder("jax")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # small programs are many
    gc.set_threshold(50_000, 20, 50)  # tracing makes little garbage: a sixth of the time to a first draw
    try:
        app(prog_name="llcoef")
    except (ValueError, ImportError, OSError, MemoryError) as error:
        line = " ".join(str(error).split())
        print(f"llcoef: {line or type(error).__name__}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("llcoef: interrupted before the first draw; nothing to report.", file=sys.stderr)
        sys.exit(130)
