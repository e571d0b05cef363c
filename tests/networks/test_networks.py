"""Every network of every size: shapes, ranges, gradients to every weight, the papers' layouts."""

from functools import partial

import pytest
import torch
from torch import nn

from gentrain.errors import UserError
from gentrain.layers.lipschitz_bound import WeightLimits, lipschitz_bound
from gentrain.layers.resample import Downsample, Upsample
from gentrain.models.gan.base import ConditionedCritic
from gentrain.models.gan.cgan import ConditionalGAN
from gentrain.networks import conditional, dcgan, mlp, normfree, resnet

FAMILIES = {"mlp": mlp, "dcgan": dcgan, "resnet": resnet, "normfree": normfree}


@pytest.mark.parametrize("side", [28, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_ranges_gradients(family: str, channels: int, side: int) -> None:
    shape, module = [channels, side, side], FAMILIES[family]
    width = {"width": {"mlp": 16, "normfree": 8}.get(family, 4)}
    generator, critic = module.Generator(shape, latent=8, **width), module.Critic(shape, **width)
    x = generator(generator.noise(3, "cpu"))
    assert x.shape == (3, *shape)
    if family != "normfree":
        assert x.abs().max() <= 1
    score = critic(x)
    assert score.shape == (3,)
    assert critic.features(x).shape == (3, critic.head.in_features)
    (score * torch.tensor([1.0, 2.0, -1.0])).sum().backward()
    # whose residual branches start at zero and pass no gradient inside at first
    if family != "normfree":
        for name, p in [*generator.named_parameters(), *critic.named_parameters()]:
            assert p.grad is not None, name
    assert x.std() > 0


def test_dcgan_keeps_the_rules_of_the_paper() -> None:
    generator, critic = dcgan.Generator([3, 64, 64], 100, 16), dcgan.Critic([3, 64, 64], 16)
    g, d = list(generator.body), list(critic.body)
    assert isinstance(g[-1], nn.Tanh)
    assert isinstance(g[-2], nn.ConvTranspose2d)  # no batch norm after the last layer
    assert isinstance(d[1], nn.Module)
    assert not isinstance(d[1], nn.BatchNorm2d)  # none in the critic's first
    assert sum(isinstance(m, nn.BatchNorm2d) for m in g) == 4
    assert sum(isinstance(m, nn.BatchNorm2d) for m in d) == 3
    # BatchNorm2d(c, 0.8) sets eps: the copied mistake
    assert all(m.eps == 1e-5 for m in [*g, *d] if isinstance(m, nn.BatchNorm2d))
    assert not any(isinstance(m, nn.MaxPool2d | nn.AvgPool2d) for m in [*g, *d])
    assert [m.out_channels for m in d if isinstance(m, nn.Conv2d)] == [16, 32, 64, 128]
    assert g[1].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert all(m.slope == 0.2 for m in d if type(m).__name__ == "LeakyReLU")


def test_resnet_critic_of_the_papers() -> None:
    """32 px: two halvings and two plain blocks of one width, global sum; 128 px: 64 ... 1024
    channels and a plain block.
    """
    critic = resnet.Critic([3, 32, 32], 128)
    assert critic.head.in_features == 128
    assert sum(type(m).__name__ in ("FirstDownBlock", "DownBlock") for m in critic.body) == 4
    big = resnet.Critic([3, 128, 128], 64)
    assert big.head.in_features == 1024
    h = torch.rand(1, 3, 128, 128)
    for layer in list(big.body)[:-2]:
        h = layer(h)
    assert h.shape[-1] == 4
    assert [
        b.residual[3].in_channels
        for b in list(resnet.Generator([3, 128, 128], 8, 64).body)
        if type(b).__name__ == "UpBlock"
    ] == [
        1024,
        1024,
        512,
        256,
        128,
    ]


def test_norm_free_networks_start_as_the_identity_between_stages() -> None:
    block = normfree.Block(8, 4, 10)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x), x)
    assert not any("Norm" in type(m).__name__ for m in normfree.Critic([1, 28, 28]).modules())


