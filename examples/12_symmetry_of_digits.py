# %% [markdown]
# # Can a network guess a shifted or a turned digit that it never saw?
#
# A network is trained on all shifts (or turns) of a digit but one, and likewise on another digit of the other class. Is
# the image left out told right? For a network of infinite width the answer is kernel regression with its tangent kernel
# K. The error is ε = 1 − yŷ: 0 is perfect, and at 1 or more the class is lost.
#
# The images of one digit are an orbit gʲA of a cyclic group. If K(gx, gx′) = K(x, x′), Fourier diagonalises K, and the
# error is known without a regression (Perin & Deny 2024, arXiv:2412.11521), with λ_f the coefficients of a row of K
#
#     ε = λ_N⁻¹ / mean_f λ_f⁻¹                                   for A and B half a step apart,
#     ε_A = [(b₀ + c₀)/D₀] / mean_f(b_f/D_f),  D = ab − |c|²      for any A and B (a, b, c of K_AA, K_BB, K_AB).

# %%
from itertools import combinations

import jax
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from llc.kernels import (
    circulant_row,
    convolutional,
    cyclic_shifts,
    fully_connected,
    leave_one_out,
    normalized,
    one_versus_one,
    orbit_error,
    orbit_rows,
    pairwise_errors,
    rotations,
    spectral_error,
)

RIDGE = 1e-6
pixels, labels = map(np.asarray, load_digits(return_X_y=True))
digits = np.stack([pixels[labels == digit][:3].reshape(-1, 8, 8) for digit in range(10)])
dense = fully_connected(1, "relu", weight_std=1.0, bias_std=1.0, last_bias_std=1.0)


def gram_of(kernel, orbits):
    """The tangent kernel on orbits one after the other, each image less its mean and at norm 1."""
    images = normalized(np.concatenate(orbits))
    with jax.enable_x64():
        return np.asarray(kernel.ntk(images.reshape(-1, 64) if kernel is dense else images[..., None]))


# %% [markdown]
# ## Two formulas against the regression itself
#
# Ten digits make 45 pairs, each under 8 shifts around the edge and 16 turns. Shifts move pixels, so the kernel respects
# them, but A and B are not half a step apart: the first formula has to average K into a circulant matrix. Turns also
# interpolate, so they are a group only nearly, and both formulas average.

# %%
shifted, turned = (list(map(images_of, digits[:, 0])) for images_of in (cyclic_shifts, lambda x: rotations(x, 16)))
grams = {"8 shifts": (8, gram_of(dense, shifted)), "16 turns": (16, gram_of(dense, turned))}


