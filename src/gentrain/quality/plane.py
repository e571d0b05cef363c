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
from gentrain.data.capabilities import HasModes
from gentrain.errors import UserError
from gentrain.models.base import HasEnergy, HasTrace, eval_mode
from gentrain.quality.base import HELD_OUT, HeldOutMetric, Score
from gentrain.quality.coverage import REACH
from gentrain.quality.likelihood import held_out_protocol, mean_and_error

SUM = "none: a sum over a grid"  # in the place of a score's error


class OnGrid(NamedTuple):
    """exp(-E) at the middles of side x side squares that fill a box."""

    places: Tensor  # (side^2, 2) the middles
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
    places = frame.places(torch.cartesian_prod(line, line))
    with torch.no_grad():
        energies = [model.energy(part.to(device)).cpu().double() for part in places.split(4096)]
    log_p = -torch.cat(energies).view(side, side)
    cell = ((high - low) / side) ** 2 * frame.half.prod().item()
    log_z = log_p.flatten().logsumexp(0) + math.log(cell)
    log_p = log_p - log_z
    inner = log_p[1:-1, 1:-1].flatten().logsumexp(0).exp().item() * cell
    return OnGrid(places, log_p, log_z.item(), cell, max(0.0, 1 - inner))


def weights_of_modes(grid: OnGrid, modes: Tensor, sd: float) -> dict[str, float]:
    """The mass of a density at the modes of a mixture.

    Args:
        grid: the density.
        modes: (K, 2) the centres of modes of equal weight.
        sd: their standard deviation.

    Returns:
        `least_weight` and `most_weight`: K times the mass of the points that are nearest to the
        mode with the least and the most of it, 1 for equal weights; `near_modes`: the share of the
        mass within 3 sd of a mode.
    """
    mass = grid.log_p.flatten().exp() * grid.cell
    distance, nearest = torch.cdist(grid.places.double(), modes.double()).min(1)
    weights = torch.zeros(len(modes), dtype=mass.dtype).index_add_(0, nearest, mass) * len(modes)
    near = mass[distance <= REACH * sd].sum()
    return {
        "least_weight": weights.min().item(),
        "most_weight": weights.max().item(),
        "near_modes": near.item(),
    }


class PlaneLikelihood(HeldOutMetric):
    """The mean of E(x) + log Z over held-out points in the plane, in nats; log Z by quadrature.

    The box is that of the sampler, where it has one, and otherwise [-box, box]^2. There the mass in
    the outermost squares says whether the box holds all of it: where it is more than
    `most_at_border`, neither log Z nor the nats are given. Of a mixture of Gaussians there are the
    weights that the density gives to the modes, too.

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
        "least_weight": Score("true weights", True, SUM),
        "most_weight": Score("true weights", False, SUM),
        "near_modes": Score("share of the mass", True, SUM),
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

    def compute(self, data: Any, model: Any, device: torch.device) -> dict[str, float]:
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
            if supports(data, HasModes):
                scores |= weights_of_modes(grid, data.modes(), data.sd)
            points = [model.values(batch[0]) for batch in self.batches(data, device)]
            energies = torch.cat([model.energy(part).double() for part in points])
        return (
            mean_and_error("nats", energies + grid.log_z - data.log_det)
            | {"log_z": grid.log_z}
            | scores
        )
