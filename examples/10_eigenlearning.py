# %% [markdown]
# # What a wide network learns from n examples, before it is trained
#
# A wide network trained to the end is kernel regression with its neural tangent kernel. Of the mode φᵢ with the
# eigenvalue λᵢ it learns on average the share Lᵢ, the *learnability*, and errs by the test MSE (Simon et al. 2023):
#
# $$ \sum_i m_i L_i + \frac{\delta}{\kappa} = n, \quad L_i = \frac{\lambda_i}{\lambda_i + \kappa}, \quad
#    \mathrm{MSE} = \frac{n \sum_i (1 - L_i)^2 v_i^2}{n - \sum_i m_i L_i^2} $$
#
# Three domains, beside simulated regressions, and on the hypercube trained networks of 300 units a layer.

# %%

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from llc.kernels import circle_spectrum, eigenlearning, fully_connected, hypercube_spectrum, sphere_spectrum

rng = np.random.default_rng(0)
network = fully_connected(4, "relu", weight_std=2**0.5, bias_std=0.1)

# %% [markdown]
# Inputs have norm √d, so the kernel is one function of the cosine between two of them, whatever the domain.


# %%
def kernel_of_cosine(cosines):
    points = np.sqrt(2) * np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    with jax.enable_x64():
        return np.asarray(network.ntk(jnp.array([[2**0.5, 0.0]]), jnp.asarray(points))[0])


