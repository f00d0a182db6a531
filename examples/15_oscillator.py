# %% [markdown]
# # A symmetry is a direction that costs nothing
#
# A pendulum at small amplitude, seen through a film of unknown speed c, passes x₀ at
#
#     f(t) = x₀ cos(√g ct) + v₀ sin(√g ct)/√g.
#
# Nobody can tell a slow film of a fast pendulum from a fast film of a slow one: g → a²g, c → c/a, v₀ → av₀ leaves every
# observation as it is. The loss is zero along that curve, and the learning coefficient does not count it: λ is half
# the number of directions that matter, not d/2.

# %%

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import llc

BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
N, GAMMA = 1000, 10.0
NBETA = N / np.log(N)
TIMES = (0.3, 0.9, 1.5, 2.1, 2.7)

# %% [markdown]
# The loss is that of the regression y = f(t) + noise without its noise, ½ Σ_t (f_w(t) − f_{w*}(t))², so that exact
# values exist to compare with. All examples are then one path, and one is computed.


# %%
def path(params, times):
    rate = jnp.sqrt(jnp.abs(params["g"]) + 1e-12)
    phase = rate * params["c"] * times
    grows = params["g"] < 0  # the formula continued: cosh and sinh
    cosine = jnp.where(grows, jnp.cosh(jnp.where(grows, phase, 0.0)), jnp.cos(phase))
    sine = jnp.where(grows, jnp.sinh(jnp.where(grows, phase, 0.0)), jnp.sin(phase))
    return params["x0"] * cosine + params["v0"] * sine / rate


def half_square(params, batch):
    times, targets, weight = (leaf[0] for leaf in batch)
    loss = 0.5 * weight * jnp.sum((path(params, times) - targets) ** 2)
    return jnp.broadcast_to(loss, batch[2].shape)


def noise_free(params, times, weight=1.0):
    row = np.array(times), path(params, np.array(times)), np.array(weight)
    return llc.Problem(half_square, tuple(np.broadcast_to(leaf, (N, *leaf.shape)).astype("float32") for leaf in row))


moving = {"x0": jnp.array(1.0), "v0": jnp.array(0.5), "g": jnp.array(2.0), "c": jnp.array(1.0)}
rest = moving | {"x0": jnp.array(0.0), "v0": jnp.array(0.0)}
# five looks at one time, each of a fifth of the weight, are one look
cases = {
    "moving": (noise_free(moving, TIMES), moving, 3 / 2),
    "at rest": (noise_free(rest, TIMES), rest, 1),
    "moving,\nseen once": (noise_free(moving, [1.0] * 5, 0.2), moving, 1 / 2),
}
kernel = llc.samplers.ReplicaExchange(num_replicas=10)
how = dict(localization=GAMMA, kernel=kernel, num_warmup=1000, num_draws=1000, progress=False)
estimates = {
    name: llc.estimate(problem, params, keep_weights=True, rng_key=i, **how)
    for i, (name, (problem, params, _)) in enumerate(cases.items())
}

# %% [markdown]
# The exact λ_n = nβ E[L] at this nβ and γ: x₀ and v₀ enter linearly and integrate in closed form; what is left is a sum
# over g > 0 and c of both signs (a film that runs backwards), six standard deviations of the prior wide.


# %%
def log_evidence(s, params, times, weight):
    """log ∫ exp(−s L − γ/2 ‖w − w*‖²) dw, up to a constant."""
    g, c = (grid.ravel()[:, None] for grid in np.meshgrid(np.linspace(0.05, 3.95, 300), np.linspace(-0.95, 2.95, 300)))
    phase = np.sqrt(g) * c * np.array(times)
    design = weight**0.5 * np.stack([np.cos(phase), np.sin(phase) / np.sqrt(g)], axis=-1)
    start = np.array([float(params["x0"]), float(params["v0"])])
    gap = weight**0.5 * np.asarray(path(params, np.array(times))) - design @ start
    precision = s * design.swapaxes(1, 2) @ design + GAMMA * np.eye(2)
    pull = s * np.einsum("kti,kt->ki", design, gap)
    best = np.linalg.solve(precision, pull[..., None])[..., 0]
    exponent = (pull * best).sum(-1) / 2 - s / 2 * (gap**2).sum(-1) - np.log(np.linalg.det(precision)) / 2
    exponent -= GAMMA / 2 * ((g - float(params["g"])) ** 2 + (c - 1) ** 2)[:, 0]
    return exponent.max() + np.log(np.exp(exponent - exponent.max()).sum())


