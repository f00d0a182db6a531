# %% [markdown]
# # Where BIC fails, and λ̂ does not
#
# Reduced rank regression y = BAx + noise with H hidden units, when the truth has rank 1. BIC charges each of the
# d = 6H parameters ½ log n. But units that are not needed make the model singular: the marginal likelihood charges
# λ log n, and λ (Aoyagi & Watanabe 2005) is far below d/2:
#
#     F = −log ∫ e^{−n L_n(w)} φ(w) dw ≈ n L_n(ŵ) + λ log n.

# %%

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import llc

BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
WIDTHS, N, GAMMA, LARGEST = (1, 2, 3, 4), 1000, 1.0, 4
LOG_N = np.log(N)

# %% [markdown]
# For Gaussian noise the data enter the mean loss by two matrices: L_n(w) = L_n(Ŵ) + ½ ‖(BA − Ŵ) S^{1/2}‖², with Ŵ the
# least squares solution and S = XᵀX/n. Smaller networks are the largest with units switched off; what is switched off
# meets the prior alone and costs nothing. So all of the runs below share one compiled program.


# %%
def loss(params, batch):
    switch, solution, root, least = (leaf[0] for leaf in batch)  # all rows are the same
    gap = ((params["B"] * switch) @ params["A"] - solution) @ root
    return jnp.broadcast_to(least + 0.5 * jnp.sum(gap**2), batch[3].shape)


def problem_of(hidden, solution, root, least):
    row = np.arange(LARGEST) < hidden, solution, root, least
    return llc.Problem(loss, tuple(np.broadcast_to(leaf, (N, *np.shape(leaf))).astype("float32") for leaf in row))


def best_of_rank(hidden, solution, root):
    """The maximum likelihood BA of rank H, its factors of one norm."""
    left, sizes, right = np.linalg.svd(solution @ root)
    B, A = np.zeros((3, LARGEST)), np.zeros((LARGEST, 3))
    kept = min(hidden, 3)
    B[:, :kept] = left[:, :kept] * sizes[:kept] ** 0.5
    A[:kept] = (sizes[:kept] ** 0.5)[:, None] * (right @ np.linalg.inv(root))[:kept]
    return {"A": jnp.asarray(A, jnp.float32), "B": jnp.asarray(B, jnp.float32)}


kernel = llc.samplers.ReplicaExchange(num_replicas=14)
how = dict(localization=GAMMA, kernel=kernel, num_warmup=1000, num_draws=1000, progress=False)

# %% [markdown]
# First without noise and with a truth of rank 0, where λ at any finite n is known exactly as well.

# %%
entries = [llc.zoo.reduced_rank(3, 3, hidden) for hidden in WIDTHS]
origin = {"A": jnp.zeros((LARGEST, 3)), "B": jnp.zeros((3, LARGEST))}
clean = [llc.estimate(problem_of(h, np.zeros((3, 3)), np.eye(3), 0.0), origin, rng_key=h, **how) for h in WIDTHS]
exact = [entry.finite_n(estimate.nbeta, GAMMA) for entry, estimate in zip(entries, clean, strict=True)]

# %% [markdown]
# Then on simulated data, from the maximum likelihood solution of each width, as a trained network would be: a truth of
# rank 1, and the same with a weak second direction. Its strength is set so that it gains some 14 nats of likelihood:
# less than BIC's price of a unit, 3 log n = 21 nats, more than the 7 of the integral. A stronger one BIC sees too.

# %%
truths = [llc.zoo.reduced_rank(3, 3, hidden, rank=1, n=N, simulate=True) for hidden in WIDTHS]
limits = [float(truth.learning_coefficient) for truth in truths]
x, y = (np.asarray(part, np.float64) for part in truths[0].problem.data)
values, vectors = np.linalg.eigh(x.T @ x / N)
root = vectors * values**0.5 @ vectors.T


