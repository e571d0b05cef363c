"""What may be drawn from a finished run's noise, or its chains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from gentrain.commands.sample.data_modes import held_out
from gentrain.commands.sample.latent import linear, octant, slerp, standing_statistics, truncated
from gentrain.commands.sample.mode import Mode, Steps, draw_table, keep, repeated, table
from gentrain.commands.sample.session import BLOCK, SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count, Positive, Whole
from gentrain.data.grids import BINS, ZOOM, density, inked
from gentrain.errors import UserError
from gentrain.quality.base import Metric, measure, metrics_of, start

Tau = Annotated[
    float, Field(ge=0.01, allow_inf_nan=False)
]  # below, hardly a draw in a hundred is inside
Index = Annotated[int, Field(ge=0, lt=100_000)]


class Grid(Mode):
    """`n` images of new noise, of the classes in turn where there are labels; the first `shown` as one picture."""

    points = True

    def __init__(self, n: Count = 64, shown: Count = 100) -> None:
        self.n, self.shown = n, shown

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        first = out.images(studio.stream(self.n), self.n, self.n if studio.points else self.shown)
        out.picture(
            "grid",
            density(first) if studio.points else table(first, math.ceil(math.sqrt(len(first)))),
        )
        return {}


class Density(Mode):
    """p(x) of points in the plane, on a grid over [-1, 1]^2; right of it `n` samples, and as many points of the data.

    The darker, the denser, each picture to its own maximum. `mass` in the record is the part of the density that the picture shows. Of an
    energy it is exp(-E) by its sum over the grid, whose logarithm is `log_z`.
    """

    points = True

    def __init__(self, n: Count = 10_000) -> None:
        self.n = n

    def check(self, studio: SampleSession) -> None:
        if tuple(studio.data.shape) != (2,):
            raise UserError(
                f"mode=density is for points in the plane, and data={studio.data.name} gives others (mode); choose mode=grid"
            )
        if not (
            hasattr(studio.game, "log_prob") or getattr(studio.game, "units", 0) == 2
        ):  # no hidden units beside the two values
            raise UserError(
                "mode=density draws a density, and this model has none (mode); choose mode=grid, or a flow's run, or an ebm's"
            )

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        p, cell, log_z = density_on_grid(studio.game, studio.device)
        samples = out.images(studio.stream(self.n), self.n, self.n)
        panels = [inked(p), density(samples), density(studio.data.load("train").images[: self.n])]
        out.picture("density", torch.cat(panels, 2))
        return {"mass": float(p.sum()) * cell} if log_z is None else {"log_z": log_z}


def density_on_grid(
    model: Any, device: torch.device, side: int = BINS * ZOOM
) -> tuple[Tensor, float, float | None]:
    """p(x) at the middles of side x side squares, (x, y), the area of one, and log Z of these squares where p is that of an energy."""
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    places = [part.to(device) for part in torch.cartesian_prod(line, line).split(side)]
    cell = (2 / side) ** 2
    with torch.no_grad():
        if hasattr(model, "log_prob"):
            return (
                torch.cat([model.log_likelihood((part,), 1).cpu() for part in places])
                .exp()
                .view(side, side),
                cell,
                None,
            )
        log_p = -torch.cat([model.energy(model.values(part)).cpu() for part in places]).double()
    log_z = log_p.logsumexp(0) + math.log(cell)
    return (log_p - log_z).exp().float().view(side, side), cell, log_z.item()


class ClassGrid(Mode):
    """A row for each class, `n` images long; the same noise down each column."""

    def __init__(self, n: Count = 10) -> None:
        self.n = n

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        if studio.classes is None:
            raise UserError(
                "mode=class_grid has a row a class, and this model knows no labels (mode); choose mode=grid"
            )
        self.needs_noise(studio)

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        classes = torch.tensor(studio.classes)
        z, labels = studio.noise(self.n).repeat(len(classes), 1), classes.repeat_interleave(self.n)
        draw_table(studio, out, "class_grid", z, labels, self.n)
        return {}


class Interpolate(Mode):
    """`n` strips, each from one noise vector to another in `steps` images; of one class each where there are labels."""

    paths: ClassVar[dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
        "slerp": slerp,
        "linear": linear,
    }

    def __init__(
        self, n: Count = 8, steps: Steps = 9, path: Literal["slerp", "linear"] = "slerp"
    ) -> None:
        self.n, self.steps, self.path = n, steps, path

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        self.needs_noise(studio)
        if self.path == "slerp":
            self.needs_normal_noise(studio, "give mode.path=linear")

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        ends, t = (
            studio.noise(2 * self.n).unflatten(0, (self.n, 2)),
            torch.linspace(0, 1, self.steps),
        )
        z = torch.cat([self.paths[self.path](z0, z1, t) for z0, z1 in ends])
        draw_table(
            studio, out, "interpolate", z, repeated(studio.labels(self.n), self.steps), self.steps
        )
        return {}


class Sphere(Mode):
    """`n` pictures, each the octant between four noise vectors: `steps` by `steps` images, of one class where there are labels."""

    def __init__(self, n: Count = 1, steps: Steps = 9) -> None:
        self.n, self.steps = n, steps

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        self.needs_normal_noise(studio)

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
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
        self,
        pick: Annotated[
            list[Index | Annotated[list[Index], Field(min_length=1)]],
            Field(min_length=3, max_length=3),
        ],
    ) -> None:
        self.pick = [[one] if isinstance(one, int) else one for one in pick]

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        self.needs_noise(studio)

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        noise = studio.noise(1 + max(i for rows in self.pick for i in rows))
        z1, z2, z3 = (noise[rows].mean(0) for rows in self.pick)
        draw_table(
            studio,
            out,
            "arithmetic",
            torch.stack([z1, z2, z3, z1 - z2 + z3]),
            repeated(studio.labels(1), 4),
            4,
        )
        return {}


class Truncation(Mode):
    """The truncation trick (BigGAN, 2019): noise with |z| > tau is drawn again. Less variety for more fidelity.

    For each of `taus` a picture of `n` images and, with `fid`, the scores of the run's own quality protocol beside those of the whole
    noise. Batch norm takes standing statistics, of `standing` images at that tau; 0 keeps the running ones of training, whose scale the
    truncated activations miss: small taus then give empty images. The whole noise always keeps those of training, so that its scores are
    the run's own. Where batch norm stands directly behind the linear layer of z, as in DCGAN, standing statistics give back the scale
    that truncation took, and little changes.
    """

    SHOWN = (
        "fid",
        "kid",
        "precision",
        "recall",
    )  # of the scores in the table; all are in the record

    def __init__(
        self,
        taus: Annotated[list[Tau], Field(min_length=1)],
        n: Count = 64,
        fid: bool = True,
        standing: Whole = 5000,
    ) -> None:
        self.taus, self.n, self.fid, self.standing = taus, n, fid, standing
        if standing == 1:
            raise UserError(
                "statistics of one image (mode.standing); give 2 or more, or 0 for the running ones of training"
            )

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        self.needs_normal_noise(studio)
        metric = self.metric(studio)
        if self.fid and (metric is None or not metric.from_samples):
            raise UserError(
                "this run has no quality protocol of its fakes, so no FID (mode.fid); give mode.fid=false for the pictures alone"
            )

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        metric, protocol = self.metric(studio) if self.fid else None, {}
        if metric is not None:
            metric.check(studio.data, studio.game)
            protocol = start(metric, studio.data, studio.game, studio.device)
        z, labels, results, drawn = studio.noise(self.n), studio.labels(self.n), [], []
        for tau in [None, *self.taus]:
            name = "whole" if tau is None else f"tau-{tau:g}"
            with (
                standing_statistics(studio.generator, self.forwards(studio, tau))
                if tau and self.standing
                else nullcontext()
            ):
                images = studio.images(z if tau is None else truncated(z, tau), labels)
                out.picture(name, table(images, math.ceil(math.sqrt(self.n))))
                results.append({"tau": tau, **self.score(metric, studio, tau)})
            drawn.append((images, labels))
        out.images(iter(drawn), self.n * len(drawn))
        if metric is not None:
            print("\n".join(lines(results, self.SHOWN)))
        norm = (
            f"standing statistics of {self.standing} images at each tau, running ones of the whole"
            if self.standing
            else "eval"
        )
        truncation = {"truncation": "tau of each row, drawn again", "batch_norm": norm}
        return {"scores": results, "protocol": protocol | truncation}

    def forwards(self, studio: SampleSession, tau: float) -> Iterator[Callable[[], object]]:
        size = min(BLOCK, self.standing)
        for start in range(0, self.standing - self.standing % size, size):
            z = truncated(studio.generator.noise(size, studio.device), tau)
            yield partial(
                studio.game.generate,
                studio.generator,
                studio.batch(size, studio.labels(size, start)),
                z,
            )

    def metric(self, studio: SampleSession) -> Metric | None:
        """The run's own quality metric."""
        return metrics_of(studio.run.config).get("quality")

    def score(
        self, metric: Metric | None, studio: SampleSession, tau: float | None
    ) -> dict[str, float]:
        """The scores of samples whose noise is truncated at tau."""
        if metric is None:
            return {}
        with truncated_samples(studio, tau):
            return measure(metric, studio.data, studio.game, studio.device)


