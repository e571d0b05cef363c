"""Which pixels the networks of PixelCNN and PixelRNN see."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure
from gentrain.config.types import Count
from gentrain.layers.causal import CausalConv2d
from gentrain.layers.pixel_lstm import DiagonalBiLSTM, RowLSTM
from gentrain.models.autoregressive.networks import Causal
from gentrain.models.autoregressive.pixelcnn import GatedPixelCNN, PixelCNN
from gentrain.models.autoregressive.pixelrnn import PixelRNN


class ReceptiveFields(Demo):
    """The gradient of one pixel's logits tells which pixels they depend on.

    Args:
        side: of the images, in pixels.
        depth: layers of each network; a quarter of them is shown as well.
        seed: of the weights.
    """

    title = "What a masked network sees"
    claim = (
        "Masks make each pixel depend on those before it alone. Layer by layer the field of a "
        "PixelCNN grows, but pixels above on the right stay hidden from it; the gated network has "
        "no such blind spot. A Row LSTM sees a triangle, and a diagonal BiLSTM the whole past."
    )
    formula = r"p(x) = \prod_i p(x_i \,|\, x_1, \dots, x_{i-1})"
    papers = (
        "van den Oord, Kalchbrenner & Kavukcuoglu, Pixel Recurrent Neural Networks, 2016",
        "van den Oord et al., Conditional Image Generation with PixelCNN Decoders, 2016",
    )
    code: ClassVar = (CausalConv2d, PixelCNN, GatedPixelCNN, RowLSTM, DiagonalBiLSTM)
    notes = (
        "The cross is the pixel that is predicted; coloured pixels change its logits. All that "
        "comes before it in reading order is its past."
    )
    exercise = (
        "How many layers does the gated network need to see the whole past of a 28 x 28 image?"
    )
    tiny: ClassVar = {"side": 9, "depth": 2}

    def __init__(self, side: Count = 15, depth: Count = 8, seed: int = 0) -> None:
        self.side, self.depth, self.seed = side, depth, seed

    def show(self, place: Path) -> Shown:
        shape, few = [1, self.side, self.side], max(1, self.depth // 4)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            networks: dict[str, Causal] = {
                f"PixelCNN, {few} layers": PixelCNN(shape, 2, width=8, depth=few),
                f"PixelCNN, {self.depth} layers": PixelCNN(shape, 2, width=8, depth=self.depth),
                f"gated, {self.depth} layers": GatedPixelCNN(
                    shape, 2, width=8, depth=self.depth, kernel=3
                ),
                "Row LSTM, 1 layer": PixelRNN(shape, 2, partial(RowLSTM), width=8, depth=1),
                "diagonal BiLSTM, 1 layer": PixelRNN(
                    shape, 2, partial(DiagonalBiLSTM), width=8, depth=1
                ),
            }
            fields = {name: field_of(network, self.side) for name, network in networks.items()}
        return self.shown(fields)

    def shown(self, fields: dict[str, Tensor]) -> Shown:
        """A panel for each network, and how many pixels of the past and the future it sees."""
        middle = self.side // 2
        number = torch.arange(self.side**2).view(self.side, self.side)
        past = number < number[middle, middle]
        made, axes = figure(self.title, columns=len(fields), size=2.4)
        rows: list[Row] = []
        for panel, (name, field) in zip(axes.flat, fields.items(), strict=True):
            panel.imshow((field + 0.25 * (past & ~field)).numpy(), cmap="cividis", vmin=0, vmax=1)
            panel.plot(middle, middle, "x", color="white")
            panel.set(title=name, xticks=[], yticks=[])
            rows.append(
                {
                    "network": name,
                    "of the past": int((field & past).sum()),
                    "hidden": int((past & ~field).sum()),
                    "of the future": int((field & ~past).sum()),
                }
            )
        seen = {row["network"].split(",")[0]: row for row in rows}
        findings = [
            Finding(
                "no network sees the pixel itself or one after it",
                all(row["of the future"] == 0 for row in rows),
            ),
            Finding(
                f"deeper networks see more: {rows[0]['of the past']}, then "
                f"{rows[1]['of the past']} pixels",
                rows[0]["of the past"] < rows[1]["of the past"],
            ),
            Finding(
                f"{seen['PixelCNN']['hidden']} pixels of the past are hidden from the PixelCNN, "
                f"and {seen['gated']['hidden']} from the gated network",
                seen["PixelCNN"]["hidden"] > 0 and seen["gated"]["hidden"] == 0,
            ),
            Finding(
                f"a Row LSTM does not see {seen['Row LSTM']['hidden']} pixels outside its "
                "triangle, and the diagonal BiLSTM sees all of the past",
                seen["Row LSTM"]["hidden"] > 0 and seen["diagonal BiLSTM"]["hidden"] == 0,
            ),
        ]
        return Shown(made, rows, findings)


def field_of(network: Causal, side: int) -> Tensor:
    """Which pixels change the logits in the middle, (side, side) bool."""
    seen = torch.zeros(side, side, dtype=torch.bool)
    for _ in range(3):  # a ReLU may hide a pixel of one image
        x = torch.rand(4, 1, side, side, requires_grad=True)
        logits = network(x * 2 - 1)[..., side // 2, side // 2]
        (slope,) = torch.autograd.grad(logits[:, 1].sum(), x)
        seen |= (slope != 0).any(0)[0]
    return seen
