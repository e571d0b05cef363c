"""Translations between two domains without pairs, with the cycle and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import ls
from gentrain.adversarial.tricks import Replay
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, colour, figure, seeded
from gentrain.commands.demo.training import play
from gentrain.config.types import Count, Positive
from gentrain.data.arrays import to_float
from gentrain.data.coloured_digits import DigitDomains
from gentrain.models.base import Batch
from gentrain.models.gan.cyclegan import CycleGAN
from gentrain.networks import patchgan, translator, unet
from gentrain.networks.base import Backbone
from gentrain.quality.classifier import Classifier
from gentrain.quality.translation import RoundTrip

SIDE = 16
SHAPE = [3, SIDE, SIDE]
CPU = torch.device("cpu")
DRAWN = 6  # digits in the figure
CYCLES = {"with the cycle": 10.0, "without": 0.0}
SHAPES: Mapping[str, Any] = {"shape": SHAPE, "source_shape": SHAPE}
NETWORKS: Mapping[str, Backbone[Any]] = {
    "residual": Backbone(translator.Translator, width=8, downs=1, blocks=2, **SHAPES),
    "narrow": Backbone(unet.Translator, width=24, depth=2, skips=False, dropout=0.0, **SHAPES),
}
SCORES = {
    "domain_accuracy": "looks like the target",
    "class_there": "digit kept in the translation",
    "class_kept": "digit kept after the way back",
}


class ForgottenContent(Demo):
    """White digits on black become black digits on white, and the other way round.

    Args:
        steps: updates of a model.
        width: channels of the first layer of both critics.
        batch_size: images of each domain in an update.
        rate: learning rate of both players.
        updates: of the classifier that names digits.
        seeds: runs of each kind.
        seed: of the first.
    """

    title = "What the cycle keeps"
    claim = (
        "A critic of each domain asks that translations look like the domain, not that they show "
        "what their source shows. Without the cycle a translation takes on the style and forgets "
        "the content; with the cycle it keeps both."
    )
    formula = (
        r"\mathcal{L}(G, D_B) + \mathcal{L}(F, D_A) + \lambda \, \big( "
        r"\mathbb{E} \|F(G(a)) - a\|_1 + \mathbb{E} \|G(F(b)) - b\|_1 \big), \qquad "
        r"\lambda = 10 \text{ or } 0"
    )
    papers = (
        "Zhu, Park, Isola & Efros, Unpaired Image-to-Image Translation using Cycle-Consistent "
        "Adversarial Networks, 2017",
    )
    code: ClassVar = (CycleGAN, DigitDomains, translator.Translator, unet.Translator, RoundTrip)
    notes = (
        f"Images have {SIDE} pixels, and no digit is in both domains. The style is read by a rule, "
        "the digit by a classifier. The residual translator is the paper's, with two blocks: what "
        "a place becomes depends on its surroundings alone, so a part of the content stays of "
        "itself. The narrow one is a U-Net of two halvings without skips. There is no identity "
        "loss, which would keep content as well. Chance is right for a tenth of the digits. Bars "
        "span the seeds; pictures are those of the first."
    )
    exercise = (
        "Give the narrow translator a third halving (NETWORKS). Its cycle no longer keeps the "
        "digits in so few updates. Look at what it makes of them: what do translations of all "
        "digits have in common, and which loss does not mind?"
    )
    tiny: ClassVar = {"steps": 1, "width": 2, "batch_size": 2, "updates": 1, "seeds": 1}

    def __init__(
        self,
        steps: Count = 200,
        width: Count = 16,
        batch_size: Count = 8,
        rate: Positive = 1e-3,
        updates: Count = 500,
        seeds: Count = 3,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.batch_size, self.rate = steps, width, batch_size, rate
        self.updates, self.seeds, self.seed = updates, seeds, seed
        self.data = DigitDomains(
            name="digit_domains",
            shape=tuple(SHAPE),
            source_shape=tuple(SHAPE),
            size=SIDE,
            digits="mnist_5k",
            target="inverted",
            validation=0.0,
        )

    def show(self, place: Path) -> Shown:
        scores = RoundTrip(Classifier(updates=self.updates), cache=str(place))
        sources = self.data.load("test").sources
        assert sources is not None
        source, rows = to_float(sources[:DRAWN]), list[Row]()
        drawn = {"source": source}
        for name, network in NETWORKS.items():
            for cycle, weight in CYCLES.items():
                found = []
                for k in range(self.seeds):
                    model = self.trained(network, weight, self.seed + k)
                    scores.prepare(self.data, model, CPU)
                    found.append(scores.compute(self.data, model, CPU))
                    drawn.setdefault(f"{name}, {cycle}", model.translate(source))
                rows.append({"translator": name, "cycle": cycle} | summary(found))
        made, axes = figure(self.title, rows=2, columns=2, size=3.4)
        draw_pictures(axes[0, 0], drawn)
        for axis, score in zip(axes.flat[1:], SCORES, strict=True):
            draw_bars(axis, rows, score)
        handles = axes[0, 1].get_legend_handles_labels()
        made.legend(*handles, loc="outside lower center", ncols=2)
        return Shown(made, rows, findings(rows))

    def trained(self, network: Backbone[Any], cycle: float, seed: int) -> CycleGAN:
        """Train once."""
        with seeded(seed):
            model = CycleGAN(
                network,
                Backbone(patchgan.Critic, width=self.width, depth=1, **SHAPES),
                AdversarialCriterion(ls(), Unconstrained(), {"replay": Replay()}),
                cycle=cycle,
                identity=0.0,
            )
            play(model, self.batches(), self.steps, self.rate)
        return model

    def batches(self) -> Iterator[Batch]:
        """Endless batches of images of the target and of the source, of which no two are a pair."""
        digits = self.data.load("train")
        assert digits.sources is not None
        target, source = to_float(digits.images), to_float(digits.sources)
        while True:
            yield tuple(x[torch.randint(len(x), (self.batch_size,))] for x in (target, source))


def summary(found: list[dict[str, float]]) -> dict[str, float]:
    """Means over the seeds, and the least and the most."""
    row: dict[str, float] = {}
    for score in SCORES:
        values = torch.tensor([each[score] for each in found])
        row |= {score: values.mean().item(), f"{score}, least": values.min().item()}
        row |= {f"{score}, most": values.max().item()}
    return row


def draw_pictures(axes: Any, drawn: dict[str, Tensor]) -> None:
    """A row of digits for each kind."""
    framed = [nn.functional.pad(x, (1, 1, 1, 1), value=0.0) for x in drawn.values()]
    table = torch.cat([torch.cat([*each], 2) for each in framed], 1)
    axes.imshow((table.permute(1, 2, 0).numpy() + 1) / 2)
    ticks = [(SIDE + 2) * (k + 0.5) for k in range(len(drawn))]
    names = [name.replace(", ", ",\n") for name in drawn]
    axes.set(xticks=[], yticks=ticks, yticklabels=names, title="translations")
    axes.set(xlabel="digits", ylabel="translator")


def draw_bars(axes: Any, rows: list[Row], score: str) -> None:
    """A bar for each translator and cycle, and the span of its seeds."""
    for number, cycle in enumerate(CYCLES):
        some = [row for row in rows if row["cycle"] == cycle]
        mean, least, most = (
            torch.tensor([row[f"{score}{end}"] for row in some])
            for end in ("", ", least", ", most")
        )
        places = [k + 0.4 * number for k in range(len(some))]
        ink = colour(number)
        spans = torch.stack([mean - least, most - mean]).numpy()
        axes.bar(places, mean.tolist(), 0.38, yerr=spans, capsize=3, color=ink, label=cycle)
    axes.set(xticks=[k + 0.2 for k in range(len(NETWORKS))], xticklabels=[*NETWORKS])
    axes.set(xlabel="translator", ylabel="share of images", ylim=(0, 1.05), title=SCORES[score])
    if score != "domain_accuracy":
        axes.axhline(0.1, color="grey", linestyle="--")


def findings(rows: list[Row]) -> list[Finding]:
    """Whether style and content are there, with the cycle and without."""
    found = [
        Finding(
            "translations look like the target, with the cycle and without: at least "
            f"{min(row['domain_accuracy, least'] for row in rows):.0%} in every run",
            min(row["domain_accuracy, least"] for row in rows) > 0.95,
        )
    ]
    for kept, lost in zip(rows[::2], rows[1::2], strict=True):
        for score, where in (
            ("class_there", "in the translation"),
            ("class_kept", "on the way back"),
        ):
            found.append(
                Finding(
                    f"the {kept['translator']} translator keeps {kept[score]:.0%} of the digits "
                    f"{where} with the cycle ({spanned(kept, score)}), and {lost[score]:.0%} "
                    f"without ({spanned(lost, score)})",
                    kept[f"{score}, least"] > lost[f"{score}, most"],
                )
            )
    return found


def spanned(row: Row, score: str) -> str:
    """The least and the most of the seeds."""
    return f"{row[f'{score}, least']:.0%} to {row[f'{score}, most']:.0%}"
