"""Ways to keep a critic Lipschitz."""

from __future__ import annotations

import logging
from typing import ClassVar, Literal

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
)
from gentrain.config.types import Count, NonNegative, Positive
from gentrain.errors import UserError
from gentrain.layers.coupling import batch_coupled_layers
from gentrain.layers.equalized import weight_scales
from gentrain.layers.lipschitz_bound import Convolution, WeightLimits, unbounded_layers
from gentrain.layers.normalization import layers_before_norms
from gentrain.layers.precision import at_least_single

log = logging.getLogger("gentrain")


class Lipschitz(Regularizer):
    """A Lipschitz method. It attaches after the tricks that change a critic, so it sees all layers.

    A model has one of them. A method that keeps weights within `limits` promises a bound of the
    critic's Lipschitz constant, `lipschitz_bound(critic, limits)`, whatever training finds. A
    penalty only asks: it makes slopes costly at its points, on average, and promises no bound. A
    loss without a minimum, the Wasserstein loss, needs one of the two, and a method with limits is
    refused where a layer of the critic escapes them.
    """

    order = Regularizer.LIPSCHITZ
    option: ClassVar[str] = ""  # what is typed for it; part of the message of a refusal

    @classmethod
    def slot(cls) -> str:
        return "Lipschitz methods"

    def limits(self) -> WeightLimits | None:
        """Within what the method keeps the critic's weights; None for a penalty."""
        return None

    def attach(self, model: RegularizedModel) -> None:
        limits = self.limits()
        if limits is None or model.loss.bounded:
            return
        if free := unbounded_layers(model.critic, limits):
            raise UserError(
                f"a wasserstein loss needs a Lipschitz critic, and {self.option} sets no bound to "
                f"{', '.join(free[:3])} of it (loss, lipschitz, model.critic); set "
                "model.critic.norm=none and model.critic.attention=0 where the network has them, "
                "or choose lipschitz=gp"
            )


class Unconstrained(Lipschitz):
    """A critic without a Lipschitz bound, for losses that have a lower bound."""

    def attach(self, model: RegularizedModel) -> None:
        if not model.loss.bounded:
            raise UserError(
                "the wasserstein loss of a critic without a Lipschitz bound has no minimum "
                "(loss=wasserstein lipschitz=none); "
                "choose lipschitz=gp|clip|spectral_norm, or another loss"
            )


class WeightClip(Lipschitz):
    """theta <- clip(theta, -bound, bound) before the first critic step, and after every one.

    Arjovsky, Chintala & Bottou, "Wasserstein GAN", 2017. As in the authors' code, theta is every
    parameter of the critic, gains and shifts of norms included: a free gain would make scores as
    steep as it likes. Self-attention has no bound, whatever its weights (Kim, Papamakarios & Mnih,
    "The Lipschitz constant of self-attention", 2021).

    Args:
        bound: the largest absolute value of a parameter.
    """

    option = "lipschitz=clip"

    def __init__(self, bound: Positive = 0.01) -> None:
        super().__init__()
        self.bound = bound

    def attach(self, model: RegularizedModel) -> None:
        if any(isinstance(module, _WeightNorm) for module in model.critic.modules()):
            raise UserError(
                "weight norm keeps the length of a unit's weights, which clipping would change "
                "(lipschitz=clip, model.critic.weight_norm); "
                "write model.critic.weight_norm=false, or lipschitz=gp|spectral_norm"
            )
        if weight_scales(model.critic):
            raise UserError(
                "an equalised learning rate needs weights of the size that it draws, and clipped "
                "ones leave the critic no gradient (lipschitz=clip, network); "
                "use lipschitz=gp_grouped, or spectral_norm"
            )
        super().attach(model)

    def limits(self) -> WeightLimits:
        return WeightLimits(entry=self.bound)

    def check_optimizer(self, player: str, optimizer: Optimizer) -> None:
        group = optimizer.param_groups[0]
        if player == "critic" and (group.get("betas", (0.0,))[0] or group.get("momentum")):
            log.warning(
                "lipschitz=clip with a momentum optimizer is unstable (Arjovsky et al., 2017, "
                "section 4): the paper uses RMSprop without momentum, lr 5e-5, as model=wgan does"
            )

    def on_train_start(self, model: RegularizedModel) -> None:
        self.after_critic_step(model)

    @torch.no_grad()
    def after_critic_step(self, model: RegularizedModel) -> None:
        for p in model.player("critic").parameters():
            p.clamp_(-self.bound, self.bound)


