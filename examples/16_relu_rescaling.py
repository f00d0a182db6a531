# %% [markdown]
# # Rescaling the layers of a ReLU network
#
# α⁻¹ relu(αx) = relu(x) for α > 0: weights and biases of the hidden layer times α, the weights behind it divided by α,
# make the same function of other weights. A measure of complexity should not notice.
#
# λ̂ does not, when each leaf of the weights may wander by its own root mean square (γ_l = 1/mean(w*_l²),
# `llc.Relative()`, the default): the posterior then is the same in units of the leaves. One γ for all weights
# holds small weights loosely and large ones tightly, and λ̂ follows α.

# %%

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import chi2, norm

import llc

BLUE, VERMILION = "#0072B2", "#D55E00"
ALPHAS = 10.0 ** np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
N, FIXED_GAMMA = 32, 10.0


def network(params, inputs):
    hidden = jax.nn.relu(inputs @ params["hidden"]["w"] + params["hidden"]["b"])
    return hidden @ params["out"]["w"] + params["out"]["b"]


def rescaled(params, alpha):
    hidden = jax.tree.map(lambda w: alpha * w, params["hidden"])
    return {"hidden": hidden, "out": params["out"] | {"w": params["out"]["w"] / alpha}}


# %% [markdown]
# A network with one input and two hidden units. The targets are its own outputs, so that its weights are an exact
# minimum of the loss at every α.

# %%
inputs = np.linspace(-1, 1, N, dtype="float32")[:, None]
params = {
    "hidden": {"w": jnp.array([[1.0, -1.0]]), "b": jnp.array([0.3, 0.5])},
    "out": {"w": jnp.array([[1.0], [-0.7]]), "b": jnp.array([0.4])},
}
outputs = network(params, inputs)
problem = llc.Problem.supervised(network, llc.Gaussian(scale=0.3), inputs, outputs)

kernel = llc.samplers.ReplicaExchange(num_replicas=6)
how = dict(kernel=kernel, nbeta=100.0, num_warmup=1000, num_draws=1500, progress=False)
rules = {"relative γ": llc.Relative(), "one γ": FIXED_GAMMA}
# a key for each run: the same key would draw the same noise, and hide a difference in its own likeness
estimates = {
    rule: [
        llc.estimate(problem, rescaled(params, alpha), localization=localization, rng_key=10 * i + j, **how)
        for j, alpha in enumerate(ALPHAS.tolist())
    ]
    for i, (rule, localization) in enumerate(rules.items())
}
for rule, row in estimates.items():
    for alpha, estimate in zip(ALPHAS, row, strict=True):
        print(f"{rule}, α = {alpha:.2g}: {estimate}")


# %% [markdown]
# Are five values one number, seen five times? χ² = Σ_α (λ̂_α − mean)² / error_α², the mean weighted by 1/error², would
# be χ²-distributed with four degrees of freedom; it may pass the bound of "4 sigma" once in 16 000 times.


# %%
def chi_squared(row):
    values, errors = (np.array([getattr(estimate, name) for estimate in row]) for name in ("value", "std_error"))
    mean = np.average(values, weights=errors**-2.0)
    return float((((values - mean) / errors) ** 2).sum())


bound = float(chi2.isf(2 * norm.sf(4), len(ALPHAS) - 1))
moved = max(float(jnp.abs(network(rescaled(params, alpha), inputs) - outputs).max()) for alpha in ALPHAS.tolist())
checked = {
    "the function moved": (moved, 0.0, 1e-5),
    "χ² of λ̂ with relative γ": (chi_squared(estimates["relative γ"]), 0.0, bound),
    "λ̂ with one γ passes the bound": (float(chi_squared(estimates["one γ"]) > bound), 1.0, 0.0),
}
print(checked, chi_squared(estimates["one γ"]))

# %%
figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
for (rule, row), colour, marker in zip(estimates.items(), (BLUE, VERMILION), "os", strict=True):
    values, errors = (np.array([getattr(estimate, name) for estimate in row]) for name in ("value", "std_error"))
    label = f"{rule}{f' = {FIXED_GAMMA:g} for all weights' if rule == 'one γ' else ': each leaf its own'}"
    axes.errorbar(ALPHAS, values, 2 * errors, color=colour, marker=marker, capsize=3, label=label)
half = estimates["one γ"][0].dimension / 2
axes.axhline(half, color="0.4", linestyle=":", label=f"d/2 = {half:g}")
axes.set(xscale="log", ylim=(0, None), xlabel="α, hidden layer times α and output layer over α", ylabel="λ̂ ± 2 errors")
axes.set_title("The same function, five times")
axes.legend(frameon=False)
figure.savefig("16_relu_rescaling.png", dpi=150)

# %%
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value} is not {expected} ± {tolerance}"
