"""How probable a model finds images that it was not trained on."""

import math
from typing import TYPE_CHECKING, Any, cast

import torch

from gentrain.errors import UserError
from gentrain.quality.evaluation import Evaluation, Judged, as_batch
from gentrain.schema import Count, Whole

if TYPE_CHECKING:
    from gentrain.data import Data


class Nats(Evaluation):
    """`quality/nats`: the mean of -log p(x) over test images, and `quality/bits_per_dim` = nats / (D log 2).

    Args:
        images: how many of the split; null for all. The same ones every time.
        importance: samples S of the importance-weighted bound, where log p is not exact.
        every, batch_size, seed, at_start: as of `gentrain.quality.Quality`.
    """

    of_fakes = False

    def __init__(
        self,
        every: Whole = 1000,
        images: Count | None = 1000,
        importance: Count = 50,
        batch_size: Count = 100,
        seed: Whole = 0,
        at_start: bool = True,
        split: str = "test",
    ) -> None:
        super().__init__(every, 2, batch_size, seed, at_start)
        self.count, self.importance, self.split = images, importance, split

    def check(self, data: "Data") -> None:
        if self.split not in ("train", "test"):
            raise UserError(f"there is no split {self.split!r} (quality.split); write test or train")

    def prepare(self, data: "Data", model: Judged) -> None:
        density: Any = cast(Any, model).model
        if not hasattr(density, "log_likelihood"):
            raise UserError("a game has no likelihood to score (quality=nats); choose quality=classifier, inception or none")
        total = len(data.load(self.split).images)
        model.protocols["quality"] = density.protocol(self.importance) | {
            "unit": "nats an image; bits_per_dim = nats / (D ln 2)",
            "data": data.name,
            "split": self.split,
            "digest": data.digest(self.split),
            "images": min(self.count or total, total),
            "dimensions": math.prod(data.shape),
            "seed": self.seed,
        }

    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        source = data.load(self.split)
        rows = torch.randperm(len(source.images), generator=torch.Generator().manual_seed(self.seed))[: self.count]
        density: Any = cast(Any, model).model
        found = [density.log_likelihood(as_batch(source, chunk, model.device), self.importance) for chunk in rows.split(self.batch_size)]
        values = -torch.cat(found).double()
        nats, error = values.mean().item(), (values.std() / math.sqrt(len(values))).item()
        return {"quality/nats": nats, "quality/nats_error": error, "quality/bits_per_dim": nats / math.prod(data.shape) / math.log(2)}
