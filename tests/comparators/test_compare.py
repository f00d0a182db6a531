"""Each row of a comparison against the closed forms of conjugate linear regression; what cannot be had says so."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.cli.compare import show_comparison
from llc.comparators.comparison import Comparison, Comparisons
from tests.regression import Regression

COLUMNS = ["value", "error", "verdict", "assumptions"]
MEASURES = {
    "complexity": ["BIC d/2", "Gauss–Newton rank/2", "NTK ½·d_eff", "λ̂", "ν̂"],
    "free_energy": ["BIC", "Laplace", "NTK-linearised", "λ̂-corrected", "WBIC", "thermodynamic integration"],
    "generalization": [
        "training loss",
        "AIC",
        "BIC / n",
        "NTK/GCV",
        "eigenlearning",
        "λ/n",
        "WAIC",
        "measured, Bayes predictive",
        "measured on held-out data",
    ],
}
# a look at what rows say needs no precision
FAST = {"localization_factors": (), "num_warmup": 300, "num_draws": 300, "num_chains": 2, "progress": False}
# exact rows hold float32's L_n(w*) and eigenvalues
ROUNDING = 2e-5


def curvatures(r: Regression, nbeta: float) -> np.ndarray:
    return nbeta * np.linalg.eigvalsh(r.hessian) / r.gamma


def coefficient(r: Regression, nbeta: float) -> float:
    """½ d_eff."""
    return 0.5 * (curvatures(r, nbeta) / (1 + curvatures(r, nbeta))).sum()


def test_tables_are_frames_indexed_by_measure(comparison):
    for name, measures in MEASURES.items():
        frame = getattr(comparison, name)
        assert list(frame.index) == measures
        assert list(frame.columns) == COLUMNS
        assert (frame["verdict"] != "").all()
        assert (frame["assumptions"] != "").all()
        assert np.isfinite(frame[["value", "error"]].to_numpy()).all()


def test_rows_without_sampling_are_exact(regression, comparison, held_out):
    r, n, d = regression, regression.n, regression.dimension
    loss, gcv = r.center_loss, coefficient(r, n)
    noise = 0.5 * np.log(2 * np.pi * r.noise**2)
    inputs, targets = (a.astype(float) for a in held_out)
    measured = (targets - inputs @ r.center) ** 2 / (2 * r.noise**2) + noise
    exact = {
        "complexity": {"BIC d/2": d / 2, "Gauss–Newton rank/2": d / 2, "NTK ½·d_eff": coefficient(r, n / np.log(n))},
        "free_energy": {
            "BIC": n * loss + d / 2 * np.log(n),
            "Laplace": n * loss + r.free_energy(n),  # the posterior is Gaussian
            "NTK-linearised": n * loss + r.free_energy(n),
        },
        "generalization": {
            "training loss": loss,
            "AIC": loss + d / n,
            "BIC / n": loss + d / 2 * np.log(n) / n,
            "NTK/GCV": noise + (loss - noise) / (1 - 2 * gcv / n) ** 2,
            "measured on held-out data": measured.mean(),
        },
    }
    for name, rows in exact.items():
        for measure, value in rows.items():
            row = getattr(comparison, name).loc[measure]
            np.testing.assert_allclose(row["value"], value, rtol=ROUNDING, err_msg=measure)
            if not measure.startswith("measured"):
                assert row["error"] == 0
    error = comparison.generalization.loc["measured on held-out data", "error"]
    np.testing.assert_allclose(error, measured.std(ddof=1) / np.sqrt(len(measured)), rtol=1e-4)


def test_rows_of_draws_cover_the_closed_forms(regression, comparison):
    r, n = regression, regression.n
    nbeta, loss = n / np.log(n), regression.center_loss
    training, variance = r.criteria(n)
    llc_n = nbeta * r.loss(nbeta)
    exact = {
        "complexity": {"λ̂": llc_n, "ν̂": variance / 2},
        "free_energy": {
            "λ̂-corrected": n * loss + llc_n * np.log(n),
            "WBIC": n * loss + llc_n * np.log(n),
            "thermodynamic integration": n * loss + r.free_energy(n),
        },
        "generalization": {"λ/n": loss + 2 * llc_n / n, "WAIC": training + variance / n},
    }
    for name, rows in exact.items():
        for measure, value in rows.items():
            row = getattr(comparison, name).loc[measure]
            assert abs(row["value"] - value) < 4 * row["error"], measure
            assert 0 < row["error"] < 0.2 * max(llc_n, 1), measure
            assert "converged" in row["verdict"]


def test_the_bayes_predictive_loss_is_that_of_the_posterior(regression, comparison, held_out):
    r = regression
    inputs, targets = (a.astype(float) for a in held_out)
    mean, covariance = r.posterior(r.n)
    spread = r.noise**2 + np.einsum("ij,jk,ik->i", inputs, covariance, inputs)
    exact = np.mean(0.5 * np.log(2 * np.pi * spread) + (targets - inputs @ mean) ** 2 / (2 * spread))
    row = comparison.generalization.loc["measured, Bayes predictive"]
    # the test data are the same, so that only the draws err: Var of E_w[p] over some thousand draws is of order 1e-5
    np.testing.assert_allclose(row["value"], exact, atol=2e-4)


def test_eigenlearning_predicts_kernel_regression_on_the_union(regression, comparison, problem):
    """A random n of all inputs, the rest predicted by ridge regression with the kernel x·x'/γ, many times."""
    r = regression
    inputs = np.concatenate([problem.data[0], problem.test_data[0]]).astype(float)
    targets = np.concatenate([problem.data[1], problem.test_data[1]]).astype(float)
    rng, losses = np.random.default_rng(0), []
    for _ in range(200):
        order = rng.permutation(len(targets))
        train, test = order[: r.n], order[r.n :]
        precision = inputs[train].T @ inputs[train] + r.gamma * r.noise**2 * np.eye(r.dimension)
        weights = np.linalg.solve(precision, inputs[train].T @ targets[train])
        losses.append(np.mean((targets[test] - inputs[test] @ weights) ** 2) / (2 * r.noise**2))
    losses = np.array(losses) + 0.5 * np.log(2 * np.pi * r.noise**2)
    value = comparison.generalization.loc["eigenlearning", "value"]
    assert abs(value - losses.mean()) < 4 * losses.std(ddof=1) / np.sqrt(len(losses))


