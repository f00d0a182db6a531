"""A training run whose λ̂ is known in closed form at every step, minimum or not."""

import numpy as np

import llc

SETTINGS = {
    "kernel": llc.samplers.MALA(0.08),
    "localization": 10.0,
    "num_warmup": 50,
    "num_draws": 200,
    "progress": False,
}
_DATA = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)


def loss(w, x):
    return 0.5 * ((x - w) ** 2).sum(axis=1)


def quadratic(data=_DATA, loss_fn=loss, test_data=None):
    return llc.Problem(loss_fn, data, test_data=test_data)


def descent(num_steps=5):
    """Params on their way to the minimum, by step."""
    mean = _DATA.mean(axis=0)
    return [(10 * i, (mean + 0.2**i).astype(np.float32)) for i in range(num_steps)]


def exact(params, nbeta, localization):
    """nβ E[L − L*] of the posterior N(x̄ + γ δ/(nβ + γ), 1/(nβ + γ)), δ = w* − x̄."""
    away = np.sum((params - _DATA.mean(axis=0)) ** 2)
    total = nbeta + localization
    return 0.5 * nbeta * (2 / total + (localization / total) ** 2 * away - away)
