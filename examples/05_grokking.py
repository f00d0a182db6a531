# %% [markdown]
# # Modular addition: λ̂ falls when a network generalises
#
# A small network learns a + b mod 53 from a third of all pairs. It first memorises them: every sum that it was shown is
# right, every other one a guess. Much later, while the training loss hardly moves, it comes to know the other pairs.
# Power et al. (2022, arXiv:2201.02177) called this grokking. What it finds then are a few Fourier modes (Nanda et al.
# 2023, arXiv:2301.05217; Gromov 2023, arXiv:2301.02679), which take fewer parameters than a table of answers.
#
# λ̂ sees that from the training data alone.

# %%
from itertools import pairwise

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import llc

BLUE, VERMILION, GRAY = "#0072B2", "#D55E00", "0.45"
P, EMBEDDING, HIDDEN, WEIGHT_DECAY = 53, 16, 32, 1e-4
STEPS, RADII = (0, 100, 200, 550, 700, 1200), (0.5, 0.25)

rng = np.random.default_rng(0)
pairs = rng.permutation(np.stack(np.divmod(np.arange(P * P), P), axis=1))
sums, shown = pairs.sum(axis=1) % P, slice(int(0.35 * P * P))
hidden_from_it = slice(shown.stop, None)


# %% [markdown]
# Both numbers are looked up in one embedding; a hidden layer squares its inputs, as Gromov's does.


# %%
def network(params, pairs):
    first, second = (params["embedding"] @ params[side] for side in ("first", "second"))
    return jnp.square(first[pairs[:, 0]] + second[pairs[:, 1]]) @ params["out"]


def gaussian(fan_in, fan_out):
    return jnp.asarray(rng.normal(0, fan_in**-0.5, (fan_in, fan_out)), jnp.float32)


params = {
    "embedding": gaussian(P, EMBEDDING) * (P / EMBEDDING) ** 0.5,
    "first": gaussian(EMBEDDING, HIDDEN),
    "second": gaussian(EMBEDDING, HIDDEN),
    "out": gaussian(HIDDEN, P),
}
test = (pairs[hidden_from_it], sums[hidden_from_it])
problem = llc.Problem.supervised(network, llc.Categorical(), pairs[shown], sums[shown], test=test)

# %% [markdown]
# Adam trains on all of the shown pairs, on the loss plus ½ · 10⁻⁴ ‖w‖². The decay drives the network on from its table:
# with the rule, smaller weights reach the same loss.

# %%
optimizer = optax.adam(5e-3, b2=0.98)


@jax.jit
def train(params, state, num_steps):
    def penalized(params):
        return problem.losses(params, problem.data).mean() + WEIGHT_DECAY / 2 * optax.tree.norm(params, squared=True)

    def step(_, carry):
        params, state = carry
        updates, state = optimizer.update(jax.grad(penalized)(params), state)
        return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(0, num_steps, step, (params, state))


checkpoints, state = {0: params}, optimizer.init(params)
for before, after in pairwise(STEPS):
    params, state = train(params, state, after - before)
    checkpoints[after] = params


# %%
def accuracy(params, data):
    pairs, sums = data
    return float((network(params, pairs).argmax(axis=1) == sums).mean())


known, unknown = (
    np.array([accuracy(params, data) for params in checkpoints.values()]) for data in (problem.data, problem.test_data)
)

# %% [markdown]
# λ̂ at each checkpoint. All is left to the defaults but the number of draws, which here is less than they would take.
# Each leaf of the weights may wander by the root mean square that it has at the last checkpoint, the same at all steps.

# %%
trajectory = llc.trajectory(problem, checkpoints, num_warmup=50, num_draws=60, progress=False)
frame = trajectory.to_dataframe()
values, errors = frame["llc"].to_numpy(), frame["std_error"].to_numpy()
print(frame[["step", "llc", "std_error", "loss", "test_loss", "verdicts"]].to_string())

memorised, last = int(np.argmax(known == 1)), len(STEPS) - 1
fall = trajectory.difference(STEPS[last], STEPS[memorised])
print(f"from step {STEPS[memorised]} to {STEPS[last]} λ̂ moves by {fall.value:.0f} ± {fall.std_error:.1f}")

