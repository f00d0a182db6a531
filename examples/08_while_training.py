# %% [markdown]
# # λ̂ while a network trains
#
# Every so many steps, λ̂ of the weights as they are: a look at complexity beside the loss, as training goes on. The
# settings are given, so that each look costs the same and nothing compiles after the first.

# %%
import time

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

import llc
from llc.digits import digits_problem, initialize

problem = digits_problem()
params = initialize()
optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, 1000))
state = optimizer.init(params)


@jax.jit
def train_step(params, state):
    loss, gradient = jax.value_and_grad(lambda p: problem.losses(p, problem.data).mean())(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, loss


# %% [markdown]
# 100 draws of four chains give λ̂ to some percent, in about the time of a few hundred training steps. γ is one number
# for all, so that looks are comparable.

# %%
look = {"kernel": llc.samplers.HMC(0.05), "num_warmup": 50, "num_draws": 100, "localization": 10.0, "progress": False}
steps, estimates, losses, seconds = [], [], [], []
for step in range(1001):
    if step >= 200 and step % 200 == 0:
        begun = time.monotonic()
        estimates.append(llc.estimate(problem, params, **look))
        seconds.append(time.monotonic() - begun)
        steps.append(step)
        losses.append(float(problem.losses(params, problem.data).mean()))
        print(f"step {step:5}   loss {losses[-1]:.4f}   λ̂ {estimates[-1].value:6.2f} ± {estimates[-1].std_error:.2f}")
    params, state, loss = train_step(params, state)
print(f"a look took {np.median(seconds[1:]):.1f} s, the first {seconds[0]:.1f} s")

# %%
figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
values = [estimate.value for estimate in estimates]
ax.errorbar(steps, values, [1.96 * e.std_error for e in estimates], fmt="o-", color="#0072B2", capsize=3)
ax.set(xlabel="step", ylabel="λ̂, 95 %")
beside = ax.twinx()
beside.plot(steps, losses, "--", color="#D55E00")
beside.set(ylabel="training loss (nats per example)", yscale="log")
figure.savefig("08_while_training.png", dpi=150)

# %% [markdown]
# The looks agree with estimates that take their time.

# %%
slow = llc.estimate(problem, params, localization=10.0, rng_key=1)
checked = {"the last look": (values[-1], slow.value, 4 * np.hypot(slow.std_error, estimates[-1].std_error))}
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value:.4g} is not {expected:.4g} ± {tolerance:.2g}"
