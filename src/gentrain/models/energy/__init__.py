"""Energy-based models, p(x) = exp(-E(x)) / Z, which learn and sample with Markov chains.

- `base`: `EnergyModel`, sampling, completion and denoising by chains
- `hopfield`: the Hopfield network (Hopfield, 1982)
- `boltzmann`: the fully connected Boltzmann machine (Ackley, Hinton & Sejnowski, 1985)
- `rbm`: the restricted Boltzmann machine (Smolensky, 1986; Hinton, 2002), with its log Z
- `visible`: its visible units
- `ebm`: any network as an energy (Du & Mordatch, 2019)
"""

from gentrain.models.energy.base import Clamped, EnergyModel
from gentrain.models.energy.boltzmann import Boltzmann
from gentrain.models.energy.ebm import EBM
from gentrain.models.energy.hopfield import Hopfield
from gentrain.models.energy.rbm import RBM
from gentrain.models.energy.visible import BinaryUnits, GaussianUnits

__all__ = [
    "EBM",
    "RBM",
    "BinaryUnits",
    "Boltzmann",
    "Clamped",
    "EnergyModel",
    "GaussianUnits",
    "Hopfield",
]
