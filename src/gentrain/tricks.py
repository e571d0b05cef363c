"""Tricks of the trade, most of them from "Improved Techniques for Training GANs" (Salimans et al., 2016)."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .augment import Change, augmented
from .errors import UserError
from .game import Game
from .layers.conditional import ConditionalBatchNorm
from .layers.normalization import Referenced, VirtualBatchNorm
from .regularizer import Critic, Late, Player, Regularizer
from .schema import Count, Positive, Share


class LabelSmoothing(Regularizer):
    """One-sided: the critic's target for real images is 0.9 instead of 1; the target for fakes stays."""

    def __init__(self, target: Share = 0.9) -> None:
        super().__init__()
        self.target = target

    def attach(self, game: Game) -> None:
        if game.loss.smoothed is None:
            raise UserError(
                "label smoothing needs a loss with targets (tricks=[label_smoothing]); use loss=js or loss=ls, or leave the trick out"
            )
        game.loss = game.loss.smoothed(self.target)


class FeatureMatching(Regularizer):
    """weight * || mean f(x) - mean f(G(z)) ||^2, the batch means of the features before the critic's last layer.

    It takes the place of the generator's adversarial term, as in the paper; `adversarial` keeps that beside it.
    """

    def __init__(self, weight: Positive = 1.0, adversarial: bool = False) -> None:
        super().__init__()
        self.weight, self.adversarial = weight, adversarial

    def attach(self, game: Game) -> None:
        if not self.adversarial:
            game.loss = game.loss._replace(generator=None)

    def generator_term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = critic.features(real).mean(0)
        return self.weight * (wanted - critic.features(fake).mean(0)).square().sum()


