"""Replica exchange (Swendsen & Wang 1986; for singular models Nagata & Watanabe 2008): exact, and across all arms.

Replicas at inverse temperatures 0 = s_0 < … < s_R = nβ, from the localised prior to the target, each move by
Hamiltonian Monte Carlo on s_r ΔL + ½‖v‖², along the forces of one minibatch for all of them, with a Metropolis test on
all the data (`hamiltonian`); then neighbours swap with probability min(1, e^{(s_r − s_q)(ΔL_r − ΔL_q)}), even pairs and
odd pairs in turn (Okabe et al. 2001). Step sizes and temperatures adapt in warm-up: temperatures so that all neighbours
swap equally often (Syed et al. 2022, algorithm 2).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from llc.posterior.gradients import OF_ONE_BATCH, LossEstimate, check_gradient, of_one_batch, on_all_data
from llc.posterior.local_posterior import LocalPosterior
from llc.samplers.hamiltonian import (
    BATCH_TARGET,
    Phase,
    acceptance,
    adapted,
    check_target,
    energy,
    leapfrog,
    of_batch,
)
from llc.samplers.kernel import Kernel, step_size_leaf, virial

_FIRST_ROUND = 16  # steps before the ladder is first moved; every round is twice as long as the last
_LAST_ROUND = 0.6  # of the warm-up; what is left is for the step sizes alone
_COLDEST_OF_HOT = 1e-7  # the first temperature above 0 of the ladder that warm-up begins with, against the target's


class Tempered(NamedTuple):
    """What a step tells of all temperatures, the prior first."""

    loss_difference: Float[Array, "replicas"]
    nbeta: Float[Array, "replicas"]
    accept_prob: Float[Array, "replicas"]
    swap_prob: Float[Array, "replicas-1"]


class Replicas(NamedTuple):
    """Where the replicas stand, with ΔL there, and its gradient, which is a batch's where their forces are."""

    position: Float[Array, "replicas d"]
    loss: LossEstimate


class Ladder(NamedTuple):
    """Inverse temperatures as parts of nβ, leapfrog steps, and the rejected swaps of this round of warm-up."""

    temperature: Float[Array, "replicas"]
    log_step_size: Float[Array, "replicas"]
    rejections: Float[Array, "replicas-1"]
    age: Int[Array, ""]


class ReplicaExchangeState(NamedTuple):
    """All replicas after a step; the position and its measurements are the target's, the virial where it stood."""

    position: Float[Array, "d"]
    loss_difference: Float[Array, ""]
    virial: Float[Array, "leaves"]
    gradient_evaluations: Float[Array, ""]
    accept_prob: Float[Array, ""]
    tempered: Tempered
    replicas: Replicas
    ladder: Ladder
    steps: Int[Array, ""]
    num_warmup: Int[Array, ""]
    rng_key: Array


