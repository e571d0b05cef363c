"""How probable an energy model finds images that it was not trained on.

-log p(v) = F(v) + log Z, with log Z by annealed importance sampling (Salakhutdinov & Murray, "On
the quantitative analysis of deep belief networks", 2008).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from gentrain.config.types import Count, Whole
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.base import HasLogPartition
from gentrain.quality.base import HELD_OUT, HeldOutMetric, Score
from gentrain.quality.likelihood import held_out_protocol, mean_and_error


class Annealed(HeldOutMetric):
    """The mean of F(v) + log Z over held-out images, in nats.

    `nats_error` is the standard error of the mean over images, `log_z_error` that of log Z, which
    all images share. `pseudo_nats` is the mean of the negative pseudo-log-likelihood, which needs
    no Z. Too few temperatures make log Z too small and the nats too good, and the error bar does
    not show it: raise their number until the nats stay.

    Args:
        every: generator steps between two scores.
        images: how many images of the split; null for all. They are the same every time.
        chains: independent annealing chains, 2 or more.
        temperatures: number of temperatures of each chain.
        flips: units of an image by which its pseudo-likelihood is estimated, where the units are
            binary; 0 leaves it out.
        batch_size: images at a time.
        seed: seed for the choice of images, and for the chains.
        at_start: score an untrained model, too.
        split: what is scored while a model is trained: "held_out" or "train".
    """

    key = "quality=ais"
    requires = HasLogPartition
    scores: ClassVar = {
        "nats": Score("nats per image"),
        "nats_error": Score("nats per image", None),
        "log_z": Score("nats", None),
        "log_z_error": Score("nats", None),
        "pseudo_nats": Score("nats per image"),
    }

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
        split: str = HELD_OUT,
    ) -> None:
        super().__init__(every, images, batch_size, seed, at_start, split)
        self.chains, self.temperatures, self.flips = chains, temperatures, flips
        if chains < 2:
            raise UserError(
                "the error of log Z needs 2 chains or more (quality.chains); 100 are usual"
            )

    def protocol(self, data: Data, model: Any) -> dict[str, Any]:
        how = model.protocol(self.chains, self.temperatures)
        return how | {"unit": "nats an image"} | held_out_protocol(self, data)

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        log_z = model.log_partition(self.chains, self.temperatures)
        batches = list(self.batches(data, device))
        log_p = [model.log_likelihood(batch, log_z.value) for batch in batches]
        scores = mean_and_error(-torch.cat(log_p))
        scores |= {"log_z": log_z.value.item(), "log_z_error": log_z.error.item()}
        if self.flips and model.binary:
            pseudo = [model.pseudo_log_likelihood(batch, self.flips) for batch in batches]
            scores["pseudo_nats"] = -torch.cat(pseudo).double().mean().item()
        return scores
