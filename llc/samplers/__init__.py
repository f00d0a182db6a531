"""Markov chains on the local posterior: one NumPyro `MCMCKernel` a file.

Each runs in `llc.draw`, or alone: `numpyro.infer.MCMC(SGLD(step_size=1e-3), ...).run(rng_key, posterior)`.
"""

from llc.samplers.hmc import HMC
from llc.samplers.mala import MALA
from llc.samplers.nuts import NUTS
from llc.samplers.preconditioned_sgld import PreconditionedSGLD
from llc.samplers.replica_exchange import ReplicaExchange
from llc.samplers.sghmc import SGHMC
from llc.samplers.sgld import SGLD
from llc.samplers.sgnht import SGNHT
from llc.samplers.underdamped_langevin import UnderdampedLangevin

__all__ = [
    "HMC",
    "MALA",
    "NUTS",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "PreconditionedSGLD",
    "ReplicaExchange",
    "UnderdampedLangevin",
]
