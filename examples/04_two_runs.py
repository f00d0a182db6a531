# %% [markdown]
# # Two training runs compared
#
# The same network from the same start, on the same digits: once plainly, once with weight decay. Does one end simpler,
# and when do they part? λ̂ over both runs, measured the same way.

# %%
import jax
import numpy as np
import optax

import llc
from llc.digits import digits_problem, initialize
from llc.plots.trajectory import plot_trajectories

problem = digits_problem()
steps = [200, 600, 1500]
draws = {"num_warmup": 50, "num_draws": 100}


def trained(weight_decay):
    """Params at each of the steps, by full-batch AdamW."""
    optimizer = optax.adamw(optax.cosine_decay_schedule(5e-3, 1500), weight_decay=weight_decay)

    def step(_, carry):
        params, state = carry
        gradient = jax.grad(lambda p: problem.losses(p, problem.data).mean())(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    advance = jax.jit(lambda carry, count: jax.lax.fori_loop(0, count, step, carry))
    params, done = initialize(), 0
    carry = params, optimizer.init(params)
    for at in steps:
        carry, done = advance(carry, at - done), at
        yield at, carry[0]


# %% [markdown]
# λ̂ depends on how tightly the posterior is held, γ. Two runs are compared at one γ a leaf: that which the first was
# measured at.

# %%
plain = llc.trajectory(problem, trained(0.0), **draws)
shared = llc.PerLeaf(tuple(plain.settings["localization"]))
decayed = llc.trajectory(problem, trained(0.5), localization=shared, **draws)
print(plain, decayed, sep="\n")

# %%
figure = plot_trajectories({"plain": plain.to_dataframe(), "weight decay": decayed.to_dataframe()})
figure.savefig("04_two_runs.png", dpi=150)

# %% [markdown]
# Weight decay holds the loss up, on the digits seen and on others, but does not leave a simpler network: within the
# error both end equally complex. Early on the decayed run looks simpler, but neither is at a minimum there, which the
# crosses say, and makes λ̂ too small by what the loss still falls.

# %%
ends = {name: run[steps[-1]] for name, run in (("plain", plain), ("weight decay", decayed))}
frames = {"plain": plain.to_dataframe(), "weight decay": decayed.to_dataframe()}
for name, estimate in ends.items():
    last = frames[name].iloc[-1]
    print(f"{name:>13}: {estimate}   loss {last['loss']:.3f}, held out {last['test_loss']:.3f}")
difference = ends["plain"].value - ends["weight decay"].value
error = np.hypot(ends["plain"].std_error, ends["weight decay"].std_error)
print(f"difference {difference:.1f} ± {error:.1f}")

# %%
alone = llc.estimate(problem, dict(trained(0.0))[1500], localization=shared, rng_key=1, **draws)
joint = np.hypot(alone.std_error, ends["plain"].std_error)
checked = {
    "difference at the end": (difference, 0.0, 4 * error),
    "its last step, by itself": (
        ends["plain"].value,
        alone.value,
        4 * np.hypot(alone.std_error, ends["plain"].std_error),
    ),
}
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value:.4g} is not {expected:.4g} ± {tolerance:.2g}"
