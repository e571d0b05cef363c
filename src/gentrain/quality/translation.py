"""How well a translation between domains keeps what it shall keep, and changes what it shall change; on held-out images."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import lightning as L
import torch
from pydantic import Field
from torch import Tensor

from gentrain.config.types import Count, Whole
from gentrain.data.arrays import ArrayDataset, to_bytes, to_float
from gentrain.errors import Diverged, UserError
from gentrain.quality.base import Evaluation, Judged, uses_ema
from gentrain.quality.classifier import Classifier

if TYPE_CHECKING:
    from gentrain.data.base import Data


class RoundTrip(Evaluation):
    """Test images go to another domain and back. In the names `quality/...`:

    cycle_error       mean over pixels in [-1, 1] of |x - back|
    domain_accuracy   the share of translations that are of the domain asked for
    class_there       where the content of images is known (their digit): the share whose class a classifier still sees in the translation
    class_kept        and after the way back

    Which domain an image is of is told by the data where they have an exact rule (`domain_of`), else by a classifier of domains.
    Classifiers learn from the train split, once, and their own accuracy on the test split stands in the protocol, beside which a score is
    to be read.

    Args:
        samples: test images that are translated, all if there are fewer.
        others as of `gentrain.quality.image_quality.ImageQuality`.
    """

    def __init__(
        self,
        features: Classifier,
        every: Whole = 1000,
        samples: Annotated[int, Field(ge=2)] = 1000,
        batch_size: Count = 100,
        seed: Whole = 0,
        at_start: bool = True,
        cache: str = "~/.cache/gentrain",
    ) -> None:
        super().__init__(every, samples, batch_size, seed, at_start)
        self.features, self.cache = features, Path(cache).expanduser()
        self.judges: dict[str, Classifier] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not hasattr(pl_module.model, "back"):
            raise UserError(
                "quality=translation scores a way there and back, and this model has none (quality); choose another, or none"
            )
        super().setup(trainer, pl_module, stage)

    def check(self, data: "Data") -> None:
        if data.classes is None and data.source_shape is None:
            raise UserError(
                f"data={data.name} has no domains to translate between (quality, data); choose quality=none, or other data"
            )

    def prepare(self, data: "Data", model: Judged) -> None:
        tasks = {"domain": domains(data)} if not hasattr(data, "domain_of") else {}
        if hasattr(data, "content"):
            tasks["content"] = {
                split: cast(Any, data).content(split) for split in ("train", "test")
            }
        self.judges = {}
        for what, samples in tasks.items():
            if samples is not None:
                self.judges[what] = judge = Classifier(**self.features.options)  # type: ignore[arg-type]
                judge.prepare(cast("Data", Task(data, what, samples)), self.cache)
        model.protocols["quality"] = {
            "name": "test images to another domain, each of the others as likely, and back",
            "data": data.name,
            "digest": data.digest("test"),
            "split": "test",
            "samples": len(self.rows(data)),
            "domains": "rule of the data" if hasattr(data, "domain_of") else "classifier",
            "rounding": "uint8, round((x + 1) * 127.5), clamped",
            **{f"{what}_hash": judge.hash for what, judge in self.judges.items()},
            **{
                f"{what}_classifier_accuracy": judge.accuracy for what, judge in self.judges.items()
            },
            "ema": uses_ema(model),
            "seed": self.seed,
        }

    def score(self, data: "Data", model: Judged) -> dict[str, float]:
        game, rows = cast(Any, model).model, self.rows(data)
        x, own = start(data.load("test"), rows)
        wanted = game.elsewhere(own) if game.labelled else torch.ones(len(x), dtype=torch.int64)
        ways = [
            torch.cat(part)
            for part in zip(*self.travelled(game, model.device, x, own, wanted), strict=True)
        ]
        there, back = (to_bytes(images) for images in ways)
        scores = {"cycle_error": float((ways[1] - to_float(x)).abs().mean()), "n": float(len(x))}
        named = self.domain(data, there)
        if named is not None:
            scores["domain_accuracy"] = share(named == wanted)
        if hasattr(data, "content"):
            classes = cast(Any, data).content("test").labels[rows]
            scores |= {"class_there": share(self.named("content", there) == classes)}
            scores |= {"class_kept": share(self.named("content", back) == classes)}
        return {f"quality/{name}": value for name, value in scores.items()}

    def travelled(
        self, game: Any, device: torch.device, x: Tensor, own: Tensor, wanted: Tensor
    ) -> Any:
        """Pairs of a batch of translations and their ways back, on the CPU."""
        for images, home, asked in zip(
            *(part.split(self.batch_size) for part in (x, own, wanted)), strict=True
        ):
            there = game.translate(to_float(images.to(device)), asked.to(device))
            back = game.back(there, home.to(device))
            if not (there.isfinite().all() and back.isfinite().all()):
                raise Diverged(
                    f"translations have values that are not finite numbers at step {self.last}; the scores cannot be computed"
                )
            yield there.float().cpu(), back.float().cpu()

    def rows(self, data: "Data") -> Tensor:
        count = len(start(data.load("test"))[0])
        return torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))[
            : self.samples
        ]

    def domain(self, data: "Data", images: Tensor) -> Tensor | None:
        if hasattr(data, "domain_of"):
            return cast(Any, data).domain_of(images)
        return self.named("domain", images) if "domain" in self.judges else None

    def named(self, what: str, images: Tensor) -> Tensor:
        return self.judges[what].of(images, 500, torch.device("cpu"))[1].argmax(1)


def start(samples: ArrayDataset, rows: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
    """What a translation may start from, uint8, and its domains: the sources, which are all of the first, or images with their labels."""
    if samples.sources is not None:
        rows = rows % len(samples.sources) if isinstance(rows, Tensor) else rows
        sources = samples.sources[rows].cpu()
        return sources, torch.zeros(len(sources), dtype=torch.int64)
    assert samples.labels is not None
    return samples.images[rows].cpu(), samples.labels[rows].cpu()


def domains(data: "Data") -> dict[str, ArrayDataset] | None:
    """Images with their domains as labels; None where the two domains' images differ in shape, so that one classifier cannot see both."""
    if data.source_shape is None:
        return {split: data.load(split) for split in ("train", "test")}
    if tuple(data.source_shape) != tuple(data.shape):
        return None
    found = {}
    for split in ("train", "test"):
        samples = data.load(split)
        assert samples.sources is not None
        numbers = torch.arange(2).repeat_interleave(
            torch.tensor([len(samples.sources), len(samples.images)])
        )
        found[split] = ArrayDataset(torch.cat([samples.sources, samples.images]), numbers)
    return found


class Task:
    """A data set under other labels: all of it that a classifier reads."""

    def __init__(self, data: "Data", what: str, samples: dict[str, ArrayDataset]) -> None:
        self.name, self.what, self.samples, self.whole = (
            f"{data.name} by {what}",
            what,
            samples,
            data,
        )
        labels = samples["train"].labels
        assert labels is not None
        self.classes = int(labels.max()) + 1

    def digest(self, split: str) -> str:
        return hashlib.sha256(f"{self.whole.digest(split)} {self.what}".encode()).hexdigest()

    def load(self, split: str) -> ArrayDataset:
        return self.samples[split]


def share(hits: Tensor) -> float:
    return hits.double().mean().item()
