"""How probable an energy of two numbers finds points that it was not trained on.

Z = integral of exp(-E(x)) is a sum over a grid there, by the midpoint rule.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gentrain.capability import supports
from gentrain.config.types import Count, Positive, Share, Whole
from gentrain.data.arrays import Frame
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.base import HasEnergy, HasTrace, eval_mode
from gentrain.quality.base import HELD_OUT, HeldOutMetric, Score
from gentrain.quality.likelihood import held_out_protocol, mean_and_error


class OnGrid(NamedTuple):
    """exp(-E) at the middles of side x side squares that fill a box."""

    log_p: Tensor  # (side, side) log p by x and y, in float64
    log_z: float
    cell: float  # area of a square
    border: float  # share of the mass in the outermost squares


def on_grid(
    model: Any,
    device: torch.device,
    side: int,
    low: float = -1.0,
    high: float = 1.0,
    frame: Frame | None = None,
) -> OnGrid:
    """Normalise exp(-E) over [low, high]^2, with side x side squares.

    log Z = log sum_ij exp(-E(x_i, y_j)) + 2 log((high - low) / side)

    With a frame, the square is one of its places, and lengths are those of its points.
    """
    line = low + (torch.arange(side) + 0.5) * (high - low) / side
    frame = frame or Frame(torch.zeros(2), torch.ones(2))
    places = frame.places(torch.cartesian_prod(line, line)).split(4096)
    with torch.no_grad():
        energies = [model.energy(part.to(device)).cpu().double() for part in places]
    log_p = -torch.cat(energies).view(side, side)
    cell = ((high - low) / side) ** 2 * frame.half.prod().item()
    log_z = log_p.flatten().logsumexp(0) + math.log(cell)
    log_p = log_p - log_z
    inner = log_p[1:-1, 1:-1].flatten().logsumexp(0).exp().item() * cell
    return OnGrid(log_p, log_z.item(), cell, max(0.0, 1 - inner))


class PlaneLikelihood(HeldOutMetric):
    """The mean of E(x) + log Z over held-out points in the plane, in nats; log Z by quadrature.

    The box is that of the sampler, where it has one, and otherwise [-box, box]^2. There the mass in
    the outermost squares says whether the box holds all of it: where it is more than
    `most_at_border`, neither log Z nor the nats are given.

    Args:
        every: generator steps between two scores.
        images: how many points of the split; null for all. They are the same every time.
        box: half the side of the square.
        side: squares on a side.
        most_at_border: the share of the mass that counts as none.
        seed: seed for the choice of points.
        at_start: score an untrained model, too.
        split: "held_out" or "train"; see `HeldOutMetric`.
    """

    key = "quality=plane"
    requires = HasEnergy
    options: ClassVar = {"n": "count", "split": "split", "seed": "seed"}
    scores: ClassVar = {
        "nats": Score("nats per image", error="nats_error"),
        "nats_error": Score("nats per image", None),
        "log_z": Score("nats", None),
        "log_z_border": Score("share of the mass", None),
    }

    def __init__(
        self,
        every: Whole = 1000,
        images: Count | None = None,
        box: Positive = 1.5,
        side: Annotated[int, Field(ge=8, le=4096)] = 512,
        most_at_border: Share = 1e-3,
        seed: Whole = 0,
        at_start: bool = False,
        split: str = HELD_OUT,
    ) -> None:
        super().__init__(every, images, 4096, seed, at_start, split)
        self.box, self.side, self.most_at_border = box, side, most_at_border

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether a model is an energy of two numbers."""
        return supports(model, HasEnergy) and model.energy_units == 2

    def check(self, data: Data, model: Any) -> None:
        super().check(data, model)
        if not self.fits(model):
            others = self.alternatives(data, model)
            if not others:
                others = ["quality=chains" if supports(model, HasTrace) else "quality=none"]
            raise UserError(
                f"a grid is for an energy of two numbers, and this one is of {model.energy_units} "
                f"({self.key}); choose {' or '.join(others)}, or an energy in the plane "
                "(experiment=plane)"
            )

    def ends(self, model: Any) -> tuple[float, float]:
        """The ends of the box."""
        return model.box or (-self.box, self.box)

    def protocol(self, data: Data, model: Any) -> dict[str, Any]:
        low, high = self.ends(model)
        box = f"[{low:g}, {high:g}]^2"
        return {
            "likelihood": f"-E(x) - log Z, log Z by {self.side} x {self.side} squares of {box}",
            "pixels": model.pixels.name,
            "unit": "nats a point, of a density",
            "box": [low, high],
            "side": self.side,
        } | held_out_protocol(self, data)

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        with eval_mode(model):
            grid = on_grid(model, device, self.side, *self.ends(model))
            scores = {"log_z_border": grid.border}
            if model.box is None and grid.border > self.most_at_border:
                self.leave_out(
                    ("nats", "log_z"),
                    f"since {grid.border:.2g} of the mass is at the border of the box; give a "
                    "larger one, quality=plane quality.box=SIDE (quality.box)",
                )
                return scores
            points = [model.values(batch[0]) for batch in self.batches(data, device)]
            energies = torch.cat([model.energy(part).double() for part in points])
        return (
            mean_and_error("nats", energies + grid.log_z - data.log_det)
            | {"log_z": grid.log_z}
            | scores
        )
