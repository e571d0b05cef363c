"""EBGAN: energies, the margin and the pulling-away term against loops; tricks and refusals; a model
that learns.
"""

import math
from functools import partial

import pytest
import torch

from gentrain.adversarial import losses, tricks
from gentrain.adversarial.lipschitz import GradientPenalty, SpectralNorm
from gentrain.adversarial.regularizer import Regularizer
from gentrain.cli import hydra_errors
from gentrain.config import paths
from gentrain.errors import UserError
from gentrain.models.gan.gan import GAN
from gentrain.networks import autoencoder, mlp
from tests.support import plane
from tests.support.backbones import criterion
from tests.support.compose import composed

SHAPE = [1, 28, 28]


def make(
    *chosen: Regularizer,
    lipschitz: Regularizer | None = None,
    m: float = 5.0,
    shape: list[int] = SHAPE,
) -> GAN:
    return GAN(
        partial(mlp.Generator, shape=shape, latent=8, width=64),
        partial(autoencoder.MLP, shape=shape, width=64, code=16),
        criterion(*chosen, loss=losses.margin(m), lipschitz=lipschitz),
    )


@pytest.mark.parametrize(
    "critic",
    [
        autoencoder.MLP(SHAPE, 32, 8, depth=3),
        autoencoder.DCGAN(SHAPE, 8),
        autoencoder.DCGAN([3, 32, 32], 4),
    ],
)
def test_the_score_is_minus_the_distance_to_the_reconstruction(
    critic: autoencoder.Autoencoder,
) -> None:
    shape = (3, 32, 32) if next(critic.parameters()).shape[1] == 3 else (1, 28, 28)
    x = torch.rand(5, *shape) * 2 - 1
    out = critic.reconstruct(x)
    assert out.shape == x.shape and out.abs().max() <= 1
    for i in range(5):
        # Euclidean, over all values of one sample
        distance = math.sqrt(float(((out[i] - x[i]) ** 2).sum()))
        assert critic(x)[i].item() == pytest.approx(-distance, rel=1e-5)
    assert critic.features(x).shape[0] == 5 and critic.features(x).dim() == 2
    critic(x).sum().backward()
    assert all(p.grad is not None for p in critic.parameters())


def test_an_energy_of_zero_has_a_gradient() -> None:
    critic = autoencoder.MLP([4], 8, 4)
    for p in critic.parameters():
        p.data.zero_()
    x = torch.zeros(2, 4, requires_grad=True)
    critic(x).sum().backward()
    assert x.grad.isfinite().all()  # type: ignore[union-attr]


def test_the_margin_is_each_samples_own() -> None:
    """E(x) + max(0, m - E(G)) sample by sample; a margin on the mean, a common mistake, is another
    number.
    """
    real, fake = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([1.0, 9.0, 4.0])  # energies
    loss = losses.margin(5.0)
    want = (1.0 + 2.0 + 0.5) / 3 + (4.0 + 0.0 + 1.0) / 3
    assert loss.critic(-real, -fake).item() == pytest.approx(want)
    assert loss.critic(-real, -fake) != real.mean() + (5.0 - fake.mean()).clamp_min(0)
    assert loss.generator(-real, -fake).item() == pytest.approx(14 / 3)  # type: ignore[misc]
    fake = fake.requires_grad_()
    loss.critic(-real, -fake).backward()
    assert fake.grad.tolist() == pytest.approx([-1 / 3, 0.0, -1 / 3])  # nothing beyond the margin


