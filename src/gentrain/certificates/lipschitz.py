"""Certificates of the Lipschitz methods, on critics whose gradients are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.adversarial.lipschitz import (
    GradientPenalty,
    SpectralNorm,
    WeightClip,
    matrix_layers,
)
from gentrain.certificates.base import Certificate, error, largest, recorded

B, D = 6, 12  # images of these certificates, and their pixels


class Known:
    """A critic that is a formula."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        self.formula = formula

    def __call__(self, x: Tensor) -> Tensor:
        return self.formula(x)

    def features(self, x: Tensor) -> Tensor:
        """The pixels (B, D)."""
        return x.flatten(1)


class LinearCritic(Certificate):
    """D(x) = w . x has the gradient w everywhere: lambda (|w| - c)^2, and its gradient in w."""

    of = (GradientPenalty,)
    property = "of D(x) = w.x the penalty is weight (|w| - center)^2, with its gradient"
    source = "Gulrajani et al., 2017, eq. 3; Mescheder et al., 2018, eq. 9"
    bound = 1e-6  # of the constant that keeps a norm's gradient finite

    def measure(self) -> float:
        penalty = self.penalty()
        real, fake, w = torch.randn(B, D), torch.randn(B, D), torch.randn(D, requires_grad=True)
        value = penalty.critic_term(Known(lambda x: x @ w), real, fake)
        assert value is not None
        found = (value, torch.autograd.grad(value, w)[0]) if value.requires_grad else (value, 0 * w)
        weight, center = self.weight(), float(self.node["center"])
        norm = w.detach().norm()
        excess = (norm - center).clamp(min=0) if self.node["one_sided"] else norm - center
        expected = weight * excess**2, 2 * weight * excess * w.detach() / norm
        return largest(*map(error, found, expected))

    def penalty(self) -> GradientPenalty:
        """The method of the system."""
        names = ("weight", "center", "one_sided", "points", "every", "coupled")
        return GradientPenalty(**{name: self.node[name] for name in names})

    def weight(self) -> float:
        """Lambda, by which the penalty counts where it is computed."""
        return float(self.node["weight"]) * int(self.node["every"])


class EachSample(LinearCritic):
    """D(x) = |x|^2 / 2 has the gradient x, so the penalty is of the norms of its points."""

    name = "EachSample"
    of = (GradientPenalty,)
    property = "the penalty is a mean over samples, at the points of the paper"
    source = "Gulrajani et al., 2017, section 4; Mescheder et al., 2018; Kodali et al., 2017"

    def measure(self) -> float:
        penalty = self.penalty()
        real, fake = torch.randn(B, D), 3 + torch.randn(B, D)
        with recorded(penalty, "penalty_points") as calls:
            value = penalty.critic_term(Known(lambda x: x.square().sum(1) / 2), real, fake)
        assert value is not None
        points = calls[0].result
        norms, center = points.norm(dim=1), float(self.node["center"])
        excess = (norms - center).clamp(min=0) if self.node["one_sided"] else norms - center
        off = error(value, self.weight() * excess.square().mean())
        return largest(off, PLACES[self.node["points"]](points, real, fake))


def between(points: Tensor, real: Tensor, fake: Tensor) -> float:
    """How far points are from x + eps (G - x), one eps in [0, 1] for each sample."""
    ahead = fake - real
    eps = ((points - real) * ahead).sum(1, keepdim=True) / ahead.square().sum(1, keepdim=True)
    spread = 0.0 if float(eps.std()) > 1e-3 else float("inf")
    outside = float((eps - eps.clamp(0, 1)).abs().max())
    return largest(error(points, real + eps * ahead), outside, spread)


def around(points: Tensor, real: Tensor, fake: Tensor) -> float:
    """How far points are outside of x + sd/2 [0, 1] of each pixel."""
    shift = (points - real) / (0.5 * real.std())
    return float((shift - shift.clamp(0, 1)).abs().max())


