"""How probable a model finds images that it was not trained on."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.base import Data
from gentrain.models.base import Batch, HasLikelihood, eval_mode
from gentrain.quality.base import HELD_OUT, HeldOutMetric, Score, split_of


class LogLikelihood(HeldOutMetric):
    """The mean of -log p(x) over held-out images, in nats, and in bits per dimension.

    `nats` is the mean of -log p(x). `bits_per_dim` = nats / (D log 2), where the pixels that are
    modelled are discrete: a density of real numbers has no bits. `nats_of_values` is -log p of the
    modelled values where these are not the pixels (logit space), as papers on flows give it.

    A conditional model gives p(x | y) of an image and its label y, of which `nats_given_label` is
    the mean of -log p(x | y). Its `nats` are those of

        p(x) = sum_y p(y) p(x | y),   p(y) the share of label y in the training split,

    and cost a pass for each label. Both see the same binarised or dequantised pixels, which depend
    on neither `importance` nor the model.

    Args:
        every: generator steps between two scores.
        images: how many images of the split; null for all. They are the same every time.
        importance: samples S of the importance-weighted bound, where log p is not exact.
        batch_size: images at a time.
        seed: seed for the choice of images, and for all noise.
        at_start: score an untrained model, too.
        split: what is scored while a model is trained: "held_out" or "train".
    """

    key = "quality=nats"
    requires = HasLikelihood
    scores: ClassVar = {
        "nats": Score("nats per image", error="nats_error"),
        "nats_error": Score("nats per image", None),
        "nats_given_label": Score("nats per image", error="nats_given_label_error"),
        "nats_given_label_error": Score("nats per image", None),
        "nats_of_values": Score("nats per image", error="that of nats, but for the noise"),
        "bits_per_dim": Score("bits per dimension", error="nats_error / (D ln 2)"),
    }

    def __init__(
        self,
        every: Whole = 1000,
        images: Count | None = 1000,
        importance: Count = 50,
        batch_size: Count = 100,
        seed: Whole = 0,
        at_start: bool = True,
        split: str = HELD_OUT,
    ) -> None:
        super().__init__(every, images, batch_size, seed, at_start, split)
        self.importance = importance

    def options_for(self, model: Any) -> dict[str, str]:
        bound = model.is_bound
        return self.options | ({"importance": "importance"} if bound else {})

    def protocol(self, data: Data, model: Any) -> dict[str, Any]:
        found = model.protocol(self.importance) | {"unit": model.pixels.unit}
        if model.given_labels:
            found["labels"] = "p(x) = sum_y p(y) p(x | y), p(y) of the train split"
        return found | held_out_protocol(self, data)

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        log_prior = log_shares(data).to(device) if model.given_labels else None
        found: dict[str, list[Tensor]] = {}
        for number, batch in enumerate(self.batches(data, device)):
            for name, values in self.nats(model, batch, log_prior, number).items():
                found.setdefault(name, []).append(-values.double() - data.log_det)
        log_det = -torch.cat(found.pop("log_det"))
        scores: dict[str, float] = {}
        for name, parts in found.items():
            scores |= mean_and_error(name, torch.cat(parts))
        if log_det.any():
            scores["nats_of_values"] = scores["nats"] + log_det.mean().item()
        if model.pixels.discrete:
            scores["bits_per_dim"] = scores["nats"] / math.prod(data.shape) / math.log(2)
        return scores

    def nats(
        self, model: Any, batch: Batch, log_prior: Tensor | None, number: int
    ) -> dict[str, Tensor]:
        """log p(x), log p(x | y) and log |det| of a batch, (B,) each.

        Args:
            model: has a likelihood.
            batch: images, with labels where the likelihood is given labels.
            log_prior: log p(y) (K,) for a likelihood that is given labels, else None.
            number: of the batch; it chooses the noise.
        """
        with eval_mode(model):
            with self.stream("pixels", batch[0].device, number):
                v, log_det = model.pixels(batch[0])
            with self.stream("importance", batch[0].device, number):
                if log_prior is None:
                    log_p = model.log_likelihood_of_values(v, None, self.importance)
                    return {"nats": log_p + log_det, "log_det": log_det}
                # (K, B): log p(x | y) for every label y
                each = [
                    model.log_likelihood_of_values(v, torch.full_like(batch[1], y), self.importance)
                    for y in range(len(log_prior))
                ]
        given = torch.stack(each).double() + log_det
        own = given.gather(0, batch[1][None])[0]
        mixture = torch.logsumexp(given + log_prior[:, None], 0)
        return {"nats": mixture, "nats_given_label": own, "log_det": log_det}


def log_shares(data: Data) -> Tensor:
    """log p(y) (K,), float64, of the labels of the training split."""
    labels = data.load("train").labels
    assert labels is not None and data.classes is not None
    counts = labels.cpu().bincount(minlength=data.classes).double()
    return (counts / counts.sum()).log()


def held_out_protocol(metric: HeldOutMetric, data: Data) -> dict[str, Any]:
    """What a protocol says of the images that are scored."""
    total = len(data.load(metric.split).images)
    return {
        "data": data.name,
        "split": split_of(data, metric.split),
        "digest": data.digest(metric.split),
        "images": min(metric.count or total, total),
        "dimensions": math.prod(data.shape),
        "seed": metric.seed,
        **({"units": units} if (units := data.units_protocol()) else {}),
    }


def mean_and_error(name: str, values: Tensor) -> dict[str, float]:
    """The mean of values (N,) over images, and the standard error of that mean, by their names."""
    error = values.std() / math.sqrt(len(values))
    return {name: values.mean().item(), f"{name}_error": error.item()}
