"""BiGAN and ALI: the objectives from probabilities, one player of two networks, and an encoder that
inverts its generator.
"""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from gentrain.adversarial import losses, tricks
from gentrain.adversarial.augment import Augmentation, augmented
from gentrain.adversarial.lipschitz import GradientPenalty, SpectralNorm
from gentrain.adversarial.regularizer import Regularizer
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.errors import UserError
from gentrain.layers.normalization import Norm, WithReferenceBatch
from gentrain.models.gan.bigan import BiGAN, JointCritic, join
from gentrain.networks import dcgan, mlp
from tests.support import plane
from tests.support.backbones import criterion
from tests.support.compose import composed
from tests.support.presets import small

SHAPE, LATENT = [1, 8, 8], 5


def make(
    *chosen: Regularizer,
    loss: losses.AdversarialLoss | None = None,
    lipschitz: Regularizer | None = None,
    stochastic: bool = False,
    shape: list[int] = SHAPE,
    latent: int = LATENT,
    width: int = 32,
    norm: Norm = "none",
    information: float = 0.0,
    augment: list[Augmentation] | None = None,
) -> BiGAN:
    return BiGAN(
        partial(mlp.Generator, shape=shape, latent=latent, width=width, norm=norm),
        partial(mlp.Critic, shape=shape, width=width),
        criterion(*chosen, loss=loss, lipschitz=lipschitz),
        encoder_norm=norm,
        stochastic=stochastic,
        information=information,
        augment=augment,
    )