# %% [markdown]
# **How to read it.** λ̂ climbs while the table is learned, and falls as the rule replaces it. It begins to fall before
# accuracy rises, together with the test loss: the rule grows beside the table before it decides the answers.
#
# "Not a minimum" stands where training is under way and the loss has a slope. At the last steps the slope is not zero
# either, since weight decay balances it. But it could change λ̂ by less than the tenth at which the verdict is given.
#
# A guess costs log 53 nats a sum; in units of λ̂ that is nβ log 53, the dotted line. The table's λ̂ lies above it. So at
# this temperature and this distance the networks around the table have lost most of it, and in nats are no better than
# a guess: a table costs what it saves. The height of the first plateau then speaks of the answers' number more than of
# this table. "Temperature not asymptotic" says likewise that λ̂ is the value at this n, and not the limit.
#
# Does the fall depend on that? At half and a quarter of the distance the networks around the table are better than a
# guess. All λ̂ are smaller there, as less is moved, but that of the table still is several times that of the rule.
#
# And does it need the rule? With `WEIGHT_DECAY = 0` the network keeps its table to the last step, and λ̂ stays where it
# was. γ matters here: with that of the run above, which suits its smaller weights, the table's λ̂ comes down by a third,
# since its weights and margins go on growing. So compare λ̂ over a run at one γ, and runs with care.

# %%
ends = {STEPS[place]: checkpoints[STEPS[place]] for place in (memorised, last)}
closer = {
    radius: llc.trajectory(
        problem, ends, localization=llc.Relative(radius), num_warmup=50, num_draws=60, progress=False
    )
    for radius in RADII
}
by_radius = {1.0: frame.iloc[[memorised, last]]} | {radius: run.to_dataframe() for radius, run in closer.items()}
falls = {1.0: fall} | {radius: run.difference(STEPS[last], STEPS[memorised]) for radius, run in closer.items()}
for radius, row in by_radius.items():
    table, rule = row["llc"]
    print(f"radius {radius}: {table:.0f} → {rule:.0f}, by {-falls[radius].value / falls[radius].std_error:.0f} errors")

# %%
ceiling = float(trajectory.settings["nbeta"]) * np.log(P)
figure, axes = plt.subplot_mosaic(
    [["accuracy", "radius"], ["llc", "radius"]], width_ratios=(1.7, 1), figsize=(10, 5.4), layout="constrained"
)
axes["accuracy"].plot(STEPS, known, "-s", color=GRAY, ms=4, label="pairs shown")
axes["accuracy"].plot(STEPS, unknown, "--o", color=VERMILION, ms=4, label="other pairs")
axes["accuracy"].set(ylabel="accuracy", title="First a table, then the rule")
axes["llc"].plot(STEPS, values, "-o", color=BLUE, ms=4, label="λ̂ (band: 4 errors)")
axes["llc"].fill_between(STEPS, values - 4 * errors, values + 4 * errors, color=BLUE, alpha=0.3)
sloping = np.array(["not a minimum" in verdicts for verdicts in frame["verdicts"]])
axes["llc"].plot(np.array(STEPS)[sloping], values[sloping], "x", color="k", ms=9, label="not a minimum")
axes["llc"].axhline(ceiling, color=GRAY, linestyle=":", label=f"guessing: nβ log 53 = {ceiling:.0f}")
axes["llc"].set(ylim=(0, None), xlabel="step", ylabel="learning coefficient λ̂")
radii = sorted(by_radius)
for end, (label, style, colour) in enumerate((("the table", "--s", GRAY), ("the rule", "-o", BLUE))):
    rows = [by_radius[radius].iloc[end] for radius in radii]
    bars = [4 * row["std_error"] for row in rows]
    label += f", step {list(ends)[end]}"
    axes["radius"].errorbar(radii, [row["llc"] for row in rows], bars, fmt=style, color=colour, capsize=3, label=label)
axes["radius"].axhline(ceiling, color=GRAY, linestyle=":")
axes["radius"].set(xscale="log", yscale="log", xlabel="how far weights may wander (radius)", ylabel="λ̂")
axes["radius"].set_xticks(radii, [f"{radius:g}" for radius in radii])
axes["radius"].set_yticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
axes["radius"].set_title("At every distance")
axes["radius"].minorticks_off()
for name, place in {"accuracy": "lower right", "llc": (0.15, 0.06), "radius": "lower right"}.items():
    axes[name].legend(frameon=False, loc=place)
figure.savefig("05_grokking.png", dpi=150)

# %% [markdown]
# As numbers: (measured, expected, tolerance). Every fall must be at least five of its standard errors.

# %%
checked = {
    "accuracy on other pairs when all shown are known": (unknown[memorised], 0.0, 0.1),
    "accuracy on other pairs at the end": (unknown[last], 1.0, 0.02),
    "correlation of λ̂ and that accuracy from then on": (
        float(np.corrcoef(values[memorised:], unknown[memorised:])[0, 1]),
        -1.0,
        0.1,
    ),
}
for radius, change in falls.items():
    missing = max(0.0, 5.0 + change.value / change.std_error)
    checked[f"errors missing in the fall at radius {radius}"] = (missing, 0.0, 0.0)
print(checked)

for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value} is not {expected} ± {tolerance}"
