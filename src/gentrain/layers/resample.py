"""Doubling and halving of maps by a fixed low-pass filter, which is [1, 3, 3, 1] / 8 a side.

Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020; Huang et al., "The GAN
is dead; long live the GAN!" (R3GAN), 2024. Pixels outside of a map are zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits

FILTER = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


class Resampler(nn.Module, LipschitzBounded):
    """A filter of 4x4, the outer product of `FILTER` with itself, which is no part of a checkpoint.

    Args:
        gain: factor of the filter, whose sum is 1 otherwise.
    """

    kernel: Tensor

    def __init__(self, gain: float) -> None:
        super().__init__()
        side = torch.tensor(FILTER)
        self.gain = gain
        self.register_buffer("kernel", gain * torch.outer(side, side), persistent=False)

    def per_channel(self, x: Tensor) -> Tensor:
        """The filter of each channel of x, (C, 1, 4, 4)."""
        channels = int(x.shape[1])  # a number also where ONNX traces, which needs it
        return self.kernel.to(x.dtype).expand(channels, 1, 4, 4)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """Half the gain, which a constant map reaches as it grows.

        With H the filter's frequency response along a side, halving that side has the squared norm
        max (|H(w)|^2 + |H(w + pi)|^2) / 2 = 1/2, at w = 0; doubling is its transpose.
        """
        return self.gain / 2


class Upsample(Resampler):
    """Put zeros between pixels, and filter with gain 4, so that a constant stays as it is."""

    def __init__(self) -> None:
        super().__init__(gain=4.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2 H, 2 W)."""
        kernel = self.per_channel(x)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=len(kernel))


class Downsample(Resampler):
    """Filter, and keep every second pixel of each side."""

    def __init__(self) -> None:
        super().__init__(gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
        kernel = self.per_channel(x)
        return F.conv2d(x, kernel, stride=2, padding=1, groups=len(kernel))
