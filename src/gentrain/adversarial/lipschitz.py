"""Ways to keep a critic Lipschitz."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrizations import _WeightNorm
from torch.optim import Optimizer

from gentrain.adversarial.regularizer import (
    CriticFunction,
    Player,
    RegularizedModel,
    Regularizer,
    batch_coupled_layers,
)
from gentrain.config.types import Count, NonNegative, Positive
from gentrain.errors import UserError

log = logging.getLogger("gentrain")


class Lipschitz(Regularizer):
    """A Lipschitz method; it attaches after the tricks that reshape a critic, and so sees every layer."""

    order = Regularizer.LIPSCHITZ


class Unconstrained(Lipschitz):
    """The critic is left free, which a loss without a lower bound cannot afford."""

    def attach(self, model: RegularizedModel) -> None:
        if not model.loss.bounded:
            raise UserError(
                "the wasserstein loss of a free critic has no minimum (loss=wasserstein lipschitz=none); "
                "choose lipschitz=gp|clip|spectral_norm, or another loss"
            )


class WeightClip(Lipschitz):
    """theta <- clip(theta, -bound, bound) after every critic step (Arjovsky et al., 2017).

    The gains and shifts of normalisation layers are left alone: clipping them to 0.01 would switch the layer off.
    """

    def __init__(self, bound: Positive = 0.01) -> None:
        super().__init__()
        self.bound = bound

    def attach(self, model: RegularizedModel) -> None:
        if any(isinstance(module, _WeightNorm) for module in model.critic.modules()):
            raise UserError(
                "units that keep the length of their weights have none to clip (lipschitz=clip with weight_norm=true); "
                "write model.critic.critic.weight_norm=false, or lipschitz=gp|spectral_norm"
            )
        self.clipped = [
            p
            for module in model.critic.modules()
            if not affine(module)
            for p in module.parameters(recurse=False)
        ]

    def check_optimizer(self, player: str, optimizer: Optimizer) -> None:
        group = optimizer.param_groups[0]
        if player == "critic" and (group.get("betas", (0.0,))[0] or group.get("momentum")):
            log.warning(
                "lipschitz=clip with a momentum optimizer is unstable (Arjovsky et al., 2017, section 4): "
                "the paper uses RMSprop without momentum, lr 5e-5, as model=wgan does"
            )

    @torch.no_grad()
    def after_critic_step(self, model: RegularizedModel) -> None:
        for p in self.clipped:
            p.clamp_(-self.bound, self.bound)


class GradientPenalty(Lipschitz):
    """weight * E[(||grad D(x~)||_2 - center)^2], the norm over each sample's pixels (Gulrajani et al., 2017).

    points: where x~ lies.
      interpolate  x~ = eps x + (1 - eps) G(z), one eps ~ U(0, 1) per sample (WGAN-GP)
      real, fake   x~ = x or G(z) (R1, R2 of Mescheder et al., 2018; their gamma is 2 * weight)
      both         x and G(z): R1 + R2 with gamma = weight (R3GAN)
      dragan       x~ = x + 1/2 sd(x) eps u, u ~ U(0, 1) per pixel (Kodali et al., 2017)
    one_sided: only norms above the center cost (Petzka et al., 2018).
    coupled: "refuse" a critic in which one sample's score depends on others, since their gradient then is no sample's own; or let those
      layers pass that couple samples only "within_groups", as the minibatch standard deviation of progressive GANs does. That paper and its
      code penalise the gradient of the sum of scores there: of a sample, plus what it does to the scores of its group of 4.
    every: lazy regularisation: computed at every k-th critic step, k times as heavy (Karras et al., 2020).

    The penalty is computed in float32 whatever the precision of the rest.
    """

    def __init__(
        self,
        weight: Positive = 10.0,
        center: NonNegative = 1.0,
        one_sided: bool = False,
        points: Literal["interpolate", "real", "fake", "both", "dragan"] = "interpolate",
        every: Count = 1,
        coupled: Literal["refuse", "within_groups"] = "refuse",
    ) -> None:
        super().__init__()
        self.coupled = coupled
        self.weight, self.center, self.one_sided, self.points, self.every = (
            weight,
            center,
            one_sided,
            points,
            every,
        )
        self.steps, self.due = 0, True

    def attach(self, model: RegularizedModel) -> None:
        if mixing := batch_coupled_layers(model.critic, within_groups=self.coupled == "refuse"):
            raise UserError(
                f"a gradient penalty is a statement about one sample, and {', '.join(mixing[:3])} of the critic couple samples "
                "(lipschitz, model.critic.norm, tricks); "
                "use model.critic.norm=layer, and no virtual_batch_norm of the critic or minibatch_discrimination; "
                "lipschitz=gp_grouped is for network=progan"
            )

    def critic_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor | None:
        if not self.due:
            return None
        with torch.autocast(real.device.type, enabled=False):
            grad = input_gradient(critic, self.where(real.float(), fake.detach().float()))
            excess = sample_norms(grad) - self.center if self.center else sample_norms(grad)
            excess = excess.clamp_min(0) if self.one_sided else excess
            return self.weight * self.every * excess.square().mean()

    def after_critic_step(self, model: RegularizedModel) -> None:
        """The count moves here and `due` is a bool: a number that changes inside a compiled step would compile it anew each time."""
        self.set_extra_state(self.steps + 1)

    def where(self, real: Tensor, fake: Tensor) -> Tensor:
        match self.points:
            case "real":
                return real
            case "fake":
                return fake
            case "both":
                return torch.cat([real, fake])
            case "dragan":
                return real + per_sample(real) * 0.5 * real.std() * torch.rand_like(real)
            case _:
                return torch.lerp(fake, real, per_sample(real))

    def get_extra_state(self) -> int:
        return self.steps

    def set_extra_state(self, state: int) -> None:
        self.steps, self.due = state, state % self.every == 0


class SpectralNorm(Lipschitz):
    """W / sigma(W), sigma by one power iteration per training forward (Miyato et al., 2018); u and v are in the checkpoint.

    A convolution's weight is the matrix (out, in * kh * kw). Of the critic alone by default, which is what makes it Lipschitz;
    of the generator too in SAGAN and BigGAN, whose tables of labels are left as they are.
    """

    def __init__(self, players: list[Player] | None = None) -> None:
        super().__init__()
        self.players: list[Player] = players or ["critic"]
        if "critic" not in self.players:
            raise UserError(
                "spectral norm of the generator alone leaves the critic free (lipschitz.players); add critic"
            )

    def attach(self, model: RegularizedModel) -> None:
        layers = [
            (f"{player}.{name}", layer)
            for player in self.players
            for name, layer in normalisable(model, player)
        ]
        if zero := [name for name, layer in layers if not layer.weight.any()]:
            raise UserError(
                f"{', '.join(zero[:3])} start at zero, which has no spectral norm to divide by (lipschitz=spectral_norm); "
                "use a network without zero initialisation (network=resnet), or lipschitz=r1r2"
            )
        for _, layer in layers:
            parametrizations.spectral_norm(layer)


def normalisable(model: RegularizedModel, player: Player) -> list[tuple[str, Any]]:
    """Layers whose weight is a matrix, by name; a critic's embedding of labels is one more linear map, a generator's is its input."""
    kinds: tuple[type[nn.Module], ...] = (
        nn.Linear,
        nn.Conv2d,
        nn.ConvTranspose2d,
        *([nn.Embedding] if player == "critic" else []),
    )
    return [(name, m) for name, m in model.player(player).named_modules() if isinstance(m, kinds)]


def input_gradient(critic: CriticFunction, x: Tensor) -> Tensor:
    """grad_x of the sum of scores: each sample's own gradient, as long as no layer couples samples. Differentiable again.

    The score of a sample of many patches is their mean, as it is in the losses.
    """
    if torch.compiler.is_compiling():
        return torch.func.grad(lambda v: total(critic(v), len(v)))(x)
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (grad,) = torch.autograd.grad(total(critic(x), len(x)), x, create_graph=True)
    return grad


def total(scores: Tensor, samples: int) -> Tensor:
    """Of each sample's mean score."""
    return scores.sum() if len(scores) == samples else scores.sum() * (samples / len(scores))


def sample_norms(grad: Tensor) -> Tensor:
    """(B, ...) -> (B,), with a finite derivative where a norm is zero (a hinge critic at its margin)."""
    return (grad.flatten(1).square().sum(1) + 1e-12).sqrt()


def per_sample(x: Tensor) -> Tensor:
    """U(0, 1), one for each sample."""
    return torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)


def affine(module: nn.Module) -> bool:
    """A layer whose parameters are the gain and shift of a normalisation."""
    return "Norm" in type(module).__name__
