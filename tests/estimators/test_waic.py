import re

import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.estimators.measure import mean_of
from llc.estimators.waic import example_moments, waic_from


def line(params, inputs):
    return inputs @ params


@pytest.fixture(scope="module")
def problem(regression):
    inputs, targets = np.float32(regression.inputs), np.float32(regression.targets)
    return llc.Problem.supervised(line, llc.Gaussian(regression.noise), inputs, targets)


@pytest.fixture(scope="module")
def params(regression):
    return jnp.asarray(regression.center, jnp.float32)


@pytest.mark.parametrize("beta", [1.0, 0.2])
def test_criteria_are_the_closed_forms(problem, params, regression, drawn, beta):
    n, nbeta = regression.n, beta * regression.n
    rng = np.random.default_rng(0)
    result = waic_from(problem, params, drawn(regression, nbeta, rng, num_draws=8000, keep_weights=True))
    training, variance = regression.criteria(nbeta)
    excess, fluctuation = regression.loss(nbeta), beta / 2 * variance
    exact = {
        "training_loss": training,
        "functional_variance": variance,
        "singular_fluctuation": fluctuation,
        "gibbs_training_loss": regression.center_loss + excess,
        "gibbs_generalization_loss": regression.center_loss + excess + 2 * fluctuation / n,
        "learning_coefficient": nbeta * excess,
        "predicted_excess": (n * excess + (1 - 1 / beta) * fluctuation) / n,
    }
    assert set(result.details) == set(exact)
    for name, truth in exact.items():
        mean = result.details[name]
        assert abs(mean.value - truth) < 4 * mean.std_error, name
        assert mean.std_error < 0.01 * abs(truth), name
    assert abs(result.value - training - beta * variance / n) < 4 * result.std_error
    assert result.std_error < 0.02 * beta * variance / n
    assert result.verdicts == ("converged",)
    assert "nats per example" in repr(result)


def test_the_interval_covers_what_it_says(problem, params, regression, drawn):
    training, variance = regression.criteria(300.0)
    truth, covered, reported, values = training + variance / regression.n, [], [], []
    for seed in range(200):
        draws = drawn(regression, 300.0, np.random.default_rng(seed), num_draws=100, keep_weights=True)
        result = waic_from(problem, params, draws)
        low, high = result.interval(0.95)
        covered.append(low < truth < high)
        reported.append(result.std_error)
        values.append(result.value)
    assert 0.90 < np.mean(covered) < 0.99
    # the spread of 200 normals has a relative standard error of 1/√400
    assert abs(np.mean(reported) / np.std(values) - 1) < 4 / np.sqrt(400)


def test_few_draws_do_not_bias_it(regression):
    rng, off, plain = np.random.default_rng(0), [], []
    training, variance = regression.criteria(300.0)
    for _ in range(400):
        weights = regression.weights(300.0, rng.normal(size=(4, 5, regression.dimension)))
        losses = regression.losses(weights).reshape(20, -1)
        moments = example_moments(np.array_split(losses, 3, axis=1), num_chains=4)
        off.append([moments.training.mean() - regression.n * training, moments.variance.mean() - variance])
        plain.append(losses.var(axis=0).sum() - variance)
    error = np.std(off, axis=0) / np.sqrt(400)
    assert np.all(np.abs(np.mean(off, axis=0)) < 4 * error)
    assert error[1] < 0.02 * variance
    assert abs(np.mean(plain)) > 4 * error[1]  # what is corrected can be seen


def test_a_draw_contributes_what_leaving_it_out_takes_away(regression):
    rng = np.random.default_rng(0)
    losses = regression.losses(regression.weights(300.0, rng.normal(size=(5000, regression.dimension))))
    whole = example_moments([losses], num_chains=1)
    for name in ("training", "variance"):
        series = getattr(whole, name)[0]
        left_out = [getattr(example_moments([np.delete(losses, k, axis=0)], 1), name).mean() for k in range(5)]
        contributions = 4999 * (series.mean() - np.array(left_out))
        assert np.allclose(contributions, (series - series.mean())[:5], rtol=0.05, atol=0.02 * series.std())


def test_one_chain_and_diverged_chains_are_said(problem, params, regression, drawn):
    draws = drawn(regression, 300.0, np.random.default_rng(0), keep_weights=True)
    assert waic_from(problem, params, draws.isel(chain=[0])).verdicts == ("one chain",)
    alone = waic_from(problem, params, draws.isel(chain=slice(0, 3)))
    draws["sample_stats"]["diverging"].values[3] = True
    draws["posterior"]["params"].values[3] = np.nan
    result = waic_from(problem, params, draws)
    assert result.value == alone.value
    assert result.verdicts == ("chains diverged",)


def test_what_has_no_losses_of_examples_is_refused(problem, params, regression, drawn):
    with pytest.raises(ValueError, match=r"these draws kept no weights; make them with llc\.draw\(\.\.\., keep_w"):
        waic_from(problem, params, drawn(regression, 300.0, np.random.default_rng(0)))
    entry = llc.zoo.regular(4, n=300)
    draws = drawn(regression, 300.0, np.random.default_rng(0), num_draws=4, keep_weights=True)
    draws.attrs["center_loss"] = 0.0
    with pytest.raises(ValueError, match=re.escape("every example has the same loss 0 at params")):
        waic_from(entry.problem, entry.params, draws)


def test_another_problems_draws_are_refused(problem, params, regression, drawn):
    draws = drawn(regression, 300.0, np.random.default_rng(0), num_draws=4, keep_weights=True)
    other = llc.Problem.supervised(line, llc.Gaussian(), *(leaf[:100] for leaf in problem.data))
    with pytest.raises(ValueError, match="the draws record n=300"):
        waic_from(other, params, draws)


def test_moments_agree_with_their_mean(regression):
    losses = regression.losses(regression.weights(300.0, np.random.default_rng(0).normal(size=(50, 4))))
    moments = example_moments([losses], num_chains=1)
    assert mean_of(moments.gibbs).value == pytest.approx(losses.mean(axis=0).sum())
    assert mean_of(moments.variance).value == pytest.approx(losses.var(axis=0).sum())
    assert mean_of(moments.training).value == pytest.approx(-np.log(np.exp(-losses).mean(axis=0)).sum())
