"""Modes that start from real images: nearest neighbours, reconstruction, denoising, completion."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.commands.sample.mode import Mode
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count, Share
from gentrain.data.arrays import CHUNK, random_rows, to_bytes, to_float
from gentrain.data.batches import as_batch
from gentrain.data.grids import annotated
from gentrain.errors import UserError
from gentrain.models.base import Completes, Denoises, Memorises, Reconstructs
from gentrain.streams import uniform
from gentrain.tables import quantity

UNIT = "(root mean square of pixels in 0..255)"


class Nearest(Mode):
    """A sample a row, beside its `neighbours` nearest training images, to see memorisation.

    The distance is the root mean square difference of pixels in 0..255. The record also has the
    distance from held-out images to their nearest training images: samples of a model that repeats
    what it has seen are much nearer.
    """

    def __init__(self, n: Count = 8, neighbours: Count = 7) -> None:
        self.n, self.neighbours = n, neighbours

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        train, drawn = session.data.load("train").images, list(session.stream(self.n))
        k = min(self.neighbours, len(train))
        out.images(iter(drawn), self.n)
        samples = to_bytes(torch.cat([images for images, _ in drawn]))
        distances, rows = nearest(samples, train, k)
        shown = beside(samples, train, rows)
        heads = ["sample", *(str(i + 1) for i in range(k))]
        rows_named = [f"{distance:.1f}" for distance in distances[:, 0].tolist()]
        title = "samples and their nearest training images; before a row, how far the first is"
        out.picture(self.name, annotated(to_float(shown), rows_named, heads, title))
        result = {
            "distances": distances.tolist(),
            "rows": rows.tolist(),
            "median": float(distances[:, 0].median()),
        }
        for i, row in enumerate(distances.tolist()):
            print(f"{i:>5}  " + "  ".join(f"{distance:7.2f}" for distance in row))
        text = f"nearest training image: {result['median']:.2f} away in the median"
        if (test := session.data.held_out()) is not None:
            some = test.images[random_rows(len(test.images), max(self.n, 100), session.seed)]
            of_held_out = float(nearest(some, train, 1)[0].median())
            result["median_of_held_out_images"] = of_held_out
            text += f", of held-out images {of_held_out:.2f}"
        print(f"{text} {UNIT}")
        return result


def beside(samples: Tensor, train: Tensor, rows: Tensor) -> Tensor:
    """Each sample and its training images in turn.

    Args:
        samples: uint8 (n, ...) on the CPU.
        train: uint8 (N, ...).
        rows: (n, k), as `nearest` gives them.

    Returns:
        uint8 (n (k + 1), ...) on the CPU.
    """
    found = train[rows.flatten().to(train.device)].cpu().unflatten(0, tuple(rows.shape))
    return torch.cat([samples[:, None], found], 1).flatten(0, 1)


def nearest(samples: Tensor, train: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k nearest training images of each sample.

    Args:
        samples: uint8 (n, ...).
        train: uint8 (N, ...).
        k: neighbours of each.

    Returns:
        Root mean square distances (n, k), the nearest first, and rows of `train` (n, k).
    """
    x = samples.float().flatten(1)
    best, rows = torch.empty(len(samples), 0), torch.empty(len(samples), 0, dtype=torch.long)
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


