# %% [markdown]
# # What a network learns of one function, it cannot learn of another
#
# Train a network on n points, once for each mode φᵢ of a complete orthonormal basis, and call Lᵢ = ⟨φᵢ, f̂⟩ / ⟨φᵢ, φᵢ⟩
# the share of the mode it has learned over the whole domain. For a kernel K, so for an infinitely wide network, these
# shares have a fixed sum, whatever the kernel and the points D (Simon et al. 2023):
#
# $$ \sum_i L_i = \mathrm{tr}\, K_{DD} (K_{DD} + \delta)^{-1} = n \quad\text{at } \delta = 0 $$
#
# An architecture chooses what to learn, not how much. We divide 3 and 6 among the ten modes of 10 points on a circle,
# by four architectures, and train networks of finite width to see how well they keep the law.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from llc.kernels import dataset_learnabilities, fully_connected

angles = 2 * np.pi * np.arange(10) / 10
points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
cosines = [np.cos(k * angles) for k in range(6)]
modes = np.stack([*cosines, *(np.sin(k * angles) for k in range(1, 5))])
modes /= np.sqrt(np.mean(modes**2, axis=1, keepdims=True))
training_sets = {3: [0, 1, 4], 6: [0, 1, 3, 4, 6, 8]}

# %% [markdown]
# The shares that the four kernels give, by solving the regression of each mode.

# %%
WEIGHT_STD = {"relu": 2**0.5, "tanh": 1.5}
BIAS_STD = 0.1
networks = [("relu", 1), ("relu", 4), ("tanh", 1), ("tanh", 4)]
grams, predicted = {}, {}
for activation, depth in networks:
    kernel = fully_connected(depth, activation, weight_std=WEIGHT_STD[activation], bias_std=BIAS_STD)
    grams[activation, depth] = np.asarray(kernel.ntk(jnp.asarray(points)))
    for n, train in training_sets.items():
        predicted[activation, depth, n] = dataset_learnabilities(grams[activation, depth], modes, train)

# %% [markdown]
# The networks: the same layers with finitely many units, one mode at a time, by full-batch gradient descent with
# momentum until they fit. What a network computed at the start is subtracted. The kernel's extreme eigenvalues give
# step size and duration.

# %%
WIDTH = {1: 4096, 4: 192}
NUM_SEEDS = 5


def initial(key, depth):
    width = WIDTH[depth]
    shapes = [(2, width), *[(width, width)] * (depth - 1), (width, 1), *[(width,)] * depth]
    keys = jax.random.split(key, len(shapes))
    drawn = [jax.random.normal(one, shape) for one, shape in zip(keys, shapes, strict=True)]
    return drawn[: depth + 1], drawn[depth + 1 :]


def apply(params, activation):
    (*hidden, readout), biases = params
    x = jnp.asarray(points)
    for matrix, bias in zip(hidden, biases, strict=True):
        x = WEIGHT_STD[activation] / np.sqrt(len(matrix)) * x @ matrix + BIAS_STD * bias
        x = jax.nn.relu(x) if activation == "relu" else jnp.tanh(x)
    return (x @ readout / np.sqrt(len(readout)))[:, 0]


@partial(jax.jit, static_argnames=("activation", "depth"))
def learn(key, is_trained, step_size, momentum, num_steps, *, activation, depth):
    """The shares of all modes by networks of one start, and how far they are from their data at most."""

    def learn_mode(mode):
        start = initial(key, depth)
        misfit = lambda params: apply(params, activation) - apply(start, activation) - mode
        gradient = jax.grad(lambda params: jnp.sum(is_trained * misfit(params) ** 2) / 2)

        def step(_, state):
            params, velocity = state
            velocity = jax.tree.map(lambda v, g: momentum * v - step_size * g, velocity, gradient(params))
            return jax.tree.map(jnp.add, params, velocity), velocity

        params, _ = jax.lax.fori_loop(0, num_steps, step, (start, jax.tree.map(jnp.zeros_like, start)))
        return 1 + jnp.mean(mode * misfit(params)), jnp.abs(is_trained * misfit(params)).max()

    return jax.vmap(learn_mode)(jnp.asarray(modes))


