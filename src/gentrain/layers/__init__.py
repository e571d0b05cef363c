"""Layers that networks and models are built from.

- `activation`: LeakyReLU and ReLU whose second derivative is declared zero
- `attention`: self-attention (SAGAN)
- `causal`: masked convolutions and their caches (PixelCNN)
- `conditional`: conditional batch norm
- `coupling`: a base class for layers that couple the samples of a batch, and how to find them
- `equalized`: the equalised learning rate (progressive GANs)
- `lazy_buffers`: buffers whose shape is known only at the first batch
- `lipschitz_bound`: bounds of Lipschitz constants, from bounds of weights
- `masked`: masked perceptrons (MADE)
- `minibatch`: the minibatch standard deviation (progressive GANs)
- `normalization`: norms by name, virtual batch norm, pixel norm
- `pixel_lstm`: Row LSTM and Diagonal BiLSTM (PixelRNN)
- `resample`: doubling and halving by a low-pass filter (R3GAN)
"""

from gentrain.layers.activation import LeakyReLU, ReLU
from gentrain.layers.attention import SelfAttention
from gentrain.layers.causal import CausalConv2d
from gentrain.layers.conditional import ConditionalBatchNorm
from gentrain.layers.coupling import CouplesSamples, batch_coupled_layers
from gentrain.layers.equalized import equalized
from gentrain.layers.lazy_buffers import LazyBuffers
from gentrain.layers.masked import MADE, MaskedLinear
from gentrain.layers.minibatch import MinibatchStddev
from gentrain.layers.normalization import Norm, PixelNorm, VirtualBatchNorm, norm1d, norm2d
from gentrain.layers.pixel_lstm import DiagonalBiLSTM, RowLSTM
from gentrain.layers.resample import Downsample, Upsample

__all__ = [
    "MADE",
    "CausalConv2d",
    "ConditionalBatchNorm",
    "CouplesSamples",
    "DiagonalBiLSTM",
    "Downsample",
    "LazyBuffers",
    "LeakyReLU",
    "MaskedLinear",
    "MinibatchStddev",
    "Norm",
    "PixelNorm",
    "ReLU",
    "RowLSTM",
    "SelfAttention",
    "Upsample",
    "VirtualBatchNorm",
    "batch_coupled_layers",
    "equalized",
    "norm1d",
    "norm2d",
]
