"""Posteriors whose minibatches have noise in slope and scale, and whose every expectation is known."""

from functools import partial

import jax.numpy as jnp
import numpy as np
from scipy.linalg import hadamard

from llc.posterior.local_posterior import LocalPosterior
from llc.problem import Problem
from llc.zoo.quadrature import product

N, BATCH = 8, 4
SIGNS = hadamard(N)[:, 1:]  # of mean 0 over the examples, as is every product of two columns
D, SCALES = 5, np.array([2e4, 2e3, 2e2, 20.0, 1.0])  # nβ h in whitened coordinates
NOISE = np.array([60.0, 50.0, 40.0, 30.0, 20.0])  # and there the variance of nβ ∇L_B
NBETA, GAMMA = 50.0, 2.0
HESSIAN = jnp.asarray(SCALES * GAMMA / NBETA, jnp.float32)


def quadratic(w, x):
    return x[:, 0] * 0.5 * jnp.sum(HESSIAN * w**2) + x[:, 1:] @ w


def make_quadratic(noise):
    """Gradients of an example: (1 ± ½) h w + x, of both of which the batch's mean is noise."""
    slopes = SIGNS[:, :D] * np.sqrt(BATCH * GAMMA * noise) / NBETA
    problem = Problem(quadratic, jnp.asarray(np.column_stack([1 + 0.5 * SIGNS[:, D], slopes]), jnp.float32))
    return LocalPosterior(problem, jnp.zeros(D), nbeta=NBETA, localization=GAMMA, batch_size=BATCH)


QUADRATIC = make_quadratic(NOISE)
# losses by the coefficients of their terms, so that they share a program, and nβ E[L]
SINGULAR = {
    "cross": ([0.5, 0.0, 0.0], partial(product, [(1, 1, 0.0)] * 2, 1.0)),
    "flat cross": ([0.0, 0.5, 0.0], partial(product, [(1, 2, 0.0)] * 2, 1.0)),
    "quartic": ([0.0, 0.0, 1.0], lambda nbeta, gamma: 2 * product([(1, 2, 0.0)], 2.0, nbeta, gamma)),
}


def singular(w, x):
    squares = jnp.square(w)
    crossed = squares[0] * squares[1]
    return x @ jnp.append(jnp.stack([crossed, crossed**2, jnp.sum(squares**2)]), w)


def make_singular(loss, nbeta, gamma):
    """A loss whose scale and slope are noise of a batch, the slope's of variance 1."""
    slopes = SIGNS[:, :2] * np.sqrt(BATCH * gamma) / nbeta
    data = np.column_stack([np.outer(1 + 0.5 * SIGNS[:, 2], SINGULAR[loss][0]), slopes])
    problem = Problem(singular, jnp.asarray(data, jnp.float32))
    return LocalPosterior(problem, jnp.zeros(2), nbeta=nbeta, localization=gamma, batch_size=BATCH)
