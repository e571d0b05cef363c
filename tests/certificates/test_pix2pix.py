"""Translations of pairs: the papers' networks and objectives, known pixels that stay, a critic that
is shown the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from gentrain import __version__
from gentrain.adversarial.losses import js
from gentrain.data.degrade import DEGRADATIONS, grey
from gentrain.errors import UserError
from gentrain.models import content_loss
from gentrain.networks import context_encoder, patchgan, srresnet, unet
from gentrain.training.checkpoint_io import AtomicIO
from gentrain.training.job import load_initial_weights
from tests.support.compose import build_model, composed

SMALL = ("model.generator.width=8", "model.critic.width=8", "model.critic.depth=1")


def pix2pix(*words: str) -> Any:
    return build_model(
        "model=pix2pix",
        "model.generator.width=8",
        "model.critic.width=8",
        "model.critic.depth=1",
        *words,
    )


def pairs(
    n: int = 4, shape: tuple[int, ...] = (1, 28, 28), source: tuple[int, ...] = (1, 28, 28)
) -> tuple[Tensor, Tensor]:
    return torch.rand(n, *shape) * 2 - 1, torch.rand(n, *source) * 2 - 1


# --- networks -------------------------------------------------------------------------------------


def test_the_unet_of_the_paper() -> None:
    """At 256: C64-C128-C256-C512 x 5 down to one pixel, CD512 x 3 - C512 - C256 - C128 - C64 up,
    54.41 million weights with batch norm.
    """
    with torch.device("meta"):
        net = unet.Translator([3, 256, 256], [3, 256, 256], norm="batch").body
        x = torch.empty(2, 3, 256, 256)
        down = []
        for layer in net.downs:
            down.append(tuple((x := layer(x)).shape[1:]))
    assert down == [(64 * min(2**i, 8), 128 >> i, 128 >> i) for i in range(8)] and down[-1] == (
        512,
        1,
        1,
    )
    assert [up.conv.out_channels for up in reversed(net.ups)] == [
        512,
        512,
        512,
        512,
        256,
        128,
        64,
        3,
    ]
    assert [isinstance(up.dropout, unet.AlwaysDropout) for up in reversed(net.ups)] == [
        True
    ] * 3 + [False] * 5
    # twice as many: the skips
    assert [up.conv.in_channels for up in net.ups] == [128, 256, 512, 1024, 1024, 1024, 1024, 512]
    # the number of the authors' program, whose first and innermost convolutions have no biases
    assert sum(p.numel() for p in net.parameters()) - (64 + 512) == 54_413_955


@pytest.mark.parametrize("side", [28, 32, 40])
def test_a_unet_gives_the_side_back_that_it_was_given(side: int) -> None:
    net = unet.Translator([3, side, side], [1, side, side], width=4).eval()
    assert net(torch.rand(2, 1, side, side)).shape == (2, 3, side, side)
    assert net(torch.rand(1, 1, side + 9, side + 22)).shape == (1, 3, side + 9, side + 22)


def test_the_noise_of_a_unet_stays_on() -> None:
    with_noise, without = (
        unet.Translator([1, 16, 16], [1, 16, 16], width=8, dropout=p).eval() for p in (0.5, 0.0)
    )
    x = torch.rand(2, 1, 16, 16)
    assert not torch.equal(with_noise(x), with_noise(x)) and torch.equal(without(x), without(x))
    torch.manual_seed(3)
    once = with_noise(x)
    torch.manual_seed(3)
    # of torch's own generator, which a checkpoint brings back
    assert torch.equal(once, with_noise(x))


@pytest.mark.parametrize("skips", [True, False])
def test_without_skips_all_goes_through_the_innermost_map(skips: bool) -> None:
    net = unet.Translator([1, 16, 16], [1, 16, 16], width=8, dropout=0.0, skips=skips).eval()
    net.body.downs[-1].register_forward_hook(lambda module, inputs, output: torch.ones_like(output))
    one, other = net(torch.rand(1, 1, 16, 16)), net(torch.rand(1, 1, 16, 16))
    assert torch.equal(one, other) is not skips


def test_srresnet_and_the_critic_of_srgan() -> None:
    with torch.device("meta"):
        net = srresnet.Translator([3, 96, 96], [3, 24, 24])
        critic = srresnet.Critic([3, 96, 96])
        assert net(torch.empty(2, 3, 24, 24)).shape == (2, 3, 96, 96)
        assert net(torch.empty(1, 3, 10, 37)).shape == (1, 3, 40, 148)
    assert (
        sum(isinstance(m, srresnet.ResidualBlock) for m in net.modules()) == 16
        and sum(isinstance(m, nn.PixelShuffle) for m in net.modules()) == 2
    )
    convolutions = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.stride[0]) for m in convolutions] == [
        (64 * 2 ** (i // 2), 1 + i % 2) for i in range(8)
    ]
    assert critic.body[-2].in_features == 512 * 6 * 6 and critic.body[-2].out_features == 1024
    small = srresnet.Translator([1, 8, 8], [1, 4, 4], width=4, blocks=1)
    nn.init.constant_(small.body[-1].bias, 9.0)
    assert (
        float(small(torch.rand(2, 1, 4, 4)).detach().max()) > 1
        and float(small.eval()(torch.rand(2, 1, 4, 4)).detach().max()) == 1
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=pix2pix", "data=mnist_5k"), "these data have no sources (data.degrade)"),
        (("model=srresnet", "data=digit_edges", "model.network.blocks=1"), None),
        (("model=srgan", "data=digit_holes"), None),
        (("model=unet", "data=digit_downsampled"), "a U-Net keeps it; choose network=srresnet"),
        (
            ("model=pix2pix", "network=srgan", "data=digit_downsampled", "model.critic.width=8"),
            None,
        ),
        (("model=pix2pix", "data=digit_downsampled"), "differ in size"),
        (
            ("model=pix2pix", "model.generator.depth=5"),
            "5 halvings of 28 pixels (model.generator.depth, data.size)",
        ),
        (
            ("model=pix2pix", "network=dcgan"),
            "networks.dcgan.Generator as the generator starts from noise",
        ),
        (
            ("model=srgan", "content=vgg", "content.weights=/nowhere"),
            "no weights of VGG-19 in /nowhere (content.weights)",
        ),
        (
            ("model=unet", "content=vgg", "content.weights=" + __file__),
            "holds no weights of VGG-19",
        ),
    ],
)
def test_what_does_not_fit_is_refused(words: tuple[str, ...], message: str | None) -> None:
    if message is None:
        build_model(*words)
        return
    with pytest.raises(UserError) as refused:
        build_model(*words)
    assert message in str(refused.value) and "\n" not in str(refused.value)


# --- objectives -----------------------------------------------------------------------------------


def test_the_objectives_of_pix2pix() -> None:
    """G: -log D(x, G(x)) + 100 |G(x) - y|;  D: half of -log D(x, y) - log(1 - D(x, G(x))), each a
    mean over patches.
    """
    model = pix2pix("model.generator.dropout=0")
    y, x = batch = pairs()
    made, loss = model.generator(x), js()
    on_real, on_fake = (model.critic(torch.cat([image, x], 1)) for image in (y, made))
    assert len(on_real) > len(x)  # many patches an image
    critic, generator = model.critic_loss(batch), model.generator_loss(batch)
    torch.testing.assert_close(critic.losses["adversarial"], loss.critic(on_real, on_fake) / 2)
    torch.testing.assert_close(generator.losses["adversarial"], -on_fake.sigmoid().log().mean())
    torch.testing.assert_close(generator.losses["content"], 100 * (made - y).abs().mean())
    assert set(critic.losses) == {"adversarial"} and set(generator.losses) == {
        "adversarial",
        "content",
    }


def test_the_objectives_of_srgan() -> None:
    model = build_model(
        "model=srgan",
        "model.generator.width=8",
        "model.generator.blocks=1",
        "model.critic.width=8",
        "model.critic.norm=layer",
    )
    y, x = batch = pairs(4, (1, 28, 28), (1, 7, 7))
    generator = model.generator_loss(batch)
    made = model.generator(x)
    torch.testing.assert_close(generator.losses["content"], (made - y).square().mean())
    torch.testing.assert_close(
        generator.losses["adversarial"], 1e-3 * nn.functional.softplus(-model.critic(made)).mean()
    )


def test_the_critic_of_pix2pix_is_shown_the_source() -> None:
    model = pix2pix()
    y, x = pairs()
    score = model.critic_function((y, x))
    # real and fake in one forward, each with its source
    torch.testing.assert_close(score(torch.cat([y, y])), score(y).repeat(2))
    assert not torch.allclose(score(y), model.critic_function((y, -x))(y))
    alone = pix2pix("model.critic.source_shape=null")
    torch.testing.assert_close(alone.critic_function((y, x))(y), alone.critic_function((y, -x))(y))


def test_a_penalty_is_of_images_and_leaves_the_source_alone() -> None:
    """R1 by autograd, of the mean score of an image's patches, with the source as it is."""
    model = pix2pix("loss=wasserstein", "lipschitz=r1", "lipschitz.weight=3")
    y, x = batch = pairs()
    found = model.critic_loss(batch).losses["gradient_penalty"]
    image = y.clone().requires_grad_()
    scores = model.critic(image, x).view(len(y), -1).mean(1)
    (grad,) = torch.autograd.grad(scores.sum(), image)
    torch.testing.assert_close(
        found, 3 * grad.flatten(1).square().sum(1).mean(), rtol=1e-4, atol=1e-6
    )


