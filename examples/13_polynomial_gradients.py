# %% [markdown]
# # Does gradient descent see a symmetry of the data?
#
# Three points that a turn by 120° permutes, with one value at all three: is what a model learns of them symmetric too?
# A homogeneous polynomial of degree 7 is the smallest model where the answer is seen at a glance:
#
#     h(x, w) = Σ_k w_k c_k x₁ᵏ x₂⁷⁻ᵏ,   k = 0 … 7,   on   L = (1/|D|) Σ_{p∈D} (h(p) − f(p))².
#
# From w = 0, gradient flow moves the function by
#
#     ∂h(x)/∂t = (2/|D|) Σ_{p∈D} f(p) K(p, x),   K(p, q) = Σ_k c_k² (p₁q₁)ᵏ (p₂q₂)⁷⁻ᵏ.
#
# The kernel decides. With Bombieri's c_k² = C(7, k) it is (p·q)⁷, the same for points that are turned together, and a
# symmetric data set moves the function symmetrically. The plain monomials, c_k = 1, know the symmetries of the square
# alone. Both span the same functions: the symmetry is lost in how the parameters are scaled.

# %%

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize

from llc.kernels import gradient_field, operator_eigenvalues, symmetric_energy

ORDERS = (3, 5, 7)
BASES = {"bombieri": "gradient, Bombieri's basis", "plain": "gradient, plain monomials"}

# %% [markdown]
# ## Data: one point, and its turns by 360°/m
#
# The target is r⁷ cos mθ, which a turn by 360°/m leaves as it is. The data are the m points of the unit circle that
# those turns make of (1, 0). The target is 1 at each of them.

# %%
polygons = {}
for m in ORDERS:
    angles = 2 * np.pi * np.arange(m) / m
    polygons[m] = np.stack([np.cos(angles), np.sin(angles)], axis=1)

line = np.linspace(-1, 1, 161)
grid = np.stack(np.meshgrid(line, line), axis=-1)
radius, angle = np.hypot(*np.moveaxis(grid, -1, 0)), np.arctan2(grid[..., 1], grid[..., 0])
targets = {m: radius**7 * np.cos(m * angle) for m in ORDERS}
gradients = {(m, basis): gradient_field(polygons[m], np.ones(m), grid, basis=basis) for m in ORDERS for basis in BASES}

# %% [markdown]
# ## How much of the gradient is symmetric
#
# On the circle the polynomials are the harmonics of frequencies 1, 3, 5 and 7. The symmetric ones are those whose
# frequency m divides. Bombieri's basis has nothing else in its gradient: it is the target itself, times 21/32, 7/32 and
# 1/32. The finer the symmetry, the slower it is learned: the kernel's eigenvalues fall as 35, 21, 7, 1 (over 128). In
# the plain basis the symmetric part is three eighths, then a twelfth, then a hundredth.

# %%
energies = {(m, basis): symmetric_energy(polygons[m], np.ones(m), m, basis=basis) for m in ORDERS for basis in BASES}
checked = {
    f"symmetric part of the gradient, m = {m}, {basis}": (energies[m, basis], expected, rounding)
    for basis, by_order, rounding in (("bombieri", (1, 1, 1), 1e-12), ("plain", (0.376, 0.086, 0.010), 5e-4))
    for m, expected in zip(ORDERS, by_order, strict=True)
}
for m, speed in zip(ORDERS, (21 / 32, 7 / 32, 1 / 32), strict=True):
    farthest = float(np.abs(gradients[m, "bombieri"] - speed * targets[m]).max())
    checked[f"gradient against {speed} of the target, m = {m}, bombieri"] = (farthest, 0, 1e-12)
for k, eigenvalue in zip((1, 3, 5, 7), operator_eigenvalues(basis="bombieri")[::2], strict=True):
    checked[f"eigenvalue of cos {k}θ"] = (float(eigenvalue), {1: 35, 3: 21, 5: 7, 7: 1}[k] / 128, 1e-12)

for name, (value, expected, tolerance) in checked.items():
    print(f"{name:50} {value:10.6f}   expected {expected}")
    assert abs(value - expected) <= tolerance, f"{name}: {value}, expected {expected} within {tolerance}"

# %% [markdown]
# ## Figure
#
# Fields are divided by their largest value on the dashed unit circle; beyond it the colour saturates. Black lines are
# zeros. In the third column they lie as in the first; in the fourth they do not.

# %%
colours = LinearSegmentedColormap.from_list("blue to orange", ["#0072B2", "#FFFFFF", "#D55E00"])
far, circle = radius > 0.5, np.linspace(0, 2 * np.pi, 361)
figure, axes = plt.subplots(3, 4, figsize=(10.4, 7.6), layout="constrained", sharex=True, sharey=True)
for row, m in zip(axes, ORDERS, strict=True):
    fields = {0: targets[m]} | {column: gradients[m, basis] for column, basis in enumerate(BASES, start=2)}
    for column, field in fields.items():
        largest = np.abs(field[far] / radius[far] ** 7).max()  # on the circle: the field is homogeneous
        row[column].imshow(field / largest, origin="lower", extent=(-1, 1, -1, 1), cmap=colours, vmin=-1, vmax=1)
        row[column].contour(line, line, field, levels=[0], colors="black", linewidths=0.7)
    row[1].scatter(*polygons[m].T, c=np.ones(m), cmap=colours, vmin=-1, vmax=1, s=60, edgecolors="black", clip_on=False)
    for axis in row:
        axis.plot(np.cos(circle), np.sin(circle), "--", color="grey", linewidth=0.7, clip_on=False)
        axis.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    row[0].set_ylabel(f"$m = {m}$\n$x_2$")
    for column, basis in enumerate(BASES, start=2):
        row[column].set_title(f"symmetric energy {energies[m, basis]:.3f}", fontsize=9)
for axis, title in zip(axes[0], ("target $r^7 \\cos m\\theta$", "data, of value 1", *BASES.values()), strict=True):
    axis.set_title(f"{title}\n{axis.get_title()}".rstrip(), fontsize=10)
for axis in axes[-1]:
    axis.set_xlabel("$x_1$")
scale = plt.cm.ScalarMappable(Normalize(-1, 1), colours)
figure.colorbar(scale, ax=axes, label="value / largest on the unit circle", shrink=0.5)
figure.savefig("13_polynomial_gradients.png", dpi=150)
