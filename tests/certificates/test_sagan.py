"""SAGAN: attention against loops, conditional batch norm against its formula, spectral norm of both
players.
"""

import copy

import pytest
import torch
from torch import Tensor, nn

from gentrain.errors import UserError
from gentrain.layers.attention import SelfAttention, nearest
from gentrain.layers.conditional import ConditionalBatchNorm, per_class
from gentrain.networks import conditional_resnet, resnet
from tests.support.compose import batch, build_model, composed

NARROW = ("model.generator.width=8", "model.critic.width=8")


def pooled(x: Tensor) -> list[Tensor]:
    """(C, H, W) -> the maxima of its 2 x 2 squares, row by row."""
    return [
        x[:, r : r + 2, c : c + 2].amax((1, 2))
        for r in range(0, x.shape[1], 2)
        for c in range(0, x.shape[2], 2)
    ]


def test_attention_is_the_loop() -> None:
    """o_j = W_o sum_i exp(k_i . q_j) v_i / sum_i exp(k_i . q_j), place by place."""
    layer, x = SelfAttention(16).double(), torch.randn(2, 16, 4, 6).double()
    nn.init.constant_(layer.gamma, 0.7)
    Wq, Wk, Wv, Wo = (
        m.weight[:, :, 0, 0] for m in (layer.query, layer.key, layer.value, layer.out)
    )
    assert (Wq.shape, Wk.shape, Wv.shape, Wo.shape) == ((2, 16), (2, 16), (8, 16), (16, 8))
    expected = torch.empty_like(x)
    for b in range(2):
        keys = pooled(torch.einsum("oc,chw->ohw", Wk, x[b]))
        values = pooled(torch.einsum("oc,chw->ohw", Wv, x[b]))
        for row in range(4):
            for col in range(6):
                here = x[b, :, row, col]
                weights = [(k @ (Wq @ here)).exp() for k in keys]
                summed = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
                expected[b, :, row, col] = here + 0.7 * Wo @ summed
    torch.testing.assert_close(layer(x), expected)


def test_attention_starts_as_the_identity_and_learns() -> None:
    layer, x = SelfAttention(8), torch.randn(2, 8, 4, 4)
    y = layer(x)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert layer.gamma.grad.abs() > 0


@pytest.mark.parametrize(
    ("wanted", "sides", "index"),
    [(0, [8, 16], None), (32, [8, 16, 32, 64], 2), (32, [14], 0), (32, [14, 7], 0)],
)
def test_attention_goes_to_the_nearest_map(
    wanted: int, sides: list[int], index: int | None
) -> None:
    assert nearest(wanted, sides) == index


@pytest.mark.parametrize(
    ("side", "generator", "critic"), [(28, 14, 14), (32, 16, 16), (64, 32, 32), (128, 32, 32)]
)
def test_where_the_attention_is(side: int, generator: int, critic: int) -> None:
    """At 32 px in the paper's networks of 128; at the nearest side, and never at the image's own,
    in smaller ones.
    """
    seen: list[int] = []
    for network in (
        conditional_resnet.Generator([3, side, side], 10, 8, 4, attention=32),
        resnet.Critic([3, side, side], 4, attention=32),
    ):
        (layer,) = [m for m in network.modules() if isinstance(m, SelfAttention)]
        layer.register_forward_hook(lambda module, x, y: seen.append(x[0].shape[-1]))
        inputs = (
            (network.noise(2, "cpu"), torch.arange(2))
            if isinstance(network, conditional_resnet.Generator)
            else (torch.randn(2, 3, side, side),)
        )
        network(*inputs).sum().backward()
        assert all(
            p.grad is not None
            for p in network.parameters()
            if p is not getattr(network, "head", None)
        )
    assert seen == [generator, critic]