def finite_n(params, times, weight, step=0.02):
    """λ_n = −d log Z / d log nβ."""
    above, below = (log_evidence(NBETA * np.exp(h), params, times, weight) for h in (step, -step))
    return -(above - below) / (2 * step)


looks = (moving, TIMES), (rest, TIMES), (moving, [1.0])
exact = {name: float(finite_n(*look, weight=1.0)) for name, look in zip(cases, looks, strict=True)}

# %% [markdown]
# The zoo knows the third case in other words (one look at an unknown time), by another quadrature. The loss along the
# symmetry's orbit is rounding: its largest value is set against what one unit of g costs across the orbit.

# %%
a = np.geomspace(0.6, 1.7, 41)
problem, params, _ = cases["moving"]
orbit = {"x0": np.ones_like(a), "v0": 0.5 * a, "g": 2.0 * a**2, "c": 1 / a}
loss = jax.vmap(lambda point: half_square(point, tuple(leaf[:1] for leaf in problem.data))[0])
along = loss(jax.tree.map(jnp.asarray, orbit))
across = loss(jax.tree.map(jnp.asarray, orbit | {"g": orbit["g"] + 1}))
print(f"loss along the orbit at most {float(along.max()):.1e} nats, beside it at least {float(across.min()):.1e}")

of_the_zoo = llc.zoo.oscillator("one_observation").finite_n(NBETA, GAMMA)
checked = {
    "loss along the orbit": (float(along.max()), 0.0, 1e-6),
    "exact, by the zoo": (list(exact.values())[-1], of_the_zoo, 1e-3),
} | {
    f"λ̂ {name}".replace("\n", " "): (estimate.value, exact[name], 4 * estimate.std_error)
    for name, estimate in estimates.items()
}
print(*estimates.values(), checked, sep="\n")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
c_axis, g_axis = np.meshgrid(np.linspace(0.05, 2, 200), np.linspace(0.8, 5.5, 200))
slices = {"x0": np.ones_like(c_axis), "v0": 0.5 / c_axis, "g": g_axis, "c": c_axis}
height = loss(jax.tree.map(lambda leaf: jnp.asarray(leaf.ravel()), slices)).reshape(c_axis.shape)
left.contour(c_axis, g_axis, NBETA * height, levels=[1, 10, 100], colors="0.65", linewidths=0.8)
drawn = estimates["moving"].draws["posterior"]
left.plot(drawn["c"].values[:, ::4].ravel(), drawn["g"].values[:, ::4].ravel(), ".", color=BLUE, ms=2, alpha=0.5)
left.plot(orbit["c"], orbit["g"], color=VERMILION, lw=2, label="orbit: (a²g, c/a, av₀)")
left.plot([], [], ".", color=BLUE, label="draws of replica exchange")
left.plot([], [], color="0.65", lw=0.8, label="nβ·loss = 1, 10, 100 nats at x₀ = 1, v₀ = 1/(2c)")
left.plot(1, 2, "k*", ms=10, label="w*")
left.set(xlim=(0.5, 1.9), ylim=(0.8, 5.5), xlabel="film speed c", ylabel="g, per squared unit of time")
left.set_title("One pendulum, many films")
left.legend(framealpha=1, edgecolor="1", fontsize=8, loc="upper right")
place = np.arange(len(cases))
right.bar(place, [len(params) / 2 for _, params, _ in cases.values()], color="0.88", label="d/2 (BIC)")
right.hlines([limit for *_, limit in cases.values()], place - 0.4, place + 0.4, color=GREEN, lw=2, label="λ, the limit")
right.hlines(list(exact.values()), place - 0.4, place + 0.4, color=VERMILION, ls="--", label="exact at this nβ and γ")
values, errors = ([getattr(e, name) for e in estimates.values()] for name in ("value", "std_error"))
right.errorbar(place, values, 4 * np.array(errors), fmt="o", color=BLUE, capsize=3, label="λ̂ ± 4 errors")
right.set(ylim=(0, 2.9), ylabel="learning coefficient", title="What the symmetry saves")
right.set_xticks(place, cases)
right.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
figure.savefig("15_oscillator.png", dpi=150)

# %%
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value} is not {expected} ± {tolerance}"