def drawn_pairs(model: BiGAN, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return model.pairs((x,))


def test_both_objectives_are_those_of_the_paper() -> None:
    model, x = make(), torch.rand(6, *SHAPE) * 2 - 1
    real, fake = drawn_pairs(model, x, 1)
    torch.testing.assert_close(real, torch.cat([x.flatten(1), model.generator.encoder(x)], 1))
    torch.testing.assert_close(fake[:, :64].view(6, *SHAPE), model.generator(fake[:, 64:]))
    assert fake[:, 64:].shape == (6, LATENT)
    on_real, on_fake = model.critic(real).sigmoid(), model.critic(fake).sigmoid()
    torch.manual_seed(1)
    torch.testing.assert_close(
        model.critic_loss((x,)).loss, -(on_real.log() + (1 - on_fake).log()).mean()
    )
    torch.manual_seed(1)
    torch.testing.assert_close(
        model.generator_loss((x,)).loss, -((1 - on_real).log() + on_fake.log()).mean()
    )


def test_the_saturating_loss_is_zero_sum() -> None:
    model, x = make(loss=losses.js(saturating=True)), torch.rand(6, *SHAPE) * 2 - 1
    torch.manual_seed(1)
    critics = model.critic_loss((x,)).loss
    torch.manual_seed(1)
    torch.testing.assert_close(model.generator_loss((x,)).loss, -critics)


LOSSES = {
    "js": losses.js(),
    "ls": losses.ls(),
    "pearson": losses.ls(-1, 1, 0),
    "wasserstein": losses.wasserstein(),
    "hinge": losses.hinge(),
    "relativistic": losses.relativistic(),
    "average": losses.relativistic(average=True),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_score_with_swapped_roles(name: str) -> None:
    loss = LOSSES[name]
    real, fake = torch.randn(7), torch.randn(7)
    torch.testing.assert_close(
        loss.critic(real, fake), loss.critic(loss.swap_roles(fake), loss.swap_roles(real))
    )
    if loss.smoothed:
        smoothed = loss.smoothed(0.9)
        torch.testing.assert_close(smoothed.swap_roles(real), loss.swap_roles(real))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_teaches_both_networks(name: str) -> None:
    """Encoder and generator both get a gradient, in a direction that lowers what the critic can
    tell.
    """
    model, x = make(loss=LOSSES[name], lipschitz=GradientPenalty()), torch.rand(6, *SHAPE) * 2 - 1
    objective = model.generator_loss((x,))
    assert set(objective.losses) == (
        {"adversarial"} if LOSSES[name].relative else {"adversarial", "inference"}
    )
    real, fake = torch.randn(6, requires_grad=True), torch.randn(6, requires_grad=True)
    terms = model.generator_adversarial(real, fake)["adversarial"]
    if not model.loss.relative:
        terms = (
            terms
            + model.generator_adversarial(model.loss.swap_roles(fake), model.loss.swap_roles(real))[
                "adversarial"
            ]
        )
    terms.backward()
    if name not in ("ls", "pearson"):  # which pull scores to a target from either side
        assert (real.grad > 0).all() and (fake.grad < 0).all()
    objective.loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.generator.encoder.parameters())
    assert all(p.grad is not None and p.grad.any() for p in model.generator.generator.parameters())


def test_the_penalty_is_of_the_gradient_with_respect_to_the_whole_pair() -> None:
    model, x = (
        make(lipschitz=GradientPenalty(points="real", center=0.0, weight=1.0)),
        torch.rand(4, *SHAPE) * 2 - 1,
    )
    real, fake = drawn_pairs(model, x, 1)
    term = model.critic_terms(model.critic, real.detach(), fake.detach()).losses["gradient_penalty"]
    image, code = real[:, :64].detach().requires_grad_(), real[:, 64:].detach().requires_grad_()
    of_image, of_code = torch.autograd.grad(
        model.critic(torch.cat([image, code], 1)).sum(), (image, code)
    )
    torch.testing.assert_close(term, (of_image.square().sum(1) + of_code.square().sum(1)).mean())
    assert of_code.any()


@pytest.mark.parametrize("preset", ["bigan", "ali"])
def test_codes_lie_inside_the_prior(preset: str) -> None:
    """In the cube for uniform noise, by 2 sigmoid - 1; anywhere for normal noise."""
    config = composed(f"model={preset}")["model"]
    model = build(validate.check({"model": small(config), "steps": 1, "seed": 0})["model"], "model")
    encoder, x = model.generator.encoder.eval(), torch.randn(64, 1, 28, 28) * 30
    encoder.head.weight.data.mul_(10_000)
    codes = model.encode(x)
    out = encoder.eval().head(encoder.body(x))
    if model.prior == "uniform":
        assert codes.abs().max() <= 1 and codes.abs().mean() > 0.5
        torch.testing.assert_close(codes, 2 / (1 + (-out).exp()) - 1)
        real, _ = model.pairs((x,))
        assert real[:, 784:].abs().max() <= 1  # what the critic sees
    else:
        assert codes.abs().max() > 3
        torch.testing.assert_close(codes, out[:, : codes.shape[1]])
    assert (preset, model.prior) in {("bigan", "uniform"), ("ali", "normal")}


def test_a_perceptron_sees_codes_from_its_second_layer_on() -> None:
    """W2 (h, z) is the sum of a linear map of the units and one of the code."""
    critic: Any = make().critic
    (w1, b1), (w2, b2) = (
        (m.weight, m.bias) for m in critic.body.modules() if isinstance(m, torch.nn.Linear)
    )
    x, z = torch.randn(3, *SHAPE), torch.randn(3, LATENT)
    assert w1.shape == (32, 64) and w2.shape == (32, 32 + LATENT)

    def rectified(t: Tensor) -> Tensor:
        return torch.where(t > 0, t, 0.2 * t)

    h = rectified(x.flatten(1) @ w1.T + b1)
    h = rectified(h @ w2[:, :32].T + z @ w2[:, 32:].T + b2)
    torch.testing.assert_close(
        critic(join(x, z)), (h @ critic.head.weight.T).flatten() + critic.head.bias
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_packed_pairs_are_taken_apart(depth: int) -> None:
    critic = mlp.Critic(SHAPE, 16, depth, code=LATENT)
    critic.widen(2)
    first, second = torch.randn(4, 64 + LATENT), torch.randn(4, 64 + LATENT)
    seen: list[Tensor] = []
    critic.body.rest[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    assert critic(torch.cat([first, second], 1)).shape == (4,)
    codes = torch.cat([first[:, 64:], second[:, 64:]], 1)
    torch.testing.assert_close(seen[0][:, -2 * LATENT :], codes)
    if depth == 1:  # one layer sees everything
        images = torch.cat([first[:, :64], second[:, :64]], 1)
        torch.testing.assert_close(seen[0][:, : 2 * 64], images)


def test_the_rates_of_the_authors() -> None:
    """Constant for 200 epochs, then down to a hundredth on a logarithmic scale in 200 more."""
    config = composed("model=bigan", "steps=400")["scheme"]
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 2e-4)
    schedule = build(config["schedule"], "schedule")(optimizer)
    for epoch in range(401):
        done = max(0, epoch - 200) / 200
        wanted = math.exp(math.log(2e-4) + done * (math.log(2e-6) - math.log(2e-4)))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(wanted, rel=1e-9)
        optimizer.step()
        schedule.step()
    assert {o["weight_decay"] for o in config["optimizers"].values()} == {5e-5}


def test_the_stochastic_encoder_is_the_normal_distribution_that_it_says() -> None:
    model = make(stochastic=True)
    x = (torch.rand(1, *SHAPE) * 2 - 1).expand(20_000, -1, -1, -1)
    mean, sd = model.generator.encoder.posterior(x[:1])
    draws = model.generator.encoder(x)
    torch.testing.assert_close(draws.mean(0), mean[0], atol=0.03, rtol=0.03)
    torch.testing.assert_close(draws.std(0), sd[0], atol=0.03, rtol=0.03)
    torch.testing.assert_close(model.encode(x[:2]), mean.expand(2, -1))
    model.generator_loss((x[:8],)).loss.backward()  # reparameterised: the deviation learns as well
    assert model.generator.encoder.head.weight.grad[LATENT:].any()


@pytest.mark.parametrize("stochastic", [False, True])
def test_codes_are_read_back(stochastic: bool) -> None:
    """log q(z | x) by torch's own distributions; the term is InfoGAN's, of new fakes, and teaches
    both networks.
    """
    model = make(stochastic=stochastic, information=0.5)
    player, x = model.generator, torch.rand(6, *SHAPE) * 2 - 1
    z = player.noise(6, "cpu")
    mean, sd = player.encoder.posterior(x)
    assert bool(sd.any()) == stochastic
    q = torch.distributions.Normal(mean, sd if stochastic else torch.ones_like(mean))
    torch.testing.assert_close(player.encoder.log_q(x, z), q.log_prob(z).sum(1))
    torch.manual_seed(1)
    objective = model.generator_loss((x,))
    _, fake = drawn_pairs(model, x, 1)
    made, codes = fake[:, :64].view(6, *SHAPE), fake[:, 64:]
    entropy = LATENT * torch.distributions.Normal(0, 1).entropy()
    bound = entropy + player.encoder.log_q(made, codes).mean()
    torch.testing.assert_close(objective.losses["information"], -0.5 * bound)
    torch.testing.assert_close(objective.metrics["mutual_information"], bound)
    objective.losses["information"].backward()
    assert all(p.grad is not None and p.grad.any() for p in player.parameters())
    assert "information" not in make().generator_loss((x,)).losses


def test_codes_are_read_back_from_changed_images() -> None:
    model, x = make(information=2.0, augment=["affine", "cutout"]), torch.rand(6, *SHAPE) * 2 - 1
    torch.manual_seed(1)
    objective = model.generator_loss((x,))
    _, fake = drawn_pairs(model, x, 1)
    made, codes = fake[:, :64].view(6, *SHAPE), fake[:, 64:]
    changed = augmented(made, ["affine", "cutout"])  # the next draws after the pairs'
    entropy = LATENT * torch.distributions.Normal(0, 1).entropy()
    bound = entropy + model.generator.encoder.log_q(changed, codes).mean()
    torch.testing.assert_close(objective.losses["information"], -2 * bound)
    objective.losses["information"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.generator.parameters())
    with pytest.raises(UserError, match=r"model\.information=1"):
        make(augment=["affine"])
    with pytest.raises(UserError, match=r"points .* \(model\.augment\)"):
        make(shape=[2], information=1.0, augment=["affine"])


def test_tricks_on_pairs() -> None:
    batch = (torch.rand(8, *SHAPE) * 2 - 1,)
    full = make(
        tricks.MinibatchDiscrimination(3, 2),
        tricks.FeatureMatching(adversarial=True),
        tricks.Replay(4, 1.0),
        tricks.Packing(),
        tricks.VirtualBatchNormalization(),
        tricks.EMA(),
        tricks.InstanceNoise(),
        norm="batch",
    )
    full.init_from_batch(batch)
    assert full.critic_loss(batch).loss.isfinite() and full.generator_loss(batch).loss.isfinite()
    full.after_generator_step()
    # generator and encoder
    assert sum(isinstance(m, WithReferenceBatch) for m in full.generator.modules()) == 2
    assert full.sample(batch).shape == full.reconstruct(batch[0]).shape == batch[0].shape
    with pytest.raises(UserError, match="feature_matching_added"):
        make(tricks.FeatureMatching())
    with pytest.raises(UserError, match="diff_augment"):
        make(tricks.DiffAugment())


def test_the_joint_critic_unpacks_what_was_packed() -> None:
    shape = [1, 28, 28]
    image = partial(dcgan.Critic, shape=shape, width=4, norm="none")
    critic = JointCritic(image, LATENT, 16)
    x, z = torch.randn(3, *shape), torch.randn(3, LATENT)
    seen: list[Tensor] = []
    critic.body.body.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    score = critic(join(x, z))
    assert torch.equal(seen[0], x) and score.shape == (3,)
    assert not torch.equal(score, critic(join(x, z + 1))) and not torch.equal(
        score, critic(join(x + 1, z))
    )
    generator = partial(dcgan.Generator, shape=shape, latent=LATENT, width=4)
    model = BiGAN(generator, image, criterion(loss=losses.hinge(), lipschitz=SpectralNorm()))
    assert isinstance(model.critic, JointCritic)
    assert model.generator_loss((x,)).loss.isfinite() and model.critic_scores((x,)).shape == (3,)
    with pytest.raises(UserError, match="packing"):
        BiGAN(generator, image, criterion(tricks.Packing()))


@pytest.mark.slow
def test_the_encoder_inverts_the_generator() -> None:
    """The paper's theorem at work, on a square: G(E(x)) lies nearer to x than G of a random code,
    or of another sample's, does.
    """

    def square(n: int) -> tuple[Tensor]:
        return (torch.rand(n, 2) * 1.4 - 0.7,)

    # settles in seconds
    model = make(
        shape=plane.SHAPE,
        latent=2,
        width=64,
        lipschitz=GradientPenalty(0.1, center=0.0, points="both"),
    )
    plane.train(model, 800, lr=2e-3, drawn=square)
    (x,) = square(1000)

    def distance(to: Tensor) -> float:
        return float((x - to).norm(dim=1).median())

    own, other, random = model.reconstruct(x), model.reconstruct(x.roll(1, 0)), model.sample((x,))
    assert distance(own) < 0.55 * min(distance(other), distance(random))