PLACES: dict[str, Any] = {
    "interpolate": between,
    "real": lambda points, real, fake: error(points, real),
    "fake": lambda points, real, fake: error(points, fake),
    "both": lambda points, real, fake: error(points, torch.cat([real, fake])),
    "dragan": around,
}


class OfTheObjective(Certificate):
    """The critic's objective has the penalty, of the gradient of each sample's own score."""

    of = (GradientPenalty,)
    property = "the critic's objective has the penalty of its own gradient, sample by sample"
    source = "Gulrajani et al., 2017, algorithm 1"
    bound = 1e-6

    def measure(self) -> float | None:
        if self.node["coupled"] != "refuse":
            return None  # the gradient of the sum of a group's scores
        model = self.subject.model()
        name, method = next(
            each for each in model.named_regularizers() if type(each[1]) is GradientPenalty
        )
        with recorded(method, "critic_term") as terms:
            objective = model.critic_loss(self.subject.batch)
        logged = [term for key, term in objective.losses.items() if key.endswith(name)]
        if not terms or len(logged) != len(terms):
            return float("inf")
        model.critic.eval()  # without dropout, which the loop would draw anew
        errors = [error(a, call.result) for a, call in zip(logged, terms, strict=True)]
        return largest(*errors, *(self.error(method, *call.args) for call in terms))

    def error(self, method: GradientPenalty, critic: Any, real: Tensor, fake: Tensor) -> float:
        """How far the penalty of a critic is from a loop over the samples."""
        with recorded(method, "penalty_points") as points:
            value = method.critic_term(critic, real, fake)
        x = points[0].result.detach().requires_grad_()
        scores = critic(x).view(len(x), -1).mean(1)
        slopes = [torch.autograd.grad(s, x, retain_graph=True)[0] for s in scores]
        norms = torch.stack([slope[i].norm() for i, slope in enumerate(slopes)])
        excess = norms - float(self.node["center"])
        if self.node["one_sided"]:
            excess = excess.clamp(min=0)
        weight = float(self.node["weight"]) * int(self.node["every"])
        return error(value, weight * excess.square().mean())


class Clipped(Certificate):
    """After a critic update no weight is beyond the bound, and those within are as they were."""

    of = (WeightClip,)
    property = "weights are clip(w, -bound, bound) after each critic update"
    source = "Arjovsky et al., 2017, algorithm 1"
    bound = 0.0

    def measure(self) -> float:
        model, bound = self.subject.model(stirred=0.05), float(self.node["bound"])
        before = [p.detach().clone() for p in model.critic.parameters()]
        model.after_critic_step({})
        after = [p.detach() for p in model.critic.parameters()]
        expected = [torch.where(p.abs() > bound, bound * p.sign(), p) for p in before]
        return largest(*map(error, after, expected))


class NormOfOne(Certificate):
    """Every matrix of the players has a largest singular value of 1, by SVD."""

    of = (SpectralNorm,)
    property = "every weight matrix has the spectral norm 1 (SVD)"
    source = "Miyato et al., 2018, eq. 8"
    bound = 0.02  # of the power iteration, after 300 steps

    def measure(self) -> float:
        model, errors = self.subject.model(), list[float]()
        for player in self.node["players"] or ["critic"]:
            model.player(player).train()
            for _, layer in matrix_layers(model, player):
                for matrix in matrices(layer, 300):
                    errors.append(abs(float(torch.linalg.svdvals(matrix)[0]) - 1))
        return largest(*errors) if errors else float("inf")


def matrices(layer: nn.Module, iterations: int) -> list[Tensor]:
    """The weight of a linear layer as a matrix (out, rest), after so many power iterations."""
    match layer:
        case nn.Linear() | nn.Conv1d() | nn.Conv2d() | nn.Embedding():
            axis = 0
        case nn.ConvTranspose1d() | nn.ConvTranspose2d():
            axis = 1
        case _:
            return []
    for _ in range(iterations):  # each reading of the weight is one
        weight = layer.weight
    return [weight.detach().transpose(0, axis).flatten(1)]
