"""WaveGAN: strided convolutions along time, for waveforms.

Donahue, McAuley & Puckette, "Adversarial audio synthesis", 2019. DCGAN's kernels of 5 x 5 become
kernels of 25, and its stride of 2 becomes 4, so that layers have as many weights and the last map
has as many values.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits
from gentrain.networks import base

STRIDE = 4
SHORTEST, LONGEST = 8, 31  # values of the shortest map: 16 of 4,096 and of 16,384


class Generator(base.Generator):
    """Noise to a short map of many channels; each stage makes it 4 times as long.

    The channels halve from stage to stage. Every layer but the last has ReLU, the last has tanh.
    There is no norm.

    Args:
        shape: (C, L) of a sound.
        latent: length of the noise.
        width: channels before the last layer, d of the paper.
        kernel: values of a kernel, an odd number.
        prior: distribution of the noise.
    """

    def __init__(
        self,
        shape: list[int],
        latent: Count = 100,
        width: Count = 64,
        kernel: Count = 25,
        prior: base.Prior = "uniform",
    ) -> None:
        shortest, stages = quarterings(shape)
        padding, extra = paddings(kernel)
        channels = [width * 2**i for i in reversed(range(stages))]
        layers: list[nn.Module] = [
            nn.Linear(latent, channels[0] * shortest),
            nn.Unflatten(1, (channels[0], shortest)),
            nn.ReLU(),
        ]
        for inputs, outputs in pairwise([*channels, shape[0]]):
            layers += [
                nn.ConvTranspose1d(inputs, outputs, kernel, STRIDE, padding, extra),
                nn.ReLU(),
            ]
        layers[-1] = nn.Tanh()
        super().__init__(glorot_init(nn.Sequential(*layers)), latent, prior)


class Critic(base.Critic):
    """Each stage makes the map a quarter as long and doubles the channels.

    Every convolution has LeakyReLU 0.2, and all but the last are followed by phase shuffle. The
    last map is the features.

    Args:
        shape: (C, L) of a sound.
        width: channels after the first layer, d of the paper.
        kernel: values of a kernel, an odd number.
        shuffle: the largest shift of phase shuffle, n of the paper; 0 for none.
        norm: there is none.
    """

    norms = ("none",)

    def __init__(
        self,
        shape: list[int],
        width: Count = 64,
        kernel: Count = 25,
        shuffle: Whole = 2,
        norm: base.NoNorm = "none",
    ) -> None:
        shortest, stages = quarterings(shape)
        padding, _ = paddings(kernel)
        if shuffle >= STRIDE * shortest:
            raise UserError(
                f"phase shuffle of {shuffle} values exceeds a map of {STRIDE * shortest} "
                f"(model.critic.shuffle); give at most {STRIDE * shortest - 1}"
            )
        channels = [width * 2**i for i in range(stages)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([shape[0], *channels]):
            convolution = nn.Conv1d(inputs, outputs, kernel, STRIDE, padding)
            layers += [convolution, LeakyReLU(0.2), PhaseShuffle(shuffle)]
        layers[-1] = nn.Flatten()
        super().__init__(nn.Sequential(*layers), channels[-1] * shortest, points=True)
        glorot_init(self)


class PhaseShuffle(nn.Module, LipschitzBounded):
    """y_t = x_(t - s), s ~ U{-n, ..., n}, with reflection at both ends; in training alone.

    Donahue et al., 2019, section 3.3. All channels of a sample have one shift; samples have their
    own. The critic cannot learn the phase of what a transposed convolution repeats.

    Args:
        n: the largest shift.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) -> (B, C, L)."""
        if not (self.training and self.n):
            return x
        return shifted(x, torch.randint(-self.n, self.n + 1, (len(x),), device=x.device))

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """A value is repeated once at most, where it is reflected."""
        return math.sqrt(2) if self.n else 1.0

    def extra_repr(self) -> str:
        return f"{self.n}"


def shifted(x: Tensor, shifts: Tensor) -> Tensor:
    """Move samples along time, and fill what is left open with their reflection.

    Args:
        x: (B, C, L).
        shifts: int64 (B,), each between -L and L; later for more than 0.

    >>> shifted(torch.arange(5.0).expand(2, 1, 5), torch.tensor([2, -1]))[:, 0].tolist()
    [[2.0, 1.0, 0.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 3.0]]
    """
    last = x.shape[2] - 1
    places = torch.arange(last + 1, device=x.device) - shifts[:, None]
    places = last - (last - places.abs()).abs()
    return x.gather(2, places[:, None].expand(-1, x.shape[1], -1))


def quarterings(shape: list[int]) -> tuple[int, int]:
    """Length of the shortest map, and how many stages lead from a sound to it.

    Args:
        shape: (C, L) of a sound.

    Raises:
        UserError: unless L = 4^k * (8 to 31), k >= 1.

    >>> quarterings([1, 16384]), quarterings([1, 4096]), quarterings([2, 8192])
    ((16, 5), (16, 4), (8, 5))
    """
    length = shape[1] if len(shape) == 2 else 0
    n = 0
    while length > LONGEST and length % STRIDE == 0:
        length, n = length // STRIDE, n + 1
    if not n or not SHORTEST <= length <= LONGEST:
        raise UserError(
            "this network is for sounds (C, L) of L = 4^k * (8 to 31) values, and samples have "
            f"the shape {list(shape)} (network, data); choose data=tones, or data.length=4096 or "
            "16384 of another set of sounds"
        )
    return length, n


def paddings(kernel: int) -> tuple[int, int]:
    """Padding of a stage, and the output padding of a transposed one: L becomes L / 4 or 4 L.

    Raises:
        UserError: for an even kernel, or one shorter than the stride.
    """
    if kernel % 2 == 0 or kernel <= STRIDE:
        raise UserError(
            f"a kernel has an odd number of values above {STRIDE}, not {kernel} "
            "(model.generator.kernel, model.critic.kernel); e.g. 25"
        )
    return (kernel - STRIDE + 1) // 2, 1


def glorot_init(network: nn.Module) -> nn.Module:
    """Weights U(-a, a), a = sqrt(6 / (inputs + outputs)) (Glorot & Bengio, 2010); biases 0."""
    for layer in network.modules():
        match layer:
            case nn.Conv1d() | nn.ConvTranspose1d() | nn.Linear():
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return network
