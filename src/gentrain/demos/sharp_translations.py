"""Translations whose texture is a matter of chance, by L1 alone and by critics of patches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import js
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import digits, fit, play
from gentrain.config.types import Count, Positive
from gentrain.models.base import Batch
from gentrain.models.content_loss import l1
from gentrain.models.gan.pix2pix import Pix2Pix
from gentrain.models.regression import Regression
from gentrain.networks import patchgan, unet
from gentrain.networks.base import Backbone

SIDE = 48
SHAPE = [1, SIDE, SIDE]
PERIOD = 4  # pixels from stripe to stripe
LEVEL, AMPLITUDE = 0.4, 0.4  # of stripes around their mean, which is -LEVEL outside of a digit
ENDS = ("least", "most")
DRAWN = 2  # images of a kind in the figure
LABELS = {
    "sharpness": "gradient, of the real one's",
    "values off": "distance of the values",
    "shape": "overlap with the real shape",
}


class Kind(NamedTuple):
    """A translation: with skips or without, and the depth of its critic, None for L1 alone."""

    name: str
    skips: bool
    depth: int | None


KINDS = (
    Kind("L1 alone", True, None),
    Kind("patches of 1", True, 0),
    Kind("patches of 16", True, 1),
    Kind("patches of 34", True, 2),
    Kind("the whole image", True, 3),
    Kind("L1 alone, no skips", False, None),
    Kind("patches of 16, no skips", False, 1),
)


class SharpTranslations(Demo):
    """Shapes of digits become stripes: upright inside, level outside, in a random place.

    Args:
        steps: updates of a translator.
        width: channels of the first layer of both players.
        batch_size: pairs of an update.
        rate: learning rate of both players.
        weight: of L1 beside a critic.
        images: that are translated for the scores.
        seeds: runs of each kind.
        seed: of the first.
    """

    title = "L1 blurs, and a critic sharpens"
    claim = (
        "Where a source has several possible images, L1 alone asks for their median, which is "
        "blurred. A critic of patches asks for one of them, and the result is sharp; a critic of "
        "single pixels mends the values alone, and one of the whole image does no better than one "
        "of patches. Without the skips of a U-Net the shapes of the source are lost."
    )
    formula = (
        r"\min_G \max_D \; \mathbb{E} \log D(x, y) + \mathbb{E} \log (1 - D(x, G(x))) "
        r"+ \lambda \, \mathbb{E} \|y - G(x)\|_1"
    )
    papers = (
        "Isola, Zhu, Zhou & Efros, Image-to-Image Translation with Conditional Adversarial "
        "Networks, 2017, figures 4 to 6",
    )
    code: ClassVar = (Pix2Pix, Regression, unet.Translator, patchgan.Critic, l1)
    notes = (
        f"Images have {SIDE} pixels, where the paper's have 256: a patch of 16 is a third of the "
        "side, one of 34 two thirds, and one of 70 sees all. The stripes begin anywhere, which "
        "the source does not tell. Sharpness is the mean length of the gradient, as a share of "
        "that of real images. Values are off by the Wasserstein distance between all pixels' "
        "values, wherever they are. The shape is right where pixels that are bright on the mean "
        f"of {PERIOD} x {PERIOD} overlap with the real ones (intersection over union). The weight "
        "of L1 is 10, not the paper's 100: what is left to chance is all of the image here. Bars "
        "span the seeds; pictures are those of the first."
    )
    exercise = (
        "Give L1 the paper's weight, demo.weight=100. Which of the four critics still sharpens?"
    )
    tiny: ClassVar = {"steps": 1, "width": 2, "batch_size": 2, "seeds": 1, "images": 4}

    def __init__(
        self,
        steps: Count = 150,
        width: Count = 16,
        batch_size: Count = 4,
        rate: Positive = 1e-3,
        weight: Positive = 10.0,
        images: Count = 100,
        seeds: Count = 3,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.batch_size, self.rate = steps, width, batch_size, rate
        self.weight, self.images, self.seeds, self.seed = weight, images, seeds, seed

    def show(self, place: Path) -> Shown:
        source = shapes("test")[: self.images]
        with seeded(self.seed):
            real = striped(source)
        drawn, scores = {"source": source[:DRAWN], "real": real[:DRAWN]}, dict[str, Tensor]()
        for kind in KINDS:
            runs = [self.translated(kind, source, self.seed + k) for k in range(self.seeds)]
            drawn[kind.name] = runs[0][:DRAWN]
            scores[kind.name] = torch.tensor([[*measured(y, real).values()] for y in runs])
        names = [*measured(real, real)]
        rows = [row(kind, names, each) for kind, each in scores.items()]
        made, axes = figure(self.title, rows=2, columns=3, size=3.2)
        for axis in axes[0]:
            axis.remove()
        draw_pictures(made.add_subplot(axes[0, 0].get_gridspec()[0, :]), drawn)
        for axis, name in zip(axes[1], LABELS, strict=True):
            draw_bars(axis, rows, name)
        axes[1, 0].set(ylabel="critic", yticks=range(len(KINDS)), yticklabels=[*scores])
        return Shown(made, rows, findings(rows, self.seeds))

    def translated(self, kind: Kind, source: Tensor, seed: int) -> Tensor:
        """Train once, and translate sources (N, *SHAPE)."""
        options: dict[str, Any] = {"shape": SHAPE, "source_shape": SHAPE, "width": self.width}
        network: Backbone[Any] = Backbone(unet.Translator, depth=4, skips=kind.skips, **options)
        with seeded(seed):
            data = pairs(self.batch_size)
            if kind.depth is None:
                alone = Regression(network(), l1)
                fit(alone, data, self.steps, self.rate)
                return alone.translate(source)
            model = Pix2Pix(
                network,
                Backbone(patchgan.Critic, depth=kind.depth, **options),
                AdversarialCriterion(js(), Unconstrained()),
                content=l1,
                content_weight=self.weight,
                critic_weight=0.5,
            )
            play(model, data, self.steps, self.rate)
            return model.translate(source)


@cache
def shapes(split: str) -> Tensor:
    """Shapes of digits (N, *SHAPE): 1 inside, -1 outside."""
    return (digits(SIDE, split)[0] > 0).float() * 2 - 1


def pairs(size: int) -> Iterator[Batch]:
    """Endless batches of images and their sources, with new stripes at each time."""
    source = shapes("train")
    while True:
        x = source[torch.randint(len(source), (size,))]
        yield striped(x), x


def striped(source: Tensor) -> Tensor:
    """Images of shapes (N, *SHAPE), whose stripes begin anywhere."""
    angle = torch.arange(SIDE) * 2 * math.pi / PERIOD
    start = 2 * math.pi * torch.rand(2, len(source), 1, 1, 1)
    level = AMPLITUDE * (angle[:, None] + start[0]).sin() - LEVEL
    upright = AMPLITUDE * (angle + start[1]).sin() + LEVEL
    return torch.where(source > 0, upright, level)


def measured(made: Tensor, real: Tensor) -> dict[str, float]:
    """How near images are to real ones of the same sources."""
    seen, wanted = (avg_pool2d(x, PERIOD, 1) > 0 for x in (made, real))
    overlap = (seen & wanted).sum((1, 2, 3)) / (seen | wanted).sum((1, 2, 3)).clamp(min=1)
    values = (x.flatten().sort().values for x in (made, real))
    return {
        "L1": l1(made, real).item(),
        "sharpness": steepness(made) / steepness(real),
        "values off": l1(*values).item(),
        "shape": overlap.mean().item(),
    }


def steepness(x: Tensor) -> float:
    """The mean length of the gradient of images (N, 1, H, W), by differences of neighbours."""
    down, right = x.diff(dim=2)[..., :-1], x.diff(dim=3)[..., :-1, :]
    return (down.square() + right.square()).sqrt().mean().item()


def row(kind: str, names: list[str], scores: Tensor) -> Row:
    """Means of scores (seeds, names), and the least and the most where a finding reads them."""
    of = dict(zip(names, scores.T, strict=True))
    spread = {
        f"{name}, {word}": value.item()
        for name in ("sharpness", "values off", "shape")
        for word, value in zip(ENDS, of[name].aminmax(), strict=True)
    }
    return {"critic": kind} | {name: each.mean().item() for name, each in of.items()} | spread


def draw_pictures(axes: Any, drawn: dict[str, Tensor]) -> None:
    """A column of images for each kind."""
    framed = [nn.functional.pad(x[:, 0], (1, 1, 1, 1), value=1.0) for x in drawn.values()]
    table = torch.cat([torch.cat([*each]) for each in framed], 1)
    axes.imshow(table.numpy(), cmap="gray", vmin=-1, vmax=1)
    ticks = [(SIDE + 2) * (k + 0.5) for k in range(len(drawn))]
    names = [name.replace(", ", ",\n") for name in drawn]
    axes.set(yticks=[], xticks=ticks, xticklabels=names, title="translations")
    axes.set(xlabel="critic", ylabel="images")


def draw_bars(axes: Any, rows: list[Row], name: str) -> None:
    """A bar for each kind, and the span of its seeds."""
    values = torch.tensor(
        [[row[name], row[f"{name}, least"], row[f"{name}, most"]] for row in rows]
    )
    mean, least, most = values.T
    spans = torch.stack([mean - least, most - mean]).numpy()
    axes.barh([row["critic"] for row in rows], mean.tolist(), xerr=spans, capsize=3)
    axes.invert_yaxis()
    if name != "values off":
        axes.axvline(1, color="grey", linestyle="--")
    axes.set(xlabel=LABELS[name], title=name, ylabel="critic", yticks=[])


def findings(rows: list[Row], seeds: int) -> list[Finding]:
    """What each critic does to sharpness, values and shapes."""
    alone, single, patch, larger, whole, alone_bare, patch_bare = rows
    beside = [single, patch, larger, whole]
    return [
        Finding(
            f"L1 alone is the nearest by L1, {alone['L1']:.3f} against at least "
            f"{min(each['L1'] for each in beside):.3f} with a critic, and "
            f"{alone['sharpness']:.0%} as sharp as real images (at most "
            f"{alone['sharpness, most']:.0%} over {seeds} seeds)",
            alone["L1"] < min(each["L1"] for each in beside) and alone["sharpness, most"] < 0.5,
        ),
        Finding(
            f"with patches of 16 the images are {patch['sharpness']:.0%} as sharp "
            f"({spanned(patch, 'sharpness')}), with patches of 34 {larger['sharpness']:.0%} "
            f"({spanned(larger, 'sharpness')})",
            all(0.7 < each[f"sharpness, {end}"] < 1.4 for each in (patch, larger) for end in ENDS),
        ),
        Finding(
            f"single pixels mend the values, which are {single['values off']:.3f} off against "
            f"{alone['values off']:.3f} of L1 alone, and less of the sharpness: "
            f"{single['sharpness']:.0%} ({spanned(single, 'sharpness')})",
            single["values off, most"] < alone["values off, least"]
            and single["sharpness, most"] < patch["sharpness, least"],
        ),
        Finding(
            f"a critic of the whole image is no better than patches of 16: shapes overlap by "
            f"{whole['shape']:.0%} ({spanned(whole, 'shape')}) against {patch['shape']:.0%} "
            f"({spanned(patch, 'shape')})",
            whole["shape"] < patch["shape, most"],
        ),
        Finding(
            f"without skips shapes overlap by {alone_bare['shape']:.0%} with L1 alone and by "
            f"{patch_bare['shape']:.0%} with patches of 16, with skips by {alone['shape']:.0%} and "
            f"{patch['shape']:.0%}",
            alone_bare["shape, most"] < alone["shape, least"]
            and patch_bare["shape, most"] < patch["shape, least"],
        ),
    ]


def spanned(row: Row, name: str) -> str:
    """The least and the most of the seeds."""
    return f"{row[f'{name}, least']:.0%} to {row[f'{name}, most']:.0%}"
