"""What kernel regression with the network's own tangent kernel would reach   (Simon et al. 2021, arXiv:2110.03922)."""

import jax
import jax.numpy as jnp
import numpy as np

from llc.comparators.measurements import Measurements
from llc.comparators.row import Result, row
from llc.data.off_device import whole
from llc.kernels.eigenlearning import eigenlearning
from llc.kernels.empirical import empirical_ntk
from llc.problem import Gaussian

_MAX_POINTS = 4000


@row(
    "eigenlearning",
    "kernel regression from 0 by the tangent kernel at w*, as if it had been fixed in advance; the target is known on"
    " training and test inputs alike, so that it explains the held-out loss more than it predicts it",
)
def generalization(at: Measurements) -> Result:
    """The loss off the training data that a random n of all inputs would leave, in nats per example."""
    likelihood, apply_fn = at.problem.likelihood, at.problem.apply_fn
    if apply_fn is None or not isinstance(likelihood, Gaussian):
        msg = "needs the network's outputs, Gaussian: Problem.supervised(apply_fn, llc.Gaussian(scale), ...)"
        raise ValueError(msg)
    if at.problem.test_data is None:
        msg = "needs held-out inputs: Problem.supervised(..., test=(inputs, targets))"
        raise ValueError(msg)
    known = at.problem.in_memory("the Gram matrix")
    inputs, targets = jax.tree.map(lambda *parts: jnp.concatenate(parts), known, whole(at.problem.test_data))
    points = len(targets)
    if points > _MAX_POINTS:
        msg = f"{points} inputs make too large a Gram matrix; up to {_MAX_POINTS} are decomposed"
        raise ValueError(msg)
    if at.posterior.free is not None:
        msg = "is of all the weights: leave the mask out"
        raise ValueError(msg)
    # in whitened weights the localising prior is N(0, I), and the kernel that of its Gaussian process
    center = at.posterior.center
    scales = jax.tree.unflatten(jax.tree.structure(center), list(jnp.sqrt(at.posterior.localization)))
    whitened = jax.tree.map(jnp.multiply, center, scales)
    network = lambda weights, x: apply_fn(jax.tree.map(jnp.divide, weights, scales), x)
    gram = np.asarray(empirical_ntk(network, whitened, inputs, kind="trace"), np.float64)
    eigenvalues, modes = np.linalg.eigh(gram / points)
    flat = np.asarray(targets, np.float64).reshape(points, -1)
    coefficients = modes.T @ flat / np.sqrt(points)
    predicted = eigenlearning(np.maximum(eigenvalues, 0), coefficients, at.n, ridge=likelihood.scale**2)
    error = predicted.off_train_mse(points)
    noise = float(likelihood(targets[:1], targets[:1])[0])  # the loss of a perfect fit
    return Result(noise + float(error) / (2 * likelihood.scale**2), 0.0, f"κ = {predicted.kappa:.3g}")