class ReplicaExchange(Kernel):
    """Replica exchange over a ladder of temperatures, by Hamiltonian Monte Carlo that is tested on all the data.

    One run gives every tempered expectation between the localised prior and the target: free energy, WBIC, slope and
    multiplicity as well as λ̂.

    Args:
        step_size: the leapfrog step that adaptation starts from, at every temperature, in whitened coordinates.
        num_replicas: temperatures, 0 and the target included; 8 + 4 √d, at most 64, unless given.
        num_leapfrogs: steps of a trajectory.
        target_accept_prob: of a trajectory whose forces are exact, to which each temperature's step size adapts; it
            becomes smaller where the batch's error asks for shorter trajectories.
        gradient: the force, "control_variate" (g_B(w) − g_B(w*) + ∇L_n(w*)), "minibatch", or "full".

    Raises:
        ValueError: the step size is negative, there are fewer than two replicas, there is no leapfrog, the target is no
            probability, or the gradient's name unknown.
    """

    step_size: Array = eqx.field(converter=step_size_leaf, default=0.1)
    num_replicas: int | None = eqx.field(static=True, default=None)
    num_leapfrogs: int = eqx.field(static=True, default=8)
    target_accept_prob: float = eqx.field(static=True, default=0.8)
    gradient: str = eqx.field(static=True, default="control_variate")

    records_full_loss = True
    virial_late = 1

    def __check_init__(self) -> None:
        if self.num_replicas is not None and self.num_replicas < 2:
            msg = f"num_replicas={self.num_replicas}; it must be at least 2: the localised prior and the target."
            raise ValueError(msg)
        if self.num_leapfrogs < 1:
            msg = f"num_leapfrogs={self.num_leapfrogs}; it must be at least 1."
            raise ValueError(msg)
        check_target(self.target_accept_prob)
        check_gradient(self.gradient, OF_ONE_BATCH)

    def init(
        self, rng_key: Array, num_warmup: int, init_params: Any, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> ReplicaExchangeState:
        """The first state of a chain: replicas at draws of the prior, shrunk towards w* as they are colder."""
        del model_kwargs
        (posterior,) = model_args
        rng_key, start_key = jax.random.split(rng_key)
        temperature = _first_temperatures(self.replicas_of(posterior))
        noise = jax.random.normal(start_key, (temperature.size, posterior.dimension))
        if init_params is None:
            position = noise / jnp.sqrt(1.0 + posterior.nbeta * temperature)[:, None]
        else:
            position = jnp.broadcast_to(posterior.whiten(init_params), noise.shape)
        log_step = jnp.log(self.step_size) - 0.0 * temperature
        ladder = Ladder(temperature, log_step, jnp.zeros(temperature.size - 1), jnp.asarray(0, jnp.int32))
        replicas = Replicas(position, _looked_up(posterior.loss_difference, position))
        ones, nothing = jnp.ones_like(temperature), jnp.zeros(len(posterior.sizes))
        counts = jnp.asarray(0, jnp.int32), jnp.asarray(num_warmup, jnp.int32)
        return _state(self, posterior, replicas, ladder, nothing, ones, ones[1:], counts, rng_key)

    def sample(
        self, state: ReplicaExchangeState, model_args: tuple[LocalPosterior], model_kwargs: Any
    ) -> ReplicaExchangeState:
        """One trajectory at each temperature, then one round of swaps."""
        del model_kwargs
        (posterior,) = model_args
        rng_key, prior_key, move_key, swap_key, batch_key = jax.random.split(state.rng_key, 5)
        nbeta = posterior.nbeta * state.ladder.temperature
        # at temperature 0 the prior is sampled outright: its trajectory stands still, and only measures ΔL
        fresh = jax.random.normal(prior_key, state.position.shape)
        replicas = state.replicas._replace(position=state.replicas.position.at[0].set(fresh))
        field = of_one_batch(posterior, batch_key, self.gradient)
        moved = self._trajectories(posterior, field, replicas, nbeta, jnp.exp(state.ladder.log_step_size), move_key)
        replicas, swap_prob = _swap(moved.replicas, nbeta, state.steps % 2, swap_key)
        ladder = self._adapt(state, moved.reached, swap_prob)
        of_target = virial(posterior, state.position, moved.slope[-1])
        counts = state.steps + 1, state.num_warmup
        return _state(self, posterior, replicas, ladder, of_target, moved.accept_prob, swap_prob, counts, rng_key)

    def replicas_of(self, posterior: LocalPosterior) -> int:
        """The number of temperatures: neighbours overlap if it grows as √λ ≤ √(d/2)."""
        return self.num_replicas or min(64, 8 + 4 * round(posterior.dimension**0.5))

    def evaluations_per_step(self, posterior: LocalPosterior) -> int:
        """Per-example gradients that a step costs: the forces, and where they are a batch's the test's loss."""
        replicas = self.replicas_of(posterior)
        if on_all_data(posterior, self.gradient):
            return posterior.n * self.num_leapfrogs * replicas
        at_center = posterior.batch_size if self.gradient == "control_variate" else 0
        return ((self.num_leapfrogs + 1) * posterior.batch_size + posterior.n // 3) * replicas + at_center

    def _trajectories(
        self,
        posterior: LocalPosterior,
        field: Callable[[Float[Array, "d"]], Float[Array, ""]],
        start: Replicas,
        nbeta: Float[Array, "replicas"],
        step_sizes: Float[Array, "replicas"],
        rng_key: Array,
    ) -> "_Moved":
        """A leapfrog trajectory of each replica along the slope of nβ `field` + ½‖v‖², taken or not."""
        momentum_key, jitter_key, accept_key = jax.random.split(rng_key, 3)
        momentum = jax.random.normal(momentum_key, start.position.shape)
        # steps of many sizes, for arms of many widths
        jitter = jax.random.uniform(jitter_key, step_sizes.shape, minval=0.1)
        step = jnp.where(nbeta > 0, step_sizes * jitter, 0.0)[:, None]

        def look(position: Array) -> tuple[Array, LossEstimate]:
            losses = _looked_up(field, position)
            return _slope(nbeta, position, losses), losses

        def fall(before: Array, after: Array) -> Array:
            return energy(begin, _scaled(nbeta, before)) - energy(end, _scaled(nbeta, after))

        exact = on_all_data(posterior, self.gradient)
        here = start.loss if exact else _looked_up(field, start.position)
        begin = Phase(start.position, momentum, _slope(nbeta, start.position, here), here)
        end = leapfrog(look, begin, step, self.num_leapfrogs)
        there, own_fall = end.seen, fall(here.loss_difference, end.seen.loss_difference)
        accept_prob = reached = acceptance(own_fall)
        if not exact:
            there = there._replace(loss_difference=_known(jax.vmap(posterior.loss_difference)(end.position)))
            whole_fall = fall(start.loss.loss_difference, there.loss_difference)
            accept_prob = acceptance(whole_fall)
            # a step that is short enough for both errors
            reached = jnp.minimum(reached, self.target_accept_prob + of_batch(whole_fall, own_fall) - BATCH_TARGET)
        taken = jax.random.uniform(accept_key, accept_prob.shape) < accept_prob
        return _Moved(_choose(taken, Replicas(end.position, there), start), accept_prob, reached, begin.gradient)

    def _adapt(
        self, state: ReplicaExchangeState, reached: Float[Array, "replicas"], swap_prob: Float[Array, "replicas-1"]
    ) -> Ladder:
        """The ladder after a step of warm-up; unchanged afterwards."""
        ladder = state.ladder
        log_step_size = adapted(ladder.log_step_size, reached, self.target_accept_prob, ladder.age)
        log_step_size = log_step_size.at[0].set(log_step_size[1])  # which the prior does not need
        moved = Ladder(ladder.temperature, log_step_size, ladder.rejections + 1.0 - swap_prob, ladder.age + 1)
        rounds_left = state.steps < _LAST_ROUND * state.num_warmup
        due = rounds_left & (moved.age >= _FIRST_ROUND) & (moved.age > state.steps // 2)
        moved = jax.tree.map(lambda a, b: jnp.where(due, a, b), _equalised(moved), moved)
        warming = state.steps < state.num_warmup
        return jax.tree.map(lambda a, b: jnp.where(warming, a, b), moved, ladder)


class _Moved(NamedTuple):
    """Replicas after trajectories; how likely these were taken, what adaptation sees of it, and ∇U at their start."""

    replicas: Replicas
    accept_prob: Float[Array, "replicas"]
    reached: Float[Array, "replicas"]
    slope: Float[Array, "replicas d"]


def _state(
    kernel: ReplicaExchange,
    posterior: LocalPosterior,
    replicas: Replicas,
    ladder: Ladder,
    of_target: Float[Array, "leaves"],
    accept_prob: Float[Array, "replicas"],
    swap_prob: Float[Array, "replicas-1"],
    counts: tuple[Int[Array, ""], Int[Array, ""]],
    rng_key: Array,
) -> ReplicaExchangeState:
    target = jax.tree.map(lambda leaf: leaf[-1], replicas)
    evaluations = jnp.asarray(kernel.evaluations_per_step(posterior), target.position.dtype)
    return ReplicaExchangeState(
        target.position,
        target.loss.loss_difference,
        of_target,
        evaluations,
        accept_prob[-1],
        Tempered(replicas.loss.loss_difference, posterior.nbeta * ladder.temperature, accept_prob, swap_prob),
        replicas,
        ladder,
        *counts,
        rng_key,
    )


def _first_temperatures(num_replicas: int) -> Float[Array, "replicas"]:
    geometric = jnp.geomspace(_COLDEST_OF_HOT, 1.0, num_replicas - 1) if num_replicas > 2 else jnp.ones(1)
    return jnp.concatenate([jnp.zeros(1), geometric])


def _looked_up(
    loss: Callable[[Float[Array, "d"]], Float[Array, ""]], positions: Float[Array, "replicas d"]
) -> LossEstimate:
    losses = LossEstimate(*jax.vmap(jax.value_and_grad(loss))(positions))
    return losses._replace(loss_difference=_known(losses.loss_difference))


def _known(loss_difference: Float[Array, "replicas"]) -> Float[Array, "replicas"]:
    """A replica whose loss is NaN would neither move nor swap, ever; one of infinite loss goes to the prior."""
    return jnp.where(jnp.isnan(loss_difference), jnp.inf, loss_difference)


def _slope(
    nbeta: Float[Array, "replicas"], position: Float[Array, "replicas d"], losses: LossEstimate
) -> Float[Array, "replicas d"]:
    return _scaled(nbeta[:, None], losses.gradient) + position


def _scaled(nbeta: Array, values: Array) -> Array:
    """nβ · values, where the prior's nβ = 0 makes 0 of what overflowed too."""
    return jnp.where(nbeta > 0, nbeta * values, 0.0)


def _swap(
    replicas: Replicas, nbeta: Float[Array, "replicas"], parity: Int[Array, ""], rng_key: Array
) -> tuple[Replicas, Float[Array, "replicas-1"]]:
    """Swap neighbours, the pairs of one parity; and the probability of every pair."""
    losses, below = replicas.loss.loss_difference, jnp.arange(nbeta.size - 1)
    log_ratio = (nbeta[:-1] - nbeta[1:]) * (losses[:-1] - losses[1:])
    swap_prob = acceptance(log_ratio)
    swapped = (jax.random.uniform(rng_key, swap_prob.shape) < swap_prob) & (below % 2 == parity)
    up, down = jnp.append(swapped, False), jnp.append(jnp.zeros(1, bool), swapped)
    source = jnp.arange(nbeta.size) + up - down
    return jax.tree.map(lambda leaf: leaf[source], replicas), swap_prob


def _equalised(ladder: Ladder) -> Ladder:
    """Temperatures between which equally many swaps would have been rejected."""
    rejections = ladder.rejections / ladder.age + 0.02
    barrier = jnp.append(jnp.zeros(1), jnp.cumsum(rejections))
    wanted = jnp.linspace(0.0, barrier[-1], barrier.size)
    hottest = ladder.temperature[1]
    # linear up to the first temperature, where the prior holds; geometric beyond
    height = jnp.log1p(ladder.temperature / hottest)
    temperature = hottest * jnp.expm1(jnp.interp(wanted, barrier, height))
    temperature = temperature.at[0].set(0.0).at[-1].set(1.0)
    log_step_size = jnp.interp(wanted, barrier, ladder.log_step_size)
    return Ladder(temperature, log_step_size, jnp.zeros_like(ladder.rejections), jnp.zeros_like(ladder.age))


def _choose(taken: Array, ends: Replicas, starts: Replicas) -> Replicas:
    def choose(end: Array, start: Array) -> Array:
        return jnp.where(taken.reshape(-1, *[1] * (end.ndim - 1)), end, start)

    return jax.tree.map(choose, ends, starts)
