"""BigBiGAN: three scores of a pair and both objectives by hand, who learns what in which update,
and networks of labels with one label.
"""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gentrain.adversarial import losses, tricks
from gentrain.adversarial.lipschitz import GradientPenalty, SpectralNorm
from gentrain.adversarial.regularizer import Regularizer
from gentrain.errors import UserError
from gentrain.models.gan.bigbigan import SCORES, BigBiGAN, SoftplusEncoder
from gentrain.networks import biggan, mlp
from gentrain.networks.conditional import SingleLabelGenerator
from tests.support.backbones import criterion
from tests.support.compose import build_model, composed

SHAPE, PIXELS, LATENT = [1, 8, 8], 64, 6


def make(
    *chosen: Regularizer,
    loss: losses.AdversarialLoss | None = None,
    lipschitz: Regularizer | None = None,
    stochastic: bool = True,
) -> BigBiGAN:
    return BigBiGAN(
        partial(biggan.Generator, shape=SHAPE, latent=LATENT, embedding=3, width=4),
        partial(biggan.Critic, shape=SHAPE, width=4),
        criterion(*chosen, loss=loss or losses.hinge(), lipschitz=lipschitz),
        stochastic=stochastic,
        joint_width=8,
        blocks=2,
    )


def images(n: int = 6) -> Tensor:
    return torch.rand(n, *SHAPE) * 2 - 1