def scores_of(targets, key):
    """λ̂ of each width, and its free energy by three criteria, in nats."""
    solution = np.linalg.lstsq(x, targets)[0].T
    least = 0.5 * np.mean(np.sum((targets - x @ solution.T) ** 2, axis=1)) + 1.5 * np.log(2 * np.pi)
    pairs = [(problem_of(hidden, solution, root, least), best_of_rank(hidden, solution, root)) for hidden in WIDTHS]
    fit = np.array([N * float(problem.losses(params, problem.data)[0]) for problem, params in pairs])
    estimates = [llc.estimate(*pair, rng_key=key + i, **how) for i, pair in enumerate(pairs)]
    evidence = [llc.free_energy(*pair, rng_key=key + 10 + i, **how) for i, pair in enumerate(pairs)]
    return estimates, {
        "BIC: d/2": fit + 3 * np.array(WIDTHS) * LOG_N,
        "λ̂ in place of d/2": fit + np.array([estimate.value for estimate in estimates]) * LOG_N,
        "integrated": np.array([measure.value for measure in evidence]),
    }


noisy, of_rank_1 = scores_of(y, 100)
_, of_rank_2 = scores_of(y + 0.115 * x[:, [1]] * np.eye(3)[1], 200)
choices = {name: WIDTHS[int(np.argmin(score))] for name, score in of_rank_2.items()}
for scores in (of_rank_1, of_rank_2):
    print({name: np.round(score - score[0], 1).tolist() for name, score in scores.items()})

# %% [markdown]
# λ̂ has the error of its sampling; on another data set it moves by √(λ/(2 log n)) as well (Watanabe 2013).

# %%
checked = {}
for i, hidden in enumerate(WIDTHS):
    checked[f"rank 0, H = {hidden}"] = (clean[i].value, exact[i], 4 * clean[i].std_error)
    spread = np.hypot(noisy[i].std_error, np.sqrt(limits[i] / (2 * LOG_N)))
    checked[f"rank 1, H = {hidden}"] = (noisy[i].value, limits[i], 4 * float(spread))
for name, expected in zip(of_rank_2, (1, 2, 2), strict=True):
    checked[f"H for a rank of 2 by {name}"] = (choices[name], expected, 0)
print(checked)

# %%
figure, (left, *free) = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
left.plot(WIDTHS, 3 * np.array(WIDTHS), "-", color=VERMILION, marker="^", label="BIC: d/2")
for label, row, reference, colour, marker, line in (
    ("truth of rank 1, data", noisy, limits, BLUE, "o", "λ, the limit"),
    ("truth of rank 0, no noise", clean, exact, GREEN, "s", "exact at this n"),
):
    left.plot(WIDTHS, reference, "--", color=colour, label=f"{line}, {label.split(',')[0][9:]}")
    bars = 4 * np.array([estimate.std_error for estimate in row])
    left.errorbar(WIDTHS, [e.value for e in row], bars, fmt=marker, color=colour, capsize=3, label=f"λ̂, {label}")
left.set(ylim=(0, 15), ylabel="learning coefficient (bars: 4 errors)", title="What a hidden unit counts for")
for axes, scores, title in zip(free, (of_rank_1, of_rank_2), ("truth of rank 1", "weak second direction"), strict=True):
    for (name, score), colour, marker in zip(scores.items(), (VERMILION, BLUE, "k"), "^os", strict=True):
        above, best = score - score[0], int(np.argmin(score))
        axes.plot(WIDTHS, above, "-", color=colour, marker=marker, label=f"{name} (chooses H = {WIDTHS[best]})")
        axes.plot(WIDTHS[best], above[best], "o", mfc="none", mec=colour, ms=13 + 3 * "^os".index(marker))
    axes.set(ylabel="free energy above that of H = 1 (nats)", title=f"Free energy, {title}")
for axes in (left, *free):
    axes.set_xticks(WIDTHS)
    axes.set_xlabel("hidden units H")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
figure.savefig("14_bic_fails.png", dpi=150)

# %%
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value} is not {expected} ± {tolerance}"
