"""λ̂ over training: right at every step, by one program, whatever form the checkpoints come in."""

import jax
import numpy as np
import pytest

import llc
from llc.posterior.localization import PerLeaf
from tests.trajectories.runs import SETTINGS, descent, exact, quadratic


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return llc.trajectory(
        quadratic(test_data=np.ones((4, 2), np.float32)),
        descent(),
        store=tmp_path_factory.mktemp("run"),
        **SETTINGS,
    )


def test_values_are_the_exact_ones_at_minima_and_elsewhere(run):
    nbeta = 1000 / np.log(1000)
    for row, (_, params) in zip(run.rows, descent(), strict=True):
        assert abs(row["llc"] - exact(params, nbeta, 10.0)) < 4 * row["std_error"]


def test_losses_stand_beside(run):
    problem = quadratic()
    for row, (_, params) in zip(run.rows, descent(), strict=True):
        assert row["loss"] == pytest.approx(float(problem.losses(params, problem.data).mean()), rel=1e-6)
        assert row["test_loss"] == pytest.approx(float(0.5 * np.sum((1 - params) ** 2)), rel=1e-6)


def test_what_is_no_minimum_says_so(run):
    assert "not a minimum" in run.rows[0]["verdicts"]
    assert "not a minimum" not in run.rows[-1]["verdicts"]


def test_a_step_gives_its_estimate_with_draws(run):
    estimate = run[40]
    assert isinstance(estimate, llc.Estimate)
    assert estimate.value == run.rows[-1]["llc"]
    assert estimate.draws["sample_stats"].sizes["draw"] == 200
    with pytest.raises(KeyError, match="41 is not among 0, 10, 20, 30, 40"):
        run[41]


def test_the_frame_has_a_row_a_step(run):
    frame = run.to_dataframe()
    assert frame["step"].tolist() == [0, 10, 20, 30, 40]
    assert {"llc", "std_error", "loss", "test_loss", "verdicts", "difference"} <= set(frame.columns)
    assert np.isnan(frame["difference"][0])


def test_differences_are_the_exact_ones_with_smaller_errors_than_of_the_values(run):
    frame, nbeta = run.to_dataframe(), 1000 / np.log(1000)
    off = frame["difference"][1:] - np.diff([exact(params, nbeta, 10.0) for _, params in descent()])
    assert (abs(off) < 4 * frame["difference_std_error"][1:]).all()
    # common random numbers: the closer two steps are, the more of their errors cancels
    assert frame["difference_std_error"][4] < 0.1 * np.hypot(frame["std_error"][3], frame["std_error"][4])


def test_it_shows_itself(run):
    assert "5 steps, 0 to 40" in repr(run)
    assert "<table" in run._repr_html_()
    assert run.to_dict()["steps"][0]["step"] == 0
    assert run.settings["num_draws"] == 200
    assert run.plot() is not None


def test_it_can_be_read_without_the_problem(run):
    again = llc.Trajectory.read(run.store.folder)
    assert again.rows == run.rows or again.to_dataframe().equals(run.to_dataframe())


def test_differences_are_right_and_have_smaller_errors_than_values():
    """Over 12 seeds: within 4 standard errors, χ² within the 4σ range of its 12 degrees of freedom."""
    (_, first), (_, last) = steps = descent()[-2:]
    nbeta, scores = 1000 / np.log(1000), []
    truth = exact(last, nbeta, 10.0) - exact(first, nbeta, 10.0)
    settings = SETTINGS | {"kernel": llc.samplers.MALA(0.05)}
    for seed in range(12):
        run = llc.trajectory(quadratic(), steps, rng_key=seed, **settings)
        change = run.difference(40, 30)
        independent = np.hypot(*(row["std_error"] for row in run.rows))
        assert change.std_error < 0.5 * independent
        scores.append((change.value - truth) / change.std_error)
    assert np.abs(scores).max() < 4
    assert np.sum(np.square(scores)) < 12 + 4 * np.sqrt(24)


def test_one_program_serves_all_steps():
    """As many compilations for nine checkpoints as for three."""

    def count(num_steps, loss_fn):
        compiled = []
        jax.monitoring.register_event_duration_secs_listener(
            lambda name, *_, **__: compiled.append(name) if name == "/jax/core/compile/backend_compile_duration" else 0
        )
        try:
            llc.trajectory(quadratic(loss_fn=loss_fn), descent(num_steps), **SETTINGS)
        finally:
            jax.monitoring.clear_event_listeners()
        return len(compiled)

    count(2, lambda w, x: ((x - w) ** 2).sum(axis=1))  # what no program of ours is, once for all
    three, nine = (count(steps, lambda w, x, s=steps: 0.5 * ((x - w) ** 2).sum(axis=1)) for steps in (3, 9))
    assert three == nine > 0


