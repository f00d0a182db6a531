"""The first verb: the effective dimension of a checkpoint, with an honest error bar."""

from collections.abc import Sequence

from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from llc.estimators.result import Estimate
from llc.estimators.side_by_side import estimates_at
from llc.posterior.localization import Localization, Relative
from llc.problem import Problem
from llc.samplers.kernel import Kernel


def estimate(
    problem: Problem,
    params: PyTree,
    *,
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
    keep_weights: bool = False,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Estimate:
    """λ̂ = nβ E[L_n(w) − L_n(w*)] over the posterior exp(−nβ L_n − ½ Σ_l γ_l ‖w_l − w*_l‖²) around `params`.

    Nothing needs to be chosen. The sampler is replica exchange where many full-data gradients are affordable, HMC where
    some are, else SGLD with the control variate at w* on a ladder of step sizes, extrapolated to 0. Draws go on until
    chains have met and the standard error is below `relative_error` of the value, or the budget is spent. Every choice
    is recorded in `.settings`. Ctrl-C keeps and reports the draws so far.

    >>> import jax.numpy as jnp, llc
    >>> problem = llc.Problem(lambda w, x: 0.5 * ((x - w) ** 2).sum(1), jnp.zeros((1000, 2)))
    >>> llc.estimate(problem, jnp.zeros(2), kernel=llc.samplers.SGLD(step_size=0.0), num_draws=100, num_warmup=0).value
    0.0

    Args:
        problem: the loss and its data.
        params: the checkpoint w*, any pytree of floating-point arrays.
        rng_key: a seed or a JAX key; the same key, versions and device give the same draws.
        kernel: one of `llc.samplers`. `SGLD()` without a step size has it chosen.
        nbeta: nβ, n / log n unless given.
        localization: γ, or `llc.Relative(radius)`.
        mask: what may move: patterns of paths such as "layers/0/*", or a tree of booleans like `params`.
        batch_size: examples a minibatch; at most 128 unless given. For the forces of HMC and replica exchange all of
            4096, else a twelfth of the data, and 1024 at least; of HMC all where its trajectories are too short else.
        num_chains: chains, for each step size of a ladder.
        num_warmup: warm-up of each chain, in draws (in steps where the step size is chosen).
        num_draws: draws of each chain; a draw is `thinning` steps.
        thinning: steps a draw; chosen by what recording a draw costs unless given.
        relative_error: the precision to stop at, as a part of the value.
        max_gradient_evaluations: the budget, in gradients of one example's loss: a full-data gradient counts n.
            A large one lets larger networks be sampled by HMC.
        keep_weights: also keep the weights of each draw, for WAIC and the refined coefficients.
        mesh: devices to lay chains and examples over, along its axes "chain" and "data". Parameters that are sharded
            stay so, with or without it.
        progress: show bars on standard error.

    Returns:
        The estimate, complexities in nats (total, not per example).

    Raises:
        ValueError: something given cannot be estimated from, said with what came, what is allowed and what to do.
    """
    settings = dict(locals())
    at = settings.pop("nbeta"), settings.pop("localization")
    [result] = estimates_at(at=[at], **settings)
    return result
