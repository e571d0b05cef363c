"""Variational autoencoders.

- `vae`: the VAE (Kingma & Welling, 2014), also conditional, beta, and with a flow in its posterior
- `inpainting`: one whose encoder sees only a part of an image, and which completes images
- `semi_supervised`: the model M2, which learns from few labels (Kingma et al., 2014)
- `likelihoods`: distributions of pixels given a code
"""

from gentrain.models.vae.inpainting import InpaintingVAE
from gentrain.models.vae.likelihoods import Bernoulli, DiscretisedLogistic, Gaussian, Likelihood
from gentrain.models.vae.semi_supervised import SemiSupervisedVAE
from gentrain.models.vae.vae import VAE

__all__ = [
    "VAE",
    "Bernoulli",
    "DiscretisedLogistic",
    "Gaussian",
    "InpaintingVAE",
    "Likelihood",
    "SemiSupervisedVAE",
]