class PullingAway(Regularizer):
    """weight * 1/(B (B - 1)) sum over i and j != i of cos(S_i, S_j)^2, S the features of B fakes (EBGAN: Zhao, Mathieu & LeCun, 2017).

    In the generator's objective: fakes are to be as orthogonal as they can. In EBGAN the features are the autoencoder's codes.
    """

    def __init__(self, weight: Positive = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def generator_term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        B = len(fake)
        if B < 2:
            raise UserError("one fake has no other to be pulled away from (tricks=[pulling_away], data.batch_size); give 2 or more")
        S = F.normalize(critic.features(fake), dim=1)
        squares = (S @ S.T).square()
        return self.weight * (squares.sum() - squares.diagonal().sum()) / (B * (B - 1))


class MinibatchDiscrimination(Regularizer):
    """Let the critic's last layer see how near each sample lies to the rest of its batch.

    Memory is O(B^2 * kernels * dim): 64 images, 50 kernels of dimension 5 are 4 MB, 512 images 262 MB.
    """

    order = Regularizer.RESHAPE + 5

    def __init__(self, kernels: Count = 50, dim: Count = 5) -> None:
        super().__init__()
        self.kernels, self.dim = kernels, dim

    def attach(self, game: Game) -> None:
        for critic in game.critics():
            head = critic.head
            if not isinstance(head, nn.Linear):
                raise UserError(
                    "minibatch discrimination comes before a critic's last linear layer, and this one has none "
                    "(tricks=[minibatch_discrimination]); leave the trick out"
                )
            closeness = Closeness(head.in_features, self.kernels, self.dim)
            wider = nn.Linear(head.in_features + self.kernels, head.out_features)
            with torch.no_grad():
                wider.weight[:, : head.in_features] = head.weight
            critic.head = nn.Sequential(closeness, wider)


class Closeness(nn.Module):
    """M_i = f(x_i) T;  o(x_i)_b = sum over j != i of exp(-||M_ib - M_jb||_1).   (B, A) -> (B, A + kernels)"""

    couples_samples = True

    def __init__(self, features: int, kernels: int, dim: int) -> None:
        super().__init__()
        self.kernels, self.dim = kernels, dim
        self.T = nn.Linear(features, kernels * dim, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        M = self.T(h).view(-1, self.kernels, self.dim)
        apart = (M[:, None] - M[None]).abs().sum(-1)
        return torch.cat([h, (-apart).exp().sum(1) - 1], 1)  # - 1: sample i is at distance zero from itself


class VirtualBatchNormalization(Regularizer):
    """Every batch norm of the chosen players becomes a virtual one, whose reference is the player's first batch.

    The generator alone by default, as in the paper: it doubles the player's cost.
    """

    order = Regularizer.RESHAPE + 2

    def __init__(self, players: list[Player] | None = None) -> None:
        super().__init__()
        self.players = players or ["generator"]

    def attach(self, game: Game) -> None:
        found = 0
        if any(isinstance(m, ConditionalBatchNorm) for player in self.players for m in getattr(game, player).modules()):
            raise UserError(
                "conditional batch norm has no virtual form (tricks=[virtual_batch_norm]); choose another network=, or leave the trick out"
            )
        for player in self.players:
            for network in game.generators() if player == "generator" else game.critics():
                found += virtualize(network.body)
                network.body = Referenced(network.body)
        if not found:
            raise UserError(
                f"no batch norm in the {' or the '.join(self.players)} for virtual batch norm to replace (tricks=[virtual_batch_norm]); "
                "set model.generator.norm=batch, or choose tricks.virtual_batch_norm.players"
            )


def virtualize(network: nn.Module) -> int:
    """Replace every batch norm inside; return how many."""
    found = 0
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, VirtualBatchNorm.like(child))
                found += 1
    return found


class HistoricalAveraging(Regularizer):
    """weight * || theta - (1/t) sum of theta_i ||^2 in both players' objectives; the gradient goes through theta only.

    The running average is of the weights after each of the player's updates; it is a buffer and lives in the checkpoint.
    """

    order = Regularizer.WEIGHTS
    of_weights = True

    def __init__(self, weight: Positive = 1e-3) -> None:
        super().__init__()
        self.weight = weight

    def attach(self, game: Game) -> None:
        self.weights = {"critic": list(game.critic.parameters()), "generator": list(game.generator.parameters())}
        for player, params in self.weights.items():
            self.register_buffer(f"{player}_steps", torch.zeros(()))
            for i, p in enumerate(params):
                self.register_buffer(f"{player}_{i}", p.detach().clone())

    def mean(self, player: str) -> list[Tensor]:
        return [self.get_buffer(f"{player}_{i}") for i in range(len(self.weights[player]))]

    def distance(self, player: str) -> Tensor:
        pairs = zip(self.weights[player], self.mean(player), strict=True)
        return self.weight * torch.stack([(p - mean).square().sum() for p, mean in pairs]).sum()

    @torch.no_grad()
    def follow(self, player: str) -> None:
        steps = self.get_buffer(f"{player}_steps").add_(1)
        for mean, p in zip(self.mean(player), self.weights[player], strict=True):
            mean.lerp_(p, (1 / steps).to(p.dtype))

    def critic_term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        return self.distance("critic")

    def generator_term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        return self.distance("generator")

    def after_critic_step(self, game: Game) -> None:
        self.follow("critic")

    def after_generator_step(self, game: Game) -> None:
        self.follow("generator")


class Orthogonal(Regularizer):
    """weight * sum over W of || W W^T * (1 - I) ||_F^2 in the generator's objective (Brock et al., 2019): rows of a weight, its filters
    as vectors, are kept at right angles and their lengths left free.

    Of every weight with two dimensions or more but embeddings; under spectral norm of what is learned, not of what it is divided to.
    """

    order = Regularizer.WEIGHTS  # after spectral norm, which hands the weight to be learned on under another name
    of_weights = True

    def __init__(self, weight: Positive = 1e-4) -> None:
        super().__init__()
        self.weight = weight

    def attach(self, game: Game) -> None:
        embeddings = {id(p) for m in game.generator.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        self.weights = [p for p in game.generator.parameters() if p.ndim >= 2 and id(p) not in embeddings]

    def generator_term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        return self.weight * torch.stack([off_diagonal(w.flatten(1)) for w in self.weights]).sum()


def off_diagonal(W: Tensor) -> Tensor:
    """|| W W^T * (1 - I) ||_F^2"""
    products = W @ W.T
    return (products - torch.diag_embed(products.diagonal())).square().sum()


class Replay(Regularizer):
    """A history of generated images (Shrivastava et al., 2017): the critic is shown old fakes among the new.

    A pool of `size` images fills first; then each fake, with probability p, changes places with a random one of the pool.
    Each domain of a game that has several has a pool of its own (CycleGAN).
    """

    order = Regularizer.IMAGES
    compiles = False  # how full a pool is decides which images are swapped

    def __init__(self, size: Count = 50, p: Share = 0.5) -> None:
        super().__init__()
        self.size, self.p = size, p
        self.pools = nn.ModuleDict({"all": Pool(size, p)})

    def attach(self, game: Game) -> None:
        if game.beside:
            raise UserError(
                "replayed images would meet labels or sources that are not theirs (tricks=[replay] in a conditional game); leave it out"
            )
        self.pools = nn.ModuleDict({domain or "all": Pool(self.size, self.p) for domain in game.domains})

    @torch.no_grad()
    def view(self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = "") -> tuple[Tensor, Tensor]:
        return (real, self.pool(domain).exchange(fake.detach())) if critics_turn else (real, fake)

    def pool(self, domain: str = "") -> Pool:
        return self.pools[domain or "all"]  # type: ignore[return-value]


class Pool(Late):
    """Images that were, at most `size` of them."""

    of_each_process = ("images",)
    images: Tensor | None

    def __init__(self, size: int, p: float) -> None:
        super().__init__()
        self.size, self.p, self.filled = size, p, 0
        self.late_buffers("images")

    def exchange(self, fake: Tensor) -> Tensor:
        """What goes in, what comes out: as many images."""
        if self.images is None:
            self.images = fake.new_zeros(self.size, *fake.shape[1:])
        fake = fake.clone()
        new = min(self.size - self.filled, len(fake))
        self.images[self.filled : self.filled + new] = fake[:new]
        self.filled += new
        rest = len(fake) - new
        if rest:
            swap = torch.rand(rest, device=fake.device) < self.p
            # distinct places, so that an image handed out is never also overwritten by a second one
            place = torch.rand(self.size, device=fake.device).argsort().repeat(math.ceil(rest / self.size))[:rest]
            for chunk in range(0, rest, self.size):
                here = slice(chunk, min(chunk + self.size, rest))
                mine, theirs = fake[new:][here], self.images[place[here]]
                chosen = swap[here].view(-1, *[1] * (fake.ndim - 1))
                fake[new:][here], self.images[place[here]] = torch.where(chosen, theirs, mine), torch.where(chosen, mine, theirs)
        return fake

    def get_extra_state(self) -> int:
        return self.filled

    def set_extra_state(self, state: int) -> None:
        self.filled = state


class InstanceNoise(Regularizer):
    """Gaussian noise on everything the critic is shown (Sonderby et al., 2017), sd falling linearly to 0 in `steps` generator steps."""

    order = Regularizer.IMAGES + 2
    initial: Tensor
    done: Tensor

    def __init__(self, sd: Positive = 0.1, steps: Count = 10_000) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("initial", torch.tensor(sd))
        self.register_buffer("done", torch.zeros(()))

    def view(self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = "") -> tuple[Tensor, Tensor]:
        sd = self.initial * (1 - self.done / self.steps).clamp_min(0)
        return real + sd * torch.randn_like(real), fake + sd * torch.randn_like(fake)

    def after_generator_step(self, game: Game) -> None:
        self.done += 1


class DiffAugment(Regularizer):
    """Differentiable augmentation of real and fake images alike (Zhao et al., 2020): colour, translation, cutout; see `augment`."""

    order = Regularizer.IMAGES + 1

    def __init__(self, policy: list[Change] | None = None) -> None:
        super().__init__()
        self.policy: list[Change] = policy if policy is not None else ["color", "translation", "cutout"]

    def attach(self, game: Game) -> None:
        if any(critic.points for critic in game.critics()):
            raise UserError(
                "points in the plane, and pairs with a code, have no colours to augment (tricks=[diff_augment]); use it on images"
            )

    def view(self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = "") -> tuple[Tensor, Tensor]:
        return augmented(real, self.policy), augmented(fake, self.policy)


class Packing(Regularizer):
    """PacGAN (Lin et al., 2018): the critic judges m samples at once, concatenated on channels.

    Its input layer is made anew, m times as wide.
    """

    order = Regularizer.RESHAPE

    def __init__(self, m: Count = 2) -> None:
        super().__init__()
        self.m = m

    def attach(self, game: Game) -> None:
        if game.beside or game.classifies:
            raise UserError(
                "a pack of samples has no one label or source (tricks=[packing] in a conditional game or a classifier); leave it out"
            )
        for critic in game.critics():
            critic.widen(self.m)

    def view(self, real: Tensor, fake: Tensor, critics_turn: bool, domain: str = "") -> tuple[Tensor, Tensor]:
        return self.pack(real), self.pack(fake)

    def pack(self, x: Tensor) -> Tensor:
        if len(x) % self.m:
            raise UserError(f"a batch of {len(x)} makes no packs of {self.m} (data.batch_size, tricks.packing.m); choose a multiple")
        return x.reshape(len(x) // self.m, self.m * x.shape[1], *x.shape[2:])


class EMA(Regularizer):
    """The generator that samples is the running mean of the one that learns: mean <- decay * mean + (1 - decay) * theta.

    Buffers (running statistics of batch norm, the reference of virtual batch norm) are copied. With `warm_up` the decay grows as
    min(decay, (1 + t) / (10 + t)), so that a short run is not an average with its own beginning.
    """

    order = Regularizer.WEIGHTS + 5

    def __init__(self, decay: Share = 0.999, warm_up: bool = True) -> None:
        super().__init__()
        self.decay, self.warm_up, self.steps = decay, warm_up, 0

    def attach(self, game: Game) -> None:
        game.averaged = copy.deepcopy(game.generator).requires_grad_(False)

    def begin(self, game: Game) -> None:
        assert game.averaged is not None
        game.averaged.load_state_dict(game.generator.state_dict())

    @torch.no_grad()
    def after_generator_step(self, game: Game) -> None:
        assert game.averaged is not None
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warm_up else self.decay
        self.steps += 1
        torch._foreach_lerp_(list(game.averaged.parameters()), list(game.generator.parameters()), 1 - decay)
        for mine, theirs in zip(game.averaged.buffers(), game.generator.buffers(), strict=True):
            mine.copy_(theirs)

    def get_extra_state(self) -> int:
        return self.steps

    def set_extra_state(self, state: int) -> None:
        self.steps = state