def by_hand(critic: Any, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """s_x, s_z and s_xz from the weights: F is the image's network; H and J from their matrices."""

    def residual(network: Any, h: Tensor) -> Tensor:
        h = h @ network.first.weight.T + network.first.bias
        for _, one, _, two in network.blocks:
            inner = h.clamp(min=0) @ one.weight.T + one.bias
            h = h + inner.clamp(min=0) @ two.weight.T + two.bias
        return h.clamp(min=0)

    f, h = critic.body.image(x), residual(critic.body.code, z)
    j = residual(critic.body.joint, torch.cat([f, h], 1))
    each = zip((f, h, j), critic.head.layers, strict=True)
    s_x, s_z, s_xz = ((part @ theta.weight.T + theta.bias)[:, 0] for part, theta in each)
    return s_x, s_z, s_xz


def drawn(model: BigBiGAN, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, E(x), G(z) and z of the next loss with seed 1."""
    torch.manual_seed(1)
    with torch.no_grad():
        real, fake = model.pairs((x,))
    made = fake[:, :PIXELS].view_as(x)
    return x, real[:, PIXELS:], made, fake[:, PIXELS:]


def test_both_objectives_are_those_of_the_paper() -> None:
    """Three hinges for the critic; y (s_x + s_z + s_xz) for encoder and generator."""
    model = make()
    x, code, made, z = drawn(model, images())
    torch.manual_seed(1)
    critics = model.critic_loss((x,))
    torch.manual_seed(1)
    generators = model.generator_loss((x,))
    real, fake = by_hand(model.critic, x, code), by_hand(model.critic, made, z)
    hinges = [(1 - r).clamp(min=0) + (1 + f).clamp(min=0) for r, f in zip(real, fake, strict=True)]
    torch.testing.assert_close(critics.loss, sum(h.mean() for h in hinges))
    torch.testing.assert_close(generators.loss, (sum(real) - sum(fake)).mean())
    for name, hinge, r, f in zip(SCORES, hinges, real, fake, strict=True):
        torch.testing.assert_close(critics.losses[f"{name}_adversarial"], hinge.mean())
        torch.testing.assert_close(critics.metrics[f"{name}_real_score"], r.mean())
        torch.testing.assert_close(generators.losses[f"{name}_adversarial"], -f.mean())
        torch.testing.assert_close(generators.losses[f"{name}_inference"], r.mean())
    assert len(critics.losses) == 3 and len(generators.losses) == 6


def test_each_player_learns_in_its_own_update() -> None:
    """Gradients reach all of the critic in its update and nothing else; the generator learns by
    s_x and s_xz of its pairs, the encoder by s_z and s_xz of its own.
    """
    model, x = make(), images()
    critic, player = model.critic, model.generator

    def reached(network: nn.Module, loss: Tensor) -> bool:
        grads = torch.autograd.grad(
            loss, list(network.parameters()), retain_graph=True, allow_unused=True
        )
        return any(g is not None and bool(g.any()) for g in grads)

    found = model.critic_loss((x,))
    assert not any(reached(player, loss) for loss in found.losses.values() if loss.requires_grad)
    found.loss.backward()
    assert all(p.grad is not None for p in critic.parameters())
    assert all(p.grad.any() for p in critic.parameters() if p.ndim > 1)
    for p in critic.parameters():
        p.requires_grad = False  # as the scheme does
    found = model.generator_loss((x,))
    who = {
        name: tuple(
            loss.requires_grad and reached(network, loss)
            for network in (player.generator, player.encoder)
        )
        for name, loss in found.losses.items()
    }
    assert who == {
        "image_adversarial": (True, False),
        "code_adversarial": (False, False),  # noise is nobody's
        "joint_adversarial": (True, False),
        "image_inference": (False, False),  # and so are the data
        "code_inference": (False, True),
        "joint_inference": (False, True),
    }


def test_players_pull_in_opposite_directions() -> None:
    """A step of either player lowers its own loss and raises that of the other: the signs of y."""
    model, x = make(), images(16)
    (on_real, on_fake), h = (torch.zeros(4, requires_grad=True) for _ in range(2)), losses.hinge()
    both = sum(model.both_adversarial(on_real, on_fake).values())
    ours = torch.autograd.grad(both, (on_real, on_fake))
    theirs = torch.autograd.grad(h.critic(on_real, on_fake), (on_real, on_fake))
    assert (ours[0] > 0).all() and (ours[1] < 0).all()
    torch.testing.assert_close(ours, tuple(-grad for grad in theirs))  # inside the hinges
    assert model.critic_scores((x,)).shape == (16,)


def test_the_encoder_is_a_normal_distribution_with_softplus() -> None:
    model, x = make(), images(3)
    encoder = model.generator.encoder.eval()
    out = encoder.head(encoder.body(x))
    mean, sd = encoder.posterior(x)
    torch.testing.assert_close(mean, out[:, :LATENT])
    torch.testing.assert_close(sd, (1 + out[:, LATENT:].exp()).log())
    torch.testing.assert_close(model.encode(x), mean)
    spread = torch.tensor([-300.0, -20.0, 0.0, 50.0], requires_grad=True)
    log_variance = SoftplusEncoder.log_variance(encoder, spread)
    exact = torch.nn.functional.softplus(spread.detach().double()).log()
    exact[0] = -300  # where double precision ends as well
    torch.testing.assert_close(log_variance, 2 * exact.float())
    log_variance.sum().backward()
    assert spread.grad is not None and spread.grad.isfinite().all() and (spread.grad > 0).all()
    fixed = make(stochastic=False)
    torch.testing.assert_close(fixed.generator.encoder.eval()(x), fixed.encode(x))


def test_networks_of_labels_get_one_label() -> None:
    model, x = make(), images(3)
    generator = model.generator.generator
    assert isinstance(generator, SingleLabelGenerator)
    z = model.noise(3, "cpu")
    plain = generator.generator.eval()
    torch.testing.assert_close(generator(z), plain(z, torch.zeros(3, dtype=torch.long)))
    assert not any(isinstance(m, nn.Embedding) for m in model.critic.modules())
    assert model.sample((x,)).shape == model.reconstruct(x).shape == x.shape
    other = BigBiGAN(
        partial(mlp.Generator, shape=[2], latent=3, width=8),
        partial(mlp.Critic, shape=[2], width=8),
        criterion(loss=losses.wasserstein(), lipschitz=GradientPenalty()),
        joint_width=8,
        blocks=1,
    )
    found = other.critic_loss((torch.rand(8, 2),))
    assert found.loss.isfinite() and "gradient_penalty" in found.losses


def test_spectral_norm_of_generator_and_critic_leaves_the_encoder_free() -> None:
    """Every matrix of the critic, H and J and the heads included, and of G."""
    model = make(lipschitz=SpectralNorm(["generator", "critic"]))

    def normalised(network: nn.Module) -> set[bool]:
        kinds = (nn.Linear, nn.Conv2d)
        layers = [m for m in network.modules() if isinstance(m, kinds)]
        return {parametrize.is_parametrized(layer) for layer in layers}

    assert normalised(model.critic) == normalised(model.generator.generator) == {True}
    assert normalised(model.generator.encoder) == {False}
    assert model.critic_loss((images(),)).loss.isfinite()


def test_tricks_on_three_scores() -> None:
    batch = (images(8),)
    full = make(
        tricks.Replay(4, 1.0),
        tricks.InstanceNoise(),
        tricks.TopK(gamma=0.5, nu=0.5, every=1),
        tricks.FeatureMatching(adversarial=True),
        tricks.EMA(),
    )
    full.init_from_batch(batch)
    assert full.critic_loss(batch).loss.isfinite()
    full.after_generator_step()
    torch.manual_seed(1)
    found = full.generator_loss(batch)
    torch.manual_seed(1)
    parts = full.part_scores(*full.transform_batch(*full.pairs(batch), critics_turn=False))
    for name, (on_real, on_fake) in parts.items():  # the four best fakes of each score
        best = -on_fake.sort().values[4:].mean()
        torch.testing.assert_close(found.losses[f"{name}_adversarial"], best)
        assert on_real.shape == on_fake.shape == (8,)
    for trick, words in (
        (tricks.Packing(), "packing"),
        (tricks.MinibatchDiscrimination(), "minibatch_discrimination"),
        (tricks.FeatureMatching(), "feature_matching_added"),
        (tricks.DiffAugment(), "diff_augment"),
    ):
        with pytest.raises(UserError, match=words):
            make(trick)


def test_the_preset_has_the_papers_numbers() -> None:
    config = composed("model=bigbigan")
    rates = {player: (o["lr"], o["betas"]) for player, o in config["scheme"]["optimizers"].items()}
    assert rates == {"critic": (2e-4, [0.0, 0.999]), "generator": (5e-5, [0.0, 0.999])}
    assert config["scheme"]["rates"] == {"encoder": 10.0}
    assert config["scheme"]["critic_steps"] == 2 and config["lipschitz"]["players"] == [
        "critic",
        "generator",
    ]
    small = ("model.generator.width=4", "model.critic.width=4", "model.joint_width=16")
    model = build_model("model=bigbigan", *small)
    assert isinstance(model, BigBiGAN) and len(model.critic.body.code.blocks) == 4
    assert model.noise(2, "cpu").shape == (2, 120)