@contextmanager
def truncated_samples(studio: SampleSession, tau: float | None) -> Iterator[None]:
    """Let the model sample with noise that is truncated at tau; None leaves it whole."""
    if tau is None:
        yield
        return
    sample = studio.game.sample

    def sample_truncated(batch: tuple[Tensor, ...], noise: Tensor | None = None) -> Tensor:
        drawn = studio.generator.noise(len(batch[0]), studio.device)
        return sample(batch, truncated(drawn, tau))

    studio.game.sample = sample_truncated
    try:
        yield
    finally:
        del studio.game.sample


class Chains(Mode):
    """`n` Markov chains through time, a row each: where they start (noise), and after 1, 2, 4 ... transitions; `columns` pictures."""

    def __init__(self, n: Count = 10, columns: Steps = 10) -> None:
        self.n, self.columns = n, columns

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        if not hasattr(studio.game, "moved"):
            raise UserError(
                "mode=chains shows Markov chains, and this model has none (mode); choose mode=grid"
            )

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        model, strip, done = studio.game, [], 0
        with torch.no_grad():
            x = model.noise(self.n, studio.device)
            for transitions in (times := [0, *(2**i for i in range(self.columns - 1))]):
                x, done = model.run_chain(x, transitions - done), transitions
                strip.append(
                    (model.shown(x) if done else model.images(x[:, : model.size])).float().cpu()
                )
        images = torch.stack(strip, 1).flatten(0, 1)
        out.images(iter([(images, None)]), len(images))
        out.picture("chains", table(images, self.columns))
        return {"transitions": times}


