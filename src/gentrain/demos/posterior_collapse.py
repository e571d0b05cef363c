"""scratch"""

from __future__ import annotations
from functools import partial
import torch
from torch import Tensor
from gentrain.commands.demo.base import seeded
from gentrain.commands.demo.training import batches, digits, fit
from gentrain.models.vae.likelihoods import Bernoulli
from gentrain.models.vae.vae import VAE, gaussian_kl
from gentrain.networks.vae import MLPDecoder, MLPEncoder

SIDE = 14


def model(depth, width, latent, beta, warm):
    shape = [1, SIDE, SIDE]
    return VAE(
        partial(MLPEncoder, shape, width=width, depth=2),
        partial(MLPDecoder, shape, latent, width, depth),
        Bernoulli(threshold=True),
        beta,
        warm,
    )