angles, table = 2 * np.pi * np.arange(256) / 256, np.linspace(0, np.pi, 4097)
row, by_angle = kernel_of_cosine(np.cos(angles)), kernel_of_cosine(np.cos(table))
corners = 1 - 2 * (np.arange(256)[:, None] >> np.arange(8) & 1)
by_distance = kernel_of_cosine(1 - np.arange(9) / 4)
grams = {
    "circle": row[(np.arange(256)[:, None] - np.arange(256)) % 256],
    "hypercube": by_distance[(8 - corners @ corners.T) // 2],
}
spectra = {
    "circle": circle_spectrum(row),
    "hypercube": hypercube_spectrum(by_distance),
    "sphere": sphere_spectrum(kernel_of_cosine, 8, max_degree=20),
}
levels = {"circle": (2, 5, 10), "hypercube": (1, 2, 3), "sphere": (1, 2, 3)}  # frequencies, and degrees
targets = {
    "circle": np.sqrt(2) * np.cos(np.outer(angles, levels["circle"])),
    "hypercube": np.stack([corners[:, :k].prod(axis=1) for k in levels["hypercube"]], axis=1),
}

# %% [markdown]
# Training sets are drawn at random: of the 256 points of circle and cube, or from the sphere in 8 dimensions, where
# 200 more points test. Modes too fine for the spectrum act as a ridge, its `tail`.


# %%
def scores(predicted, true):
    """Learnability ⟨f, f̂⟩ / ⟨f, f⟩ and MSE of each mode."""
    return np.stack([(predicted * true).mean(-2) / (true**2).mean(-2), ((predicted - true) ** 2).mean(-2)])


def regress(domain, n):
    if domain == "sphere":
        x = rng.normal(size=(60, n + 200, 8))
        x /= np.linalg.norm(x, axis=-1, keepdims=True)
        y = np.stack([x[..., :k].prod(-1) for k in (1, 2, 3)], -1) * np.sqrt([8, 80, 960])  # of mean square 1
        gram = np.interp(np.arccos(np.clip(x @ x[:, :n].swapaxes(1, 2), -1, 1)), table, by_angle)
        return scores(gram[:, n:] @ np.linalg.solve(gram[:, :n], y[:, :n]), y[:, n:])
    y, gram = targets[domain], grams[domain]
    train = np.stack([rng.choice(256, n, replace=False) for _ in range(150)])
    weights = np.linalg.solve(gram[train[:, :, None], train[:, None]], y[train])
    return scores(gram[train].swapaxes(1, 2) @ weights, y)


def predict(domain, n):
    (eigenvalues, multiplicities, tail), modes = spectra[domain], np.eye(len(spectra[domain].eigenvalues))
    given = {"multiplicities": multiplicities, "ridge": tail}
    answers = [eigenlearning(eigenvalues, modes[k], n, **given) for k in levels[domain]]
    return [[answer.learnability for answer in answers], [answer.test_mse for answer in answers]]


sizes = 2 ** np.arange(2, 8)
simulated = {domain: np.stack([regress(domain, n) for n in sizes], axis=1) for domain in levels}

# %% [markdown]
# The networks have the same layers and train by full-batch gradient descent with momentum, each on one mode. What one
# computed at the start is subtracted. The kernel's extreme eigenvalues give step size and duration.


# %%
def apply(params, x):
    *matrices, readout = params[:5]
    for matrix, bias in zip(matrices, params[5:], strict=True):
        x = jax.nn.relu(jnp.sqrt(2 / len(matrix)) * x @ matrix + 0.1 * bias)
    return (x @ readout / np.sqrt(len(readout)))[:, 0]


@jax.jit
def train_network(key, x, y, step_size, momentum, num_steps):
    shapes = [(8, 300), *[(300, 300)] * 3, (300, 1), *[(300,)] * 4]
    start = [jax.random.normal(one, shape) for one, shape in zip(jax.random.split(key, 9), shapes, strict=True)]
    gradient = jax.grad(lambda params, mode: jnp.sum((apply(params, x) - apply(start, x) - mode) ** 2) / 2)

    def learn(mode):
        def step(_, state):
            params, velocity = state
            velocity = jax.tree.map(lambda v, g: momentum * v - step_size * g, velocity, gradient(params, mode))
            return jax.tree.map(jnp.add, params, velocity), velocity

        params, _ = jax.lax.fori_loop(0, num_steps, step, (start, jax.tree.map(jnp.zeros_like, start)))
        return apply(params, corners) - apply(start, corners)

    return jax.vmap(learn, in_axes=1, out_axes=1)(y)


y, net_sizes, nets, misfits = targets["hypercube"], (8, 32, 64), [], []
for n in net_sizes:
    train = np.stack([rng.choice(256, n, replace=False) for _ in range(4)])
    eigenvalues = np.linalg.eigvalsh(grams["hypercube"][train[:, :, None], train[:, None]])
    high, low = np.sqrt(1.3 * eigenvalues.max()), np.sqrt(0.5 * eigenvalues.min())  # a network's own kernel varies
    step_size, momentum = 4 / (high + low) ** 2, ((high - low) / (high + low)) ** 2
    settings = step_size, momentum, int(-20 / np.log(momentum))
    outputs = np.stack([train_network(jax.random.key(s), corners[t], y[t], *settings) for s, t in enumerate(train)])
    nets.append(scores(outputs, y))
    misfits += [np.abs(output[t] - y[t]).max() for output, t in zip(outputs, train, strict=True)]
nets = np.stack(nets, axis=1)

# %% [markdown]
# The theory takes features for Gaussian. On cube and sphere that costs some percent. On the circle, where a regression
# must bridge gaps between points, learnability is up to 0.1 too high, and the MSE 2 to 5 times too low once a mode is
# being learned: the formula's own limit, shown as it is. Bars are 2 standard errors.

# %%
figure, axes = plt.subplots(2, 3, figsize=(10.5, 6), sharex=True, layout="constrained")
mean, error = lambda x: x.mean(axis=-2), lambda x: x.std(axis=-2, ddof=1) / np.sqrt(x.shape[-2])
fine = np.geomspace(4, 128, 60)
for (panel, column), ax in np.ndenumerate(axes):
    domain = list(levels)[column]
    curves, points = np.array([predict(domain, n)[panel] for n in fine]), simulated[domain][panel]
    for mode, color in enumerate(("#0072B2", "#D55E00", "#009E73")):
        ax.plot(fine, curves[:, mode], color=color, label=f"k = {levels[domain][mode]}")
        ax.errorbar(sizes, mean(points)[:, mode], 2 * error(points)[:, mode], fmt="o", ms=4, color=color)
        if domain == "hypercube":
            means, bars = mean(nets[panel])[:, mode], 2 * error(nets[panel])[:, mode]
            ax.errorbar(np.multiply(net_sizes, 1.1), means, bars, fmt="D", mfc="white", capsize=3, color=color)
    ax.set(xscale="log", xlim=(3.4, 150), yscale=("linear", "log")[panel], ylabel=("learnability", "test MSE")[panel])
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
for ax, title in zip(
    axes[0], ("circle, by frequency", "hypercube {±1}⁸, by degree", "sphere in R⁸, by degree"), strict=True
):
    ax.set_title(title)
    ax.legend(loc="lower right" if ax is axes[0, 0] else "upper left", frameon=False)
axes[1, 0].text(0.04, 0.05, "theory 2–5 times too low\nonce a mode is learned", transform=axes[1, 0].transAxes)
for fmt, label in (("-", "theory"), ("o", "kernel regression"), ("D", "networks, width 300")):
    axes[1, 1].plot(
        [], [], fmt, color="gray", mfc="white" if fmt == "D" else "gray", ms=4 if fmt == "o" else 6, label=label
    )
axes[1, 1].legend(*(x[3:] for x in axes[1, 1].get_legend_handles_labels()), loc="lower left", frameon=False)
figure.supxlabel("training examples n")
figure.savefig("10_eigenlearning.png", dpi=150)

# %% [markdown]
# As numbers: (measured, expected, tolerance), the last of 4 standard errors and what the theory is known to be off by.

# %%
ratios = mean(simulated["circle"][1]) / [predict("circle", n)[1] for n in sizes]
checked = {
    "networks, largest misfit": (max(misfits), 0.0, 0.01),
    "circle, median MSE over theory's, n ≥ 32": (np.median(ratios[3:]), 3.0, 1.0),
}
for domain, ns, what, measured, absolute, relative in (
    ("hypercube", sizes, "learnability", simulated["hypercube"][0], 0.003, 0.0),
    ("hypercube", sizes, "MSE", simulated["hypercube"][1], 0.0, 0.035),
    ("hypercube", net_sizes, "networks' learnability", nets[0], 0.02, 0.0),
    ("hypercube", net_sizes, "networks' MSE", nets[1], 0.0, 0.07),
    ("sphere", sizes, "learnability", simulated["sphere"][0], 0.005, 0.0),
    ("circle", sizes, "learnability", simulated["circle"][0], 0.1, 0.0),
):
    theory = np.array([predict(domain, n)[what.endswith("MSE")] for n in ns])
    tolerances = 4 * error(measured) + absolute + relative * theory
    for (i, j), value in np.ndenumerate(mean(measured)):
        checked[f"{domain}, {what}, k={levels[domain][j]}, n={ns[i]}"] = (value, theory[i, j], tolerances[i, j])

for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value:.4g} is not {expected:.4g} ± {tolerance:.2g}"
