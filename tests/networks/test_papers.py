"""Networks against the tables of their papers: kernels, strides, channels and what joins where."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from gentrain.config.build import build
from gentrain.layers.activation import LeakyReLU
from gentrain.networks import ali, mlp, resnet, sngan
from tests.support.compose import composed

Row = tuple[int, int, int]  # kernel, stride, outputs


def convolutions(network: nn.Module) -> list[Row]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return [
        (m.kernel_size[0], m.stride[0], m.out_channels)
        for m in network.modules()
        if isinstance(m, kinds)
    ]


def test_the_standard_networks_of_sn_gan() -> None:
    """Table 3 at 32 px: the last map has 4 x 4 pixels, slopes are 0.1."""
    assert composed("model=sngan")["model"]["critic"]["_target_"].endswith("sngan.Critic")
    critic, generator = sngan.Critic([3, 32, 32], 64), sngan.Generator([3, 32, 32], 128, 64)
    assert convolutions(critic) == [
        (3, 1, 64), (4, 2, 64), (3, 1, 128), (4, 2, 128), (3, 1, 256), (4, 2, 256), (3, 1, 512),
    ]  # fmt: skip
    assert critic.head.in_features == 4 * 4 * 512
    assert {m.slope for m in critic.modules() if isinstance(m, LeakyReLU)} == {0.1}
    first = next(m for m in generator.modules() if isinstance(m, nn.Linear))
    assert (first.in_features, first.out_features) == (128, 4 * 4 * 512)
    assert convolutions(generator) == [(4, 2, 256), (4, 2, 128), (4, 2, 64), (3, 1, 3)]
    assert generator.prior == "normal"
    small = sngan.Generator([1, 28, 28], 8, 4)
    assert small(small.noise(2, "cpu")).shape == (2, 1, 28, 28)


ALI_CONVOLUTIONS = [(5, 1, 32), (4, 2, 64), (4, 1, 128), (4, 2, 256), (4, 1, 512)]


@pytest.mark.parametrize(("side", "maps"), [(32, [28, 13, 10, 4, 1]), (28, [28, 13, 10, 4, 1])])
def test_the_networks_of_ali(side: int, maps: list[int]) -> None:
    """Table 4: feature maps, and half as many maxout units of two pieces in the critic."""
    shape = [3, side, side]
    encoder, generator = ali.Encoder(shape, 32), ali.Generator(shape, 64, 32)
    assert convolutions(encoder) == [*ALI_CONVOLUTIONS, (1, 1, 512)]
    assert encoder.head.in_features == 512
    assert convolutions(generator) == [
        (4, 1, 256), (4, 2, 128), (4, 1, 64), (4, 2, 32), (5, 1, 32), (1, 1, 32), (1, 1, 3),
    ]  # fmt: skip
    sides: list[int] = []
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    x = generator(generator.noise(2, "cpu"))
    assert x.shape == (2, *shape) and encoder.features(x).shape == (2, 512)
    assert sides == [*maps, 1]


def test_the_critic_of_ali_sees_image_and_code_apart_and_then_both() -> None:
    critic: Any = ali.Critic.with_codes(partial(ali.Critic, shape=[3, 32, 32], width=32), 64, None)
    assert convolutions(critic) == ALI_CONVOLUTIONS
    inputs = [m.in_channels for m in critic.modules() if isinstance(m, nn.Conv2d)]
    assert inputs == [3, 16, 32, 64, 128]  # maxout leaves half
    linear = [(m.in_features, m.out_features) for m in critic.modules() if isinstance(m, nn.Linear)]
    assert linear == [(64, 512), (256, 512), (512, 1024), (512, 1024), (512, 1)]
    shares = [m.p for m in critic.modules() if isinstance(m, nn.Dropout)]
    # inputs of each layer: 0.2 before the image's and the code's first, 0.5 before all others
    assert sorted(shares) == [0.2] * 2 + [0.5] * 9
    assert not any(isinstance(m, nn.BatchNorm2d) for m in critic.modules())


def test_maxout_units_are_the_largest_of_their_pieces() -> None:
    x = torch.randn(3, 6, 2, 2)
    found = ali.MaxPieces(2)(x)
    for unit in range(3):
        assert torch.equal(found[:, unit], torch.maximum(x[:, 2 * unit], x[:, 2 * unit + 1]))


@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_a_residual_critic_pools(pool: resnet.Pool) -> None:
    critic = resnet.Critic([1, 28, 28], 4, pool=pool)
    x = torch.randn(2, 1, 28, 28)
    maps = critic.body[:-1](x)
    pooled = maps.sum((2, 3)) if pool == "sum" else maps.flatten(2).mean(2)
    torch.testing.assert_close(critic(x), critic.head(pooled).flatten())


def test_each_paper_pools_as_it_does() -> None:
    """The mean in WGAN-GP's code, the sum in that of SN-GAN, SAGAN and BigGAN."""
    pools = {
        ("wgan_gp", "resnet_wgan_gp"): "mean",
        ("sngan", "resnet"): "sum",
        ("sagan", "sagan"): "sum",
        ("biggan", "biggan"): "sum",
    }
    for (model, network), pool in pools.items():
        config = composed(f"model={model}", f"network={network}")["model"]
        node = config["critic"] | {"width": 4}
        critic = build(node, "critic")(**({"classes": 3} if model == "biggan" else {}))
        assert critic.body[-1].kind == pool, model


def test_the_first_gan_drops_pixels_and_units() -> None:
    """Authors' code: 0.8 of the inputs and 0.5 of the units are kept, scaled by their inverse."""
    critic = build(composed("model=gan", "network=maxout")["model"]["critic"], "critic")()
    assert [m.p for m in critic.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.5, 0.5]
    dropped = critic.body[:2](torch.ones(50, 1, 28, 28))
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    critic.eval()
    assert torch.equal(critic.body[:2](torch.ones(1, 784)), torch.ones(1, 784))
    assert len(mlp.Critic([2]).body) == 5  # no layer for no dropout of inputs


def test_images_of_ali_start_as_the_mean_of_real_ones() -> None:
    """Authors' code: the last bias, one for each pixel, is the log-odds of the data's means."""
    generator = ali.Generator([1, 28, 28], 4, 4)
    x = torch.rand(50, 1, 28, 28) * 2 - 1
    x[..., 0] = -1
    generator.init_from_images(x)
    generator.body[-3].weight.data.zero_()
    made = generator(generator.noise(3, "cpu"))
    wanted = x.mean(0).clamp(-0.98, 0.98)
    torch.testing.assert_close(made, wanted.expand_as(made))
    log_odds = ((1 + wanted) / (1 - wanted)).log()  # of a sigmoid: twice the argument of a tanh
    torch.testing.assert_close(2 * generator.body[-2].bias.detach(), log_odds)
