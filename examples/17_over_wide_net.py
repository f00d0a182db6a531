# %% [markdown]
# # An over-wide network
#
# One hidden unit suffices for y = tanh(2x) + noise; the network has twelve. BIC charges each of its 37 parameters half
# a log n, though most of them find nothing to do. λ̂ counts what they use.

# %%

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.flatten_util import ravel_pytree

import llc
from llc.digits import initialize, network, train

NOISE, N = 0.3, 500
WIDTHS = (1, 12)

rng = np.random.default_rng(0)
x = rng.normal(size=(N, 1)).astype(np.float32)
y = (np.tanh(2 * x) + NOISE * rng.normal(size=(N, 1))).astype(np.float32)
problem = llc.Problem.supervised(network, llc.Gaussian(NOISE), x, y)

# %% [markdown]
# Train both, and estimate each around where it ended.


# %%
def quadratic(params, nbeta):
    """λ̂ where the loss is quadratic, ½ Σ nβh / (nβh + γ), which tends to d/2."""
    flat, unravel = ravel_pytree(params)
    loss = lambda w: jnp.mean(problem.losses(unravel(w), problem.data))
    stiffness = nbeta * np.linalg.eigvalsh(jax.hessian(loss)(flat))
    return float(0.5 * np.sum(stiffness / (stiffness + 1.0)))


rows, expected_of = {}, {}
for width in WIDTHS:
    *_, (_, params) = train(problem, initialize((1, width, 1), seed=1), num_steps=3000, learning_rate=1e-2)
    rows[width] = llc.estimate(problem, params, kernel=llc.samplers.HMC(), localization=1.0, progress=False)
    expected_of[width] = quadratic(params, rows[width].nbeta)
    loss = float(jnp.mean(problem.losses(params, problem.data)))
    print(f"{width} hidden units: L = {loss:.4f} nats, {rows[width]}")
small, wide = (rows[width] for width in WIDTHS)
charged = {"BIC: d/2": lambda e: e.dimension / 2, "λ̂": lambda e: e.value}

# %%
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
places = np.arange(len(WIDTHS))
for offset, (name, count) in zip((-0.2, 0.2), charged.items(), strict=True):
    nats = [np.log(N) * count(rows[width]) for width in WIDTHS]
    errors = [np.log(N) * 4 * rows[width].std_error if name == "λ̂" else 0 for width in WIDTHS]
    color = "#0072B2" if name == "λ̂" else "#D55E00"
    axes.bar(places + offset, nats, 0.36, yerr=errors, capsize=4, color=color, label=name)
axes.set_xticks(places, [f"{width} hidden unit{'s' * (width > 1)}" for width in WIDTHS])
axes.set_ylabel("charged for complexity (nats; bars: 4 errors)")
axes.legend(frameon=False)
figure.savefig("17_over_wide_net.png", dpi=150)

# %% [markdown]
# The small network is regular, and the two agree. Of the wide one BIC counts five times what λ̂ does.

# %%
checked = {
    "λ̂ of the wide network over a third of its d/2": (max(0.0, wide.value + 4 * wide.std_error - 37 / 6), 0.0, 0.0),
    "λ̂ of the small network": (small.value, expected_of[1], 4 * small.std_error),
}
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value}, expected {expected} within {tolerance}"
