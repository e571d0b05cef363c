"""What may be drawn from a finished run. A mode is one class: its constructor's arguments are its options (conf/mode/*.yaml)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torchvision.utils import make_grid

from ..callbacks.samples import BINS, ZOOM, density, inked, unit
from ..data.samples import CHUNK, to_float
from ..errors import UserError
from ..quality.evaluation import Evaluation, as_batch, as_bytes, own_randomness
from ..schema import Count, Positive, Share, Whole
from .noise import linear, octant, slerp, standing_statistics, truncated
from .output import Output
from .studio import BLOCK, Studio

Steps = Annotated[int, Field(ge=2)]
Tau = Annotated[float, Field(ge=0.01, allow_inf_nan=False)]  # below, hardly a draw in a hundred is inside
Index = Annotated[int, Field(ge=0, lt=100_000)]


class Mode(ABC):
    """One way to draw. `check` refuses, by a UserError, a run that it does not fit; `draw` returns what the record shall say."""

    points: ClassVar[bool] = False  # it can show points in the plane

    def check(self, studio: Studio) -> None:
        if studio.points and not self.points:
            raise UserError(f"mode={self.name} shows images, and data={studio.data.name} gives points (mode); choose mode=grid")

    @abstractmethod
    def draw(self, studio: Studio, out: Output) -> dict[str, Any]: ...

    @property
    def name(self) -> str:
        from ..game import snake

        return snake(type(self).__name__)

    def needs_noise(self, studio: Studio) -> None:
        if studio.prior is None:
            raise UserError(f"this model has no noise to choose (mode={self.name}); choose mode=grid")

    def needs_normal_noise(self, studio: Studio, remedy: str = "choose mode=grid") -> None:
        self.needs_noise(studio)
        if studio.prior != "normal":
            raise UserError(f"mode={self.name} is of normal noise, and this generator's is {studio.prior} (mode); {remedy}")


class Grid(Mode):
    """`n` images of new noise, of the classes in turn where there are labels; the first `shown` as one picture."""

    points = True

    def __init__(self, n: Count = 64, shown: Count = 100) -> None:
        self.n, self.shown = n, shown

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        first = out.images(studio.stream(self.n), self.n, self.n if studio.points else self.shown)
        out.picture("grid", density(first) if studio.points else table(first, math.ceil(math.sqrt(len(first)))))
        return {}


class Density(Mode):
    """p(x) of points in the plane, exp(log p) on a grid over [-1, 1]^2; right of it `n` samples, and as many points of the data.

    The darker, the denser, each picture to its own maximum. `mass` in the record is the part of the density that the picture shows.
    """

    points = True

    def __init__(self, n: Count = 10_000) -> None:
        self.n = n

    def check(self, studio: Studio) -> None:
        if tuple(studio.data.shape) != (2,):
            raise UserError(f"mode=density is for points in the plane, and data={studio.data.name} gives others (mode); choose mode=grid")
        if not hasattr(studio.game, "log_prob"):
            raise UserError("mode=density draws an exact density, and this model has none (mode); choose mode=grid, or a flow's run")

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        p, cell = exact_density(studio.game, studio.device)
        samples = out.images(studio.stream(self.n), self.n, self.n)
        panels = [inked(p), density(samples), density(studio.data.load("train").images[: self.n])]
        out.picture("density", torch.cat(panels, 2))
        return {"mass": float(p.sum()) * cell}


def exact_density(flow: Any, device: torch.device, side: int = BINS * ZOOM) -> tuple[Tensor, float]:
    """exp(log p) at the middles of side x side squares, (x, y), and the area of one."""
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    places = torch.cartesian_prod(line, line).split(side)
    with torch.no_grad():
        log_p = torch.cat([flow.log_likelihood((part.to(device),), 1).cpu() for part in places])
    return log_p.exp().view(side, side), (2 / side) ** 2


class ClassGrid(Mode):
    """A row for each class, `n` images long; the same noise down each column."""

    def __init__(self, n: Count = 10) -> None:
        self.n = n

    def check(self, studio: Studio) -> None:
        super().check(studio)
        if studio.classes is None:
            raise UserError("mode=class_grid has a row a class, and this model knows no labels (mode); choose mode=grid")
        self.needs_noise(studio)

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        classes = torch.tensor(studio.classes)
        z, labels = studio.noise(self.n).repeat(len(classes), 1), classes.repeat_interleave(self.n)
        draw_table(studio, out, "class_grid", z, labels, self.n)
        return {}


class Interpolate(Mode):
    """`n` strips, each from one noise vector to another in `steps` images; of one class each where there are labels."""

    paths: ClassVar[dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {"slerp": slerp, "linear": linear}

    def __init__(self, n: Count = 8, steps: Steps = 9, path: Literal["slerp", "linear"] = "slerp") -> None:
        self.n, self.steps, self.path = n, steps, path

    def check(self, studio: Studio) -> None:
        super().check(studio)
        self.needs_noise(studio)
        if self.path == "slerp":
            self.needs_normal_noise(studio, "give mode.path=linear")

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        ends, t = studio.noise(2 * self.n).unflatten(0, (self.n, 2)), torch.linspace(0, 1, self.steps)
        z = torch.cat([self.paths[self.path](z0, z1, t) for z0, z1 in ends])
        draw_table(studio, out, "interpolate", z, repeated(studio.labels(self.n), self.steps), self.steps)
        return {}


class Sphere(Mode):
    """`n` pictures, each the octant between four noise vectors: `steps` by `steps` images, of one class where there are labels."""

    def __init__(self, n: Count = 1, steps: Steps = 9) -> None:
        self.n, self.steps = n, steps

    def check(self, studio: Studio) -> None:
        super().check(studio)
        self.needs_normal_noise(studio)

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        corners = studio.noise(4 * self.n).unflatten(0, (self.n, 4))
        z = torch.cat([octant(four, self.steps) for four in corners])
        labels = repeated(studio.labels(self.n), self.steps**2)
        images = keep(studio, out, z, labels)
        for i, picture in enumerate(images.split(self.steps**2)):
            out.picture("sphere" if self.n == 1 else f"sphere-{i}", table(picture, self.steps))
        return {}


class Arithmetic(Mode):
    """z1 - z2 + z3 (Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs", 2016).

    One strip: the images of z1, z2, z3, and of the result. `pick` says which rows of the noise they are, as mode=grid numbers its images
    from 0, left to right; a list in the place of a number is the mean of several, as in the paper. With labels, all four are of the
    first class of `labels`.
    """

    def __init__(
        self, pick: Annotated[list[Index | Annotated[list[Index], Field(min_length=1)]], Field(min_length=3, max_length=3)]
    ) -> None:
        self.pick = [[one] if isinstance(one, int) else one for one in pick]

    def check(self, studio: Studio) -> None:
        super().check(studio)
        self.needs_noise(studio)

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        noise = studio.noise(1 + max(i for rows in self.pick for i in rows))
        z1, z2, z3 = (noise[rows].mean(0) for rows in self.pick)
        draw_table(studio, out, "arithmetic", torch.stack([z1, z2, z3, z1 - z2 + z3]), repeated(studio.labels(1), 4), 4)
        return {}


class Truncation(Mode):
    """The truncation trick (BigGAN, 2019): noise with |z| > tau is drawn again. Less variety for more fidelity.

    For each of `taus` a picture of `n` images and, with `fid`, the scores of the run's own quality protocol beside those of the whole
    noise. Batch norm takes standing statistics, of `standing` images at that tau; 0 keeps the running ones of training, whose scale the
    truncated activations miss: small taus then give empty images. The whole noise always keeps those of training, so that its scores are
    the run's own. Where batch norm stands directly behind the linear layer of z, as in DCGAN, standing statistics give back the scale
    that truncation took, and little changes.
    """

    SHOWN = ("fid", "kid", "precision", "recall")  # of the scores in the table; all are in the record

    def __init__(self, taus: Annotated[list[Tau], Field(min_length=1)], n: Count = 64, fid: bool = True, standing: Whole = 5000) -> None:
        self.taus, self.n, self.fid, self.standing = taus, n, fid, standing
        if standing == 1:
            raise UserError("statistics of one image (mode.standing); give 2 or more, or 0 for the running ones of training")

    def check(self, studio: Studio) -> None:
        super().check(studio)
        self.needs_normal_noise(studio)
        judge = studio.job.callbacks[0]
        if self.fid and not (isinstance(judge, Evaluation) and judge.of_fakes):
            raise UserError(
                "this run has no quality protocol of its fakes, so no FID (mode.fid); give mode.fid=false for the pictures alone"
            )

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        judge, judged = studio.job.callbacks[0] if self.fid else None, Truncated(studio)
        if judge is not None:
            judge.check(studio.data)
            with own_randomness(judge.seed, studio.device):
                judge.prepare(studio.data, judged)
        z, labels, results, drawn = studio.noise(self.n), studio.labels(self.n), [], []
        for tau in [None, *self.taus]:
            judged.tau = tau
            name = "whole" if tau is None else f"tau-{tau:g}"
            with standing_statistics(studio.generator, self.forwards(studio, tau)) if tau and self.standing else nullcontext():
                images = studio.images(z if tau is None else truncated(z, tau), labels)
                out.picture(name, table(images, math.ceil(math.sqrt(self.n))))
                results.append({"tau": tau, **(self.score(judge, studio, judged) if judge is not None else {})})
            drawn.append((images, labels))
        out.images(iter(drawn), self.n * len(drawn))
        if judge is not None:
            print("\n".join(lines(results, self.SHOWN)))
        norm = f"standing statistics of {self.standing} images at each tau, running ones of the whole" if self.standing else "eval"
        truncation = {"truncation": "tau of each row, drawn again", "batch_norm": norm}
        return {"scores": results, "protocol": judged.protocols.get("quality", {}) | truncation}

    def forwards(self, studio: Studio, tau: float) -> Iterator[Callable[[], object]]:
        size = min(BLOCK, self.standing)
        for start in range(0, self.standing - self.standing % size, size):
            z = truncated(studio.generator.noise(size, studio.device), tau)
            yield partial(studio.game.generate, studio.generator, studio.batch(size, studio.labels(size, start)), z)

    @staticmethod
    def score(judge: Any, studio: Studio, judged: Truncated) -> dict[str, float]:
        with own_randomness(judge.seed, studio.device):
            return judge.score(studio.data, judged)


class Truncated:
    """A run as the quality protocol judges it, with its noise truncated."""

    def __init__(self, studio: Studio) -> None:
        self.model, self.device, self.global_step = studio.game, studio.device, 0
        self.protocols: dict[str, dict[str, Any]] = {}
        self.generator, self.tau = studio.generator, None

    tau: float | None

    def sample(self, batch: tuple[Tensor, ...]) -> Tensor:
        if self.tau is None:
            return self.model.sample(batch)
        return self.model.sample(batch, truncated(self.generator.noise(len(batch[0]), self.device), self.tau))


class Nearest(Mode):
    """Does the model know its training images by heart? A row a sample: the sample, and its `neighbours` nearest training images.

    The distance is the root mean square difference of pixels in 0..255. Beside it stands that of held-out images to their nearest
    training images: a model that repeats what it has seen is much nearer than those are.
    """

    def __init__(self, n: Count = 8, neighbours: Count = 7) -> None:
        self.n, self.neighbours = n, neighbours

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        train, drawn = studio.data.load("train").images, list(studio.stream(self.n))
        k = min(self.neighbours, len(train))
        out.images(iter(drawn), self.n)
        samples = as_bytes(torch.cat([images for images, _ in drawn]))
        distances, rows = nearest(samples, train, k)
        found = train[rows.flatten().to(train.device)].cpu().unflatten(0, (self.n, k))
        shown = torch.cat([samples[:, None], found], 1).flatten(0, 1)
        out.picture("nearest", table(to_float(shown), k + 1))
        result = {"distances": distances.tolist(), "rows": rows.tolist(), "median": float(distances[:, 0].median())}
        text = f"nearest training image: {result['median']:.2f} away in the median"
        held_out = held_out_images(studio)
        if held_out is not None:
            beside = float(nearest(held_out[: max(self.n, 100)], train, 1)[0].median())
            result["median_of_held_out_images"] = beside
            text += f", of held-out images {beside:.2f}"
        print("\n".join(f"{i:>5}  " + "  ".join(f"{d:7.2f}" for d in row) for i, row in enumerate(distances.tolist())))
        print(f"{text} (root mean square of pixels in 0..255)")
        return result


def held_out_images(studio: Studio) -> Tensor | None:
    from ..doctor import held_out_split

    test = held_out_split(studio.data)
    return None if test is None else test.images


def nearest(samples: Tensor, train: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """uint8 (n, ...), uint8 (N, ...) -> root mean square distances (n, k), the nearest first, and rows of `train` (n, k)."""
    x, best, rows = samples.float().flatten(1), torch.empty(len(samples), 0), torch.empty(len(samples), 0, dtype=torch.long)
    start = 0
    for chunk in train.split(4096):
        # differences, not dot products: an image that is repeated is at exactly 0
        new = torch.cdist(x, chunk.cpu().float().flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
        number = torch.arange(start, start + len(chunk)).expand(len(x), -1)
        best, order = torch.cat([best, new], 1).sort(dim=1, stable=True)
        best, rows = best[:, :k], torch.cat([rows, number], 1).gather(1, order)[:, :k]
        start += len(chunk)
    return best / math.sqrt(x.shape[1]), rows


class Chains(Mode):
    """`n` Markov chains through time, a row each: where they start (noise), and after 1, 2, 4 ... transitions; `columns` pictures."""

    def __init__(self, n: Count = 10, columns: Steps = 10) -> None:
        self.n, self.columns = n, columns

    def check(self, studio: Studio) -> None:
        super().check(studio)
        if not hasattr(studio.game, "moved"):
            raise UserError("mode=chains shows Markov chains, and this model has none (mode); choose mode=grid")

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        model, strip, done = studio.game, [], 0
        with torch.no_grad():
            x = model.noise(self.n, studio.device)
            for transitions in (times := [0, *(2**i for i in range(self.columns - 1))]):
                x, done = model.moved(x, transitions - done), transitions
                strip.append((model.shown(x) if done else model.images(x[:, : model.size])).float().cpu())
        images = torch.stack(strip, 1).flatten(0, 1)
        out.images(iter([(images, None)]), len(images))
        out.picture("chains", table(images, self.columns))
        return {"transitions": times}


class Denoise(Mode):
    """Rows of `n` images: clean, with noise, and as the model takes the noise away in `steps` transitions, the mean of `draws` chains.

    The noise: each pixel is black or white at random with probability `share`.
    """

    def __init__(self, n: Count = 10, share: Share = 0.2, steps: Count = 2, draws: Count = 10) -> None:
        self.n, self.share, self.steps, self.draws = n, share, steps, draws

    def check(self, studio: Studio) -> None:
        super().check(studio)
        if not hasattr(studio.game, "denoise"):
            raise UserError("this model takes no noise away (mode=denoise); choose mode=grid")

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        (clean, *_), split = held_out(studio, self.n)
        clean = clean.cpu()
        spoilt = torch.where(torch.rand_like(clean) < self.share, torch.rand_like(clean).round() * 2 - 1, clean)
        again = studio.game.denoise(spoilt.to(studio.device), self.steps, self.draws).float().cpu()
        images = torch.cat([clean, spoilt, again])
        out.images(iter([(images, None)]), len(images))
        out.picture("denoise", table(images, len(clean)))
        result = {"split": split, "median_of_noisy": away(clean, spoilt), "median": away(clean, again)}
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

    def check(self, studio: Studio) -> None:
        super().check(studio)
        if not hasattr(studio.game, "reconstruct"):
            raise UserError(f"mode={self.name} needs an encoder, and this model has none (mode); choose mode=grid or mode=nearest")

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        batch, split = held_out(studio, self.n)
        again, labels = studio.game.reconstruct(*batch).cpu(), batch[1].cpu() if len(batch) > 1 else None
        x, count = batch[0].cpu(), len(batch[0])
        out.images(iter([(again, labels)]), count)
        out.picture(self.name, table(torch.cat([x, again]), count))
        result = {"split": split, "median": away(x, again), "median_of_random_noise": away(x, studio.images(studio.noise(count), labels))}
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

    def check(self, studio: Studio) -> None:
        super().check(studio)
        if not hasattr(studio.game, "complete"):
            raise UserError("this model does not complete images (mode); choose a run of one that does, such as model=vae_inpainting")

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        batch, split = held_out(studio, self.n)
        x, count = batch[0], len(batch[0])
        known = self.mask(*x.shape[2:]).to(x.device)
        noise = studio.noise(count * self.times).unflatten(0, (self.times, count)) if studio.prior else [None] * self.times
        found = [studio.game.complete(batch, known, None if z is None else z.to(x.device)).cpu() for z in noise]
        labels = batch[1].cpu() if len(batch) > 1 else None
        out.images(iter([(images, labels) for images in found]), count * self.times)
        shown = [images[: self.shown] for images in (x.cpu(), torch.where(known, x, 0.0).cpu(), *found)]
        out.picture(self.name, table(torch.stack(shown, 1).flatten(0, 1), len(shown)))
        missing = ~known.cpu().expand_as(found[0])
        mean = mean_image(studio.data.load("train").images)
        result = {"rms": rms(x.cpu(), torch.stack(found).mean(0), missing), "rms_of_mean_image": rms(x.cpu(), mean, missing)}
        print(
            f"the missing part of {count} {split} images: the mean of {self.times} completions is {result['rms']:.2f} away, "
            f"the training images' mean {result['rms_of_mean_image']:.2f} (root mean square of pixels in 0..255)"
        )
        return {"split": split, "known": self.known} | result

    def mask(self, height: int, width: int) -> Tensor:
        """(1, 1, H, W), true where a pixel is known."""
        i, j = ((torch.arange(size) + 0.5) / size for size in (height, width))
        return self.parts[self.known](*torch.meshgrid(i, j, indexing="ij")).view(1, 1, height, width)


class Traverse(Mode):
    """A latent variable a row, from -`reach` to `reach` in `steps` images, while the others stay as they are in one draw of noise.

    `latents` are their numbers; where they are not given the `n` whose codes vary most from image to image, if the model has an encoder
    (the active units of Burda et al., 2016: those of the others are the prior's, and nothing moves), else the first n.
    """

    IMAGES = 256  # whose codes are looked at

    def __init__(
        self,
        n: Count = 10,
        latents: Annotated[list[Index], Field(min_length=1)] | None = None,
        steps: Steps = 7,
        reach: Positive = 3.0,
    ) -> None:
        self.n, self.latents, self.steps, self.reach = n, latents, steps, reach

    def check(self, studio: Studio) -> None:
        super().check(studio)
        self.needs_normal_noise(studio)
        size = studio.noise(1)[0].numel()
        if unknown := [i for i in self.latents or [] if i >= size]:
            raise UserError(f"no latent variable {unknown[0]} among {size} (mode.latents); give 0 to {size - 1}")

    def draw(self, studio: Studio, out: Output) -> dict[str, Any]:
        latents = self.latents or self.active(studio)
        z = studio.noise(1).repeat(len(latents) * self.steps, *[1] * (studio.noise(1).ndim - 1))
        rows = torch.arange(len(z))
        z.flatten(1)[rows, torch.tensor(latents).repeat_interleave(self.steps)] = torch.linspace(
            -self.reach, self.reach, self.steps
        ).repeat(len(latents))
        draw_table(studio, out, self.name, z, repeated(studio.labels(1), len(z)), self.steps)
        return {"latents": latents}

    def active(self, studio: Studio) -> list[int]:
        n = min(self.n, studio.noise(1)[0].numel())
        if not hasattr(studio.game, "encode"):
            return list(range(n))
        return studio.game.encode(*held_out(studio, self.IMAGES)[0]).flatten(1).var(0).argsort(descending=True)[:n].tolist()


def held_out(studio: Studio, n: int) -> tuple[tuple[Tensor, ...], str]:
    """The first images that the model was not trained on (of the training split where there are none), with labels if it takes them.

    Of a model that has memories, these: no other image is anything to it.
    """
    from ..doctor import held_out_split

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


def draw_table(studio: Studio, out: Output, name: str, z: Tensor, labels: Tensor | None, columns: int) -> None:
    out.picture(name, table(keep(studio, out, z, labels), columns))


def keep(studio: Studio, out: Output, z: Tensor, labels: Tensor | None) -> Tensor:
    """The images of z, all of them, kept as `save` says."""
    ys = labels.split(BLOCK) if labels is not None else [None] * -(-len(z) // BLOCK)
    batches = ((studio.images(part, y), y) for part, y in zip(z.split(BLOCK), ys, strict=True))
    return out.images(batches, len(z), len(z))


def repeated(labels: Tensor | None, times: int) -> Tensor | None:
    return None if labels is None else labels.repeat_interleave(times)


def table(images: Tensor, columns: int) -> Tensor:
    """(B, C, H, W) in [-1, 1] -> one picture, `columns` to a row."""
    return make_grid(unit(images), nrow=columns)


def lines(rows: list[dict[str, Any]], shown: tuple[str, ...]) -> list[str]:
    """Scores against tau: a head, then a line a row. The scores named `shown`, or all where there are none of those."""
    names = [name for name in rows[0] if name != "tau"]
    wanted = [n for n in names if n.split("/")[-1].split("_")[0] in shown and not n.endswith(("_floor", "_std"))] or names
    heads = [name.split("/")[-1] for name in wanted]
    found = ["    tau  " + "  ".join(heads)]
    for row in rows:
        tau = "  whole" if row["tau"] is None else f"{row['tau']:7g}"
        found.append(tau + "  " + "  ".join(f"{row[name]:>{len(head)}.4g}" for name, head in zip(wanted, heads, strict=True)))
    return found
