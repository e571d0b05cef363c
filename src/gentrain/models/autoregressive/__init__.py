"""Autoregressive models of pixels, and their causal networks.

- `base`: `Autoregressive`, the model: likelihood, sampling, completion
- `networks`: `Causal`, what a network and its sampling cache must offer
- `pixelcnn`: PixelCNN and Gated PixelCNN (van den Oord et al., 2016)
- `pixelrnn`: PixelRNN (van den Oord et al., 2016), with the LSTMs of `layers.pixel_lstm`
"""

from gentrain.models.autoregressive.base import Autoregressive
from gentrain.models.autoregressive.networks import Causal, SamplingCache, UncachedSampling
from gentrain.models.autoregressive.pixelcnn import GatedPixelCNN, PixelCNN
from gentrain.models.autoregressive.pixelrnn import PixelRNN

__all__ = [
    "Autoregressive",
    "Causal",
    "GatedPixelCNN",
    "PixelCNN",
    "PixelRNN",
    "SamplingCache",
    "UncachedSampling",
]
