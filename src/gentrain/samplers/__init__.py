"""Samplers for any unnormalised log-density of tensors, with many chains at once.

A target is a function log p*: (C, ...) -> (C,), known up to a constant. A `Kernel` moves C chains
by one step and leaves p invariant (`Langevin` only approximately).

- `kernel`: `Kernel`, and `run`, which repeats it
- `metropolis`: Metropolis-Hastings with any `Proposal`, `RandomWalk`
- `langevin`: `Langevin` dynamics, and `MALA`
- `hamiltonian`: `HMC`
- `gibbs`: `Gibbs` for discrete variables, `BlockGibbs` for known conditionals
- `tempering`: `ParallelTempering`
- `importance`: `importance_sampling`, and `ais`, annealed importance sampling, for log Z
- `diagnostics`: acceptance, effective sample size, R-hat
"""

from gentrain.samplers.diagnostics import (
    acceptance,
    effective_sample_size,
    mixing,
    split_r_hat,
)
from gentrain.samplers.gibbs import BlockGibbs, Gibbs
from gentrain.samplers.hamiltonian import HMC
from gentrain.samplers.importance import Estimate, Weighted, ais, annealed, importance_sampling
from gentrain.samplers.kernel import Chains, Kernel, LogDensity, State, run
from gentrain.samplers.langevin import MALA, Langevin
from gentrain.samplers.metropolis import Flip, Independent, MetropolisHastings, Proposal, RandomWalk
from gentrain.samplers.tempering import ParallelTempering

__all__ = [
    "HMC",
    "MALA",
    "BlockGibbs",
    "Chains",
    "Estimate",
    "Flip",
    "Gibbs",
    "Independent",
    "Kernel",
    "Langevin",
    "LogDensity",
    "MetropolisHastings",
    "ParallelTempering",
    "Proposal",
    "RandomWalk",
    "State",
    "Weighted",
    "acceptance",
    "ais",
    "annealed",
    "effective_sample_size",
    "importance_sampling",
    "mixing",
    "run",
    "split_r_hat",
]
