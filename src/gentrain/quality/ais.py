"""How probable an energy model finds images that it was not trained on.

-log p(v) = F(v) + log Z, with log Z by annealed importance sampling (Salakhutdinov & Murray, "On
the quantitative analysis of deep belief networks", 2008).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch

from gentrain.config.types import Count, Whole
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.base import HasLogPartition, eval_mode
from gentrain.quality.base import HELD_OUT, HeldOutMetric, Score
from gentrain.quality.likelihood import held_out_protocol, mean_and_error


class Annealed(HeldOutMetric):
    """The mean of F(v) + log Z over held-out images, in nats.

    `nats_images_error` is the standard error of the mean over images, `log_z_error` that of log Z,
    which all images share, and `nats_error` = sqrt(nats_images_error^2 + log_z_error^2) that of the
    nats. `pseudo_nats` is the mean over images of -sum_i log p(v_i | all others), over all units
    i; it needs no Z, and is for binary units. Too few temperatures make log Z too small and the
    nats too good, and the error bar does not show it: raise their number until the nats stay.

    Args:
        every: generator steps between two scores.
        images: how many images of the split; null for all. They are the same every time.
        chains: independent annealing chains, 2 or more.
        temperatures: number of temperatures of each chain.
        batch_size: images at a time.
        seed: seed for the choice of images, and for the chains.
        at_start: score an untrained model, too.
        split: what is scored while a model is trained: "held_out" or "train".
    """

    key = "quality=ais"
    requires = HasLogPartition
    scores: ClassVar = {
        "nats": Score("nats per image", error="nats_error"),
        "nats_error": Score("nats per image", None),
        "nats_images_error": Score("nats per image", None),
        "log_z": Score("nats", None, error="log_z_error"),
        "log_z_error": Score("nats", None),
        "pseudo_nats": Score("nats per image", error="pseudo_nats_error"),
        "pseudo_nats_error": Score("nats per image", None),
    }

    def __init__(
        self,
        every: Whole = 1000,
        images: Count | None = 1000,
        chains: Count = 100,
        temperatures: Count = 1000,
        batch_size: Count = 500,
        seed: Whole = 0,
        at_start: bool = False,
        split: str = HELD_OUT,
    ) -> None:
        super().__init__(every, images, batch_size, seed, at_start, split)
        self.chains, self.temperatures = chains, temperatures
        if chains < 2:
            raise UserError(
                "the error of log Z needs 2 chains or more (quality.chains); 100 are usual"
            )

    def protocol(self, data: Data, model: Any) -> dict[str, Any]:
        how = model.protocol(self.chains, self.temperatures) | {"unit": model.pixels.unit}
        error = {"error": "of the mean over images and of log Z, in quadrature"}
        return how | error | held_out_protocol(self, data)

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        with self.stream("chains", device):
            log_z = model.log_partition(self.chains, self.temperatures)
        with self.stream("pixels", device), eval_mode(model):
            pairs = [model.pixels(batch[0]) for batch in self.batches(data, device)]
        values, log_det = [v.flatten(1) for v, _ in pairs], torch.cat([part for _, part in pairs])
        log_p = torch.cat([model.log_likelihood_of_values(v, log_z.value) for v in values])
        log_p = log_p + log_det + data.log_det
        scores = mean_and_error("nats", -log_p)
        log_z_error, images_error = log_z.error.item(), scores["nats_error"]
        scores |= {
            "nats_error": math.hypot(images_error, log_z_error),
            "nats_images_error": images_error,
            "log_z": log_z.value.item(),
            "log_z_error": log_z_error,
        }
        if model.binary:
            pseudo = torch.cat([model.pseudo_log_likelihood(v) for v in values])
            scores |= mean_and_error("pseudo_nats", -pseudo)
        return scores