class Filters(Mode):
    """The weights of the first `n` hidden units to the pixels, an image each: what a unit looks for is white, what it avoids black.

    Each is divided by its largest weight, which the record has.
    """

    def __init__(self, n: Count = 100) -> None:
        self.n = n

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        if not hasattr(studio.game, "filters"):
            raise UserError(
                "mode=filters shows weights to pixels, and this model has no such layer (mode); choose mode=grid, or an rbm's run"
            )

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        weights = studio.game.filters()[: self.n].float().cpu()
        largest = weights.abs().flatten(1).max(1).values
        images = weights / largest.clamp_min(1e-12).view(-1, 1, 1, 1)
        out.images(iter([(images, None)]), len(images))
        out.picture("filters", table(images, math.ceil(math.sqrt(len(images)))))
        return {"largest_weights": largest.tolist()}


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

    def check(self, studio: SampleSession) -> None:
        super().check(studio)
        self.needs_normal_noise(studio)
        size = studio.noise(1)[0].numel()
        if unknown := [i for i in self.latents or [] if i >= size]:
            raise UserError(
                f"no latent variable {unknown[0]} among {size} (mode.latents); give 0 to {size - 1}"
            )

    def draw(self, studio: SampleSession, out: Output) -> dict[str, Any]:
        latents = self.latents or self.active(studio)
        z = studio.noise(1).repeat(len(latents) * self.steps, *[1] * (studio.noise(1).ndim - 1))
        rows = torch.arange(len(z))
        z.flatten(1)[rows, torch.tensor(latents).repeat_interleave(self.steps)] = torch.linspace(
            -self.reach, self.reach, self.steps
        ).repeat(len(latents))
        draw_table(studio, out, self.name, z, repeated(studio.labels(1), len(z)), self.steps)
        return {"latents": latents}

    def active(self, studio: SampleSession) -> list[int]:
        n = min(self.n, studio.noise(1)[0].numel())
        if not hasattr(studio.game, "encode"):
            return list(range(n))
        return (
            studio.game.encode(*held_out(studio, self.IMAGES)[0])
            .flatten(1)
            .var(0)
            .argsort(descending=True)[:n]
            .tolist()
        )


def lines(rows: list[dict[str, Any]], shown: tuple[str, ...]) -> list[str]:
    """Scores against tau: a head, then a line a row. The scores named `shown`, or all where there are none of those."""
    names = [name for name in rows[0] if name != "tau"]
    wanted = [
        n
        for n in names
        if n.split("/")[-1].split("_")[0] in shown and not n.endswith(("_floor", "_std"))
    ] or names
    heads = [name.split("/")[-1] for name in wanted]
    found = ["    tau  " + "  ".join(heads)]
    for row in rows:
        tau = "  whole" if row["tau"] is None else f"{row['tau']:7g}"
        found.append(
            tau
            + "  "
            + "  ".join(
                f"{row[name]:>{len(head)}.4g}" for name, head in zip(wanted, heads, strict=True)
            )
        )
    return found
