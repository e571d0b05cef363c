"""SYSTEMS.md section 3: every trick against loops written from its formula."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from gentrain.adversarial import losses, tricks
from gentrain.adversarial.lipschitz import GradientPenalty, Lipschitz, SpectralNorm
from gentrain.adversarial.regularizer import Regularizer
from gentrain.errors import UserError
from gentrain.layers.normalization import VirtualBatchNorm, WithReferenceBatch
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.gan.cgan import ConditionalGAN
from gentrain.models.gan.gan import GAN
from gentrain.networks import dcgan, mlp, patchgan
from gentrain.networks.conditional import Conditioning
from tests.support.backbones import criterion

SHAPE = [1, 28, 28]


def make(
    *chosen: Regularizer,
    norm: str = "batch",
    loss: losses.AdversarialLoss | None = None,
    lipschitz: Regularizer | None = None,
) -> AdversarialModel:
    return GAN(
        partial(dcgan.Generator, shape=SHAPE, latent=16, width=8),
        partial(dcgan.Critic, shape=SHAPE, width=8, norm=norm),
        criterion(*chosen, loss=loss, lipschitz=lipschitz),
    )


def images(n: int = 6) -> torch.Tensor:
    return torch.rand(n, *SHAPE) * 2 - 1


def test_minibatch_discrimination_against_loops() -> None:
    layer, h = tricks.MinibatchSimilarity(features=7, kernels=3, dim=4), torch.randn(5, 7)
    M = (h @ layer.T.weight.T).view(5, 3, 4).detach()
    for i in range(5):
        for b in range(3):
            o = sum(
                math.exp(-sum(abs(float(M[i, b, c] - M[j, b, c])) for c in range(4)))
                for j in range(5)
                if j != i
            )
            assert layer(h)[i, 7 + b].item() == pytest.approx(o, abs=1e-5)
    assert torch.equal(layer(h)[:, :7], h)


def test_minibatch_discrimination_sees_each_batch_alone() -> None:
    """Real and fake are scored apart, and a batch of equal samples is seen as such."""
    model = make(tricks.MinibatchDiscrimination(4, 3), norm="none")
    assert model.couples_samples
    real, fake = images(), images()
    alone = model.critic(real)
    torch.testing.assert_close(model.scores(model.critic, real, fake)[0], alone)
    head = model.critic.head
    same = head[0](torch.randn(1, head[0].T.in_features).expand(6, -1))[:, -4:]
    torch.testing.assert_close(same, torch.full((6, 4), 5.0))


def test_feature_matching_is_of_batch_means() -> None:
    model = make(tricks.FeatureMatching(2.0), norm="none")
    real, fake = images(), images().requires_grad_()
    objective = model.generator_terms(model.critic, real, fake)
    assert set(objective.losses) == {"FeatureMatching"}  # in place of the adversarial term
    f = model.critic.features
    want = 2 * ((f(real).mean(0) - f(fake).mean(0)) ** 2).sum()
    torch.testing.assert_close(objective.losses["FeatureMatching"], want)
    assert torch.autograd.grad(want, model.critic.body[0].weight)[0].abs().sum() > 0
    # the mean over pairs of samples, the usual mistake, is another number
    assert not torch.isclose(want, 2 * ((f(real) - f(fake)) ** 2).mean(0).sum())
    both = make(tricks.FeatureMatching(adversarial=True), norm="none").generator_terms(
        model.critic, real, fake
    )
    assert set(both.losses) == {"adversarial", "FeatureMatching"}


def test_feature_matching_detaches_the_real_side() -> None:
    model = make(tricks.FeatureMatching(), norm="none")
    real, fake = images().requires_grad_(), images()
    term = model.generator_terms(model.critic, real, fake).losses["FeatureMatching"]
    assert torch.autograd.grad(term, real, allow_unused=True)[0] is None


def test_historical_averaging_against_a_list() -> None:
    """|| theta - mean of theta_1 ... theta_t ||^2 with every theta kept, through a checkpoint in
    the middle.
    """
    model = make(tricks.HistoricalAveraging(3.0), norm="none")
    kept: list[torch.Tensor] = []
    weight = model.critic.body[0].weight

    def step() -> None:
        for p in model.critic.parameters():
            p.data.add_(torch.randn_like(p) * 0.1)
        model.after_critic_step({})
        kept.append(weight.detach().clone())

    for _ in range(4):
        step()
    saved = {k: v.clone() for k, v in model.state_dict().items()}
    for p in model.parameters():
        p.data.zero_()
    model.load_state_dict(saved)
    for _ in range(3):
        step()
    trick = model.regularizers["HistoricalAveraging"]
    mean = torch.stack(kept).mean(0)
    torch.testing.assert_close(trick.means("critic")[0], mean, rtol=1e-4, atol=1e-6)
    term = model.critic_terms(model.critic, images(), images()).losses["HistoricalAveraging"]
    (grad,) = torch.autograd.grad(term, weight)
    torch.testing.assert_close(grad, 2 * 3.0 * (weight - mean).detach(), rtol=1e-3, atol=1e-5)


def test_historical_averaging_is_in_both_objectives() -> None:
    model = make(tricks.HistoricalAveraging(), norm="none")
    assert "HistoricalAveraging" in model.critic_loss((images(),)).losses
    assert "HistoricalAveraging" in model.generator_loss((images(),)).losses


@pytest.mark.parametrize("inside", [(), (3, 4)])
def test_virtual_batch_norm_against_loops(inside: tuple[int, ...]) -> None:
    """Each example with the statistics of the reference and itself, weight 1 / (n + 1)."""
    n, B, C = 5, 3, 2
    layer = VirtualBatchNorm(C).double()
    layer.reference = n
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, 0.5]))
        layer.bias.copy_(torch.tensor([0.1, -1.0]))
    x = torch.randn(n + B, C, *inside, dtype=torch.float64)
    y = layer(x)
    reference = x[:n]
    for i in range(B):
        group = torch.cat([reference, x[n + i : n + i + 1]])
        for c in range(C):
            values = group[:, c].reshape(n + 1, -1)
            mean, var = values.mean(), values.var(correction=0)
            want = (x[n + i, c] - mean) / (var + 1e-5).sqrt() * layer.weight[c] + layer.bias[c]
            torch.testing.assert_close(y[n + i, c], want)


def test_virtual_batch_norm_decouples_samples_and_keeps_its_reference() -> None:
    model = make(tricks.VirtualBatchNormalization(["generator", "critic"]))
    first = images(4)
    model.init_from_batch((first,))
    # the critic's reference is of real images
    assert torch.equal(model.critic.body.reference, first)
    z = model.generator.noise(6, "cpu")
    together, alone = model.generator(z), model.generator(z[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
    later = model.critic.body.reference.clone()
    model.critic_loss((images(4),))
    assert torch.equal(model.critic.body.reference, later)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    # the checkpoint brings the reference to a model that has not begun
    other = make(tricks.VirtualBatchNormalization(["generator", "critic"]))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.generator(z), model.generator(z))


def test_virtual_batch_norm_refusals() -> None:
    with pytest.raises(UserError, match="virtual_batch_norm"):
        GAN(
            partial(mlp.Generator, shape=SHAPE),
            partial(mlp.Critic, shape=SHAPE),
            criterion(tricks.VirtualBatchNormalization()),
        )
    with pytest.raises(UserError, match="couple samples"):
        make(tricks.VirtualBatchNormalization(["critic"]), lipschitz=GradientPenalty())
    with pytest.raises(UserError, match="couple samples"):
        make(tricks.MinibatchDiscrimination(), norm="none", lipschitz=GradientPenalty())
    # the generator's is no concern of the penalty
    make(tricks.VirtualBatchNormalization(), norm="none", lipschitz=GradientPenalty())


def test_replay_is_a_pool_of_fifty_with_one_half() -> None:
    pool = tricks.Replay(50, 0.5).pool()
    for i in range(5):  # fills first, and gives back what came
        fake = torch.full((10, 1, 2, 2), float(i))
        assert torch.equal(pool.exchange(fake), fake)
    old = 0
    for i in range(5, 405):
        out = pool.exchange(torch.full((10, 1, 2, 2), float(i)))
        old += int((out[:, 0, 0, 0] < i).sum())
    assert old / 4000 == pytest.approx(0.5, abs=0.04)
    assert pool.filled == 50
    # nothing is lost or doubled: what comes out and what stays are what went in
    pool = tricks.Replay(7, 0.5).pool()
    seen: list[float] = []
    for i in range(40):
        seen += (
            pool.exchange(torch.arange(i * 16, i * 16 + 16).float().view(16, 1)).flatten().tolist()
        )
    assert sorted(seen[7:] + pool.images.flatten().tolist())[7:] != []
    everything = sorted(seen + pool.images.flatten().tolist())
    assert set(everything) == set(map(float, range(640)))


def test_replay_survives_a_checkpoint_and_only_the_critic_sees_it() -> None:
    model = make(tricks.Replay(4, 1.0))
    model.critic_loss((images(8),))
    other = make(tricks.Replay(4, 1.0))
    other.load_state_dict(model.state_dict())
    mine, theirs = model.regularizers["Replay"], other.regularizers["Replay"]
    assert torch.equal(mine.pool().images, theirs.pool().images)
    assert theirs.pool().filled == 4
    fake = images()
    assert torch.equal(mine.transform_batch(fake, fake, critics_turn=False)[1], fake)


def test_instance_noise_falls_to_zero() -> None:
    trick = tricks.InstanceNoise(0.5, steps=10)
    x = torch.zeros(1, 1, 200, 200)
    assert trick.transform_batch(x, x, True)[0].std().item() == pytest.approx(0.5, rel=0.02)
    for _ in range(5):
        trick.after_generator_step(None)  # type: ignore[arg-type]
    assert trick.transform_batch(x, x, True)[1].std().item() == pytest.approx(0.25, rel=0.02)
    for _ in range(20):
        trick.after_generator_step(None)  # type: ignore[arg-type]
    assert not trick.transform_batch(x, x, True)[0].any()


def test_diff_augment_shows_both_sides_changed() -> None:
    x = torch.rand(4, 3, 16, 16)
    shown = tricks.DiffAugment(["translation"]).transform_batch(x, x, True)
    assert all(side.shape == x.shape and not torch.equal(side, x) for side in shown)
    assert torch.equal(tricks.DiffAugment([]).transform_batch(x, x, True)[0], x)


def test_packing_shows_m_samples_as_one() -> None:
    model = make(
        tricks.Packing(3), norm="none", lipschitz=GradientPenalty(), loss=losses.wasserstein()
    )
    assert model.critic.body[0].in_channels == 3
    real = images(6)
    packed = model.transform_batch(real, real, True)[0]
    assert packed.shape == (2, 3, 28, 28)
    assert torch.equal(packed[1, 2], real[5, 0])
    assert "gradient_penalty" in model.critic_loss((real,)).losses
    with pytest.raises(UserError, match="multiple"):
        model.critic_loss((images(7),))
    flat = GAN(
        partial(mlp.Generator, shape=[2], latent=4),
        partial(mlp.Critic, shape=[2], width=8),
        criterion(tricks.Packing(2)),
    )
    assert flat.critic_loss((torch.rand(8, 2),)).loss.isfinite()


def test_ema_is_the_running_mean_and_samples() -> None:
    model = make(tricks.EMA(0.9, warm_up=False))
    model.init_from_batch((images(),))
    mean = model.generator.body[1].weight.detach().clone()
    for _ in range(7):
        for p in model.generator.parameters():
            p.data.add_(torch.randn_like(p))
        # moves the running statistics, which are copied
        model.generator(model.generator.noise(4, "cpu"))
        model.after_generator_step()
        mean = 0.9 * mean + 0.1 * model.generator.body[1].weight.detach()
    assert model.ema_generator is not None
    torch.testing.assert_close(model.ema_generator.body[1].weight, mean)
    norms = [m for m in model.generator.modules() if isinstance(m, nn.BatchNorm2d)]
    copies = [m for m in model.ema_generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(
        torch.equal(a.running_mean, b.running_mean) for a, b in zip(norms, copies, strict=True)
    )
    assert int(copies[0].num_batches_tracked) == int(norms[0].num_batches_tracked) > 0
    torch.manual_seed(5)
    sampled = model.sample((images(),))
    torch.manual_seed(5)
    with torch.no_grad():
        torch.testing.assert_close(
            sampled, model.generate(model.ema_generator.eval(), (images()[:6] * 0,))
        )


def test_ema_follows_a_reference_made_at_the_start() -> None:
    model = make(tricks.VirtualBatchNormalization(), tricks.EMA())
    model.init_from_batch((images(),))
    model.after_generator_step()
    assert model.ema_generator is not None
    references = [
        m.reference for m in model.ema_generator.modules() if isinstance(m, WithReferenceBatch)
    ]
    assert torch.equal(references[0], model.generator.body.reference)


def test_spectral_norm_reaches_what_tricks_add() -> None:
    model = make(
        tricks.MinibatchDiscrimination(), tricks.Packing(), norm="none", lipschitz=SpectralNorm()
    )
    for layer in (model.critic.head[0].T, model.critic.head[1], model.critic.body[0]):
        assert hasattr(layer, "parametrizations")


@pytest.mark.parametrize("conditioning", ["concat", "projection"])
def test_tricks_on_conditional_players(conditioning: Conditioning) -> None:
    def made(
        *chosen: Regularizer, norm: str = "none", lipschitz: Regularizer | None = None
    ) -> AdversarialModel:
        return ConditionalGAN(
            partial(dcgan.Generator, shape=SHAPE, latent=16, width=8),
            partial(dcgan.Critic, shape=SHAPE, width=8, norm=norm),
            criterion(*chosen, lipschitz=lipschitz),
            classes=10,
            embedding=4,
            conditioning=conditioning,
        )

    batch = (images(8), torch.randint(10, (8,)))
    full = made(
        tricks.MinibatchDiscrimination(4, 3),
        tricks.FeatureMatching(),
        tricks.VirtualBatchNormalization(["generator", "critic"]),
        norm="batch",
    )
    full.init_from_batch(batch)
    assert full.critic_loss(batch).loss.isfinite()
    assert full.generator_loss(batch).loss.isfinite()
    assert made(lipschitz=GradientPenalty()).critic_loss(batch).loss.isfinite()
    for refused in (tricks.Packing(), tricks.Replay()):
        with pytest.raises(UserError, match="conditional"):
            made(refused)


def test_top_k_is_of_the_best_fakes_by_loops() -> None:
    """k = max(gamma^n, nu) B after n decays, by sorting; the critic learns from every fake."""
    model = make(tricks.TopK(gamma=0.8, nu=0.5, every=2), norm="none")
    trick = model.regularizers["TopK"]
    real, fake = images(10), images(10)
    wanted_k = [10, 10, 8, 8, 6, 6, 5, 5, 5]  # 0.8^n: 8, 6.4, 5.12, 4.1, below half
    for k in wanted_k:
        scores = sorted(model.critic(fake).tolist())
        mean = sum(math.log(1 + math.exp(-score)) for score in scores[-k:]) / k
        loss = model.generator_terms(model.critic, real, fake).losses["adversarial"]
        assert float(loss) == pytest.approx(mean, rel=1e-5)
        assert trick.transform_scores(real, fake, critics_turn=True) == (real, fake)
        model.after_generator_step()
    given = fake.clone().requires_grad_()
    loss = model.generator_terms(model.critic, real, given).losses["adversarial"]
    reached = torch.autograd.grad(loss, given)[0].flatten(1).abs().sum(1) > 0
    assert set(reached.nonzero().flatten().tolist()) == set(
        model.critic(fake).topk(5).indices.tolist()
    )


def test_top_k_goes_on_from_a_checkpoint_and_keeps_one_fake() -> None:
    model = make(tricks.TopK(every=1), norm="none")
    for _ in range(30):
        model.after_generator_step()
    other = make(tricks.TopK(every=1), norm="none")
    other.load_state_dict(model.state_dict())
    assert other.regularizers["TopK"].share == pytest.approx(0.99**30)
    alone = torch.randn(1)
    small = tricks.TopK(gamma=0.1, nu=0.1, every=1)
    small.after_generator_step(None)  # type: ignore[arg-type]
    assert torch.equal(small.transform_scores(alone, alone, critics_turn=False)[1], alone)


def test_what_top_k_refuses() -> None:
    with pytest.raises(UserError, match="relativistic"):
        make(tricks.TopK(), norm="none", loss=losses.relativistic())
    with pytest.raises(UserError, match="feature_matching_added"):
        make(tricks.TopK(), tricks.FeatureMatching(), norm="none")
    make(tricks.TopK(), tricks.FeatureMatching(adversarial=True), norm="none")
    patches = partial(patchgan.Critic, shape=SHAPE, width=4, depth=1)
    with pytest.raises(UserError, match=r"scores patches .*top_k"):
        GAN(
            partial(dcgan.Generator, shape=SHAPE, latent=16, width=8),
            patches,
            criterion(tricks.TopK()),
        )


def test_no_two_tricks_share_an_order() -> None:
    """Equal orders would fall back on names, which say nothing about what must come first."""
    from gentrain.models.gan.progan import Growth

    shipped = [getattr(tricks, name) for name in tricks.__all__]
    classes = [c for c in [*shipped, Growth] if issubclass(c, Regularizer)]
    assert len(classes) == 15 and len({c.order for c in classes}) == 15
    assert Lipschitz.order not in {c.order for c in classes}


def test_order_is_not_that_of_typing() -> None:
    chosen = (tricks.EMA(), tricks.LabelSmoothing(), tricks.Packing(1), tricks.Replay())
    names = list(criterion(*chosen).regularizers())
    assert names == ["Replay", "Packing", "unconstrained", "LabelSmoothing", "EMA"]
    assert names == list(criterion(*reversed(chosen)).regularizers())
