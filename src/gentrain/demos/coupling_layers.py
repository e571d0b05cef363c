"""The Jacobian of affine couplings, and digits between the latents of four digits."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import batches, digits, fit
from gentrain.commands.sample.latent import octant
from gentrain.config.types import Count
from gentrain.models.flow.base import Flow, FlowDensity
from gentrain.models.flow.realnvp import Coupling, RealNVP, RealNVPOfPoints
from gentrain.models.pixels import Logit

PIXELS = 14
COUPLINGS = (1, 2, 8)


class CouplingLayers(Demo):
    """Couplings of points with random weights, and a RealNVP that learns digits.

    Args:
        steps: updates of the RealNVP of digits.
        size: values of a point.
        side: digits along a side of the picture.
        seed: of weights and batches.
    """

    title = "A Jacobian that is triangular"
    claim = (
        "An affine coupling has a triangular Jacobian, whose determinant is the product of its "
        "diagonal, whatever its networks are; it is inverted exactly. Between the latents of four "
        "images lie latents of images."
    )
    formula = (
        r"y_{1:d} = x_{1:d}, \quad y_{d+1:D} = x_{d+1:D} \, e^{s(x_{1:d})} + t(x_{1:d}), \quad "
        r"\frac{\partial y}{\partial x} = \begin{pmatrix} I & 0 \\ "
        r"\frac{\partial y_{d+1:D}}{\partial x_{1:d}} & \mathrm{diag}(e^s) \end{pmatrix}"
    )
    papers = ("Dinh, Sohl-Dickstein & Bengio, Density Estimation Using Real NVP, 2017",)
    code: ClassVar = (Coupling, RealNVP, octant)
    notes = (
        "The first panels show the size of each derivative, with the values that the first "
        "coupling keeps in front. The picture is that of the paper's figure 5: real digits in the "
        "corners, and images of z = cos a (cos b z1 + sin b z2) + sin a (cos b z3 + sin b z4) "
        "between them. A short training gives strokes between the digits, not always digits."
    )
    exercise = (
        "Interpolate in a straight line. Which norms have the latents in the middle, and what do "
        "their images look like?"
    )
    tiny: ClassVar = {"steps": 1, "size": 4, "side": 2}

    def __init__(self, steps: Count = 150, size: Count = 8, side: Count = 7, seed: int = 0) -> None:
        self.steps, self.size, self.side, self.seed = steps, size, side, seed

    def show(self, place: Path) -> Shown:
        made, axes = figure(self.title, columns=4, size=3.2)
        with seeded(self.seed):
            rows = [self.of_points(number, axes[0, k]) for k, number in enumerate(COUPLINGS)]
            model, nats = self.learned()
        test, labels = digits(PIXELS, "test")
        corners = torch.stack([test[labels == digit][0] for digit in (2, 0, 7, 3)])
        with torch.no_grad(), seeded(self.seed):
            z = model.encode(corners)
            between = model.images_of(octant(z, self.side), (corners,))
            again = model.images_of(z, (corners,))
        wrong = (again - corners).abs().max().item()
        picture = between.unflatten(0, (self.side, self.side))[:, :, 0]
        table = torch.cat([torch.cat([*row], 1) for row in picture])
        axes[0, 3].imshow(table.numpy(), cmap="gray", vmin=-1, vmax=1)
        axes[0, 3].set(xticks=[], yticks=[], xlabel="angle b", ylabel="angle a")
        axes[0, 3].set_title("between four digits")
        return Shown(made, rows, findings(rows, nats, wrong))

    def of_points(self, number: int, axes: Any) -> Row:
        """Draw the Jacobian of some couplings, and compare its determinant."""
        flow = RealNVPOfPoints([self.size], number, width=32, blocks=1).double()
        for k in range(number):
            nn.init.normal_(flow.get_parameter(f"each.{k}.network.last.weight"), std=0.5)
        x = torch.randn(self.size, dtype=torch.float64)
        mask = flow.get_buffer("each.0.mask").bool()
        order = torch.cat([mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]])
        whole = torch.func.jacrev(lambda x: flow(x[None])[0][0])(x)[order][:, order]
        sizes = whole.abs().clamp_min(1e-3).log10().detach().numpy()
        image = axes.imshow(sizes, cmap="cividis", vmin=-2, vmax=1)
        axes.figure.colorbar(image, ax=axes, label="log10 |derivative|", shrink=0.7)
        axes.set(xticks=[], yticks=[], xlabel="input", ylabel="output")
        axes.set_title(f"{number} coupling{'s' * (number > 1)}")
        return {"couplings": number} | compared(flow, x, whole)

    def learned(self) -> tuple[FlowDensity, tuple[float, float]]:
        """A RealNVP of digits, and its nats on held-out digits before and after training."""
        test = digits(PIXELS, "test")[0]
        flow = partial(RealNVP, width=16, blocks=1, scales=1)
        model = FlowDensity(flow, Logit(), [1, PIXELS, PIXELS])
        before = -model.log_likelihood((test,), 1).mean().item()
        fit(model, batches(64, digits(PIXELS)[0]), self.steps, 2e-3)
        after = -model.eval().log_likelihood((test,), 1).mean().item()
        return model, (before, after)


@torch.no_grad()
def compared(flow: Flow, x: Tensor, whole: Tensor) -> dict[str, float]:
    """What the flow says of a Jacobian, and what the Jacobian itself says."""
    y, log_det = flow(x[None])
    return {
        "log |det|": log_det.item(),
        "by brute force": whole.slogdet().logabsdet.item(),
        "largest derivative above the diagonal": whole.triu(1).abs().max().item(),
        "error of the inverse": (flow.inverse(y)[0][0] - x).abs().max().item(),
    }


def findings(rows: list[Row], nats: tuple[float, float], wrong: float) -> list[Finding]:
    """Whether determinants, triangle and inverse are what they should be."""
    off = max(abs(row["log |det|"] - row["by brute force"]) for row in rows)
    back = max(row["error of the inverse"] for row in rows)
    one, *others = (row["largest derivative above the diagonal"] for row in rows)
    return [
        Finding(
            f"above the diagonal one coupling has no derivative (at most {one:.0e}); several with "
            f"other masks do ({max(others):.2f}), and are a product of triangles",
            one == 0 and min(others) > 0,
        ),
        Finding(f"log |det| is that of brute force, up to {off:.0e} nats", off < 1e-9),
        Finding(f"the inverse gives points back up to {back:.0e}", back < 1e-9),
        Finding(
            f"training takes the digits from {nats[0]:.0f} to {nats[1]:.0f} nats, and their "
            f"latents give them back with an error of {wrong:.0e} of a range of 2",
            nats[1] < nats[0] and wrong < 1e-4,
        ),
    ]
