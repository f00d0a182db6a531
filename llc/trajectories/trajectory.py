"""The third verb: the learning coefficient over training, through one compiled program, resumable at any moment."""

import tempfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from jaxtyping import Array, PyTree

from llc import fingerprint
from llc.draws.progress import progress_bar
from llc.estimators.learning_coefficient import learning_coefficient
from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.localization import Localization, Relative
from llc.posterior.masks import named_masks, resolve_mask
from llc.problem import Problem
from llc.samplers.kernel import Kernel
from llc.trajectories.executor import Executor, in_turn
from llc.trajectories.measure import Task
from llc.trajectories.plan import fixed_settings, needs_pilots, pilot_settings, pilots_of
from llc.trajectories.result import Trajectory, assembled
from llc.trajectories.sources import Seen, survey
from llc.trajectories.store import Store


def trajectory(
    problem: Problem,
    checkpoints: Any,
    *,
    store: str | PathLike[str] | None = None,
    executor: Executor | None = None,
    rng_key: int | Array = 0,
    kernel: Kernel | None = None,
    nbeta: float | int | None = None,
    localization: Localization = Relative(),  # noqa: B008, frozen
    mask: PyTree | str | Sequence[str] | None = None,
    batch_size: int | None = None,
    num_chains: int = 4,
    num_warmup: int | None = None,
    num_draws: int | None = None,
    thinning: int | None = None,
    relative_error: float | int = 0.05,
    max_gradient_evaluations: float | int | None = None,
    behavioral: bool = False,
    refine: Mapping[str, PyTree] | Sequence[str] = (),
    ntk: bool = False,
    template: PyTree | None = None,
    progress: bool = True,
) -> Trajectory:
    """λ̂ ± error at each checkpoint of a training run, with losses and verdicts.

    What is not given is found on the first, middle and last checkpoint and then the same for all, γ of each leaf
    included, so that the curve is comparable; so are the random numbers, so that differences have smaller errors than
    values wherever chains move alike (with SGLD and HMC mostly, with replica exchange hardly). Everything runs through
    one compiled program. With a `store` the call may be killed at any moment: given again it goes on, and ends with the
    same numbers, bit for bit. Files are named after a hash of weights, data, loss, settings and versions, so that none
    is ever taken for another. Ctrl-C gives what has been measured so far.

    >>> import jax.numpy as jnp, llc
    >>> problem = llc.Problem(lambda w, x: 0.5 * (x - w) ** 2, jnp.zeros(1000))
    >>> settings = {"kernel": llc.samplers.SGLD(step_size=0.0), "num_draws": 10, "num_warmup": 0, "progress": False}
    >>> run = llc.trajectory(problem, [(0, jnp.array(2.0)), (100, jnp.array(1.0))], **settings)
    >>> run.to_dataframe()[["step", "llc", "loss"]].values.tolist()
    [[0.0, 0.0, 2.0], [100.0, 0.0, 0.5]]

    Args:
        problem: the loss and its data.
        checkpoints: a folder, an Orbax manager, a mapping from steps to params, or any iterable of paths,
            `llc.checkpoints.Checkpoint`, or pairs (step, params).
        store: a folder for the results, one netCDF file a checkpoint; a temporary one unless given.
        executor: anything with `submit(fn, *args)` whose answer has `.result()`; this process unless given. Processes
            of other machines need a `store` that they can read.
        rng_key: a seed or a JAX key, the same for every step.
        kernel: as of `llc.estimate`.
        nbeta: nβ, n / log n unless given.
        localization: γ; `llc.Relative` is taken relative to the last checkpoint.
        mask: what may move.
        batch_size: examples a minibatch.
        num_chains: chains, for each step size.
        num_warmup: warm-up of each chain, in draws.
        num_draws: draws of each chain.
        thinning: steps a draw.
        relative_error: the precision at which draws are enough for the first, middle and last checkpoint.
        max_gradient_evaluations: the budget of each of those three.
        behavioral: take the network at each step for its own truth (`llc.behavioral`), which gives a coefficient where
            the training loss has no minimum.
        refine: masks, as of `llc.refine`, whose coefficients are estimated along with it.
        ntk: also what the neural tangent kernel predicts, with its bounds (`llc.kernels.ntk_coefficient`).
        template: a tree like the params, for checkpoints whose files do not tell their structure.
        progress: show bars on standard error.

    Raises:
        ValueError: there are no checkpoints, one has no step, two have the same, they are of different networks, or of
            another than the problem's; or as of `llc.estimate`. Files that cannot be read are named in `.skipped`.
        OSError: the store's disk is full.
        ChildProcessError: a process of the executor died; what was measured is kept.
    """
    results = Store(store)
    results.sweep()
    asked = {
        "rng_key": rng_key,
        "kernel": kernel,
        "nbeta": nbeta,
        "localization": localization,
        "mask": mask,
        "batch_size": batch_size,
        "num_chains": num_chains,
        "num_warmup": num_warmup,
        "num_draws": num_draws,
        "thinning": thinning,
        "relative_error": relative_error,
        "max_gradient_evaluations": max_gradient_evaluations,
    }
    with tempfile.TemporaryDirectory(prefix="llc-checkpoints-") as scratch:
        found, skipped = survey(checkpoints, template, Path(scratch))
        params = _fitting(problem, found[0])
        masks = named_masks(refine, params)
        task = Task(problem, {**asked, "mask": resolve_mask(mask, params)}, behavioral, masks, ntk)
        about = fingerprint.combined(
            fingerprint.of_problem(problem, params), fingerprint.of_settings((task.settings, behavioral, masks, ntk))
        )
        pilots = _pilots(found, results.read_index(), about)
        task = _planned(task, pilots, about, results.pilots(), executor, progress)
        run = fingerprint.combined(about, fingerprint.of_settings(task.settings))
        keyed = [(seen, fingerprint.combined(run, seen.digest)) for seen in found]
        index = {
            "about": about,
            "pilots": [[seen.step, seen.digest] for seen in pilots],
            "steps": [[seen.step, key] for seen, key in keyed],
            "skipped": skipped,
        }
        results.write_index(index)
        try:
            skipped |= _measured(results, task, keyed, executor, progress)
        except KeyboardInterrupt:
            if not any(results.path(seen.step, key).exists() for seen, key in keyed):
                raise
        results.write_index(index)
    return assembled(results, index)


