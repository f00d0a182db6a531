# %% [markdown]
# # Rank after rank: a deep linear network on its way from saddle to saddle
#
# From a small start f(x) = W₃ W₂ W₁ x learns its target's singular values one after the other. Between them the loss
# rests near a saddle, where the network is one of rank r (Saxe et al. 2014; Jacot et al. 2021). What λ each such
# network has is known exactly (Aoyagi 2024): with widths 10, 3, 4, 3 it is 4, 8, 23/2 and 15 for r = 0, 1, 2, 3.

# %%

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import llc
from llc.zoo.deep_linear import deep_linear_coefficient, linear_network

BLUE, VERMILION = "#0072B2", "#D55E00"
WIDTHS, SINGULAR_VALUES = (10, 3, 4, 3), (6.0, 3.0, 1.5)
N, NOISE, SIZE_AT_START = 120, 0.06, 0.03
EVERY, STRETCHES = 20, 300
theory = [deep_linear_coefficient(WIDTHS, rank) for rank in range(4)]
print(theory)

# %%
rng = np.random.default_rng(0)
left, _ = np.linalg.qr(rng.normal(size=(3, 3)))
right, _ = np.linalg.qr(rng.normal(size=(10, 3)))
x = rng.normal(size=(N, 10)).astype("float32")
y = (x @ (right * SINGULAR_VALUES) @ left.T + NOISE * rng.normal(size=(N, 3))).astype("float32")
problem = llc.Problem.supervised(linear_network, llc.Gaussian(NOISE), x, y)
start = [
    jnp.asarray(rng.normal(0, SIZE_AT_START, shape), jnp.float32) for shape in zip(WIDTHS[1:], WIDTHS[:-1], strict=True)
]

# %% [markdown]
# Gradient descent on the mean squared error, keeping the weights every twenty steps.


# %%
@jax.jit
def train(params):
    slope = jax.grad(lambda params: jnp.mean(jnp.sum((y - linear_network(params, x)) ** 2, axis=1)) / 2)

    def stretch(params, _):
        descend = lambda _, params: jax.tree.map(lambda w, g: w - 0.01 * g, params, slope(params))
        params = jax.lax.fori_loop(0, EVERY, descend, params)
        product = params[2] @ params[1] @ params[0]
        misfit = jnp.mean(jnp.sum((y - x @ product.T) ** 2, axis=1)) / 2
        return params, (params, misfit, jnp.linalg.svd(product, compute_uv=False))

    return jax.lax.scan(stretch, params, None, length=STRETCHES)[1]


history, losses, learned = jax.tree.map(np.asarray, train(start))
steps = EVERY * np.arange(1, STRETCHES + 1)
at = lambda i: jax.tree.map(lambda leaf: leaf[i], history)

# %% [markdown]
# A plateau of rank r: r singular values are within 1 % of their last value, and no other has 1 % of it yet. Of each we
# take the checkpoint in its middle.

# %%
rank_of = np.full(STRETCHES, -1)
for r in range(4):
    done = (np.abs(learned[:, :r] / learned[-1, :r] - 1) < 0.01).all(axis=1)
    rank_of[done & (learned[:, r:] < 0.01 * learned[-1, r:]).all(axis=1)] = r
places = [np.flatnonzero(rank_of == r) for r in range(4)]
checkpoints = [(int(steps[i]), at(i)) for i in (place[len(place) // 2] for place in places)]
print({r: (steps[place[0]], steps[place[-1]]) for r, place in enumerate(places)})

# %% [markdown]
# At a saddle the training loss falls away in some direction, and a posterior goes there: λ̂ of it is no learning
# coefficient, and says so. What rank r costs is asked of the network itself, as its own truth: `behavioral=True`. For
# that the weights still to grow are zero: their product, under 1 % of a singular value, is lost in the noise.
#
# Around so many zeros the loss is flat along directions that bend, and a chain at one temperature takes long to follow
# them: the default here, Hamiltonian Monte Carlo, comes near these values and says "drifting". Replicas at higher
# temperatures carry a chain across. "Too few draws" may still stand where they have been so few.

# %%
kernel = llc.samplers.ReplicaExchange(num_replicas=24)
run = llc.trajectory(
    problem, checkpoints, behavioral=True, kernel=kernel, num_warmup=400, num_draws=700, progress=False
)
frame = run.to_dataframe()
frame["rank"] = range(4)
print(run, frame[["step", "rank", "llc", "std_error", "loss", "verdicts"]].to_string(), run.transitions(), sep="\n")

# %%
how = dict(num_warmup=50, num_draws=100, progress=False)
on_the_data = llc.trajectory(problem, checkpoints, **how).to_dataframe()
print(on_the_data[["step", "llc", "std_error", "verdicts"]].to_string())

# %%
figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
for r, ((exact, _), place) in enumerate(zip(theory, places, strict=True)):
    label = "exact for rank 0, 1, 2, 3" if r == 0 else None
    axes.hlines(float(exact), steps[place[0]], steps[place[-1]], color="k", ls="--", lw=1.2, label=label)
axes.errorbar(frame["step"], frame["llc"], 2 * frame["std_error"], fmt="o", color=BLUE, capsize=3, label="λ̂ ± 2 errors")
axes.set(xlabel="step of gradient descent", ylabel="learning coefficient", ylim=(0, 17.5))
other = axes.twinx()
other.plot(steps, losses, color=VERMILION, lw=1)
other.set_yscale("log")
other.set_ylabel("½ mean squared error", color=VERMILION)
axes.set_title("A deep linear network learns rank after rank")
axes.legend(frameon=False, loc="center right")
figure.savefig("07_saddle_to_saddle.png", dpi=150)

# %% [markdown]
# On each plateau within 10 % of the exact value, which is the limit n → ∞; in the order of ranks; and on the training
# data, no minimum at the three saddles.

# %%
values = frame["llc"].to_numpy(float)
checked = {f"λ̂ at rank {r}": (values[r], float(exact), 0.1 * float(exact)) for r, (exact, _) in enumerate(theory)}
checked["every later rank has the larger λ̂"] = (float(np.diff(values).min() > 0), 1.0, 0.0)
for r, verdicts in enumerate(on_the_data["verdicts"]):
    checked[f"on the data, rank {r} is no minimum"] = (float("not a minimum" in verdicts), float(r < 3), 0.0)
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value:.4g} is not {expected:.4g} ± {tolerance:.2g}"