def test_conditional_batch_norm_is_its_formula() -> None:
    tables: list[nn.Embedding] = []

    def table(channels: int) -> nn.Module:
        tables.append(nn.Embedding(5, channels))
        return tables[-1]

    norm, x, y = ConditionalBatchNorm(3, table), torch.randn(6, 3, 4, 4), torch.randint(5, (6,))
    gain, shift = (t.weight for t in tables)
    normal = (x - x.mean((0, 2, 3), keepdim=True)) / (
        x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    expected = torch.stack(
        [(1 + gain[y[i]])[:, None, None] * normal[i] + shift[y[i]][:, None, None] for i in range(6)]
    )
    torch.testing.assert_close(norm(x, y), expected)


def test_conditional_batch_norm_starts_as_batch_norm_and_takes_vectors() -> None:
    x = torch.randn(6, 3, 4, 4)
    assert torch.equal(
        ConditionalBatchNorm(3, per_class(5))(x, torch.randint(5, (6,))),
        nn.BatchNorm2d(3, affine=False)(x),
    )
    linear = ConditionalBatchNorm(3, lambda channels: nn.Linear(7, channels, bias=False))
    c = torch.randn(6, 7)
    assert not torch.equal(linear(x, c), linear(x, -c))


def test_the_label_steers_every_block() -> None:
    generator = conditional_resnet.Generator([1, 28, 28], 10, 16, 8)
    z, y = generator.noise(4, "cpu"), torch.arange(4)
    generator(z, y).sum().backward()
    tables = [m for m in generator.modules() if isinstance(m, nn.Embedding)]
    assert len(tables) == 2 * 2 * len(generator.body.blocks)
    assert all(t.weight.grad[:4].any(1).all() and not t.weight.grad[4:].any() for t in tables)


# --- the preset -----------------------------------------------------------------------------------


def test_the_paper_s_numbers() -> None:
    cfg = composed("model=sagan")
    rates = {player: (o["lr"], o["betas"]) for player, o in cfg["scheme"]["optimizers"].items()}
    assert rates == {"critic": (4e-4, [0.0, 0.9]), "generator": (1e-4, [0.0, 0.9])}
    assert cfg["scheme"]["critic_steps"] == 1
    assert cfg["lipschitz"]["players"] == ["critic", "generator"]


def test_spectral_norm_of_both_players_against_svd() -> None:
    model = build_model("model=sagan", *NARROW)
    images = batch(model)
    with torch.no_grad():
        for _ in range(60):
            model.critic_loss(images)
    model.eval()
    for player, count in (
        (model.generator, 1 + 3 * 2 + 1 + 4),
        (model.critic, 3 + 3 + 2 + 2 + 1 + 1 + 4),
    ):
        layers = [m for m in player.modules() if hasattr(m, "parametrizations")]
        assert len(layers) == count
        for layer in layers:
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(
                1, abs=0.02
            )
    tables = [m for m in model.generator.modules() if isinstance(m, nn.Embedding)]
    assert tables and not any(hasattr(t, "parametrizations") for t in tables)
    assert hasattr(model.critic.embed, "parametrizations")


def test_sampling_moves_nothing_and_the_average_has_its_own_norms() -> None:
    model = build_model("model=sagan", "tricks=[ema]", *NARROW)
    images = batch(model)
    model.init_from_batch(images)
    model.generator_loss(images).loss.backward()
    with torch.no_grad():
        for p in model.generator.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.after_generator_step()
    before = copy.deepcopy(model.state_dict())
    noise = model.generator.noise(8, "cpu")
    sampled = model.sample(images, noise)
    assert all(
        torch.equal(value, before[name])
        for name, value in model.state_dict().items()
        if torch.is_tensor(value)
    )
    layer, live = (
        model.ema_generator.body.blocks[0].residual[0],
        model.generator.body.blocks[0].residual[0],
    )
    original, norm = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
    assert not torch.equal(original, live.parametrizations.weight.original)
    model.ema_generator.eval()
    torch.testing.assert_close(layer.weight, original / (norm._u @ original.flatten(1) @ norm._v))
    other = build_model("model=sagan", "tricks=[ema]", *NARROW)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.sample(images, noise), sampled)


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="virtual"):
        build_model("model=sagan", "tricks=[virtual_batch_norm]", *NARROW)
    with pytest.raises(UserError, match=r"lipschitz\.players"):
        build_model("model=sagan", "lipschitz.players=[generator]", *NARROW)
    with pytest.raises(UserError, match="start at zero"):
        build_model("model=r3gan", "lipschitz=spectral_norm_both")


def test_cgan_may_have_the_networks() -> None:
    model = build_model("model=cgan", "network=sagan", *NARROW)
    assert model.generate(model.generator, batch(model)).shape == (8, 1, 28, 28)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sagan", "biggan"])
def test_images_are_of_the_label_asked_for(model: str) -> None:
    """Classes that differ in brightness alone, which a generator blind to labels gets right half of
    the time.
    """
    made = build_model(f"model={model}", "data.size=8", "data.classes=2", "tricks=[]", *NARROW)
    optimizers = [
        torch.optim.Adam(player.parameters(), 4e-3, (0.0, 0.9))
        for player in (made.critic, made.generator)
    ]
    for _ in range(60):
        y = torch.arange(16) % 2
        real = (y.float() * 1.2 - 0.6)[:, None, None, None] + 0.1 * torch.randn(16, 1, 8, 8)
        for optimizer, objective in zip(
            optimizers, (made.critic_loss, made.generator_loss), strict=True
        ):
            made.zero_grad()
            objective((real, y)).loss.backward()
            optimizer.step()
    y = torch.arange(64) % 2
    bright = made.sample((torch.zeros(64, 1, 8, 8), y)).mean((1, 2, 3)) > 0
    assert (bright == y.bool()).float().mean() > 0.9
    assert (bright[torch.randperm(64)] == y.bool()).float().mean() < 0.8  # other labels' images
