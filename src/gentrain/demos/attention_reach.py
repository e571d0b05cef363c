"""A critic that must compare two far corners, with and without self-attention."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from gentrain.adversarial.losses import js
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.config.types import Count
from gentrain.data.coloured_digits import COLOURS
from gentrain.layers.attention import SelfAttention
from gentrain.networks.base import Critic

DEPTH = 2  # convolutions: a place sees 5 x 5 pixels
COLOUR = torch.tensor([COLOURS["blue"], COLOURS["yellow"]]) * 2.0 - 1  # in [-1, 1]
# A sum of one function of each corner that accepts both pairs of equal colours accepts a mixed one.
CEILING = 0.75


class Features(nn.Module):
    """Convolutions of 3 x 3, attention or not, one of 1 x 1, and the sum over places.

    Args:
        width: channels.
        attention: self-attention after them.
    """

    def __init__(self, width: int, attention: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(DEPTH):
            layers += [nn.Conv2d(width if number else 3, width, 3, padding=1), nn.ReLU()]
        layers += [SelfAttention(width)] if attention else []
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 4 * width, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 4 width)."""
        return self.layers(x).mean((2, 3))


class AttentionReach(Demo):
    """Real images have one colour in both corners, fakes have two, and all else is noise.

    Args:
        steps: updates of each critic.
        width: channels.
        side: of the images, in pixels.
        seeds: critics of each kind.
        seed: of the first.
    """

    title = "What far corners have in common"
    claim = (
        "A critic of few convolutions whose features are summed sees each corner, but cannot "
        "compare them, since no receptive field holds both. One layer of self-attention lets it."
    )
    formula = (
        r"x_j \leftarrow x_j + \gamma \, W_o \sum_i \beta_{ji} W_v x_i, \qquad "
        r"\beta_{ji} = \operatorname{softmax}_i \, (W_k x_i)^\top (W_q x_j)"
    )
    papers = (
        "Zhang, Goodfellow, Metaxas & Odena, Self-Attention Generative Adversarial Networks, 2019",
    )
    code: ClassVar = (SelfAttention, Critic, js)
    notes = (
        f"Two colours, equal ones in half of the images. A sum of a function of one corner and one "
        f"of the other is never right more often than {CEILING:.0%}: accepting both pairs of equal "
        "colours, it accepts a mixed pair as well. Bands span the seeds."
    )
    exercise = "How many convolutions of 3 x 3 does the task need without attention? Count first."
    tiny: ClassVar = {"steps": 2, "width": 8, "side": 8, "seeds": 1}

    def __init__(
        self,
        steps: Count = 300,
        width: Count = 16,
        side: Count = 8,
        seeds: Count = 3,
        seed: int = 0,
    ) -> None:
        self.steps, self.width, self.side, self.seeds = steps, width, side, seeds
        self.seed = seed

    def show(self, place: Path) -> Shown:
        kinds = {f"{DEPTH} convolutions": False, f"{DEPTH} and attention": True}
        rows: list[Row] = []
        made, axes = figure(self.title, columns=2)
        for name, attention in kinds.items():
            runs = [self.trained(attention, self.seed + k) for k in range(self.seeds)]
            curves = torch.tensor([[share for _, share in run] for run in runs])
            steps, last = [step for step, _ in runs[0]], curves[:, -1]
            axes[0, 1].plot(steps, curves.mean(0), label=name)
            axes[0, 1].fill_between(
                steps, curves.amin(0).numpy(), curves.amax(0).numpy(), alpha=0.3
            )
            rows.append(
                {
                    "critic": name,
                    "right": last.mean().item(),
                    "least": last.min().item(),
                    "most": last.max().item(),
                }
            )
        axes[0, 1].axhline(CEILING, color="grey", linestyle="--", label="most of any sum")
        axes[0, 1].set(xlabel="updates", ylabel="new images told apart", ylim=(0, 1.05))
        axes[0, 1].set(title="equal or not?")
        axes[0, 1].legend(fontsize="small", loc="lower right")
        with seeded(self.seed):
            pictures = torch.cat([images(4, self.side, equal) for equal in (True, False)])
        table = nn.functional.pad(pictures, (1, 1, 1, 1), value=1.0).unflatten(0, (2, 4))
        picture = torch.cat([torch.cat([*row], 2) for row in table], 1)
        axes[0, 0].imshow(((picture.permute(1, 2, 0) + 1) / 2).numpy())
        axes[0, 0].set(xticks=[], yticks=[], title="equal corners above, others below")
        axes[0, 0].set(xlabel="images", ylabel="")
        return Shown(made, rows, findings(rows))

    def trained(self, attention: bool, seed: int) -> list[tuple[int, float]]:
        """The share of new images that a critic tells apart, on its way."""
        loss = js()
        looks = []
        with seeded(seed):
            body = Features(self.width, attention)
            critic = Critic(body, 4 * self.width)
            optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
            decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
            for step in range(1, self.steps + 1):
                real, fake = (images(64, self.side, equal) for equal in (True, False))
                optimizer.zero_grad()
                loss.critic(critic(real), critic(fake)).backward()
                optimizer.step()
                decay.step()
                if step % max(1, self.steps // 10) == 0:
                    looks.append((step, self.right(critic)))
        return looks

    @torch.no_grad()
    def right(self, critic: Critic) -> float:
        """The share of 500 new images that a critic tells apart."""
        real, fake = (critic(images(250, self.side, equal)) for equal in (True, False))
        return ((real > 0).float().mean() + (fake < 0).float().mean()).item() / 2


def images(n: int, side: int, equal: bool) -> Tensor:
    """Noise (n, 3, side, side) with a colour in the first and in the last corner, 2 x 2 pixels."""
    x = 0.1 * torch.randn(n, 3, side, side)
    first = torch.randint(2, (n,))
    second = first if equal else 1 - first
    x[:, :, :2, :2] = COLOUR[first][:, :, None, None]
    x[:, :, -2:, -2:] = COLOUR[second][:, :, None, None]
    return x


def findings(rows: list[Row]) -> list[Finding]:
    """Who can tell equal corners from others."""
    few, attending = rows
    return [
        Finding(
            f"{few['critic']} are right for {few['right']:.1%} of new images (seeds "
            f"{few['least']:.1%} to {few['most']:.1%}), no more than {CEILING:.0%}",
            few["most"] < CEILING + 0.03,
        ),
        Finding(
            f"with attention {attending['right']:.1%} (seeds {attending['least']:.1%} to "
            f"{attending['most']:.1%})",
            attending["least"] > CEILING + 0.05,
        ),
    ]
