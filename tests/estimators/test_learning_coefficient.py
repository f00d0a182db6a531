import json

import jax.numpy as jnp
import numpy as np
import pytest

import llc
from llc.estimators.learning_coefficient import learning_coefficient

CURVATURES = np.array([1.0, 0.1, 0.0])


def quadratic(params, batch):
    return jnp.broadcast_to(0.5 * jnp.sum(CURVATURES * params**2), batch.shape)


def posterior(nbeta=100.0, gamma=5.0):
    return llc.LocalPosterior(
        llc.Problem(quadratic, np.zeros(1000, np.float32)), jnp.zeros(3), nbeta=nbeta, localization=gamma
    )


def exact(nbeta=100.0, gamma=5.0):
    return 0.5 * np.sum(nbeta * CURVATURES / (nbeta * CURVATURES + gamma))


@pytest.fixture(scope="module")
def nuts():
    return learning_coefficient(llc.draw(llc.samplers.NUTS(), posterior(), 0, num_draws=4000, num_warmup=500))


def within(mean, truth):
    return abs(mean.value - truth) < 4 * mean.std_error


def test_value_variance_and_virial_are_the_closed_forms(nuts):
    shares = 100 * CURVATURES / (100 * CURVATURES + 5)
    assert within(nuts, exact())
    assert within(nuts.variance_estimate, 0.5 * np.sum(shares**2))  # (nβ)² Var ΔL of independent modes
    assert within(nuts.virial_ratio, 1.0)
    assert 0 < nuts.virial_ratio.std_error < 0.05
    assert nuts.dimension == 3
    assert nuts.verdicts[-1] == "converged"


def test_sensitivities_are_the_derivatives_of_the_closed_form(nuts):
    step = 1e-4
    by_gamma = (exact(gamma=5 * np.exp(step)) - exact(gamma=5 * np.exp(-step))) / (2 * step)
    by_nbeta = (exact(nbeta=100 * np.exp(step)) - exact(nbeta=100 * np.exp(-step))) / (2 * step)
    assert within(nuts.sensitivity["localization"], by_gamma)
    assert within(nuts.sensitivity["nbeta"], by_nbeta)
    assert nuts.sensitivity["localization"].std_error < 0.1


def test_a_ladder_of_biased_chains_extrapolates_to_the_unbiased_value():
    # curvature 105 in weights is 21 in whitened coordinates: the largest step inflates that mode by 1 / (1 − 0.3)
    kernel = llc.samplers.SGLD([0.3 * 4 / 21, 0.15 * 4 / 21, 0.075 * 4 / 21], gradient="full")
    result = learning_coefficient(llc.draw(kernel, posterior(), 1, num_draws=8000, num_warmup=200, thinning=5))
    largest = next(iter(result.by_step_size.values()))
    assert largest.value > exact() + 4 * largest.std_error
    assert within(result, exact())


def test_a_frozen_chain_gives_exactly_nothing():
    for kernel in (llc.samplers.SGLD(0.0), llc.samplers.MALA(0.0), llc.samplers.SGLD([0.0, 0.0])):
        result = learning_coefficient(llc.draw(kernel, posterior(), num_draws=100, num_warmup=0))
        assert (result.value, result.std_error) == (0.0, 0.0)
        assert "converged" not in result.verdicts


def test_diverged_chains_are_excluded_and_counted(nuts):
    draws = nuts.draws.copy(deep=True)
    alone = learning_coefficient(draws.isel(chain=slice(0, 3)))
    draws.sample_stats["loss_difference"][3, 100:] = np.nan
    draws.sample_stats["diverging"][3, 100:] = True
    result = learning_coefficient(draws)
    assert (result.value, result.num_diverged) == (alone.value, 1)
    assert result.verdicts[0] == "chains diverged"


def test_where_all_chains_diverge_there_is_no_number():
    result = learning_coefficient(llc.draw(llc.samplers.SGLD(1e3), posterior(), num_draws=200, num_warmup=0))
    assert np.isnan(result.value)
    assert result.num_diverged == 4
    assert "chains diverged" in result.verdicts
    assert json.loads(json.dumps(result.to_dict()))["llc"] is None
    assert "nan" in repr(result)


def test_one_chain_says_what_it_cannot_know():
    kernel = llc.samplers.SGLD(0.05, gradient="full")
    result = learning_coefficient(llc.draw(kernel, posterior(), num_chains=1, num_warmup=200))
    assert np.isnan(result.rhat)
    assert "one chain" in result.verdicts
    assert "R̂ unknown" in repr(result)


def test_results_show_themselves(nuts):
    assert repr(nuts).startswith(f"λ̂ = {nuts.value:.4f} ± {nuts.std_error:.4f}")
    assert "d/2 = 1.5" in repr(nuts)
    assert "<table>" in nuts._repr_html_()
    low, high = nuts.interval(0.95)
    assert high - low == pytest.approx(2 * 1.959964 * nuts.std_error)
    assert json.loads(json.dumps(nuts.to_dict()))["settings"]["kernel"] == "NUTS"
    with pytest.raises(ValueError, match=r"prob=1\.5.*between 0 and 1"):
        nuts.interval(1.5)


def test_draws_read_from_a_file_give_the_same_estimate(nuts, tmp_path):
    from llc.draws.storage import load, save

    again = learning_coefficient(load(save(nuts.draws, tmp_path / "draws.nc")))
    assert repr(again) == repr(nuts)
    assert again.to_dict() == nuts.to_dict()