class Denoise(Mode):
    """Three rows of `n` images: clean, noisy, and denoised.

    Args:
        n: images in a row.
        share: the probability that a pixel becomes black or white at random.
        steps: transitions of each chain.
        draws: chains whose mean is shown; null for 10, or for 1 where all end in the same state.
    """

    requires = (Denoises,)
    reads = ("seed", "save")

    def __init__(
        self, n: Count = 10, share: Share = 0.2, steps: Count = 2, draws: Count | None = None
    ) -> None:
        self.n, self.share, self.steps, self.chains = n, share, steps, draws

    def check(self, session: SampleSession) -> None:
        super().check(session)
        if self.chains is not None and session.model.deterministic:
            raise UserError(
                "all chains of this model from an image end in the same state (mode.draws); "
                "leave it out"
            )

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        (clean, *_), split = held_out(session, self.n)
        clean = clean.cpu()
        noisy, denoised = self.denoised(session, clean)
        images = torch.cat([clean, noisy, denoised])
        out.images(iter([(images, None)]), len(images))
        rows = ["clean", "noisy", "denoised"]
        out.picture(self.name, annotated(images, rows, [""] * len(clean)))
        result = {
            "split": split,
            "median_of_noisy": median_rms(clean, noisy),
            "median": median_rms(clean, denoised),
        }
        print(
            f"{quantity(len(clean), f'{split} image')}: noisy ones are "
            f"{result['median_of_noisy']:.2f} away in the median, denoised ones "
            f"{result['median']:.2f} {UNIT}"
        )
        return result

    def denoised(self, session: SampleSession, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) on the CPU with noise, and what the model makes of these."""
        with session.streams(range(len(clean))):
            hidden = uniform(clean) < self.share
            noisy = torch.where(hidden, uniform(clean).round() * 2 - 1, clean)
            chains = self.chains or (1 if session.model.deterministic else 10)
            made = session.model.denoise(noisy.to(session.device), self.steps, chains)
        return noisy, made.float().cpu()


class Reconstruct(Mode):
    """`n` held-out images, and below them what the encoder and the generator make of them, G(E(x)).

    The record also has the distance to images of random noise, G(z): an encoder that knows nothing
    is no better.
    """

    requires = (Reconstructs,)
    reads = ("seed", "save")

    def __init__(self, n: Count = 10) -> None:
        self.n = n

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        batch, split = held_out(session, self.n)
        with session.streams(range(len(batch[0]))):
            made = session.model.reconstruct(*batch).cpu()
        x, labels, count = batch[0].cpu(), labels_of(batch), len(batch[0])
        out.images(iter([(made, labels)]), count)
        rows = [split, "again"]
        out.picture(self.name, annotated(torch.cat([x, made]), rows, [""] * count))
        result = {
            "split": split,
            "median": median_rms(x, made),
            "median_of_random_noise": median_rms(x, session.images(session.noise(count), labels)),
        }
        print(
            f"reconstructions of {quantity(count, f'{split} image')}: "
            f"{result['median']:.2f} away in the median, images of random noise "
            f"{result['median_of_random_noise']:.2f} {UNIT}"
        )
        return result


class Complete(Mode):
    """Held-out images of which a part is hidden, and completions of them, a row each.

    A row has the image, its known part (the rest is grey), and `times` completions of different
    noise. The record has the root mean square distance, at the hidden pixels, of the completions'
    mean, and of the mean of the training images, which does not depend on the known part.

    Args:
        n: images.
        known: the part that is known.
        times: completions of each image.
        shown: images in the picture.
    """

    requires = (Completes,)
    reads = ("seed", "mean", "temperature", "save")

    # (row, column) in [0, 1] -> whether a pixel is known
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

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        batch, split = held_out(session, self.n)
        x = batch[0].cpu()
        known = self.mask(*x.shape[2:])
        found = self.completions(session, batch, known.to(session.device))
        labels = labels_of(batch)
        out.images(iter([(images, labels) for images in found]), len(x) * self.times)
        columns = [x, torch.where(known, x, 0.0), *found]
        shown = torch.stack([images[: self.shown] for images in columns], 1)
        heads = [split, "known", *(str(i + 1) for i in range(self.times))]
        out.picture(self.name, annotated(shown.flatten(0, 1), [], heads))
        hidden = ~known.expand_as(x)
        mean = mean_image(session.data.load("train").images)
        result = {
            "rms": rms(x, torch.stack(found).mean(0), hidden),
            "rms_of_mean_image": rms(x, mean, hidden),
        }
        print(
            f"the hidden part of {quantity(len(x), f'{split} image')}: the mean of "
            f"{quantity(self.times, 'completion')} is "
            f"{result['rms']:.2f} away, the training images' mean "
            f"{result['rms_of_mean_image']:.2f} {UNIT}"
        )
        return {"split": split, "known": self.known} | result

    def completions(
        self, session: SampleSession, batch: tuple[Tensor, ...], known: Tensor
    ) -> list[Tensor]:
        """`times` completions of a batch, (B, C, H, W) on the CPU."""
        n, found = len(batch[0]), []
        noise: Tensor | None = None
        if session.prior:  # `times` rows for each image in turn, so that they do not depend on n
            noise = session.noise(n * self.times).to(session.device).unflatten(0, (n, self.times))
        for i in range(self.times):
            z = None if noise is None else noise[:, i]
            with session.streams(range(i, n * self.times, self.times)):
                found.append(session.model.complete(batch, known, z).cpu())
        return found

    def mask(self, height: int, width: int) -> Tensor:
        """(1, 1, H, W), true where a pixel is known."""
        i, j = ((torch.arange(size) + 0.5) / size for size in (height, width))
        known = self.parts[self.known](*torch.meshgrid(i, j, indexing="ij"))
        return known.view(1, 1, height, width)


def held_out(session: SampleSession, n: int) -> tuple[tuple[Tensor, ...], str]:
    """Draw n images that the model was not trained on, and say where they are from.

    They are those of the test split ("test"), or of the training where there is no other ("train").
    A model that memorises images gets these ("remembered"): no other image means anything to it.

    Returns:
        The batch, with labels if the model takes them, and the word.
    """
    model = session.model
    if supports(model, Memorises):
        return (model.images(model.memories[:n]),), "remembered"
    test = session.data.held_out()
    source, split = (session.data.load("train"), "train") if test is None else (test, "test")
    rows = random_rows(len(source.images), n, session.seed)
    batch = as_batch(source, rows, session.device)
    return batch if session.model.labelled else batch[:1], split


def labels_of(batch: tuple[Tensor, ...]) -> Tensor | None:
    """The labels of a batch, on the CPU."""
    return batch[1].cpu() if len(batch) > 1 else None


def median_rms(x: Tensor, y: Tensor) -> float:
    """The median root mean square difference of images in [-1, 1], in units of 0..255."""
    return float((x - y).flatten(1).square().mean(1).sqrt().median()) * 127.5


def rms(x: Tensor, y: Tensor, where: Tensor) -> float:
    """The root mean square difference of images in [-1, 1] at some pixels, in units of 0..255."""
    return float((x - y).square()[where].mean().sqrt()) * 127.5


def mean_image(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> their mean in [-1, 1], (C, H, W)."""
    total = torch.stack([chunk.cpu().double().sum(0) for chunk in images.split(CHUNK)]).sum(0)
    return (total / len(images) / 127.5 - 1).float()
