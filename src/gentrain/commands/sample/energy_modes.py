"""Modes for densities and energies: p(x) in the plane, Markov chains, weights of hidden units."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.commands.sample.mode import Mode, Steps, table
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count
from gentrain.data.arrays import Frame, drawn
from gentrain.data.grids import BINS, ZOOM, annotated, inked, scatter
from gentrain.errors import UserError
from gentrain.models.base import HasChains, HasEnergy, HasFilters, HasLogProb
from gentrain.quality.plane import on_grid


class Density(Mode):
    """p(x) in the plane over the frame of the data, beside `n` samples and `n` points of the data.

    The darker, the denser; each picture is scaled to its own maximum. `mass` in the record is the
    part of the density that the picture shows. The density of an energy is exp(-E) divided by its
    sum over the picture, and the record has the logarithm of that sum, `log_z`.
    """

    points = True

    def __init__(self, n: Count = 10_000) -> None:
        self.n = n

    def check(self, session: SampleSession) -> None:
        super().check(session)
        if tuple(session.data.shape) != (2,):
            things = "points of other dimensions" if session.points else session.data.things
            raise UserError(
                f"mode=density is for points in the plane, and data={session.data.name} gives "
                f"{things} (mode); choose mode=grid"
            )
        model = session.model
        if not supports(model, HasLogProb) and not (
            supports(model, HasEnergy) and model.energy_units == 2
        ):
            raise UserError(
                "mode=density draws a density, and this model has none (mode); choose mode=grid, "
                "or a flow's run, or an ebm's"
            )

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        frame = session.data.frame
        p, cell, log_z = density_on_grid(session.model, session.device, frame=frame)
        samples = out.images(session.stream(self.n), self.n, self.n)
        real = drawn(session.data.load("train").images, self.n)
        panels = [inked(p), scatter(samples, frame), scatter(real, frame)]
        names = ["density of the model", f"{self.n:,} samples", f"{len(real):,} points of the data"]
        out.picture(self.name, annotated(torch.stack(panels) * 2 - 1, [], names))
        return {"mass": float(p.sum()) * cell} if log_z is None else {"log_z": log_z}


def density_on_grid(
    model: Any, device: torch.device, side: int = BINS * ZOOM, frame: Frame | None = None
) -> tuple[Tensor, float, float | None]:
    """p(x) at the middles of side x side squares that fill a frame; None for [-1, 1]^2.

    Returns:
        p (side, side), by x and y; the area of one square; and log Z over these squares, for an
        energy.
    """
    frame = frame or Frame(torch.zeros(2), torch.ones(2))
    cell = (2 / side) ** 2 * frame.half.prod().item()
    if not supports(model, HasLogProb):
        grid = on_grid(model, device, side, frame=frame)
        return grid.log_p.exp().float(), cell, grid.log_z
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    middles = frame.places(torch.cartesian_prod(line, line))
    places = [part.to(device) for part in middles.split(side)]
    with torch.no_grad():
        log_p = torch.cat([model.log_likelihood((part,), 1).cpu() for part in places])
    return log_p.exp().view(side, side), cell, None


class Chains(Mode):
    """`n` Markov chains through time, a row each: their noise, and 1, 2, 4 ... transitions later.

    A row has `columns` images, below the numbers of transitions.
    """

    requires = (HasChains,)
    reads = ("seed", "mean", "save")

    def __init__(self, n: Count = 10, columns: Steps = 10) -> None:
        self.n, self.columns = n, columns

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        model, times = session.model, [0, *(2**i for i in range(self.columns - 1))]
        with torch.no_grad(), session.streams(range(self.n)):
            x = model.noise(self.n, session.device)
            strip, done = [model.images(x[:, : model.size])], 0
            for time in times[1:]:
                x, done = model.run_chain(x, time - done), time
                strip.append(model.show(x))
        images = torch.stack([part.float().cpu() for part in strip], 1).flatten(0, 1)
        out.images(iter([(images, None)]), len(images))
        heads = [f"{time}" for time in times]
        title = "one chain a row, after so many transitions"
        out.picture(self.name, annotated(images, [], heads, title))
        return {"transitions": times}


class Filters(Mode):
    """The weights from the pixels to the first `n` hidden units, an image each.

    White is what a unit looks for, black is what it avoids. Each image is divided by its largest
    weight, which the record has.
    """

    requires = (HasFilters,)
    reads = ("save",)

    def __init__(self, n: Count = 100) -> None:
        self.n = n

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        weights = session.model.filters()[: self.n].float().cpu()
        largest = weights.abs().flatten(1).max(1).values
        images = weights / largest.clamp_min(1e-12).view(-1, 1, 1, 1)
        out.images(iter([(images, None)]), len(images))
        out.picture(self.name, table(images, math.ceil(math.sqrt(len(images)))))
        return {"largest_weights": largest.tolist()}
