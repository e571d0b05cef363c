"""BigGAN: where the noise goes, orthogonal regularisation against loops, the paper's numbers."""

import pytest
import torch
from torch import nn

from gentrain.adversarial.tricks.weights import Orthogonal, off_diagonal
from gentrain.errors import UserError
from gentrain.layers.attention import SelfAttention
from gentrain.networks import biggan, mlp
from tests.support.compose import batch, build_model, composed

NARROW = ("model.generator.width=8", "model.critic.width=8", "model.generator.embedding=6")


@pytest.mark.parametrize("side", [28, 32, 64, 128])
def test_shapes_and_where_the_attention_is(side: int) -> None:
    generator = biggan.Generator([3, side, side], 10, width=4, embedding=5)
    critic = biggan.Critic([3, side, side], 10, width=4, attention=64)
    y = torch.arange(3)
    x = generator(generator.noise(3, "cpu"), y)
    assert x.shape == (3, 3, side, side) and x.abs().max() <= 1
    critic(x, y).sum().backward()
    assert all(p.grad is not None for p in [*generator.parameters(), *critic.parameters()])
    assert sum(isinstance(m, SelfAttention) for m in [*generator.modules(), *critic.modules()]) == 2


def test_the_paper_s_chunks_at_128_px() -> None:
    """120 numbers in 6 chunks of 20; each block's norms see 20 + 128 numbers; 16 w, 16 w, 8 w, 4 w,
    2 w, w channels.
    """
    generator = biggan.Generator([3, 128, 128], 1000, width=2)
    assert generator.body.first[0].in_features == 20
    blocks = list(generator.body.blocks)
    assert len(blocks) == 5
    assert {norm.gain.in_features for block in blocks for norm in block.norms} == {148}
    assert [block.residual[0].in_channels for block in blocks] == [32, 32, 16, 8, 4]
    assert generator.embed.weight.shape == (1000, 128)


def test_each_block_sees_its_own_chunk_and_the_shared_label() -> None:
    """d(condition of block l)/dz is nonzero in chunk l alone; every block's condition has the same
    embedding.
    """
    generator = biggan.Generator([1, 32, 32], 10, latent=12, width=4, embedding=5)
    z, y = generator.noise(2, "cpu").requires_grad_(), torch.tensor([3, 7])
    seen: list[torch.Tensor] = []
    generator.body.register_forward_pre_hook(lambda module, args: seen.extend([args[0], *args[1]]))
    generator(z, y)
    for place, tensor in enumerate(seen):
        (grad,) = torch.autograd.grad(tensor.sum(), z, retain_graph=True)
        assert grad[0].nonzero().flatten().tolist() == [3 * place, 3 * place + 1, 3 * place + 2]
    assert all(torch.equal(c[:, 3:], generator.embed(y)) for c in seen[1:])


def test_noise_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.generator\.latent"):
        biggan.Generator([1, 28, 28], 10, latent=100)


def test_orthogonal_init() -> None:
    for module in biggan.Generator([1, 28, 28], 10, width=8).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            W = module.weight.detach().flatten(1)
            G = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
            torch.testing.assert_close(G, torch.eye(len(G)), atol=1e-5, rtol=0)


# --- orthogonal regularisation --------------------------------------------------------------------


def test_off_diagonal_is_the_double_sum() -> None:
    W = torch.randn(4, 7, dtype=torch.float64)
    expected = sum(float(W[i] @ W[j]) ** 2 for i in range(4) for j in range(4) if i != j)
    assert off_diagonal(W).item() == pytest.approx(expected)
    lengths = torch.diag(torch.tensor([1.0, 5.0, 0.1]).double())
    assert off_diagonal(lengths).item() == 0  # lengths are free


def test_orthogonal_regularisation_of_the_generator_s_weights() -> None:
    """The term is the sum over all weights but the embedding; its descent brings rows to right
    angles.
    """
    model = build_model("model=biggan", *NARROW)
    trick = model.regularizers["orthogonal"]
    assert isinstance(trick, Orthogonal)
    weights = [w for w, scale in trick.weights if scale == 1]
    assert len(weights) == len(trick.weights)
    names = {name for name, p in model.generator.named_parameters() if any(p is w for w in weights)}
    assert names == {
        n
        for n, p in model.generator.named_parameters()
        if p.ndim >= 2 and not n.startswith("embed")
    }
    assert all("original" in name for name in names)  # what is learned, not W / sigma(W)
    with torch.no_grad():
        for w in weights:
            w.normal_()
    images = batch(model)
    term = model.generator_loss(images).losses["orthogonal"]
    assert term.item() == pytest.approx(
        1e-4 * sum(off_diagonal(w.detach().flatten(1)).item() for w in weights), rel=1e-4
    )
    W = nn.Parameter(torch.randn(4, 9))
    optimizer = torch.optim.SGD([W], 0.01)
    for _ in range(500):
        optimizer.zero_grad()
        off_diagonal(W).backward()
        optimizer.step()
    assert off_diagonal(W).item() < 1e-4 and W.norm(dim=1).min() > 0.5


def test_orthogonal_regularisation_of_any_generator() -> None:
    model = build_model(
        "model=gan",
        "network=mlp",
        "tricks=[orthogonal]",
        "model.generator.width=8",
        "model.critic.width=8",
    )
    assert isinstance(model.generator, mlp.Generator)
    assert len(model.regularizers["orthogonal"].weights) == 3


# --- the preset -----------------------------------------------------------------------------------


def test_the_paper_s_numbers() -> None:
    cfg = composed("model=biggan")
    rates = {player: (o["lr"], o["betas"]) for player, o in cfg["scheme"]["optimizers"].items()}
    assert rates == {"critic": (2e-4, [0.0, 0.999]), "generator": (5e-5, [0.0, 0.999])}
    assert cfg["scheme"]["critic_steps"] == 2
    assert cfg["tricks"]["ema"]["decay"] == 0.9999 and cfg["tricks"]["orthogonal"]["weight"] == 1e-4
    assert cfg["lipschitz"]["players"] == ["critic", "generator"]
