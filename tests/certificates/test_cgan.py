"""Labels that are not the images': the third pair of GAN-CLS, against its formula; and that labels
steer the generator.
"""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from gentrain.adversarial import losses
from gentrain.adversarial.lipschitz import GradientPenalty
from gentrain.adversarial.regularizer import Regularizer
from gentrain.data.labels import Exclusive
from gentrain.errors import UserError
from gentrain.models.gan.cgan import ConditionalGAN
from gentrain.networks import mlp
from tests.support import plane
from tests.support.backbones import criterion


def make(
    matching_aware: bool,
    loss: losses.AdversarialLoss | None = None,
    lipschitz: Regularizer | None = None,
    classes: int = plane.MODES,
) -> ConditionalGAN:
    return ConditionalGAN(
        partial(mlp.Generator, shape=plane.SHAPE, latent=4, width=64),
        partial(mlp.Critic, shape=plane.SHAPE, width=64),
        criterion(loss=loss, lipschitz=lipschitz),
        classes=classes,
        embedding=8,
        matching_aware=matching_aware,
    )


def test_wrong_labels_are_uniform_over_the_others() -> None:
    y = torch.arange(5).repeat(4000)
    wrong = Exclusive().others(y, 5)
    assert not (wrong == y).any()
    for label in range(5):
        share = torch.bincount(wrong[y == label], minlength=5) / 4000
        assert share[label] == 0
        assert all(
            share[k].item() == pytest.approx(1 / 4, abs=0.03) for k in range(5) if k != label
        )
    assert torch.equal(Exclusive().others(torch.tensor([0, 1, 1]), 2), torch.tensor([1, 0, 0]))


def test_the_objective_is_that_of_the_paper() -> None:
    """-log D(x, y) - 1/2 [log(1 - D(G, y)) + log(1 - D(x, y'))], written from probabilities; two
    classes leave no choice of y'.
    """
    model = make(True, classes=2)
    x, y = torch.randn(6, 2), torch.tensor([0, 1, 0, 0, 1, 1])
    torch.manual_seed(3)
    objective = model.critic_loss((x, y))
    torch.manual_seed(3)
    with torch.no_grad():
        fake = model.generate(model.generator, (x, y))
    D = torch.sigmoid
    want = -(
        D(model.critic(x, y)).log()
        + ((1 - D(model.critic(fake, y))).log() + (1 - D(model.critic(x, 1 - y))).log()) / 2
    ).mean()
    torch.testing.assert_close(objective.losses["adversarial"], want)
    torch.testing.assert_close(objective.metrics["mismatched_score"], model.critic(x, 1 - y).mean())
    # the generator's side is that of any conditional model
    assert set(model.generator_loss((x, y)).losses) == {"adversarial"}


@pytest.mark.parametrize(
    "loss", [losses.ls(), losses.hinge(), losses.wasserstein(), losses.relativistic()]
)
def test_it_is_the_mean_of_two_losses_for_every_loss(loss: losses.AdversarialLoss) -> None:
    model = make(True, loss, GradientPenalty(), classes=2)
    x, y = torch.randn(6, 2), torch.tensor([0, 1, 0, 0, 1, 1])
    torch.manual_seed(3)
    objective = model.critic_loss((x, y))
    torch.manual_seed(3)
    fake = model.generate(model.generator, (x, y))
    real = model.critic(x, y)
    want = (
        loss.critic(real, model.critic(fake, y)) + loss.critic(real, model.critic(x, 1 - y))
    ) / 2
    torch.testing.assert_close(objective.losses["adversarial"], want)
    assert "gradient_penalty" in objective.losses


def test_one_class_has_no_wrong_label() -> None:
    with pytest.raises(UserError, match=r"model\.matching_aware"):
        make(True, classes=1)


@pytest.mark.parametrize("matching_aware", [False, True])
def test_samples_follow_their_labels(matching_aware: bool) -> None:
    """A sample lies at the mode of its label; with the labels permuted the agreement is that of the
    permutation: none here.
    """
    model = make(matching_aware)
    plane.train(model, 400)
    x, y = plane.drawn(1000)
    found = plane.mode(model.sample((x, y)))
    assert (found == y).float().mean() > 0.9
    assert (plane.mode(model.sample((x, (y + 1) % plane.MODES))) == y).float().mean() < 0.1
    if matching_aware:  # the critic tells a right label from a wrong one
        assert (
            model.critic(x, y) > model.critic(x, Exclusive().others(y, plane.MODES))
        ).float().mean() > 0.9
    assert F.one_hot(found, plane.MODES).sum(0).min() > 150
