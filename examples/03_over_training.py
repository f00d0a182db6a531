# %% [markdown]
# # λ̂ over training
#
# A network that learns digits, its checkpoints saved at log-spaced steps by a recorder, and λ̂ ± error at each of them
# through one compiled program.

# %%
import tempfile
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

import llc
from llc.digits import digits_problem, initialize

problem = digits_problem()
folder = Path(tempfile.mkdtemp())
recorder = llc.Recorder(folder / "checkpoints", per_decade=3)

# %% [markdown]
# Your training loop needs one more line.

# %%
params = initialize()
optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, 1000))
state = optimizer.init(params)


@jax.jit
def train_step(params, state):
    gradient = jax.grad(lambda p: problem.losses(p, problem.data).mean())(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state


for step in range(1001):
    recorder.maybe_save(step, params)
    params, state = train_step(params, state)

# %% [markdown]
# Settings are found on the first, middle and last checkpoint, then held fixed: the curve is comparable. With a `store`,
# the call can be killed at any moment and goes on where it was.

# %%
settings = {"num_warmup": 50, "num_draws": 100}  # to be found, if you leave them out
run = llc.trajectory(problem, folder / "checkpoints", store=folder / "run", **settings)
run

# %% [markdown]
# Early in training the weights are no minimum of the loss: the posterior runs downhill and λ̂ is negative. Such points
# are crossed out, and say so in their verdicts. From a few hundred steps on λ̂ means something.

# %%
figure = run.plot()
figure.savefig("03_over_training.png", dpi=150)
frame = run.to_dataframe()
print(frame[["step", "llc", "std_error", "loss", "test_loss"]].to_string(index=False))

# %% [markdown]
# All steps had the same random numbers, so that the change between two is known better than either.

# %%
late = [row["step"] for row in run.rows if "not a minimum" not in row["verdicts"]]
change = run.difference(late[-1], late[-2])
alone = np.hypot(run[late[-1]].std_error, run[late[-2]].std_error)
print(f"from step {late[-2]} to {late[-1]}: {change.value:.2f} ± {change.std_error:.2f} (± {alone:.2f} if unpaired)")

# %% [markdown]
# The last point is what `llc.estimate` gives there, within its error; and a second call answers from disk, bit for bit.

# %%
params = llc.checkpoints.read(folder / "checkpoints" / "step_00001000.npz").params
alone = llc.estimate(problem, params, rng_key=1, **settings)
last = run[1000]
again = llc.trajectory(problem, folder / "checkpoints", store=folder / "run", **settings)
checked = {
    "the last step": (last.value, alone.value, 4 * np.hypot(last.std_error, alone.std_error)),
    "answered from disk": (again[1000].value, last.value, 0.0),
    "points that are no minimum come first": (float(run.steps[: len(run.steps) - len(late)][-1] < late[0]), 1.0, 0.0),
}
plt.close("all")
for name, (value, expected, tolerance) in checked.items():
    assert abs(value - expected) <= tolerance, f"{name}: {value:.4g} is not {expected:.4g} ± {tolerance:.2g}"
