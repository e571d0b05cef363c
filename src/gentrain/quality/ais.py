"""How probable an energy model finds images that it was not trained on, with log Z by annealed importance sampling."""

from typing import TYPE_CHECKING, Any, cast

import torch

from gentrain.config.types import Count, Whole
from gentrain.errors import UserError
from gentrain.quality.base import Judged
from gentrain.quality.likelihood import HeldOutMetric, mean_and_error

if TYPE_CHECKING:
    from gentrain.data.base import Data


class Annealed(HeldOutMetric):
    """`quality/nats`: the mean of F(v) + log Z over test images, in nats (less is better). `quality/nats_error` is the standard error of
    the mean over images, `quality/log_z_error` that of log Z, which all images share. `quality/pseudo_nats` needs no Z.

    Too few temperatures make log Z too small, so the nats too good, and the error bar does not show it: give more until they stay.

    Args:
        images: how many of the split; null for all. The same ones every time.
        chains, temperatures: of the annealing.
        flips: units of an image by which its pseudo-likelihood is estimated, where they are binary; 0 leaves it out.
        every, batch_size, seed, at_start: as of `gentrain.quality.image_quality.ImageQuality`.
    """

    def __init__(
        self,
        every: Whole = 1000,
        images: Count | None = 1000,
        chains: Count = 100,
        temperatures: Count = 1000,
        flips: Whole = 20,
        batch_size: Count = 500,
        seed: Whole = 0,
        at_start: bool = False,
        split: str = "test",
    ) -> None:
        super().__init__(every, images, batch_size, seed, at_start, split)
        self.chains, self.temperatures, self.flips = chains, temperatures, flips
        if chains < 2:
            raise UserError(
                "the error of log Z is of 2 chains or more (quality.chains); 100 are usual"
            )

    def prepare(self, data: "Data", model: Judged) -> None:
        energy: Any = cast(Any, model).model
        if not hasattr(energy, "log_partition"):
            raise UserError(
                "this model has no free energy that can be annealed (quality=ais); choose quality=classifier or none"
            )
        model.protocols["quality"] = (
            energy.protocol(self.chains, self.temperatures)
            | {"unit": "nats an image"}
            | self.about(data)
        )

    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        energy: Any = cast(Any, model).model
        log_z = energy.log_partition(self.chains, self.temperatures)
        batches = list(self.batches(data, model.device))
        scores = mean_and_error(
            -torch.cat([energy.log_likelihood(batch, log_z.value) for batch in batches])
        )
        scores |= {"quality/log_z": log_z.value.item(), "quality/log_z_error": log_z.error.item()}
        if self.flips and energy.binary:
            pseudo = torch.cat(
                [energy.pseudo_log_likelihood(batch, self.flips) for batch in batches]
            )
            scores["quality/pseudo_nats"] = -pseudo.double().mean().item()
        return scores