measured, misfits = {}, []
for activation, depth in networks:
    for n, train in training_sets.items():
        eigenvalues = np.linalg.eigvalsh(grams[activation, depth][np.ix_(train, train)])
        high, low = np.sqrt(1.3 * eigenvalues[-1]), np.sqrt(0.4 * eigenvalues[0])  # a network's own kernel varies
        step_size, momentum = 4 / (high + low) ** 2, ((high - low) / (high + low)) ** 2
        settings = np.isin(np.arange(10), train), step_size, momentum, int(-20 / np.log(momentum))
        keys = jax.random.split(jax.random.key(n), NUM_SEEDS)
        shares, off = zip(*(learn(key, *settings, activation=activation, depth=depth) for key in keys), strict=True)
        measured[activation, depth, n] = np.stack(shares)
        misfits.append(np.max(off))

# %% [markdown]
# Each pair of bars: the kernel's shares left, those of the networks (means of five) right, stacked to n.

# %%
colours = ("#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")
names = ["1", *(f"cos {k}θ" for k in range(1, 6)), *(f"sin {k}θ" for k in range(1, 5))]
figure, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
for ax, n in zip(axes, training_sets, strict=True):
    for place, network in enumerate(networks):
        for side, shares in ((-0.2, predicted[*network, n]), (0.2, measured[*network, n].mean(axis=0))):
            order = [0, 1, 6, 2, 7, 3, 8, 4, 9, 5]  # a frequency's cosine and sine together
            bottoms = np.cumsum(shares[order]) - shares[order]
            for mode, bottom in zip(order, bottoms, strict=True):
                style = {"color": colours[mode if mode < 6 else mode - 5], "hatch": "" if mode < 6 else "////"}
                label = names[mode] if place == 0 and side < 0 else None
                ax.bar(place + side, shares[mode], 0.36, bottom, edgecolor="white", lw=0.6, label=label, **style)
        sums = measured[*network, n].sum(axis=1)
        ax.errorbar(place + 0.2, sums.mean(), 2 * sums.std(ddof=1) / NUM_SEEDS**0.5, fmt="none", color="k", capsize=4)
    ax.axhline(n, color="k", lw=1, ls="--")
    ax.set(title=f"n = {n} of 10 points", ylim=(0, 1.06 * n), ylabel="sum of learnabilities")
    ax.set_xticks(range(4), [f"{activation}\n{depth} hidden" for activation, depth in networks])
    ax.set_xlabel("left: kernel; right: trained networks")
handles, labels = axes[1].get_legend_handles_labels()
figure.legend(handles[::-1], labels[::-1], loc="outside right center", title="mode", frameon=False)
figure.savefig("11_conservation_law.png", dpi=150)

# %% [markdown]
# As numbers: (measured, expected, tolerance). Kernels keep the law to rounding. Finite networks move their own kernel
# while they train, and can fall short of it: by 1.3 % in the shallow tanh networks at n = 6, by 2.3 % when they have
# 1024 units instead of 4096. Their tolerance is 4 standard errors and 1 % of n.

# %%
checked = {"networks fit their data": (max(misfits), 0.0, 0.01)}
for activation, depth, n in predicted:
    sums, name = measured[activation, depth, n].sum(axis=1), f"{activation}, {depth} hidden, n={n}"
    checked[f"kernel {name}"] = (predicted[activation, depth, n].sum(), n, 1e-6)
    checked[f"networks {name}"] = (sums.mean(), n, 4 * sums.std(ddof=1) / NUM_SEEDS**0.5 + 0.01 * n)

for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value:.6g} is not {expected:.6g} ± {tolerance:.2g}"
