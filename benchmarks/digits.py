"""The demo's checkpoint by default settings, beside a long NUTS run on the same posterior.

    python benchmarks/digits.py

Both run on the network that `llcoef demo` trains, 64-16-10 on scikit-learn's digits, d = 1210.
"""

import time

import numpy as np

import llc
from llc.digits import digits_problem, initialize, train
from llc.samplers import NUTS


def main() -> None:
    """Print both estimates, and how far apart they are."""
    problem = digits_problem()
    *_, (step, params) = train(problem, initialize())
    loss = float(problem.losses(params, problem.data).mean())
    print(f"step {step}, loss {loss:.4f} nats per example, n = {problem.n}")
    begun = time.time()
    default = llc.estimate(problem, params)
    print(f"by default: {default}, {time.time() - begun:.0f} s\n  {default.settings['kernel_choice']}")
    begun = time.time()
    exact = llc.estimate(problem, params, kernel=NUTS(), rng_key=1, num_warmup=300, num_draws=500, num_chains=4)
    leapfrogs = float(exact.draws.sample_stats.gradient_evaluations.mean()) / problem.n
    print(f"NUTS: {exact}, {leapfrogs:.0f} leapfrogs a draw, {time.time() - begun:.0f} s")
    apart = (default.value - exact.value) / np.hypot(default.std_error, exact.std_error)
    print(f"apart by {apart:+.2f} joint standard errors; 95 % is within ±1.96")


if __name__ == "__main__":
    main()
