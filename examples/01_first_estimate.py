# %% [markdown]
# # A first estimate, in five lines
#
# How many parameters does a trained network effectively use? Give its loss with data, and its weights.

# %%
import llc
from llc.digits import digits_problem, initialize, train

problem = digits_problem()  # 1500 handwritten digits, a 64-16-10 tanh network, its softmax likelihood
*_, (step, params) = train(problem, initialize())
estimate = llc.estimate(problem, params)
estimate

# %% [markdown]
# Nothing had to be chosen. The line above gives λ̂ with its standard error and 95 % interval, beside d/2 = 605, which
# is what λ̂ would be if each of the 1210 parameters were needed. 2 λ̂ is the number of parameters that it effectively
# uses.

# %%
print(estimate)
print(f"{2 * estimate.value:.0f} of {estimate.dimension} parameters")

# %% [markdown]
# Have the chains settled, and do they agree? A verdict says so, and a picture shows it: the traces of the loss, the
# ranks of each chain among all, and the running estimate.

# %%
figure = estimate.plot()
figure.savefig("01_first_estimate.png", dpi=150)

# %% [markdown]
# Another sampler must give the same. These are the numbers that the test of this page holds it to: replica exchange,
# HMC and NUTS all sample the same posterior. NUTS on this network gave 39.41 ± 0.15.

# %%
other = llc.estimate(problem, params, rng_key=1)
joint = (estimate.std_error**2 + other.std_error**2) ** 0.5
checked = {
    "with another seed": (estimate.value, other.value, 4 * joint),
    "NUTS": (estimate.value, 39.41, 4 * (estimate.std_error**2 + 0.15**2) ** 0.5),
}
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value:.4g} is not {expected:.4g} ± {tolerance:.2g}"
