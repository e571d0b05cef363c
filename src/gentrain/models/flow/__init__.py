"""Normalising flows: invertible maps with a known Jacobian, and densities made of them.

- `base`: `Flow`, two wrappers (`Reversed`, `Standardised`), and `FlowDensity`, a density of data
- `planar`: planar flows (Rezende & Mohamed, 2015)
- `autoregressive`: masked (Papamakarios et al., 2017) and inverse (Kingma et al., 2016)
- `realnvp`: affine couplings (Dinh et al., 2017)
- `distillation`: an inverse flow that learns from a masked one (van den Oord et al., 2018)
"""

from gentrain.models.flow.autoregressive import InverseAutoregressive, MaskedAutoregressive
from gentrain.models.flow.base import Flow, FlowDensity, Reversed, Standardised
from gentrain.models.flow.distillation import Distilled
from gentrain.models.flow.planar import Planar, PlanarMaps
from gentrain.models.flow.realnvp import RealNVP, RealNVPOfPoints

__all__ = [
    "Distilled",
    "Flow",
    "FlowDensity",
    "InverseAutoregressive",
    "MaskedAutoregressive",
    "Planar",
    "PlanarMaps",
    "RealNVP",
    "RealNVPOfPoints",
    "Reversed",
    "Standardised",
]