def test_norm_free_networks_start_with_the_authors_gains() -> None:
    """Standard deviations of brownvc/R3GAN, Networks.py: gain / sqrt(inputs), the gain of a block's
    rectifier sqrt(2 / 1.04) L^(-1/4); biases in front of rectifiers alone; no gain in the head.
    """
    generator = normfree.Generator([3, 32, 32], latent=64, width=128, blocks=2, groups=16)
    critic = normfree.Critic([3, 32, 32], width=128, blocks=2, groups=16)
    inside = (2 / 1.04) ** 0.5 * 8**-0.25  # 4 stages of 2 blocks
    wanted = {"1x1": inside / 128**0.5, "3x3": inside / (16 * 9) ** 0.5}
    for block in (m for net in (generator, critic) for m in net.modules()):
        if isinstance(block, normfree.Block):
            first, _, middle, _, last = block.residual
            assert first.weight.std().item() == pytest.approx(wanted["1x1"], rel=0.05)
            assert middle.weight.std().item() == pytest.approx(wanted["3x3"], rel=0.05)
            assert not last.weight.any() and last.bias is None
            assert not first.bias.any() and not middle.bias.any()
    to_pixels, from_pixels = generator.body[-1], critic.body[0]
    depthwise, score = critic.body[-2], critic.head
    assert depthwise.weight.shape == (128, 1, 4, 4) and score.weight.shape == (1, 128)
    for layer, inputs in ((to_pixels, 128), (from_pixels, 3), (depthwise, 16), (score, 128)):
        assert layer.bias is None
        assert layer.weight.std().item() == pytest.approx(inputs**-0.5, rel=0.25)
    basis = generator.body[0]
    assert basis.basis.shape == (128, 4, 4) and basis.scale.bias is None
    assert basis.basis.std().item() == pytest.approx(1, rel=0.1)
    assert basis.scale.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)


def test_norm_free_stages_are_joined_by_the_low_pass_filter() -> None:
    """With blocks that are the identity the networks are linear: from the basis, doubled three
    times, to pixels; and back, halved, to the score.
    """
    generator = normfree.Generator([3, 32, 32], latent=5, width=4, blocks=1, groups=2)
    critic = normfree.Critic([3, 32, 32], width=4, blocks=1, groups=2)
    z = torch.randn(2, 5)
    basis = generator.body[0]
    h = basis.basis * (z @ basis.scale.weight.T)[:, :, None, None]
    for _ in range(3):
        h = Upsample()(h)
    wanted = torch.einsum("oi,bihw->bohw", generator.body[-1].weight[:, :, 0, 0], h)
    torch.testing.assert_close(generator(z), wanted)
    x = torch.randn(2, 3, 32, 32)
    h = torch.einsum("oi,bihw->bohw", critic.body[0].weight[:, :, 0, 0], x)
    for _ in range(3):
        h = Downsample()(h)
    h = (h * critic.body[-2].weight[:, 0]).sum((2, 3))
    torch.testing.assert_close(critic(x), h @ critic.head.weight[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [[1, 30, 30], [1, 28, 32]])
def test_convolutions_refuse_what_they_cannot_make(shape: list[int]) -> None:
    with pytest.raises(UserError, match=r"data\.size"):
        dcgan.Generator(shape)


def test_projection_critic_is_the_inner_product() -> None:
    critic = conditional.ProjectionCritic(partial(mlp.Critic, shape=[1, 4, 4], width=8), 3)
    x, y = torch.randn(5, 1, 4, 4), torch.randint(3, (5,))
    h = critic.features(x, y)
    want = [
        (critic.critic.head(h[i]).squeeze() + h[i] @ critic.embed.weight[y[i]]).item()
        for i in range(5)
    ]
    torch.testing.assert_close(critic(x, y), torch.tensor(want))


def test_labels_reach_both_players() -> None:
    backbone = partial(mlp.Generator, shape=[1, 4, 4], latent=3, width=16)
    generator = conditional.LabelledGenerator(backbone, 5, 4)
    critic = conditional.ConcatCritic(partial(mlp.Critic, shape=[1, 4, 4], width=16), 3)
    z = generator.noise(1, "cpu").expand(3, -1)
    assert generator(z, torch.arange(3)).flatten(1).std(0).max() > 0
    x = torch.randn(1, 1, 4, 4).expand(3, -1, -1, -1)
    assert critic(x, torch.arange(3)).std() > 0


def test_a_conditioned_critic_repeats_its_labels_over_a_joint_forward() -> None:
    critic = conditional.ConcatCritic(partial(mlp.Critic, shape=[1, 4, 4], width=16), 3)
    x, y = torch.randn(4, 1, 4, 4), torch.randint(3, (4,))
    conditioned = ConditionedCritic(critic, y)
    torch.testing.assert_close(
        conditioned(torch.cat([x, x + 1])), torch.cat([critic(x, y), critic(x + 1, y)])
    )
    assert ConditionalGAN.labelled


@pytest.mark.parametrize("packed", [1, 2])
def test_an_input_scale_is_a_factor_of_the_samples(packed: int) -> None:
    plain, scaled = (mlp.Critic([2], width=8, input_scale=scale) for scale in (1.0, 20.0))
    for critic in (plain, scaled):
        critic.widen(packed)
    with torch.no_grad():
        for source, target in zip(plain.parameters(), scaled.parameters(), strict=True):
            target.copy_(source)
    x = torch.randn(5, 2 * packed)
    torch.testing.assert_close(scaled(x), plain(20 * x))
    limits = WeightLimits(entry=0.1)
    assert lipschitz_bound(scaled, limits) == pytest.approx(20 * lipschitz_bound(plain, limits))
