"""Markov chains on the local posterior: one NumPyro `MCMCKernel` a file.

Each runs in `llc.draw`, or alone: `numpyro.infer.MCMC(SGLD(step_size=1e-3), ...).run(rng_key, posterior)`.
"""

from llc.samplers.mala import MALA
from llc.samplers.nuts import NUTS
from llc.samplers.sgld import SGLD

__all__ = ["MALA", "NUTS", "SGLD"]
