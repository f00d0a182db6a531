# %% [markdown]
# # A checkpoint of your own
#
# Three things are needed: the weights (a file), the network (a function), and the data with a likelihood. Here a
# PyTorch-like training run left its weights in a safetensors file, with PyTorch's names; a regression with noise of
# known size is the data.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from safetensors.numpy import save_file

import llc

rng = np.random.default_rng(0)
inputs = rng.uniform(-1, 1, size=(500, 2)).astype(np.float32)
targets = (np.sin(3 * inputs[:, :1]) + rng.normal(0, 0.1, size=(500, 1))).astype(np.float32)

# %% [markdown]
# Somebody trains a network of 8 hidden units on it (here by L-BFGS, to a minimum) and saves the state as PyTorch
# would: the weights of a layer are (outputs, inputs), their names have dots.


# %%
def network(params, x):
    hidden = jnp.tanh(x @ params["hidden"]["weight"].T + params["hidden"]["bias"])
    return hidden @ params["out"]["weight"].T + params["out"]["bias"]


def mean_loss(params):
    return jnp.mean((network(params, inputs) - targets) ** 2)


params = {
    "hidden": {"weight": jnp.asarray(rng.normal(size=(8, 2)), jnp.float32), "bias": jnp.zeros(8)},
    "out": {"weight": jnp.asarray(0.2 * rng.normal(size=(1, 8)), jnp.float32), "bias": jnp.zeros(1)},
}
optimizer = optax.lbfgs()
step_of = optax.value_and_grad_from_state(mean_loss)


@jax.jit
def improve(_, carry):
    params, state = carry
    value, gradient = step_of(params, state=state)
    updates, state = optimizer.update(gradient, state, params, value=value, grad=gradient, value_fn=mean_loss)
    return optax.apply_updates(params, updates), state


params, _ = jax.lax.fori_loop(0, 2000, improve, (params, optimizer.init(params)))
state_dict = {f"{layer}.{name}": np.asarray(leaf) for layer, leaves in params.items() for name, leaf in leaves.items()}
save_file(state_dict, "model_step_2000.safetensors")

# %% [markdown]
# From here on it is your side. Reading runs no code of the file; names with dots become the levels of a tree.

# %%
checkpoint = llc.checkpoints.read("model_step_2000.safetensors")
print(checkpoint.step, jax.tree.map(np.shape, checkpoint.params))
problem = llc.Problem.supervised(network, llc.Gaussian(scale=0.1), inputs, targets)
estimate = llc.estimate(problem, checkpoint.params)
estimate

# %% [markdown]
# Where do the parameters sit? The weight-refined coefficient frees one layer at a time, the other held where it is.

# %%
layers = llc.refine(problem, checkpoint.params, ["hidden/*", "out/*"])
figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
names = ["all", *layers]
results = [estimate, *layers.values()]
ax.errorbar(
    [r.value for r in results], names, xerr=[1.96 * r.std_error for r in results], fmt="o", color="#0072B2", capsize=3
)
for name, result in zip(names, results, strict=True):
    ax.plot(result.dimension / 2, name, "|", color="0.3", ms=18)
ax.set(xlabel="λ̂ with 95 % interval; the bar is d/2", xlim=(0, None))
figure.savefig("02_checkpoint_of_your_own.png", dpi=150)

# %% [markdown]
# The output layer is linear in its weights, so that its coefficient is known without sampling: half the effective
# number of directions that its 9 parameters move the outputs in. That is the check of this page, along with λ̂ of a
# part being no more than λ̂ of the whole.

# %%
tangent = llc.kernels.ntk_coefficient(problem, checkpoint.params, mask="out/*")
out = layers["out/*"]
checked = {"output layer, by its tangent": (out.value, tangent.value, 4 * out.std_error)}
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value:.4g} is not {expected:.4g} ± {tolerance:.2g}"
assert all(result.value < estimate.value + 4 * result.std_error for result in layers.values())
