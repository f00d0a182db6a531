"""What the control variate and the pairing of losses buy, on a deep linear network, beside NUTS on the same posterior.

Widths (5, 4, 5), true rank 2, 10,000 simulated examples, γ = 10, nβ = n / log n, batches of 128. Every chain of a row
has the same ε and the same number of per-example gradients: the control variate, which takes two of them a step, makes
half the steps.

    python benchmarks/control_variate.py
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import llc
from llc.estimators.learning_coefficient import learning_coefficient
from llc.estimators.uncertainty import extrapolate, mean_with_error
from llc.samplers import NUTS, SGLD

GAMMA = 10.0
STEPS = 40_000  # of a plain chain
NUM_CHAINS = 8
THINNING = 20
SIZES = (2e-5, 3e-5, 4e-5, 1e-4, 3e-4)  # ε in weights, as the literature gives it; step_size = γ ε


def sgld(posterior: llc.LocalPosterior, gradient: str, steps: int) -> list:
    """λ̂ at each ε, and the virial ratio."""
    kernel = SGLD([GAMMA * size for size in SIZES], gradient=gradient)
    draws = llc.draw(
        kernel,
        posterior,
        0,
        num_chains=NUM_CHAINS,
        num_warmup=steps // (2 * THINNING),
        num_draws=steps // THINNING,
        thinning=THINNING,
    )
    virial = draws.sample_stats["virial"].sum("leaf").mean(["chain", "draw"]).values / posterior.dimension
    losses = float(posterior.nbeta) * draws.sample_stats["loss_difference"].values
    return [(mean_with_error(losses[i]), virial[i]) for i in range(len(SIZES))]


def main() -> None:
    """Print the table."""
    entry = llc.zoo.deep_linear((5, 4, 5), rank=2, n=10_000, simulate=True)
    posterior = llc.LocalPosterior(entry.problem, entry.params, localization=GAMMA)
    exact = learning_coefficient(llc.draw(NUTS(), posterior, 1, num_warmup=500, num_draws=1000))
    print(f"NUTS at target acceptance 0.98, 4 chains x 1000 draws: {exact}\n")
    plain = sgld(posterior, "minibatch", STEPS)
    controlled = sgld(posterior, "control_variate", STEPS // 2)
    # a baseline that is one number, even the exact mean, leaves the noise of which examples were drawn
    center_losses = jnp.full_like(posterior.center_losses, posterior.center_losses.mean())
    unpaired = sgld(eqx.tree_at(lambda p: p.center_losses, posterior, center_losses), "minibatch", STEPS)
    print(
        "| ε | minibatch, exact unpaired baseline | minibatch, paired | control variate | virial ratios | bias | s.e. |"
    )
    print("|---|---|---|---|---|---|---|")
    for i, size in enumerate(SIZES):
        (loose, _), (paired, hot), (cool, mild) = unpaired[i], plain[i], controlled[i]
        bias = (paired.value - exact.value) / (cool.value - exact.value)
        print(
            f"| {size:g} | {loose.value:.2f} ± {loose.std_error:.3f} | {paired.value:.2f} ± {paired.std_error:.3f} | "
            f"{cool.value:.2f} ± {cool.std_error:.3f} | {hot:.3f}, {mild:.3f} | "
            f"÷ {bias:.1f} | ÷ {loose.std_error / cool.std_error:.1f} |"
        )
    for name, ladder in (("minibatch", plain), ("control variate", controlled)):
        limit = extrapolate([mean for mean, _ in ladder[:3]], np.array(SIZES[:3]))
        print(f"\n{name}, the three smallest ε extrapolated to 0: {limit.value:.2f} ± {limit.std_error:.2f}")
    default = llc.estimate(entry.problem, entry.params, kernel=SGLD(), localization=GAMMA)
    print(f"\nSGLD by default settings: {default}")


if __name__ == "__main__":
    main()
