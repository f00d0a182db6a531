"""One posterior at several nβ and γ: these, and the slope at w*, get a leading axis, as step sizes of a ladder do."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from llc.posterior.local_posterior import LocalPosterior
from llc.posterior.localization import Localization, resolve_localization
from llc.posterior.temperature import resolve_nbeta


class Tempering(NamedTuple):
    """All of a posterior that depends on nβ or γ."""

    nbeta: Float[Array, "*rungs"]
    localization: Float[Array, "*rungs leaves"]
    center_gradient: Float[Array, "*rungs d"]


def tempering(posterior: LocalPosterior) -> Tempering:
    """What of it depends on nβ or γ."""
    return Tempering(posterior.nbeta, posterior.localization, posterior.center_gradient)


def tempered(posterior: LocalPosterior, at: Tempering) -> LocalPosterior:
    """The same posterior at other nβ and γ."""
    return eqx.tree_at(lambda p: tuple(tempering(p)), posterior, tuple(at))


def ladder_of(posterior: LocalPosterior, at: Sequence[tuple[float | int | None, Localization]]) -> LocalPosterior:
    """The posterior at each of these (nβ, γ); at one alone, without an axis.

    >>> from llc import Problem
    >>> problem = Problem(lambda w, x: 0.5 * ((x - w) ** 2).sum(1), jnp.ones((1000, 2)))
    >>> ladder = ladder_of(LocalPosterior(problem, jnp.zeros(2)), [(10.0, 1.0), (100.0, 4.0)])
    >>> num_rungs(ladder), [float(one.nbeta) for one in rungs_of(ladder)], ladder.localization.tolist()
    (2, [10.0, 100.0], [[1.0], [4.0]])

    Raises:
        ValueError: nβ or γ is not positive.
    """
    rungs = [_at(posterior, *one) for one in at]
    return tempered(posterior, rungs[0] if len(rungs) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *rungs))


def num_rungs(posterior: LocalPosterior) -> int:
    """Posteriors of a ladder; 1 of a posterior that is none."""
    return posterior.nbeta.size


def rung(posterior: LocalPosterior, i: int | Int[Array, ""]) -> LocalPosterior:
    """One posterior of a ladder; the posterior itself where it is none."""
    if posterior.nbeta.ndim == 0:
        return posterior
    return tempered(posterior, jax.tree.map(lambda leaf: leaf[i], tempering(posterior)))


def rungs_of(posterior: LocalPosterior) -> list[LocalPosterior]:
    """Each of them."""
    return [rung(posterior, i) for i in range(num_rungs(posterior))]


def _at(posterior: LocalPosterior, nbeta: float | int | None, localization: Localization) -> Tempering:
    gammas = resolve_localization(localization, posterior.center)
    slopes = zip(posterior.split(posterior.center_gradient), posterior.localization, gammas, strict=True)
    # along v = Γ^{1/2} (w − w*)
    slopes = [slope * jnp.sqrt(before / gamma) for slope, before, gamma in slopes]
    resolved = jnp.asarray(resolve_nbeta(nbeta, posterior.n), posterior.nbeta.dtype)
    return Tempering(resolved, gammas, posterior.layout.join(slopes))