class GradientPenalty(Lipschitz):
    """weight * E[(||grad D(x~)||_2 - center)^2], the norm over each sample's pixels.

    Gulrajani et al., "Improved training of Wasserstein GANs", 2017. The penalty is computed in
    float32 or more, whatever the precision of the rest. It promises no bound of slopes: it makes
    them costly, on average, and only at its points.

    Args:
        weight: lambda of the paper.
        center: the norm that costs nothing; 0 in R1 and R2.
        one_sided: only norms above the center cost (Petzka et al., 2018).
        points: where x~ lies.
            interpolate: x~ = eps x + (1 - eps) G(z), one eps ~ U(0, 1) for each sample (WGAN-GP).
            real, fake: x~ = x or G(z): R1 or R2 of Mescheder et al., 2018; gamma = 2 * weight.
            both: x and G(z): R1 + R2 with gamma = weight (R3GAN).
            dragan: x~ = x + 1/2 sd(x) eps u, u ~ U(0, 1) for each pixel (Kodali et al., 2017).
        every: lazy regularization: the penalty is computed at every k-th critic step, with k times
            the weight (Karras et al., 2020).
        coupled: what to do with layers that couple samples. The gradient of the sum of scores is
            then not the gradient of one sample's score.
            refuse: refuse such a critic.
            within_groups: allow layers that couple no more than a small group, such as the
                minibatch standard deviation of progressive GANs. That paper and its code penalise
                the gradient of the sum of scores: of the sample's own score, and of the scores of
                its group of 4.

    Raises:
        UserError: for a one-sided penalty around zero, which no norm is below; where a critic
            couples samples that must not be coupled; and for `within_groups` where none couples.
    """

    of_gradients = True

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
        if one_sided and not center:
            raise UserError(
                "no norm of a gradient is below zero, so both sides of center=0 are one "
                "(lipschitz.one_sided); write lipschitz.one_sided=false, or lipschitz.center=1"
            )
        self.weight, self.center, self.one_sided = weight, center, one_sided
        self.points, self.every, self.coupled = points, every, coupled
        self.steps, self.due = 0, True

    def attach(self, model: RegularizedModel) -> None:
        layers = batch_coupled_layers(model.critic, within_groups=self.coupled == "refuse")
        if layers:
            raise UserError(
                "a gradient penalty needs the gradient of one sample's score, and "
                f"{', '.join(layers[:3])} of the critic couple samples "
                "(lipschitz, model.critic.norm, tricks); use model.critic.norm=layer, and no "
                "virtual_batch_norm of the critic or minibatch_discrimination; "
                "lipschitz=gp_grouped is for network=progan"
            )
        if self.coupled == "within_groups" and not batch_coupled_layers(model.critic):
            raise UserError(
                "no layer of this critic couples samples, within groups or otherwise "
                "(lipschitz.coupled); choose lipschitz=gp, which is the same for it"
            )

    def critic_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor | None:
        if not self.due:
            return None
        with torch.autocast(real.device.type, enabled=False):
            x = self.penalty_points(at_least_single(real), at_least_single(fake.detach()))
            norms = sample_norms(input_gradient(critic, x))
            excess = norms - self.center if self.center else norms
            excess = excess.clamp_min(0) if self.one_sided else excess
            return self.weight * self.every * excess.square().mean()

    def after_critic_step(self, model: RegularizedModel) -> None:
        # The count changes here, and the compiled step reads only the bool `due`: it would be
        # compiled anew for each value of a number.
        self.set_extra_state(self.steps + 1)

    def penalty_points(self, real: Tensor, fake: Tensor) -> Tensor:
        """x~ of the class's formula, (B, ...), or (2 B, ...) for `both`."""
        match self.points:
            case "real":
                return real
            case "fake":
                return fake
            case "both":
                return torch.cat([real, fake])
            case "dragan":
                scale = uniform_per_sample(real) * 0.5 * real.std()
                return real + scale * torch.rand_like(real)
            case _:
                return torch.lerp(fake, real, uniform_per_sample(real))

    def get_extra_state(self) -> int:
        return self.steps

    def set_extra_state(self, state: int) -> None:
        self.steps, self.due = state, state % self.every == 0


