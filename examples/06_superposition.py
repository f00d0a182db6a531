# %% [markdown]
# # What a polygon costs: a toy model of superposition
#
# Six features, only one of them on at a time, pass through two hidden units: f(x) = ReLU(WᵀW x + b), a toy model of
# superposition (Elhage et al. 2022). Training rests where some columns of W are the corners of a regular polygon, and
# the others are dead, that is 0 (Chen et al. 2023). We write 6 for the hexagon, 5⁺ and 5⁻ for pentagons whose sixth
# feature has a bias b > 0 or b < 0.
#
# There are d = 18 parameters. A rotation of W changes nothing, all else does: λ = (18 − 1)/2 = 8.5. But an output with
# b < 0 and no column to drive it is silent, whatever its three parameters: λ = (18 − 1 − 3)/2 = 7 at 5⁻.

# %%

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.flatten_util import ravel_pytree

import llc

BLUE, VERMILION, GRAY = "#0072B2", "#D55E00", "0.45"
FEATURES, EVERY = 6, 100
SCALE = 0.05  # of the Gaussian likelihood: nβ = n / log n is 3.8e4 in units of ½ ‖x − f(x)‖²

# %% [markdown]
# A feature that is on is uniform in [0, 1]: an even grid in place of random numbers, so that the mean over the
# examples is that over the population, to one part in 10⁴.

# %%
grid = (np.arange(100) + 0.5) / 100
inputs = np.concatenate([np.outer(grid, feature) for feature in np.eye(FEATURES)]).astype("float32")


def network(params, x):
    return jax.nn.relu(x @ params["W"].T @ params["W"] + params["b"])


def mean_loss(params, x):
    return 0.5 * jnp.mean(jnp.sum((x - network(params, x)) ** 2, axis=1))


def initial(key, size):
    return {"W": size * jax.random.normal(key, (2, FEATURES)), "b": jnp.zeros(FEATURES)}


def descend(params, x, step_size):
    return jax.tree.map(lambda w, g: w - step_size * g, params, jax.grad(mean_loss)(params, x))


def name_of(params):
    """How many long columns, and the signs of the biases of the others: 6, 5⁺, 4⁺⁻ ..."""
    dead = np.linalg.norm(params["W"], axis=0) < 0.6
    return f"{FEATURES - dead.sum()}" + "".join(
        "⁺" if b > 0 else "⁻" for b in sorted(np.asarray(params["b"])[dead])[::-1]
    )


problem = llc.Problem.supervised(network, llc.Gaussian(SCALE), inputs, inputs)

# %% [markdown]
# ## Where gradient descent rests
#
# From 24 random starts it ends on three kinds of polygon. No output is silent, so λ = 8.5 for each.


# %%
@jax.jit
@jax.vmap
def rest(key):
    return jax.lax.fori_loop(0, 20_000, lambda _, params: descend(params, inputs, 0.2), initial(key, 0.5))


ends = rest(jax.random.split(jax.random.key(0), 24))
resting = {}
for i in range(24):
    params = jax.tree.map(lambda leaf, i=i: leaf[i], ends)
    resting.setdefault(name_of(params), params)


def irregularity(params):
    """The largest departure, of the corners' angles from even ones, and of their lengths from their mean."""
    corners = np.asarray(params["W"])[:, np.linalg.norm(params["W"], axis=0) >= 0.6]
    angles, lengths = np.sort(np.arctan2(*corners)), np.linalg.norm(corners, axis=0)
    gaps = np.diff(np.append(angles, angles[0] + 2 * np.pi)) * len(angles) / (2 * np.pi)
    return max(np.abs(gaps - 1).max(), np.abs(lengths / lengths.mean() - 1).max())


at_rest = {name: llc.estimate(problem, params, progress=False) for name, params in resting.items()}
for name, estimate in at_rest.items():
    loss, uneven = float(mean_loss(resting[name], inputs)), irregularity(resting[name])
    print(f"{name}: loss {loss:.4f}, irregular by {uneven:.1e}, {estimate}")

# %% [markdown]
# How far is λ̂ at this n from its limit? In a quadratic well it is ½ tr[nβH (nβH + Γ)⁻¹], H the Hessian and Γ the
# localisation. That takes less than 0.02 off 8.5 at 6 and 5⁺. The square 4⁺⁺ has no Hessian: its four active outputs
# sit at the kink of the ReLU, b = 0, and at this n its λ̂ is still 7.6.


# %%
def quadratic(name):
    weights, unravel = ravel_pytree(resting[name])
    outputs = network(resting[name], inputs)
    gap = lambda w: jnp.mean(jnp.sum((network(unravel(w), inputs) - outputs) ** 2, axis=1)) / (2 * SCALE**2)
    stiff = at_rest[name].nbeta * jax.hessian(gap)(weights)
    gamma = np.repeat([at_rest[name].localization["W"], at_rest[name].localization["b"]], [2 * FEATURES, FEATURES])
    return 0.5 * float(np.trace(np.linalg.solve(np.asarray(stiff) + np.diag(gamma), np.asarray(stiff))))


print({name: round(quadratic(name), 3) for name in resting})

# %% [markdown]
# ## An output falls silent
#
# Stochastic gradients of twelve fresh examples a step: the network soon rests about 5⁺. Then noise pushes the sixth
# output into silence, from which no gradient leads back. 5⁻ has a *larger* loss, and a smaller λ.