def test_settings_are_found_once_and_then_fixed():
    network = lambda w, x: x @ w["a"]
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(400, 3)).astype(np.float32)
    problem = llc.Problem.supervised(network, llc.Gaussian(), inputs, inputs @ np.ones(3, np.float32))
    steps = [(s, {"a": np.full(3, 1 + 0.1 / (s + 1), np.float32)}) for s in range(4)]
    run = llc.trajectory(problem, steps, kernel=llc.samplers.SGLD(), relative_error=0.2, progress=False)
    told = [run[step].settings for step in run.steps]
    fixed = ("kernel_step_size", "num_draws", "num_warmup", "thinning", "localization", "nbeta", "batch_size")
    for name in fixed:
        assert all(settings[name] == told[0][name] for settings in told), name
    # relative to the last checkpoint
    assert told[0]["localization"] == pytest.approx([1 / np.mean(steps[-1][1]["a"] ** 2)], rel=1e-6)
    for settings, row in zip(told, run.rows, strict=True):
        assert row["std_error"] < 0.4 * row["llc"], settings


def test_refined_coefficients_and_the_tangent_come_along():
    network = lambda w, x: x @ w["a"] + w["b"]
    inputs = np.random.default_rng(2).normal(size=(500, 2)).astype(np.float32)
    problem = llc.Problem.supervised(network, llc.Gaussian(), inputs, inputs @ np.ones(2, np.float32))
    steps = [(s, {"a": np.ones(2, np.float32), "b": np.zeros((), np.float32)}) for s in range(2)]
    run = llc.trajectory(problem, steps, refine=["a"], ntk=True, **SETTINGS | {"localization": 1.0})
    for row in run.to_dict()["steps"]:
        # regular: half the effective number of parameters, which the tangent knows exactly
        assert abs(row["llc"] - row["ntk"]) < 4 * row["std_error"]
        assert abs(row["llc a"] - row["ntk"] * 2 / 3) < 4 * row["std_error a"] + 0.02
        assert row["ntk_low"] <= 1.5 <= row["ntk_high"]


def test_behavioural_coefficients_stand_where_the_training_loss_has_a_slope():
    """Of y = w1 w2 x at (2, 0.5): a minimum for its own outputs, of codimension 1, λ = ½; none for the targets 0."""
    inputs = np.random.default_rng(3).normal(size=(2000, 1)).astype(np.float32)
    problem = llc.Problem.supervised(lambda w, x: x[:, 0] * w[0] * w[1], llc.Gaussian(0.3), inputs, 0 * inputs[:, 0])
    steps = [(1, np.array([2.0, 0.5], np.float32))]
    settings = SETTINGS | {"localization": 1.0, "num_draws": 600}
    plain = llc.trajectory(problem, steps, **settings).rows[0]
    own = llc.trajectory(problem, steps, behavioral=True, **settings).rows[0]
    assert "not a minimum" in plain["verdicts"]
    assert "not a minimum" not in own["verdicts"]
    assert abs(own["llc"] - 0.5) < 4 * own["std_error"] + 0.01
    assert own["loss"] == plain["loss"]


@pytest.mark.parametrize("form", ["folder", "paths", "checkpoints", "mapping", "generator"])
def test_checkpoints_of_any_form_give_the_same(form, tmp_path):
    steps = descent(2)
    paths = [llc.checkpoints.save(tmp_path / f"step_{step}.npz", params, step=step) for step, params in steps]
    given = {
        "folder": tmp_path,
        "paths": paths[::-1],
        "checkpoints": [llc.checkpoints.read(path) for path in paths],
        "mapping": dict(steps),
        "generator": (pair for pair in steps),
    }[form]
    run = llc.trajectory(quadratic(), given, **SETTINGS)
    wanted = llc.trajectory(quadratic(), steps, **SETTINGS)
    assert [row["llc"] for row in run.rows] == [row["llc"] for row in wanted.rows]
    assert run.steps == [0, 10]


def test_an_orbax_manager_will_do(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    with ocp.CheckpointManager(tmp_path / "orbax") as manager:
        for step, params in descent(2):
            manager.save(step, args=ocp.args.StandardSave({"w": params}))
        manager.wait_until_finished()
        problem = quadratic(loss_fn=lambda p, x: 0.5 * ((x - p["w"]) ** 2).sum(axis=1))
        assert llc.trajectory(problem, manager, **SETTINGS).steps == [0, 10]


def test_a_tree_of_tuples_keeps_its_structure_on_the_way_to_disk():
    problem = quadratic(loss_fn=lambda p, x: 0.5 * ((x - p[0]) ** 2).sum(axis=1) + 0.5 * p[1] ** 2)
    steps = ((step, (params, np.float32(0.1))) for step, params in descent(2))
    assert llc.trajectory(problem, steps, **SETTINGS).dimension == 3


def test_per_leaf_localization_is_held_to_the_number_of_leaves():
    with pytest.raises(ValueError, match="2 γ for 1 leaves"):
        llc.trajectory(quadratic(), descent(), **SETTINGS | {"localization": PerLeaf((1.0, 2.0))})