class SpectralNorm(Lipschitz):
    """W / sigma(W), with sigma from one power iteration for each training forward.

    Miyato et al., "Spectral normalization for generative adversarial networks", 2018. The weight of
    a convolution is the matrix (out, in * kh * kw). The vectors u and v are in the checkpoint.

    Each matrix has a spectral norm of 1, as exactly as the power iteration finds it. The critic's
    Lipschitz constant is then the product over its layers of what `layers.lipschitz_bound` says.
    The gain of a norm is free, so a Wasserstein loss is refused where the critic has norms with
    gains; the paper's critics have none. Directly before a norm, W / sigma(W) gives the same
    function as W. A critic of another loss may have that, with a warning.

    Args:
        players: whose weights are normalised. The critic's alone by default, which makes it
            Lipschitz; SAGAN and BigGAN normalise the generator as well, but not its embeddings of
            labels, and BigBiGAN not its encoder.

    Raises:
        UserError: for the generator alone.
    """

    option = "lipschitz=spectral_norm"

    def __init__(self, players: list[Player] | None = None) -> None:
        super().__init__()
        self.players: list[Player] = players or ["critic"]
        if "critic" not in self.players:
            raise UserError(
                "spectral norm of the generator alone leaves the critic free (lipschitz.players); "
                "add critic"
            )

    def attach(self, model: RegularizedModel) -> None:
        layers = [
            (f"{player}.{name}", layer)
            for player in self.players
            for name, layer in matrix_layers(model, player)
        ]
        if zero := [name for name, layer in layers if not layer.weight.any()]:
            raise UserError(
                f"{', '.join(zero[:3])} start at zero, and a zero matrix has no spectral norm to "
                "divide by (lipschitz=spectral_norm); "
                "use a network without zero initialisation (network=resnet), or lipschitz=r1r2"
            )
        super().attach(model)
        for _, layer in layers:
            parametrizations.spectral_norm(layer)

    def limits(self) -> WeightLimits:
        return WeightLimits(spectral=1.0)

    def on_train_start(self, model: RegularizedModel) -> None:
        for player in self.players:
            known = {name for name, _ in matrix_layers(model, player)}
            if layers := [n for n in layers_before_norms(model.player(player)) if n in known]:
                log.warning(
                    "lipschitz=spectral_norm has no effect on %s of the %s: the norm after such a "
                    "layer undoes its scale; %s",
                    ", ".join(layers),
                    player,
                    REMEDY[player],
                )


# of a norm behind a layer with spectral norm
REMEDY: dict[Player, str] = {
    "critic": "add model.critic.norm=none",
    "generator": "normalise the critic alone, lipschitz=spectral_norm",
}

MatrixLayer = nn.Linear | Convolution | nn.Embedding


def matrix_layers(model: RegularizedModel, player: Player) -> list[tuple[str, MatrixLayer]]:
    """A player's layers whose weight is a matrix, by name.

    A critic's embedding of labels is one of its linear maps. A generator's is its input, and does
    not count; nor does an encoder beside it, which makes no images.
    """
    makers = [model.critic] if player == "critic" else model.generator.backbones()
    counted = {id(module) for network in makers for module in network.modules()}
    found: list[tuple[str, MatrixLayer]] = []
    for name, module in model.player(player).named_modules():
        if id(module) not in counted:
            continue
        match module:
            case nn.Linear() | nn.Conv1d() | nn.ConvTranspose1d():
                found.append((name, module))
            case nn.Conv2d() | nn.ConvTranspose2d():
                found.append((name, module))
            case nn.Embedding() if player == "critic":
                found.append((name, module))
    return found


def input_gradient(critic: CriticFunction, x: Tensor) -> Tensor:
    """The gradient of each sample's score at x (B, ...), which can be differentiated again.

    It is the gradient of the sum of scores, which is the same as long as no layer couples samples.
    A sample's score is the mean over its patches, as it is in the losses.
    """
    if torch.compiler.is_compiling():
        return torch.func.grad(lambda v: sum_of_scores(critic(v), len(v)))(x)
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (grad,) = torch.autograd.grad(sum_of_scores(critic(x), len(x)), x, create_graph=True)
    return grad


def sum_of_scores(scores: Tensor, samples: int) -> Tensor:
    """The sum over samples of each one's mean score."""
    return scores.sum() if len(scores) == samples else scores.sum() * (samples / len(scores))


def sample_norms(grad: Tensor) -> Tensor:
    """Euclidean norms, (B, ...) -> (B,).

    The small constant keeps the derivative finite where a norm is zero, as it is for a hinge critic
    at its margin.
    """
    return (grad.flatten(1).square().sum(1) + 1e-12).sqrt()


def uniform_per_sample(x: Tensor) -> Tensor:
    """Draw one number from U(0, 1) for each sample of x (B, ...), (B, 1, ...)."""
    return torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype)