# %%
@jax.jit
def train(key):
    def step(params, key):
        which, how_much = jax.random.split(key)
        x = jax.nn.one_hot(jax.random.randint(which, (12,), 0, FEATURES), FEATURES)
        return descend(params, x * jax.random.uniform(how_much, (12, 1)), 0.5), None

    def stretch(params, key):
        params, _ = jax.lax.scan(step, params, jax.random.split(key, EVERY))
        return params, params

    return jax.lax.scan(stretch, initial(key, 0.05), jax.random.split(jax.random.fold_in(key, 1), 300))[1]


history = train(jax.random.key(16))
steps = EVERY * np.arange(1, 301)
losses = np.array(jax.vmap(lambda params: mean_loss(params, inputs))(history))
checkpoints = [(int(steps[i]), jax.tree.map(lambda leaf, i=i: leaf[i], history)) for i in range(9, 300, 48)]

# %% [markdown]
# Amid such noise no checkpoint is a minimum of the training loss, and even at rest 5⁻ would not be: from b = 0 on, the
# silent output's bias leads down to 5⁺. Each is a minimum of its own behaviour: what else computes the function that
# the network computes there? That is `behavioral=True`. Fewer draws than usual are enough to tell the polygons apart.

# %%
run = llc.trajectory(problem, checkpoints, behavioral=True, num_warmup=100, num_draws=200, progress=False)
frame = run.to_dataframe()
frame["polygon"] = [name_of(params) for _, params in checkpoints]
print(run, frame[["step", "polygon", "llc", "std_error", "loss", "verdicts"]].to_string(), run.transitions(), sep="\n")
on_the_data = llc.estimate(problem, checkpoints[-1][1], num_draws=500, progress=False)
print(f"the last one, on the training data: {on_the_data}")

# %%
theory = {"6": 8.5, "5⁺": 8.5, "4⁺⁺": 8.5, "5⁻": 7.0}
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9), layout="constrained", width_ratios=(1, 2.2))
for i, (name, colour) in enumerate(zip(("6", "5⁺", "4⁺⁺"), (GRAY, BLUE, "#009E73"), strict=True)):
    left.errorbar(i, at_rest[name].value, 2 * at_rest[name].std_error, fmt="o", color=colour, capsize=3)
    corners = np.asarray(resting[name]["W"])
    inset = left.inset_axes((0.04 + 0.33 * i, 0.05, 0.28, 0.28))
    inset.quiver(*np.zeros_like(corners), *corners, color=colour, angles="xy", scale_units="xy", scale=1, width=0.03)
    inset.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
    inset.axis("off")
left.axhline(8.5, color="k", ls="--", lw=1)
left.axhline(7.0, color="k", ls=":", lw=1)
left.set(xlim=(-0.5, 2.5), ylim=(4, 9.4), ylabel="λ̂ ± 2 errors", title="at rest, with the columns of W")
left.set_xticks(range(3), ("6", "5⁺", "4⁺⁺"))
for name, colour, marker in (("5⁺", BLUE, "o"), ("5⁻", VERMILION, "s")):
    kind = frame[frame["polygon"] == name]
    right.errorbar(
        kind["step"], kind["llc"], 2 * kind["std_error"], fmt=marker, color=colour, capsize=3, label=f"λ̂ at {name}"
    )
right.axhline(8.5, color="k", ls="--", lw=1, label="8.5, all but the rotation")
right.axhline(7.0, color="k", ls=":", lw=1, label="7, one output silent")
right.set(xlabel="step of stochastic gradient descent", ylabel="λ̂ ± 2 errors", ylim=(4, 9.4))
right.set_title("an output falls silent: the loss rises, λ̂ falls")
other = right.twinx()
other.plot(steps, losses, color="0.7", lw=0.8)
other.set(ylabel="training loss ½ ‖x − f(x)‖² (gray)", ylim=(0.028, 0.06))
right.set_zorder(other.get_zorder() + 1)
right.patch.set_visible(False)
right.legend(frameon=False, loc="center left", bbox_to_anchor=(0.02, 0.4), fontsize=8)
figure.savefig("06_superposition.png", dpi=150)

# %% [markdown]
# λ̂ at 5⁻ is a little above 7, for silence has walls, beyond which the output would speak, and at this n they are
# felt: at step 17000, 7.44 ± 0.08 at this nβ is 7.09 ± 0.08 at 16 times of it. Every value must lie nearest the
# polygon that the weights show: within half of the gap between 8.5 and 7. (The square is left out.) Both pentagons
# must be seen, the silent one last.

# %%
checked = {f"irregularity of {name}": (irregularity(resting[name]), 0.0, 0.02) for name in ("6", "5⁺", "4⁺⁺")}
checked |= {f"λ̂ at rest on {name}": (at_rest[name].value, theory[name], 0.75) for name in ("6", "5⁺")}
checked |= {f"what γ takes off λ of {name}": (quadratic(name), 8.5, 0.02) for name in ("6", "5⁺")}
checked |= {f"λ̂ at step {row.step}, {row.polygon}": (row.llc, theory[row.polygon], 0.75) for row in frame.itertuples()}
checked["5⁻ is no minimum of the training loss"] = (float("not a minimum" in on_the_data.verdicts), 1.0, 0.0)
checked["order of the pentagons"] = (float(list(dict.fromkeys(frame["polygon"])) == ["5⁺", "5⁻"]), 1.0, 0.0)
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value:.4g} is not {expected:.4g} ± {tolerance:.2g}"
