"""AC-GAN: both objectives against the paper's likelihoods; labels steer the generator."""

from functools import partial

import pytest
import torch

from gentrain.adversarial import losses, tricks
from gentrain.adversarial.lipschitz import GradientPenalty, SpectralNorm
from gentrain.adversarial.regularizer import Regularizer
from gentrain.errors import UserError
from gentrain.models.gan.acgan import AuxiliaryClassifierGAN
from gentrain.networks import mlp
from tests.support import plane
from tests.support.backbones import criterion


def make(
    *chosen: Regularizer,
    loss: losses.AdversarialLoss | None = None,
    lipschitz: Regularizer | None = None,
    weight: float = 1.0,
) -> AuxiliaryClassifierGAN:
    return AuxiliaryClassifierGAN(
        partial(mlp.Generator, shape=plane.SHAPE, latent=4, width=64),
        partial(mlp.Critic, shape=plane.SHAPE, width=64),
        criterion(*chosen, loss=loss, lipschitz=lipschitz),
        classes=plane.MODES,
        embedding=8,
        weight=weight,
    )


def likelihoods(
    model: AuxiliaryClassifierGAN, x: torch.Tensor, fake: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """L_S, the classes' part on real images and on fakes, from probabilities as in the paper."""
    source = (
        torch.sigmoid(model.critic(x)).log().mean()
        + (1 - torch.sigmoid(model.critic(fake))).log().mean()
    )
    of_real, of_fake = (
        model.classify(images).softmax(1)[torch.arange(len(y)), y].log().mean()
        for images in (x, fake)
    )
    return source, of_real, of_fake


def test_both_objectives_are_those_of_the_paper() -> None:
    """The critic descends -(L_S + L_C), the generator, with the saturating loss, -(L_C - L_S) but
    for what it cannot change.
    """
    model = make(loss=losses.js(saturating=True))
    batch = x, y = plane.drawn(8)
    torch.manual_seed(5)
    critics = model.critic_loss(batch)
    torch.manual_seed(5)
    generators = model.generator_loss(batch)
    torch.manual_seed(5)
    source, of_real, of_fake = likelihoods(model, x, model.generate(model.generator, batch), y)
    torch.testing.assert_close(critics.loss, -(source + of_real + of_fake))
    weights = list(model.generator.parameters())
    ours, theirs = (
        torch.autograd.grad(generators.loss, weights),
        torch.autograd.grad(source - of_real - of_fake, weights),
    )
    for mine, papers in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, papers)
    assert set(critics.losses) == set(generators.losses) == {"adversarial", "classification"}


def test_the_score_does_not_see_the_label() -> None:
    model = make()
    x, y = plane.drawn(8)
    torch.testing.assert_close(
        model.critic_scores((x, y)), model.critic_scores((x, (y + 1) % plane.MODES))
    )
    wrong = (
        model.critic_loss((x, y)).losses["classification"]
        - model.critic_loss((x, (y + 1) % plane.MODES)).losses["classification"]
    )
    assert wrong != 0


def test_the_weight_is_that_of_the_classification() -> None:
    model, heavy = make(), make(weight=3.0)
    heavy.load_state_dict(model.state_dict())
    batch = plane.drawn(8)
    values = []
    for each in (model, heavy):
        torch.manual_seed(1)
        values.append((each.critic_loss(batch).losses, each.generator_loss(batch).losses))
    for one, three in zip(*values, strict=True):
        torch.testing.assert_close(3 * one["classification"], three["classification"])
        torch.testing.assert_close(one["adversarial"], three["adversarial"])


@pytest.mark.parametrize("loss", [losses.js(), losses.hinge(), losses.ls(), losses.relativistic()])
def test_one_forward_of_the_critic_serves_both_heads(loss: losses.AdversarialLoss) -> None:
    """The power iteration of spectral norm advances once a turn; and the terms are those of
    separate forwards.
    """
    model = make(loss=loss, lipschitz=SpectralNorm())
    calls: list[int] = []
    model.critic.critic.body.register_forward_hook(lambda *_: calls.append(1))
    batch = plane.drawn(8)
    model.critic_loss(batch)
    assert len(calls) == 1
    model.generator_loss(batch)
    assert len(calls) == 2
    plain = make(loss=loss)
    torch.manual_seed(2)
    objective = plain.generator_loss(batch)
    torch.manual_seed(2)
    fake = plain.generate(plain.generator, batch)
    torch.testing.assert_close(
        objective.losses["adversarial"], loss.generator(plain.critic(batch[0]), plain.critic(fake))
    )  # type: ignore[misc]


def test_tricks_that_reach_both_heads() -> None:
    batch = plane.drawn(8)
    similar = make(tricks.MinibatchDiscrimination(3, 2))
    assert (
        similar.critic_loss(batch).loss.isfinite() and similar.generator_loss(batch).loss.isfinite()
    )
    matched = make(tricks.FeatureMatching(), lipschitz=GradientPenalty()).generator_loss(batch)
    assert set(matched.losses) == {"FeatureMatching", "classification"}
    for refused in (tricks.Packing(), tricks.Replay()):
        with pytest.raises(UserError, match="conditional"):
            make(refused)


def test_samples_follow_their_labels_and_the_critic_names_them() -> None:
    model = make()
    plane.train(model, 300)
    x, y = plane.drawn(1000)
    assert (plane.mode(model.sample((x, y))) == y).float().mean() > 0.9
    assert (plane.mode(model.sample((x, (y + 1) % plane.MODES))) == y).float().mean() < 0.1
    assert (model.classify(x).argmax(1) == y).float().mean() > 0.95
