"""What no posterior can be made of is refused with what came and what to do; the defaults of what can."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem

CENTER = jnp.array([0.5, 0.25])
DATA = jnp.linspace(-1, 1, 200)


def squares(w, x):
    return 0.5 * jnp.square(x - w.sum())


def batch_normalised(w, x):
    losses = squares(w, x)
    return losses - losses.mean()


@pytest.mark.parametrize("n", [3, 200, 100_000])
def test_default_nbeta(n):
    posterior = LocalPosterior(Problem(squares, jnp.zeros(n)), CENTER)
    np.testing.assert_allclose(float(posterior.nbeta), n / math.log(n), rtol=1e-6)
    assert posterior.batch_size == min(n, 128)


def test_what_is_given_is_taken():
    posterior = LocalPosterior(Problem(squares, DATA), CENTER, nbeta=17.5, localization=3.0, batch_size=200)
    assert (float(posterior.nbeta), posterior.localization.tolist(), posterior.batch_size) == (17.5, [3.0], 200)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"nbeta": 0.0}, r"nbeta=0.0; it must be a positive number, n / log n = 37.75 by default"),
        ({"nbeta": -1.0}, "nbeta=-1.0; it must be a positive number"),
        ({"nbeta": math.nan}, "nbeta=nan; it must be a positive number"),
        ({"batch_size": 201}, "batch_size=201 exceeds n=200; use batch_size=200 for full-data gradients"),
        ({"batch_size": 0}, "batch_size=0; it must be between 1 and n=200"),
        ({"localization": 0.0}, "localization=0.0; .* γ = 0 has no normalised posterior"),
        ({"localization": -2.0}, "localization=-2.0; it must be a positive number γ"),
        ({"localization": math.inf}, "localization=inf; it must be a positive number γ"),
    ],
)
def test_settings_that_are_none(settings, match):
    with pytest.raises(ValueError, match=match):
        LocalPosterior(Problem(squares, DATA), CENTER, **settings)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_examples_for_the_default(n):
    with pytest.raises(ValueError, match=f"n={n} examples are too few for the default nβ = n / log n; give nbeta="):
        LocalPosterior(Problem(squares, jnp.zeros(n)), CENTER)


@pytest.mark.parametrize(
    ("loss_fn", "match"),
    [
        (lambda w, x: squares(w, x).mean(), r"gave an array of shape \(\) for 200 examples"),
        (
            lambda w, x: jnp.log(x - w[0]),
            r"NaN or infinite at the checkpoint on 150 of 200 examples \(the first is number 0\)",
        ),
        (batch_normalised, r"gives examples \[0, 99\] the losses .*must not depend on the rest of its batch"),
        (
            lambda w, x: jnp.sqrt(jnp.abs(w[0] - 0.5)) + x**2,
            "gradient of the loss at the checkpoint holds NaN or infinity",
        ),
        (lambda w, x: squares(w, x.reshape(200)), "200"),
    ],
    ids=["scalar", "nan", "coupled", "kink", "one length only"],
)
def test_losses_that_are_none(loss_fn, match):
    with pytest.raises(ValueError, match=match):
        LocalPosterior(Problem(loss_fn, DATA), CENTER)