def test_l1_gives_the_median_of_what_is_possible_and_l2_the_mean() -> None:
    targets, guesses = torch.tensor([-1.0, -0.5, 1.0])[:, None], torch.linspace(-1, 1, 401)
    best = {
        content: float(
            guesses[
                torch.stack(
                    [content(guess.expand_as(targets), targets) for guess in guesses]
                ).argmin()
            ]
        )
        for content in (content_loss.l1, content_loss.l2)
    }
    assert best[content_loss.l1] == pytest.approx(-0.5, abs=0.003) and best[
        content_loss.l2
    ] == pytest.approx(-1 / 6, abs=0.003)


@pytest.mark.slow
def test_perceptual_distance(tmp_path: Path) -> None:
    """Weights drawn at random, as torchvision would save them: the last layer is the rectifier
    after conv5_4.
    """
    from torchvision.models import vgg19

    torch.save(
        {f"features.{name}": value for name, value in vgg19().features.state_dict().items()},
        tmp_path / "vgg19.pth",
    )
    content = content_loss.Perceptual(str(tmp_path / "vgg19.pth"))
    convolutions = [m for m in content.network if isinstance(m, nn.Conv2d)]
    assert (
        len(convolutions) == 16
        and isinstance(content.network[-1], nn.ReLU)
        and content.network[-2] is convolutions[-1]
    )
    x, y = (torch.rand(2, 1, 32, 32, requires_grad=True) for _ in range(2))
    assert content.features(x).shape == (2, 512, 2, 2)
    assert float(content(x, x).detach()) == 0 and float(content(x, y).detach()) > 0
    content(x, y).backward()
    assert (
        x.grad is not None
        and y.grad is None
        and not any(p.requires_grad for p in content.network.parameters())
    )
    model = build_model(
        "model=srgan",
        "content=vgg",
        f"content.weights={tmp_path / 'vgg19.pth'}",
        *("model.generator.blocks=1", "model.critic.width=8"),
    )
    assert not [name for name in model.state_dict() if "content" in name]


