"""Bayesian influence functions (Kreer et al. 2025, arXiv:2509.26544): how losses of examples move together over draws.

    BIF(i, j) = −Cov_π(ℓ_i(w), ℓ_j(w))  in nats²,      its correlation form  Corr_π(ℓ_i(w), ℓ_j(w)), without unit

BIF(i, j) is d E_π[ℓ_j] / db_i, where b_i is the weight of ℓ_i in the exponent −Σ_i b_i ℓ_i of the local posterior, nβ/n
for every example. So (nβ/n)·BIF(i, j) is, to first order, what counting example i twice changes the expected loss on
example j by.
"""

import math

import numpy as np
from jaxtyping import Float, PyTree
from xarray import Dataset, DataTree

from llc.draws.schema import read_settings
from llc.draws.weights import weights_of
from llc.estimators.example_losses import (
    Indices,
    check_fits,
    check_origin,
    example_indices,
    finite_chains,
    loss_around,
    loss_blocks,
    loss_table,
)
from llc.estimators.measure import measure
from llc.estimators.uncertainty import mean_with_error
from llc.problem import Problem

_RELAXATION_TIMES = 10  # a batch's length in autocorrelation times, which leaves 5 % of a standard error out
_QUERIES_LOOKED_AT = 16  # to find the slowest
_ANSWERS = {"influence": "nats^2", "influence_error": "nats^2", "correlation": "1", "correlation_error": "1"}


def bayesian_influence(
    problem: Problem, params: PyTree, draws: DataTree, queries: Indices | Problem, examples: Indices | None = None
) -> Dataset:
    """BIF(i, j) = −Cov(ℓ_i, ℓ_j) of training examples i on queries j, and Corr(ℓ_i, ℓ_j), each with its standard error.

    A negative influence is that of an example that helps: more of it lowers the query's loss. A loss that never moved
    has no correlation (NaN). Standard errors are those of batch means around the mean of all chains (Gupta & Vats
    2020), in batches of ten autocorrelation times of the slowest query, or of half a chain where that is less; that of
    the correlation is by the delta method, of the mean of xy − ½ r (x² + y²) over standardised losses.

    Args:
        problem: what the draws were made with.
        params: the checkpoint w* that they were made around.
        draws: as `llc.draw(..., keep_weights=True)` makes them.
        queries: numbers of the problem's examples, or another problem (held-out data), all of whose examples are taken.
        examples: numbers of the problem's examples; None takes all.

    Returns:
        Dimensions (query, example): `influence` and `influence_error` in nats², `correlation` and `correlation_error`.
        The attrs hold the chains that were left, and the ESS, R̂ and verdicts of the slowest of the queries looked at.

    Raises:
        ValueError: what was chosen is no example, the draws are of another problem, without weights or finite chains
            or fewer than 4 a chain, or the answer would hold over 2²⁸ numbers.
    """
    source, wanted = (queries, None) if isinstance(queries, Problem) else (problem, queries)
    wanted, numbers = example_indices(source, wanted), example_indices(problem, examples)
    check_fits((len(_ANSWERS) * len(wanted), "answers to queries"), (len(numbers), "examples"))
    evaluator = loss_around(problem, params)
    at_queries = evaluator if source is problem else loss_around(source, params)
    check_origin(evaluator, draws)
    finite = finite_chains(draws)
    weights, (chains, count) = weights_of(finite, params), finite["sample_stats"].to_dataset()["diverging"].shape
    if count < 4:
        msg = f"the draws hold {count} a chain; a covariance and its error take at least 4: raise num_draws."
        raise ValueError(msg)
    x, spread = _standardised(loss_table(at_queries, weights, wanted))
    sampling = measure("slowest query", "", _slowest(x.reshape(chains, count, -1)), draws, {})
    length = _batch_length(sampling.ess, chains, count)
    batches = lambda values: _batches(values.reshape(chains, count, -1), length)
    answers = np.empty((len(_ANSWERS), len(wanted), len(numbers)))
    for columns, losses in loss_blocks(evaluator, weights, numbers):
        y, other_spread = _standardised(losses)
        r, scale = x.T @ y / len(x), np.outer(spread, other_spread)
        of_covariance, of_correlation = _errors(batches(x), batches(y), r, len(x))
        known = np.where(scale > 0, 1.0, np.nan)
        answers[:, :, columns] = -scale * r, scale * of_covariance, known * r, known * of_correlation
    settings = read_settings(draws)
    attrs = {"nbeta": settings["nbeta"], "n": settings["n"], "num_chains": chains, "num_draws": count}
    attrs |= {"verdicts": ", ".join(sampling.verdicts), "ess": sampling.ess, "rhat": sampling.rhat}
    attrs |= {"batch_length": length}
    variables = {
        name: (("query", "example"), values, {"units": unit})
        for (name, unit), values in zip(_ANSWERS.items(), answers, strict=True)
    }
    return Dataset(variables, coords={"query": wanted, "example": numbers}, attrs=attrs)


def _standardised(losses: Float[np.ndarray, "draws k"]) -> tuple[Float[np.ndarray, "draws k"], Float[np.ndarray, "k"]]:
    """(ℓ − mean) / sd, 0 where a loss never moved; and the sd."""
    away = losses - losses.mean(axis=0, dtype=np.float64)
    spread = np.sqrt(np.square(away).mean(axis=0))
    return np.divide(away, spread, out=np.zeros_like(away), where=spread > 0), spread


def _slowest(x: Float[np.ndarray, "chain draw q"]) -> Float[np.ndarray, "chain draw"]:
    """Of the series of some queries, and of their squares, that of the smallest effective sample size."""
    some = np.unique(np.linspace(0, x.shape[2] - 1, _QUERIES_LOOKED_AT).astype(int))
    moving = [series for q in some for series in (x[:, :, q], x[:, :, q] ** 2) if series.any()]
    return min(moving, key=lambda series: mean_with_error(series).ess, default=x[:, :, 0])


def _batch_length(ess: float, chains: int, count: int) -> int:
    """Draws a batch: ten autocorrelation times, at least √draws, and at most half a chain."""
    time = chains * count / max(ess, 1.0)
    return int(np.clip(math.ceil(max(math.sqrt(count), _RELAXATION_TIMES * time)), 1, count // 2))


def _batches(values: Float[np.ndarray, "chain draw k"], length: int) -> Float[np.ndarray, "batch length k"]:
    whole = values.shape[1] // length * length
    return values[:, values.shape[1] - whole :].reshape(-1, length, values.shape[2])


def _errors(
    x: Float[np.ndarray, "batch length q"],
    y: Float[np.ndarray, "batch length e"],
    r: Float[np.ndarray, "q e"],
    count: int,
) -> Float[np.ndarray, "2 q e"]:
    """The standard errors of r, the mean of xy, and of that of xy − ½ r (x² + y²), over `count` draws."""
    totals = np.zeros((2, *r.shape))
    for a, b in zip(x, y, strict=True):
        away = a.T @ b / len(a) - r
        half = 0.5 * (np.square(a).mean(axis=0)[:, None] + np.square(b).mean(axis=0))
        totals += np.square(away), np.square(away + r * (1 - half))
    return np.sqrt(totals * x.shape[1] / ((len(x) - 1) * count))
