"""How near a translation comes to the true image, on pairs that the model was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import to_bytes, to_float
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.base import Batch, GenerativeModel
from gentrain.quality.base import HeldOutMetric, Score, refuse_not_finite
from gentrain.quality.likelihood import held_out_protocol, mean_and_error

WINDOW = 11  # pixels of a side of SSIM's windows
HIGHEST = 100.0  # decibels of an exact image, whose ratio is infinite
CPU = torch.device("cpu")


class PairedScores(HeldOutMetric):
    """L1, PSNR and SSIM of translations, each the mean over images of the split.

    All are of 8-bit images. `l1` is the mean absolute difference of pixels in [-1, 1]. PSNR is
    10 log10(255^2 / mean squared error), in decibels. `psnr` is the mean over images; it leans on
    images that are exact, which have no PSNR and count as 100 dB: ten such images in 1,000 without
    colour give the grey guess 0.7 dB. `psnr_pooled` is the PSNR of the mean squared error of all
    images (torchmetrics' default). SSIM is that of Wang et al. (2004) as torchmetrics computes it:
    Gaussian windows of 11 x 11, sigma 1.5, K = (0.01, 0.03), the mean over channels. Neither sees
    what an eye would call blur or noise; FID is for that. Images smaller than a window have none.
    `l1_error`, `psnr_error` and `ssim_error` are the standard errors of these means over images.

    Each has baselines that learn nothing: `..._mean_image`, the mean of the training images, and
    what the degradation knows of its own undoing, such as `..._bicubic`, `..._grey` (no colour) or
    `..._mean_fill` (the mean of the known pixels in each hole).

    Args:
        every: generator steps between two scores.
        images: how many images of the split; null for all. They are the same every time.
        batch_size: images at a time.
        seed: seed for the choice of images, and for all noise.
        at_start: score an untrained model, too.
        split: "test" or "train".
    """

    key = "callbacks.paired"
    scores: ClassVar = {
        "l1_error": Score("pixels in [-1, 1]", None),
        "psnr_error": Score("dB", None),
        "ssim_error": Score("1", None),
        "l1*": Score("pixels in [-1, 1]", error="l1_error"),
        "psnr_pooled*": Score("dB", True, error="none: one number of all images; see psnr_error"),
        "psnr*": Score("dB", True, error="psnr_error"),
        "ssim*": Score("1", True, error="ssim_error"),
    }

    def __init__(
        self,
        every: Whole = 1000,
        images: Count | None = 500,
        batch_size: Count = 100,
        seed: Whole = 0,
        at_start: bool = True,
        split: str = "test",
    ) -> None:
        super().__init__(every, images, batch_size, seed, at_start, split)
        self.baselines: dict[str, float] = {}

    def check(self, data: Data, model: GenerativeModel) -> None:
        super().check(data, model)
        if data.source_shape is None or not data.aligned:
            raise UserError(
                f"data={data.name} gives no pairs of a source and its image "
                "(data, callbacks.paired); choose data.degrade=edges, or data.paired=true of "
                "data=facades"
            )

    def prepare(self, data: Data, model: GenerativeModel, device: torch.device) -> None:
        if min(data.shape[1:]) < WINDOW:
            self.leave_out(["ssim"], f"since images of {data.shape} are smaller than its windows")
        self.baselines = {
            f"{score}_{name}": value
            for name, guess in guesses(data).items()
            for score, value in self.means(data, CPU, guess).items()
            if not score.endswith("_error")
        }

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        return held_out_protocol(self, data) | {
            "degrade": data.degrade,
            "psnr": f"8 bits, mean over images, at most {HIGHEST:g} dB",
            "psnr_pooled": "8 bits, of the mean squared error of all images (torchmetrics)",
            "ssim": "8 bits, Gaussian windows of 11, sigma 1.5, K 0.01 and 0.03 (torchmetrics)",
            "l1": "pixels in [-1, 1] of 8 bits",
            "ema": model.ema_generator is not None,
        }

    def compute(self, data: Data, model: GenerativeModel, device: torch.device) -> dict[str, float]:
        return self.means(data, device, model.sample) | self.baselines

    def means(
        self, data: Data, device: torch.device, translate: Callable[[Batch], Tensor]
    ) -> dict[str, float]:
        """The scores of what a function makes of every batch."""
        found: dict[str, list[Tensor]] = {}
        for batch in self.batches(data, device):
            made = translate(batch)
            refuse_not_finite(made, "translations")
            for name, values in distances(to_bytes(made).cpu(), to_bytes(batch[0]).cpu()).items():
                found.setdefault(name, []).append(values)
        pooled = decibels(torch.cat(found.pop("squared_error")).mean()).item()
        scores = {"psnr_pooled": pooled}
        for name, parts in found.items():
            scores |= mean_and_error(name, torch.cat(parts))
        return scores


def guesses(data: Data) -> dict[str, Callable[[Batch], Tensor]]:
    """Translations that learn nothing, by their names."""
    mean = mean_image(data.load("train").images)
    found: dict[str, Callable[[Batch], Tensor]] = {
        "mean_image": lambda batch: mean.expand_as(batch[0])
    }
    degradation = data.degradation
    if degradation is not None and (restore := degradation.restore) is not None:
        found[degradation.baseline] = lambda batch: restore(batch[1], data.shape)
    return found


def mean_image(images: Tensor) -> Tensor:
    """The mean of at most 10,000 uint8 images, in [-1, 1]."""
    return to_float(images[:10_000].float().mean(0).round().to(torch.uint8))


def decibels(squared_error: Tensor) -> Tensor:
    """PSNR of a mean squared error of 8-bit values.

    >>> decibels(torch.tensor(255.0**2 / 100))
    tensor(20.)
    """
    return (10 * torch.log10(255**2 / squared_error.clamp(min=1e-30))).clamp(max=HIGHEST)


def distances(made: Tensor, true: Tensor) -> dict[str, Tensor]:
    """L1, PSNR, squared error and, of images of 11 pixels or more, SSIM of two batches of images.

    Args:
        made: uint8 (B, C, H, W).
        true: uint8 (B, C, H, W).

    Returns:
        (B,) values by their names.
    """
    from torchmetrics.functional.image import (  # a slow import
        structural_similarity_index_measure as ssim,
    )

    x, y = made.float(), true.float()
    error = (x - y).square().flatten(1).mean(1)
    found = {
        "l1": (x - y).abs().flatten(1).mean(1) / 127.5,
        "psnr": decibels(error),
        "squared_error": error,
    }
    if min(x.shape[2:]) >= WINDOW:
        found["ssim"] = cast(Tensor, ssim(x, y, data_range=255.0, reduction="none"))
    return found
