"""The features of published FIDs: pool3 of the TensorFlow-2015 Inception, as torch-fidelity has it.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium"
(2017) for FID, Salimans et al., "Improved techniques for training GANs" (2016) for IS, Binkowski
et al., "Demystifying MMD GANs" (2018) for KID.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.data.base import Data
from gentrain.errors import Unavailable, UserError
from gentrain.quality.features import Features, fingerprint, three_channels
from gentrain.quality.image_quality import ImageQuality

Resizer = Literal["tensorflow", "clean"]
SIDE = 299  # of the images that the network sees


def inception_quality(
    weights: str | None = None, resize: Resizer = "tensorflow", **settings: Any
) -> ImageQuality:
    """Image quality by Inception; its options are `quality.weights` and `quality.resize`.

    Args:
        weights: see `Inception`.
        resize: see `Inception`.
        settings: see `ImageQuality`.
    """
    return ImageQuality(features=Inception(weights, resize), **settings)


class Inception(Features):
    """2,048 features and 1,008 unbiased logits of images of any size.

    Args:
        weights: a file like torch-fidelity's `weights-inception-2015-12-05-6726825d.pth`; None lets
            torch-fidelity download its own.
        resize: how images become 299 pixels wide.
            tensorflow: bilinear without antialiasing, as TensorFlow 1 and published FIDs.
            clean: bicubic with antialiasing (Parmar, Zhang & Zhu, "On aliased resizing and
                surprising subtleties in GAN evaluation", 2022), as clean-fid.
    """

    name = "inception-v3-compat"
    choice = "inception"
    suffix = ""
    size = 2048

    def __init__(self, weights: str | None = None, resize: Resizer = "tensorflow") -> None:
        super().__init__()
        self.weights = Path(weights).expanduser() if weights else None
        self.resize, self.resized = resize, torch.empty(0)

    def check(self, data: Data) -> None:
        if data.shape[0] not in (1, 3):
            raise UserError(
                f"Inception sees 1 or 3 channels, and data={data.name} has {data.shape[0]} "
                "(data.shape); choose quality=classifier or none"
            )
        if self.weights is not None and not self.weights.is_file():
            raise UserError(
                f"no file {self.weights} (quality.weights); give torch-fidelity's Inception "
                "weights, or quality=classifier"
            )

    def prepare(self, data: Data, cache: Path) -> None:
        self.network = self._given(self.weights) if self.weights else self._downloaded()
        self.network.to(memory_format=torch.channels_last)  # a third less time on a CPU
        self.hash = fingerprint(self.network.state_dict())
        if self.resize == "clean":
            self.hash += "-clean"  # what is cached is of these features
            # the extractor takes bytes alone, and resizes them itself
            first: Any = self.network.Conv2d_1a_3x3
            first.register_forward_pre_hook(lambda *_: ((self.resized - 128) / 128,))

    def protocol(self) -> dict[str, Any]:
        return {
            "network": f"{self.name}, 2048 features",
            "resizer": RESIZERS[self.resize],
            "antialias": self.resize == "clean",
        }

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if self.resize == "clean":
            self.resized = clean_resize(three_channels(images))
        return self.network(three_channels(images).contiguous(memory_format=torch.channels_last))

    def _given(self, path: Path) -> nn.Module:
        try:
            # torch-fidelity would run any code that a pickle holds; this refuses it
            torch.load(path, map_location="cpu", weights_only=True)
            return _extractor(str(path))
        except Exception as problem:  # random bytes make the unpickler fail in any way
            raise UserError(
                f"{path} does not hold torch-fidelity's Inception weights "
                f"({type(problem).__name__}; quality.weights); give the file "
                "weights-inception-2015-12-05-6726825d.pth, or quality=classifier"
            ) from problem

    def _downloaded(self) -> nn.Module:
        try:
            with _socket_timeout(30):
                return _extractor(None)
        except (OSError, RuntimeError, EOFError) as problem:  # no network, or a damaged file
            reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
            raise Unavailable(
                f"the Inception weights could not be downloaded: {reason} (quality.weights); "
                "give their file as quality.weights=PATH, or choose quality=classifier"
            ) from problem


RESIZERS: dict[str, str] = {
    "tensorflow": "bilinear as TensorFlow 1, to 299 px",
    "clean": "bicubic as clean-fid, to 299 px",
}


def clean_resize(images: Tensor) -> Tensor:
    """Bytes (B, 3, H, W) as numbers in [0, 255], (B, 3, 299, 299), as clean-fid resizes them.

    They are not rounded. It is the bicubic filter of Pillow, whose width grows where images shrink.
    """
    size = (SIDE, SIDE)
    # in float64, as Pillow sums: float32 is off by a hundredth of a level
    wide = F.interpolate(images.double(), size, mode="bicubic", antialias=True)
    return wide.clamp(0, 255).float()


def _extractor(path: str | None) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3(
        Inception.name,
        ["2048", "logits_unbiased"],
        feature_extractor_weights_path=path,
        verbose=False,
    )


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Give up on a silent server; the standard library waits for ever by default."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