def _fitting(problem: Problem, seen: Seen) -> PyTree:
    """The params of a checkpoint, of which the problem's loss can be computed."""
    params = seen.load()
    try:
        problem.check(params)
    except ValueError as error:
        msg = f"{seen.source.name}: {error}"
        raise ValueError(msg) from error
    return params


def _pilots(found: Sequence[Seen], index: dict[str, Any] | None, about: str) -> list[Seen]:
    """The checkpoints that settings are found on: those of an earlier call, if it had the same, else the usual ones.

    A run that grows, or goes on after it was killed, keeps its settings.
    """
    by_step = {seen.step: seen for seen in found}
    if index is not None and index["about"] == about:
        before = [by_step.get(step) for step, _ in index["pilots"]]
        if [[seen.step, seen.digest] for seen in before if seen is not None] == index["pilots"]:
            return [seen for seen in before if seen is not None]
    return [by_step[step] for step in pilots_of(list(by_step))]


def _planned(
    task: Task, pilots: Sequence[Seen], about: str, store: Store, executor: Executor | None, progress: bool
) -> Task:
    """The task with the settings that hold for the whole run."""
    centers = [_fitting(task.problem, seen) for seen in pilots]
    problems = [task.problem_at(center) for center in centers]
    shared = pilot_settings(task.settings, problems, centers)
    estimates = []
    if needs_pilots(shared):
        pilot = Task(task.problem, shared, task.behavioral, {}, ntk=False)
        keyed = [(seen, fingerprint.combined(about, *(p.digest for p in pilots), seen.digest)) for seen in pilots]
        refused = _measured(store, pilot, keyed, executor, progress, what="calibration")
        draws = [store.load(seen.step, key) for seen, key in keyed]
        if refused:
            raise ValueError("; ".join(f"{name}: {reason}" for name, reason in refused.items()))
        estimates = [learning_coefficient(tree) for tree in draws if tree is not None]
    where = {name: shared[name] for name in ("nbeta", "localization", "mask", "batch_size")}
    posterior = LocalPosterior(problems[0], centers[0], **where)
    return task._replace(settings=fixed_settings(shared, estimates, posterior))


def _measured(
    store: Store,
    task: Task,
    keyed: Sequence[tuple[Seen, str]],
    executor: Executor | None,
    progress: bool,
    what: str = "checkpoints",
) -> dict[str, str]:
    """Measure what the store does not hold yet; what could not be measured, by name with the reason."""
    keys = {seen.step: key for seen, key in keyed}
    missing = [seen for seen, key in keyed if store.load(seen.step, key) is None]
    refused: dict[str, str] = {}
    if not missing:
        return refused
    with progress_bar(what, len(missing), progress, unit="checkpoints", patience=0.0) as report:
        report(0)
        for seen, draws in in_turn(executor, task, missing, store.folder):
            if isinstance(draws, ValueError):
                refused[seen.source.name] = str(draws)
            elif draws.attrs["interrupted"]:
                raise KeyboardInterrupt
            else:
                store.save(seen.step, keys[seen.step], draws)
            report(1)
    return refused