def errors_of_pairs(order, gram):
    """(averaged to circulant, two orbits, exact) of each pair, the mean of a point left out of A and one out of B."""
    rows = []
    for a, b in combinations(range(len(gram) // order), 2):
        both = np.r_[a * order : (a + 1) * order, b * order : (b + 1) * order]
        pair, y = gram[np.ix_(both, both)], np.repeat([1.0, -1.0], order)
        averaged = spectral_error(circulant_row(pair, tolerance=np.inf).row, ridge=RIDGE)
        mean = orbit_rows(pair, tolerance=np.inf)
        exact = (y * leave_one_out(pair, y, ridge=RIDGE))[[0, order]].mean()
        rows.append((averaged, np.mean(orbit_error(mean.aa, mean.bb, mean.ab, ridge=RIDGE)), exact))
    return np.array(rows).T


pairs = {name: errors_of_pairs(*given) for name, given in grams.items()}

# %% [markdown]
# ## How many turns are enough
#
# All ten digits, three of each. By the formula, an upright digit is told right if its mean error against every other
# class is below 1; exactly, if its output is the largest of ten, regressed on all but its class's three upright images.
# The rules differ, but both need 32 turns: with neighbours at ±45° most digits are lost, at ±11° hardly any.

# %%
counts, classes = (4, 8, 16, 32), np.repeat(np.arange(10), 3)
accuracy = {"formula, one against one": [], "exact regression": []}
for count in counts:
    gram = gram_of(dense, [rotations(image, count) for image in digits.reshape(-1, 8, 8)])
    errors = pairwise_errors(gram, count, ridge=RIDGE, tolerance=np.inf)
    accuracy["formula, one against one"].append(one_versus_one(errors, classes).mean())
    upright, targets = count * np.arange(30).reshape(10, 3), np.eye(10)[np.repeat(classes, count)]
    residuals = leave_one_out(gram, targets, ridge=RIDGE, groups=list(upright))
    told = [np.argmax(targets[missing] - rest, axis=1) for missing, rest in zip(upright, residuals, strict=True)]
    accuracy["exact regression"].append(np.mean(np.concatenate(told) == classes))

# %% [markdown]
# ## A network that is built for the symmetry
#
# Circular convolutions, then the average over all pixels: every shift has the same output. An orbit is one point to the
# kernel, and only the ridge δ is left of the error: ε_A ≈ δ/(N − 1) · (b + c)/(ab − c²), now with a = K(A, A),
# b = K(B, B), c = K(A, B). With a flattened readout the same convolutions lose as many as the fully connected network.

# %%
others = ~np.eye(10, dtype=bool)
architectures = {"fully\nconnected": pairwise_errors(grams["8 shifts"][1], 8, ridge=RIDGE)[others]}
for pooling in ("flatten", "average"):
    kernel = convolutional(1, "relu", weight_std=2**0.5, padding="CIRCULAR", pooling=pooling)
    gram = gram_of(kernel, shifted)
    ridge = RIDGE * gram[0, 0]  # K(x, x) is far below 1 here
    architectures[f"convolutional,\n{pooling}"] = pairwise_errors(gram, 8, ridge=ridge)[others]
c = gram[::8, ::8]  # of average pooling, the last
a, b = (np.broadcast_to(part, c.shape)[others] for part in (np.diag(c)[:, None], np.diag(c)))
first_order = ridge / 7 * (b + c[others]) / (a * b - c[others] ** 2)

# %%
correlation = lambda group, formula: float(np.corrcoef(pairs[group][[formula, 2]])[0, 1])
dense_errors, flattened, pooled = architectures.values()
checked = {
    "two orbits − exact, 8 shifts, largest": (float(np.ptp(pairs["8 shifts"][1:], axis=0).max()), 0, 1e-6),
    "correlation with exact, 8 shifts, half a step": (correlation("8 shifts", 0), 0.9904, 1e-3),
    "correlation with exact, 16 turns, half a step": (correlation("16 turns", 0), 0.9773, 1e-3),
    "correlation with exact, 16 turns, two orbits": (correlation("16 turns", 1), 0.9794, 1e-3),
    "lost of 90 ordered pairs, fully connected": (float(np.mean(dense_errors >= 1)), 54 / 90, 1e-3),
    "lost of 90 ordered pairs, flatten": (float(np.mean(flattened >= 1)), 55 / 90, 1e-3),
    "error, average pooling, largest": (float(pooled.max()), 0, 1e-4),
    "the same over its first order in δ, worst": (float(np.abs(pooled / first_order - 1).max()), 0, 1e-4),
}
for rule, counted in zip(accuracy, ((3, 7, 20, 30), (9, 6, 16, 29)), strict=True):
    for count, value, right in zip(counts, accuracy[rule], counted, strict=True):
        checked[f"told right of {count} turns, {rule}"] = (float(value), right / 30, 1e-3)

for name, (value, expected, tolerance) in checked.items():
    print(f"{name:55} {value:9.6f}   expected {expected}")
    assert abs(value - expected) <= tolerance, f"{name}: {value}, expected {expected} within {tolerance}"

# %%
figure, (scatter, turns, built) = plt.subplots(1, 3, figsize=(12.5, 4.2), layout="constrained")
scatter.plot([0, 1.8], [0, 1.8], color="black", linewidth=0.8)
for (group, (averaged, two_orbits, exact)), colour in zip(pairs.items(), ("#0072B2", "#D55E00"), strict=True):
    scatter.plot(exact, averaged, "o", color=colour, markerfacecolor="none", label=f"{group}, half a step (averaged)")
    scatter.plot(exact, two_orbits, "x", color=colour, markersize=4, label=f"{group}, two orbits")
scatter.set(xlabel="exact error ε by regression", ylabel="error ε by formula", title="45 pairs of digits")
scatter.legend(fontsize=8)
for (rule, values), colour, style in zip(accuracy.items(), ("#009E73", "black"), ("o--", "s-"), strict=True):
    turns.semilogx(counts, values, style, base=2, color=colour, label=rule)
turns.set(xticks=counts, xticklabels=counts, xlabel="turns of each digit", ylim=(0, 1.05))
turns.set(ylabel="upright digits told right", title="3 × 10 digits, upright ones left out")
turns.legend(fontsize=8)
for place, (errors, colour) in enumerate(zip(architectures.values(), ("#0072B2", "#CC79A7", "#E69F00"), strict=True)):
    built.semilogy(place + np.linspace(-0.2, 0.2, len(errors)), errors, ".", color=colour)
built.axhline(1, color="black", linewidth=0.8)
built.text(2.15, 1.15, "class lost above 1", ha="right", va="bottom", fontsize=8)
built.set(xticks=range(3), xticklabels=list(architectures), ylabel="error ε", title="8 shifts, 90 ordered pairs")
figure.savefig("12_symmetry_of_digits.png", dpi=150)