def test_the_optimal_energy_of_the_paper() -> None:
    """Theorem 1: where p_G = p_data the critic's value is m, with an energy between 0 and m; by
    descent on a table of two points.
    """
    energy = torch.tensor([7.0, 0.1], requires_grad=True)
    loss, optimizer = losses.margin(3.0), torch.optim.SGD([energy], 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        value = loss.critic(-energy.clamp_min(0), -energy.clamp_min(0))
        value.backward()
        optimizer.step()
    assert value.item() == pytest.approx(3.0)
    assert ((energy >= 0) & (energy <= 3.05)).all()
    # real at one place, fake at another: no energy where data are, the margin where fakes are
    energy = torch.tensor([2.0, 1.0], requires_grad=True)
    optimizer = torch.optim.SGD([energy], 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        loss.critic(-energy[:1].clamp_min(0), -energy[1:]).backward()
        optimizer.step()
    assert energy.tolist() == pytest.approx([0.0, 3.0], abs=0.06)


def test_the_pulling_away_term_against_loops() -> None:
    model = make(tricks.PullingAway(0.1))
    fake = torch.rand(6, *SHAPE) * 2 - 1
    S = model.critic.features(fake)
    total = 0.0
    for i in range(6):
        for j in range(6):
            if j != i:
                total += float(S[i] @ S[j] / (S[i].norm() * S[j].norm())) ** 2
    term = model.generator_terms(model.critic, fake, fake).losses["PullingAway"]
    assert term.item() == pytest.approx(0.1 * total / 30, rel=1e-5)
    assert "PullingAway" not in model.critic_loss((fake,)).losses  # the generator's alone
    with pytest.raises(UserError, match="pulling_away"):
        model.generator_loss((fake[:1],))


def test_the_pulling_away_term_is_one_for_copies_and_zero_for_orthogonal_codes() -> None:
    class Codes:
        def features(self, x: torch.Tensor) -> torch.Tensor:
            return x

    trick = tricks.PullingAway(1.0)
    same, orthogonal = torch.ones(4, 5) * torch.tensor([[1.0], [-2.0], [3.0], [0.5]]), torch.eye(4)
    assert trick.generator_term(Codes(), same, same).item() == pytest.approx(1.0)
    assert trick.generator_term(Codes(), same, orthogonal).item() == pytest.approx(0.0)


def test_what_works_on_an_energy_and_what_is_refused() -> None:
    batch = (torch.rand(6, *SHAPE) * 2 - 1,)
    model = make(
        tricks.FeatureMatching(adversarial=True),
        tricks.HistoricalAveraging(),
        tricks.DiffAugment(),
        lipschitz=GradientPenalty(),
    )
    assert model.critic_loss(batch).loss.isfinite() and model.generator_loss(batch).loss.isfinite()
    normed = GAN(
        partial(mlp.Generator, shape=SHAPE),
        partial(autoencoder.DCGAN, shape=SHAPE, width=4),
        criterion(loss=losses.margin(), lipschitz=SpectralNorm()),
    )
    assert all(
        hasattr(m, "parametrizations") for m in normed.critic.modules() if hasattr(m, "kernel_size")
    )
    for trick, word in (
        (tricks.Packing(), "packing"),
        (tricks.MinibatchDiscrimination(), "minibatch_discrimination"),
        (tricks.LabelSmoothing(), "targets"),
    ):
        with pytest.raises(UserError, match=word):
            make(trick)


def test_the_preset_leaves_no_choice_of_the_loss() -> None:
    """The choice is refused by composition itself, in words of ours; the margin has a key."""
    from hydra.errors import HydraException

    with pytest.raises(HydraException, match="loss") as refused:
        composed("model=ebgan", "loss=hinge")
    assert "model=ebgan leaves no choice of loss" in hydra_errors.one_line(
        refused.value, ["model=ebgan", "loss=hinge"], paths.conf_dir()
    )
    assert composed("model=ebgan", "model.criterion.loss.m=3")["model"]["criterion"]["loss"] == {
        "_target_": "gentrain.adversarial.losses.margin",
        "m": 3,
    }


def test_data_get_low_energy_and_fakes_come_to_them() -> None:
    torch.manual_seed(1)
    model = make(shape=plane.SHAPE, m=0.5)
    x, _ = plane.drawn(500)
    before = torch.cdist(model.sample((x,)), plane.CENTRES).min(1).values.median()
    plane.train(model, 500)
    nowhere = torch.rand(500, 2) * 2 - 1
    far = nowhere[torch.cdist(nowhere, plane.CENTRES).min(1).values > 0.4]
    assert model.critic_scores((x,)).mean() > model.critic_scores((far,)).mean()
    assert torch.cdist(model.sample((x,)), plane.CENTRES).min(1).values.median() < 0.5 * before
