"""A network as its own truth: what else its function could be written with, whether or not the training data agree.

The behavioural problem of params w* has the training inputs, and for targets the distribution that the network itself
predicts at w*. Its loss is the cross-entropy of p(y | x, w) under p(y | x, w*), least at w = w* and at every w of the
same function (Bushnaq et al. 2024, arXiv:2405.10927, section 2). λ̂ of it is defined at saddles and in mid-training,
where the training loss has a slope, and tells how degenerate the function's representation is there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from llc.problem import Bernoulli, Categorical, Gaussian, Problem, over_examples

_BATCH = 1024  # examples whose intermediates are held at a time


@dataclass(frozen=True)
class _Mixed:
    """−Σ_c p_c log softmax(f(x))_c: classes known by their probabilities."""

    def __call__(
        self, outputs: Float[Array, "batch *positions classes"], targets: Float[Array, "batch *positions classes"]
    ) -> Float[Array, "batch"]:
        return -(targets * jax.nn.log_softmax(outputs)).reshape(len(outputs), -1).sum(axis=1)


def behavioral(problem: Problem, params: PyTree) -> Problem:
    """The problem whose truth is the network at `params`, on the same inputs.

    >>> import jax.numpy as jnp
    >>> problem = Problem.supervised(lambda w, x: x @ w, Gaussian(), jnp.ones((10, 2)), jnp.zeros(10))
    >>> own = behavioral(problem, jnp.array([1.0, 2.0]))  # a poor fit, that fits itself
    >>> own.data[1][:3].tolist()
    [3.0, 3.0, 3.0]

    Args:
        problem: of `Problem.supervised`, with a Gaussian, categorical or Bernoulli likelihood.
        params: the checkpoint w*.

    Raises:
        ValueError: the problem is a bare loss, its likelihood is another, or its data are off the device.
    """
    if problem.apply_fn is None:
        msg = "a behavioural problem needs the network's outputs; build the problem with Problem.supervised."
        raise ValueError(msg)
    problem.check(params)
    likelihood, predict = _own_truth(problem.likelihood)
    inputs, _ = problem.in_memory("a behavioural problem")
    return Problem.supervised(problem.apply_fn, likelihood, inputs, predict(_outputs(problem, params)))


def _own_truth(likelihood: Any) -> tuple[Any, Callable[[Any], Any]]:
    """A likelihood for distributions as targets, and the targets that outputs make."""
    if isinstance(likelihood, Gaussian):
        return likelihood, lambda outputs: outputs
    if isinstance(likelihood, Bernoulli):
        return likelihood, jax.nn.sigmoid
    if isinstance(likelihood, Categorical):
        return _Mixed(), jax.nn.softmax
    msg = (
        f"a behavioural problem of {type(likelihood).__name__} is not known; the likelihood must be llc.Gaussian, "
        "llc.Categorical or llc.Bernoulli."
    )
    raise ValueError(msg)


@eqx.filter_jit
def _outputs(problem: Problem, params: PyTree) -> Any:
    network: Any = problem.apply_fn

    inputs, _ = problem.data
    return over_examples(lambda batch: network(params, batch), inputs, _BATCH)