# --- inpainting -----------------------------------------------------------------------------------


def inpainting(*words: str) -> Any:
    return build_model(
        "model=inpainting",
        *("model.generator.width=8", "model.generator.bottleneck=16", "model.critic.width=8"),
        *words,
    )


def holes(n: int = 6, side: int = 28) -> tuple[Tensor, Tensor, Tensor]:
    """Images, their sources, and where pixels are known."""
    y = pairs(n, (1, side, side))[0]
    x = DEGRADATIONS["mask"].make(y, torch.rand(n, DEGRADATIONS["mask"].draws))
    return y, x, x[:, -1:] > 0


def test_the_context_encoder_of_the_authors() -> None:
    """train_random.lua with nBottleneck=4000: layers and weights at 64 and 128 px, no skips."""
    for side, widths in ((64, [64, 128, 256, 512]), (128, [64, 64, 128, 256, 512])):
        with torch.device("meta"):
            body = context_encoder.Translator([3, side, side], [3, side, side]).body
        convs = [m for m in body if isinstance(m, nn.Conv2d)]
        ups = [m for m in body if isinstance(m, nn.ConvTranspose2d)]
        assert [m.out_channels for m in convs] == [*widths, 4000]
        assert [m.out_channels for m in ups] == [*widths[::-1], 3]
        assert all(m.kernel_size == (4, 4) and m.bias is None for m in (*convs, *ups))
        norms = [m for m in body if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
        assert [m.num_features for m in norms] == [*widths[1:], 4000, *widths[::-1]]
    net = context_encoder.Translator([1, 28, 28], [2, 28, 28], 8, 16)
    assert net(torch.rand(4, 2, 28, 28)).shape == (4, 1, 28, 28)
    with pytest.raises(UserError, match=r"needs two images \(data\.batch_size\)"):
        net(torch.rand(1, 2, 28, 28))
    with pytest.raises(UserError, match="differ in size"):
        context_encoder.Translator([1, 28, 28], [2, 14, 14])
    config = composed("model=inpainting")
    rates = {player: o["lr"] for player, o in config["scheme"]["optimizers"].items()}
    assert rates == {"generator": 2e-3, "critic": 2e-4}
    model = inpainting()
    assert model.critic(torch.rand(5, 1, 28, 28)).shape == (5,)  # one score for a whole image


def test_known_pixels_are_kept_exactly() -> None:
    model = inpainting()
    y, x, known = holes()
    for made in (model.sample((y, x)), model.translate(x)):
        assert torch.equal(made[known], x[:, :1][known])
        assert not torch.allclose(made[~known], y[~known], atol=0.01)


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        (("model.known_weight=0",), "holes"),  # the paper's formula
        ((), "all"),  # train_random.lua
        (("model.known_weight=10", "model.overlap=2"), "overlap"),  # train.lua
        (("model.known_weight=10",), "all by 10"),  # train_random.lua with useOverlapPred
    ],
)
def test_the_squared_error_is_weighted_as_by_the_authors(
    words: tuple[str, ...], weights: str
) -> None:
    """The mean of w (G - x)^2 over the pixels with a weight, which are those that the critic sees
    of the generator.
    """
    model, (y, x, known) = inpainting(*words), holes(4)
    near = torch.zeros_like(known)
    for image, row, column in (~known)[:, 0].nonzero().tolist():
        near[image, 0, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = True
    w = {
        "holes": (~known).float(),
        "all": torch.ones_like(known).float(),
        "overlap": torch.where(known, 10.0 * near, 1.0),
        "all by 10": torch.where(known, 10.0, 1.0),
    }[weights]
    raw = model.generator(x)
    wanted = 0.999 * (w * (raw - y).square()).sum() / (w > 0).sum()
    torch.testing.assert_close(model.generator_loss((y, x)).losses["content"], wanted)
    shown = model.generate(model.generator, (y, x))
    torch.testing.assert_close(shown, torch.where(w > 0, raw, x[:, :1]))


def test_an_overlap_without_weight_is_refused() -> None:
    with pytest.raises(UserError, match=r"no effect .*write model\.overlap=null"):
        inpainting("model.known_weight=0", "model.overlap=4")


def test_colours_leave_the_luma_as_it_was() -> None:
    model = build_model(
        "model=colorization",
        "model.generator.width=8",
        "model.critic.width=8",
        "model.critic.depth=1",
    )
    y = pairs(4, (3, 28, 28))[0]
    x = DEGRADATIONS["grayscale"].make(y, torch.empty(4, 0))
    for made in (model.generate(model.generator, (y, x)), model.translate(x)):
        torch.testing.assert_close(grey(made), x, atol=1e-5, rtol=0)
        assert not torch.allclose(made, x.expand_as(made))
    nn.init.zeros_(model.generator.body.ups[0].conv.weight)  # no opinion on colours
    torch.testing.assert_close(model.translate(x), x.expand(-1, 3, -1, -1))
    with pytest.raises(UserError, match=r"write data\.degrade=grayscale"):
        model.generator_loss(pairs())


def test_completion_by_any_mask() -> None:
    model = inpainting()
    y = pairs(3)[0].mul(127).round().div(127)
    known = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    known[..., :10] = True
    made = model.complete((y,), known)
    torch.testing.assert_close(made[..., :10], y[..., :10], atol=1 / 250, rtol=0)
    hidden = y.clone()
    hidden[..., 10:] = 0.5  # what is not known does not matter
    assert torch.equal(made, model.complete((hidden,), known))
    with pytest.raises(UserError, match="do not say where their holes are"):
        model.generator_loss(pairs(2, (1, 28, 28), (1, 28, 28)))


# --- how it learns --------------------------------------------------------------------------------


def test_a_start_brings_the_weights_of_another_run(tmp_path: Path) -> None:
    words = ("model.network.width=8", "model.network.blocks=1")
    alone = build_model("model=srresnet", *words)
    (tmp_path / ".hydra").mkdir()
    config = OmegaConf.create(composed("model=srresnet", *words))
    OmegaConf.save(config, tmp_path / ".hydra" / "config.yaml")
    weights = {f"model.{name}": value for name, value in alone.state_dict().items()}
    AtomicIO().save_checkpoint(
        {"state_dict": weights, "origin": {"version": __version__}},
        tmp_path / "checkpoints" / "last.ckpt",
    )
    srgan = (
        "model=srgan",
        "model.generator.width=8",
        "model.critic.width=8",
        f"model.start={tmp_path}",
    )
    model = build_model(*srgan, "model.generator.blocks=1")
    load_initial_weights(model)
    x = pairs(4, (1, 28, 28), (1, 7, 7))[1]
    torch.testing.assert_close(model.eval().generator(x), alone.eval().network(x))
    assert all(
        torch.equal(p, q)
        for p, q in zip(model.generator.parameters(), alone.network.parameters(), strict=True)
    )
    with pytest.raises(UserError, match=r"is not this generator: .* \(model.start\)"):
        load_initial_weights(build_model(*srgan, "model.generator.blocks=2"))
    with pytest.raises(UserError, match=r"no finished run in .* \(model.start\)"):
        load_initial_weights(
            build_model(*srgan[:-1], "model.generator.blocks=1", "model.start=/nowhere")
        )


def test_patch_critic_of_another_size_of_source_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be joined"):
        patchgan.Critic([1, 28, 28], [1, 7, 7], width=4, depth=1)
