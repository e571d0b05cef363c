"""Images that were given, and what a model makes of them: neighbours, reconstructions, what was noise or is missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gentrain.commands.sample.mode import Mode, table
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count, Share
from gentrain.data.arrays import CHUNK, to_bytes, to_float
from gentrain.data.batches import as_batch
from gentrain.errors import UserError


class Nearest(Mode):
    """Does the model know its training images by heart? A row a sample: the sample, and its `neighbours` nearest training images.

    The distance is the root mean square difference of pixels in 0..255. Beside it stands that of held-out images to their nearest
    training images: a model that repeats what it has seen is much nearer than those are.
    """

    def __init__(self, n: Count = 8, neighbours: Count = 7) -> None:
        self.n, self.neighbours = n, neighbours

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        train, drawn = studio.data.load("train").images, list(studio.stream(self.n))
        k = min(self.neighbours, len(train))
        out.images(iter(drawn), self.n)
        samples = to_bytes(torch.cat([images for images, _ in drawn]))
        distances, rows = nearest(samples, train, k)
        found = train[rows.flatten().to(train.device)].cpu().unflatten(0, (self.n, k))
        shown = torch.cat([samples[:, None], found], 1).flatten(0, 1)
        out.picture("nearest", table(to_float(shown), k + 1))
        result = {
            "distances": distances.tolist(),
            "rows": rows.tolist(),
            "median": float(distances[:, 0].median()),
        }
        text = f"nearest training image: {result['median']:.2f} away in the median"
        held_out = held_out_images(studio)
        if held_out is not None:
            beside = float(nearest(held_out[: max(self.n, 100)], train, 1)[0].median())
            result["median_of_held_out_images"] = beside
            text += f", of held-out images {beside:.2f}"
        print(
            "\n".join(
                f"{i:>5}  " + "  ".join(f"{d:7.2f}" for d in row)
                for i, row in enumerate(distances.tolist())
            )
        )
        print(f"{text} (root mean square of pixels in 0..255)")
        return result


def nearest(samples: Tensor, train: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """uint8 (n, ...), uint8 (N, ...) -> root mean square distances (n, k), the nearest first, and rows of `train` (n, k)."""
    x, best, rows = (
        samples.float().flatten(1),
        torch.empty(len(samples), 0),
        torch.empty(len(samples), 0, dtype=torch.long),
    )
    start = 0
    for chunk in train.split(4096):
        # differences, not dot products: an image that is repeated is at exactly 0
        new = torch.cdist(
            x, chunk.cpu().float().flatten(1), compute_mode="donot_use_mm_for_euclid_dist"
        )
        number = torch.arange(start, start + len(chunk)).expand(len(x), -1)
        best, order = torch.cat([best, new], 1).sort(dim=1, stable=True)
        best, rows = best[:, :k], torch.cat([rows, number], 1).gather(1, order)[:, :k]
        start += len(chunk)
    return best / math.sqrt(x.shape[1]), rows


def held_out_images(studio: SampleSession) -> Tensor | None:
    from gentrain.quality.diagnostics import held_out_split

    test = held_out_split(studio.data)
    return None if test is None else test.images


class Denoise(Mode):
    """Rows of `n` images: clean, with noise, and as the model takes the noise away in `steps` transitions, the mean of `draws` chains.

    The noise: each pixel is black or white at random with probability `share`.
    """

    def __init__(
        self, n: Count = 10, share: Share = 0.2, steps: Count = 2, draws: Count = 10
    ) -> None:
        self.n, self.share, self.steps, self.draws = n, share, steps, draws

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        if not hasattr(studio.game, "denoise"):
            raise UserError("this model takes no noise away (mode=denoise); choose mode=grid")

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        (clean, *_), split = held_out(studio, self.n)
        clean = clean.cpu()
        spoilt = torch.where(
            torch.rand_like(clean) < self.share, torch.rand_like(clean).round() * 2 - 1, clean
        )
        again = studio.game.denoise(spoilt.to(studio.device), self.steps, self.draws).float().cpu()
        images = torch.cat([clean, spoilt, again])
        out.images(iter([(images, None)]), len(images))
        out.picture("denoise", table(images, len(clean)))
        result = {
            "split": split,
            "median_of_noisy": away(clean, spoilt),
            "median": away(clean, again),
        }
        print(
            f"{len(clean)} {split} images: with noise {result['median_of_noisy']:.2f} away in the median, "
            f"without it {result['median']:.2f} (root mean square of pixels in 0..255)"
        )
        return result


class Reconstruct(Mode):
    """Images through the model's encoder and back, G(E(x)): a row of `n` held-out images, a row of their reconstructions.

    Beside the distance (as in mode=nearest) stands that of images of random noise, G(z): an encoder that knows nothing is no better.
    """

    def __init__(self, n: Count = 10) -> None:
        self.n = n

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        if not hasattr(studio.game, "reconstruct"):
            raise UserError(
                f"mode={self.name} needs an encoder, and this model has none (mode); choose mode=grid or mode=nearest"
            )

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        batch, split = held_out(studio, self.n)
        again, labels = (
            studio.game.reconstruct(*batch).cpu(),
            batch[1].cpu() if len(batch) > 1 else None,
        )
        x, count = batch[0].cpu(), len(batch[0])
        out.images(iter([(again, labels)]), count)
        out.picture(self.name, table(torch.cat([x, again]), count))
        result = {
            "split": split,
            "median": away(x, again),
            "median_of_random_noise": away(x, studio.images(studio.noise(count), labels)),
        }
        print(
            f"reconstructions of {count} {split} images: {result['median']:.2f} away in the median, "
            f"images of random noise {result['median_of_random_noise']:.2f} (root mean square of pixels in 0..255)"
        )
        return result


class Complete(Mode):
    """What is missing of an image, given the rest: a row for each of the first `shown` of `n` held-out images, with the image, what is
    `known` of it (the rest grey), and `times` completions of different noise.

    Beside the distance of the completions' mean (root mean square of the missing pixels) stands that of the training images' mean, which
    knows nothing of the rest.
    """

    # (row, column) in [0, 1] -> is it known?
    parts: ClassVar[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
        "upper": lambda i, j: i < 0.5,
        "lower": lambda i, j: i > 0.5,
        "left": lambda i, j: j < 0.5,
        "right": lambda i, j: j > 0.5,
        "centre": lambda i, j: torch.maximum((i - 0.5).abs(), (j - 0.5).abs()) < 0.25,
        "border": lambda i, j: torch.maximum((i - 0.5).abs(), (j - 0.5).abs()) > 0.25,
    }

    def __init__(
        self,
        n: Count = 8,
        known: Literal["upper", "lower", "left", "right", "centre", "border"] = "upper",
        times: Count = 4,
        shown: Count = 8,
    ) -> None:
        self.n, self.known, self.times, self.shown = n, known, times, shown

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        if not hasattr(studio.game, "complete"):
            raise UserError(
                "this model does not complete images (mode); choose a run of one that does, such as model=vae_inpainting"
            )

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        batch, split = held_out(studio, self.n)
        x, count = batch[0], len(batch[0])
        known = self.mask(*x.shape[2:]).to(x.device)
        noise = (
            studio.noise(count * self.times).unflatten(0, (self.times, count))
            if studio.prior
            else [None] * self.times
        )
        found = [
            studio.game.complete(batch, known, None if z is None else z.to(x.device)).cpu()
            for z in noise
        ]
        labels = batch[1].cpu() if len(batch) > 1 else None
        out.images(iter([(images, labels) for images in found]), count * self.times)
        shown = [
            images[: self.shown] for images in (x.cpu(), torch.where(known, x, 0.0).cpu(), *found)
        ]
        out.picture(self.name, table(torch.stack(shown, 1).flatten(0, 1), len(shown)))
        missing = ~known.cpu().expand_as(found[0])
        mean = mean_image(studio.data.load("train").images)
        result = {
            "rms": rms(x.cpu(), torch.stack(found).mean(0), missing),
            "rms_of_mean_image": rms(x.cpu(), mean, missing),
        }
        print(
            f"the missing part of {count} {split} images: the mean of {self.times} completions is {result['rms']:.2f} away, "
            f"the training images' mean {result['rms_of_mean_image']:.2f} (root mean square of pixels in 0..255)"
        )
        return {"split": split, "known": self.known} | result

    def mask(self, height: int, width: int) -> Tensor:
        """(1, 1, H, W), true where a pixel is known."""
        i, j = ((torch.arange(size) + 0.5) / size for size in (height, width))
        return self.parts[self.known](*torch.meshgrid(i, j, indexing="ij")).view(
            1, 1, height, width
        )


def held_out(studio: SampleSession, n: int) -> tuple[tuple[Tensor, ...], str]:
    """The first images that the model was not trained on (of the training split where there are none), with labels if it takes them.

    Of a model that has memories, these: no other image is anything to it.
    """
    from gentrain.quality.diagnostics import held_out_split

    if (memories := getattr(studio.game, "memories", None)) is not None:
        return (studio.game.images(memories[:n]),), "remembered"
    test = held_out_split(studio.data)
    source, split = (studio.data.load("train"), "train") if test is None else (test, "test")
    batch = as_batch(source, torch.arange(min(n, len(source.images))), studio.device)
    return batch if studio.classes is not None else batch[:1], split


def away(x: Tensor, y: Tensor) -> float:
    """The median root mean square difference of images in [-1, 1], in units of 0..255."""
    return float((x - y).flatten(1).square().mean(1).sqrt().median()) * 127.5


def rms(x: Tensor, y: Tensor, where: Tensor) -> float:
    """The root mean square difference of images in [-1, 1] at the pixels `where`, in units of 0..255."""
    return float((x - y).square()[where].mean().sqrt()) * 127.5


def mean_image(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> their mean in [-1, 1], (C, H, W); a part at a time."""
    total = torch.stack([chunk.cpu().double().sum(0) for chunk in images.split(CHUNK)]).sum(0)
    return (total / len(images) / 127.5 - 1).float()