def test_lambda_over_localization_follows_the_closed_form(regression, comparison):
    assert [at.factor for at in comparison.over_localization] == [0.1, 1.0, 10.0]
    nbeta = regression.n / np.log(regression.n)
    for at in comparison.over_localization:
        held = Regression(**(vars(regression) | {"gamma": regression.gamma * at.factor}))
        assert abs(at.llc - nbeta * held.loss(nbeta)) < 4 * at.std_error
        np.testing.assert_allclose(at.ntk, coefficient(held, nbeta), rtol=ROUNDING)


def saddle(w, x):
    return 0.5 * (w[0] ** 2 - w[1] ** 2 + w[1] ** 4) + 0 * x


def test_a_bare_loss_lacks_only_the_rows_of_outputs_and_a_saddle_laplace():
    found = llc.compare(llc.Problem(saddle, jnp.linspace(0, 1, 500)), jnp.zeros(2), localization=1.0, **FAST)
    rows = found.to_dataframe().droplevel("table")
    missing = rows[rows["value"].isna()]["verdict"]
    outputs = {"Gauss–Newton rank/2", "NTK ½·d_eff", "NTK-linearised", "NTK/GCV", "eigenlearning"}
    of_examples = {"ν̂", "WAIC"}  # all have one loss
    measured = {"measured on held-out data", "measured, Bayes predictive"}
    assert set(missing.index) == outputs | of_examples | measured | {"Laplace"}
    assert missing[list(outputs)].str.contains("needs the network's outputs").all()
    assert missing[list(of_examples)].str.contains("same loss").all()
    assert missing[list(measured)].str.contains("test_data").all()
    assert "no minimum" in missing["Laplace"]
    assert np.isnan(found.over_localization[0].ntk)
    assert repr(found).startswith("λ̂ ")


def test_a_point_that_is_no_minimum_is_named(problem, regression):
    away = jnp.asarray(regression.center + 0.5, jnp.float32)
    found = llc.compare(problem, away, localization=2.0, **FAST)
    assert "not a minimum" in found.complexity.loc["NTK ½·d_eff", "verdict"]
    assert "not a minimum" in found.free_energy.loc["Laplace", "verdict"]
    assert "not a minimum" in found.complexity.loc["λ̂", "verdict"]


def test_a_comparison_shows_itself(comparison, tmp_path):
    line = repr(comparison)
    assert "\n" not in line
    assert "λ̂ 1." in line
    html = comparison._repr_html_()
    assert html.count("<table") == 3
    assert "thermodynamic integration" in html
    everything = comparison.to_dataframe()
    assert everything.index.names == ["table", "measure"]
    assert len(everything) == sum(map(len, MEASURES.values()))
    assert json.loads(json.dumps(comparison.to_dict()))["complexity"][0]["measure"] == "BIC d/2"
    figure = comparison.plot()
    figure.savefig(tmp_path / "comparison.png")
    left, right = figure.axes
    assert len(left.get_lines()) >= 3
    assert [label.get_text() for label in right.get_yticklabels()] == MEASURES["generalization"][::-1]
    # of one γ there is no curve
    left, _ = replace(comparison, over_localization=comparison.over_localization[:1]).plot().axes
    assert [label.get_text() for label in left.get_yticklabels()] == MEASURES["complexity"][::-1]


def test_the_command_line_shows_a_line_tables_or_json(comparison, capsys):
    show_comparison(comparison, as_json=False, quiet=True)
    assert capsys.readouterr().out == f"{comparison}\n"
    show_comparison(comparison, as_json=False, quiet=False)
    out = capsys.readouterr().out
    assert all(measure in out for measures in MEASURES.values() for measure in measures)
    show_comparison(comparison, as_json=True, quiet=False)
    assert json.loads(capsys.readouterr().out)["estimate"]["dimension"] == 3


def constant(params, inputs):
    return 0 * inputs[:, 0] + params[0]


def test_several_models_are_ranked(regression, problem, params, held_out):
    """A line through the data against a constant, which every criterion must place last."""
    poor = llc.Problem.supervised(constant, llc.Gaussian(regression.noise), *problem.data, test=held_out)
    both = llc.compare(
        {"line": (problem, params), "constant": (poor, jnp.zeros(1))},
        localization=regression.gamma,
        **FAST,
    )
    assert isinstance(both, Comparisons)
    assert list(both) == ["line", "constant"]
    assert isinstance(both["line"], Comparison)
    assert both.complexity.loc[("line", "BIC d/2"), "value"] == 1.5
    assert both.complexity.index.names == ["model", "measure"]
    ranking = both.ranking
    assert (ranking["line"] == 1).all()
    assert (ranking["constant"] == 2).all()
    np.testing.assert_allclose(ranking["correlation"], 1)
    assert both._repr_html_().count("<h3>") == 2
    json.dumps(both.to_dict())
    assert len(both.plot().axes) == 1


def test_refusals(problem, params):
    with pytest.raises(ValueError, match="nbeta"):
        llc.compare(problem, params, nbeta=3.0)
    with pytest.raises(ValueError, match="nothing to compare"):
        llc.compare({})
