"""How near a translation comes to the image that it should have been, on pairs that it was not trained on."""

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import to_bytes, to_float
from gentrain.errors import Diverged, UserError
from gentrain.quality.base import Judged, uses_ema
from gentrain.quality.likelihood import HeldOutMetric

if TYPE_CHECKING:
    from gentrain.data.base import Data

HIGHEST = 100.0  # decibels of an image that is met exactly, whose ratio is infinite


class PairedScores(HeldOutMetric):
    """`quality/l1`, the mean absolute difference of pixels in [-1, 1]; `quality/psnr`, `quality/psnr_pooled` in decibels; `quality/ssim`.

    Each is of 8-bit images and the mean over `images` of the split (null: all), the same ones every time, but for the pooled one: that is
    the PSNR of the mean of their squared errors (torchmetrics' default). The mean of PSNRs leans on the images that are met exactly, which
    have no PSNR and count as 100 dB: ten such images in 1,000 without colour give the grey guess 0.7 dB. Beside each stands what learns
    nothing of the source: `..._mean_image`, the mean of the training images, and what the degradation knows of its own undoing, such as
    `..._bicubic`, `..._grey` (no colour) or `..._mean_fill` (the mean of the known pixels in each hole).

    PSNR is 10 log10(255^2 / mean squared error), SSIM that of Wang et al. (2004) as torchmetrics computes it: Gaussian windows of 11 x 11,
    sigma 1.5, K = (0.01, 0.03), the mean over channels. Neither sees what an eye would call blur or noise: FID is for that.
    """

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

    def check(self, data: "Data") -> None:
        super().check(data)
        if data.source_shape is None or not data.aligned:
            raise UserError(
                f"data={data.name} gives no pairs of a source and its image (data, callbacks.paired); "
                "choose data.degrade=edges, or data.paired=true of data=facades"
            )

    def prepare(self, data: "Data", model: Judged) -> None:
        model.protocols["paired"] = self.about(data) | {
            "degrade": getattr(data, "degrade", None),
            "psnr": f"8 bits, mean over images, at most {HIGHEST:g} dB",
            "psnr_pooled": "8 bits, of the mean squared error of all images (torchmetrics)",
            "ssim": "8 bits, Gaussian windows of 11, sigma 1.5, K 0.01 and 0.03 (torchmetrics)",
            "l1": "pixels in [-1, 1] of 8 bits",
            "ema": uses_ema(model),
        }
        mean = mean_image(data.load("train").images)
        guesses = {"mean_image": lambda batch: mean.expand_as(batch[0])}
        if (how := getattr(data, "degradation", None)) is not None and how.restore is not None:
            guesses[how.baseline] = lambda batch: how.restore(batch[1], data.shape)
        cpu = torch.device("cpu")
        self.baselines = {
            f"{score}_{name}": value
            for name, guess in guesses.items()
            for score, value in self.means(data, cpu, guess).items()
        }

    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        return {
            f"quality/{name}": value
            for name, value in (
                self.means(data, model.device, model.sample) | self.baselines
            ).items()
        }

    def means(self, data: "Data", device: torch.device, guess: Any) -> dict[str, float]:
        found: dict[str, list[Tensor]] = {}
        for batch in self.batches(data, device):
            made = guess(batch)
            if not made.isfinite().all():
                raise Diverged(
                    f"translations have values that are not finite numbers at step {self.last}; the scores cannot be computed"
                )
            for name, values in distances(to_bytes(made).cpu(), to_bytes(batch[0]).cpu()).items():
                found.setdefault(name, []).append(values)
        means = {name: torch.cat(values).mean() for name, values in found.items()}
        means["psnr_pooled"] = decibels(means.pop("squared_error"))
        return {name: value.item() for name, value in means.items()}


def mean_image(images: Tensor) -> Tensor:
    """The mean of at most 10,000 uint8 images, in [-1, 1]."""
    return to_float(images[:10_000].float().mean(0).round().to(torch.uint8))


def decibels(squared_error: Tensor) -> Tensor:
    """PSNR of a mean squared error of 8-bit values."""
    return (10 * torch.log10(255**2 / squared_error.clamp(min=1e-30))).clamp(max=HIGHEST)


def distances(made: Tensor, true: Tensor) -> dict[str, Tensor]:
    """L1, PSNR, squared error and SSIM of each of two batches of images, uint8 (B, C, H, W): four times (B,)."""
    from torchmetrics.functional.image import (
        structural_similarity_index_measure as ssim,  # a slow import
    )

    x, y = made.float(), true.float()
    error = (x - y).square().flatten(1).mean(1)
    return {
        "l1": (x - y).abs().flatten(1).mean(1) / 127.5,
        "psnr": decibels(error),
        "squared_error": error,
        "ssim": cast(Tensor, ssim(x, y, data_range=255.0, reduction="none")),
    }
