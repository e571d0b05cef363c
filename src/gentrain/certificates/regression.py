"""Certificates of translation networks without a critic, and of content losses."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from gentrain.certificates.base import Certificate, error, largest, recorded
from gentrain.models.gan.pix2pix import Pix2Pix
from gentrain.models.regression import Regression


class ContentValue(Certificate):
    of: ClassVar[tuple[Any, ...]] = (Regression,)
    name = "content"
    property = "the loss is the mean difference of G(source) and its own target, with numpy"
    source = "Isola et al., 2017, eq. 4; Ledig et al., 2017, eq. 4"
    metrics: ClassVar = {
        "gentrain.models.content_loss.l1": lambda a, b: np.abs(a - b).mean(),
        "gentrain.models.content_loss.l2": lambda a, b: ((a - b) ** 2).mean(),
    }

    def measure(self) -> float | None:
        metric = self.metrics.get(str(self.subject.option("content._target_")))
        if metric is None:
            return None
        model, (target, source) = self.subject.model(), self.subject.batch[:2]
        with recorded(model.network, "forward") as calls:
            found = model.objective(self.subject.batch).losses
        if set(found) != {"content"}:
            return float("inf")
        made = calls[0].result.detach().numpy()
        shown = error(calls[0].args[0], source)
        return largest(shown, error(found["content"], metric(made, target.numpy())))


class Steepest(Certificate):
    of = (Regression,)
    property = "the gradient of the loss in the image is sign(G - y) / n, or 2 (G - y) / n"
    source = "Isola et al., 2017, section 3.1: the median of L1, the mean of L2"

    def measure(self) -> float | None:
        slopes = {"l1": lambda off: off.sign(), "l2": lambda off: 2 * off}
        slope = slopes.get(str(self.subject.option("content._target_")).rpartition(".")[2])
        if slope is None:
            return None
        model, target = self.subject.model(), self.subject.batch[0]
        made = torch.randn_like(target, requires_grad=True)
        (found,) = torch.autograd.grad(model.content(made, target), made)
        return error(found * made.numel(), slope((made - target).detach()))


class PairedContent(ContentValue):
    of = (Pix2Pix,)
    name = "content"
    property = "the generator's content term is its weight times the difference from the target"

    def measure(self) -> float | None:
        metric = self.metrics.get(str(self.subject.option("content._target_")))
        if metric is None or not self.node["content_weight"]:
            return None
        model, batch = self.subject.model(), self.subject.batch
        with recorded(model, "generate") as calls:
            found = model.generator_loss(batch).losses
        expected = metric(calls[0].result.detach().numpy(), batch[0].numpy())
        return error(found["content"], self.node["content_weight"] * expected)
