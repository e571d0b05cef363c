"""Autoregressive densities against enumeration, Jacobians, loops written from the papers' formulas,
and samplers that keep nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chi2
from torch import Tensor, nn

from gentrain.errors import UserError
from gentrain.layers.causal import (
    CausalConv2d,
    ConvCache,
    UpwardConv2d,
    group_of_channels,
)
from gentrain.layers.pixel_lstm import DiagonalBiLSTM, RowLSTM, skew, unskew
from gentrain.models.autoregressive.base import Autoregressive, quantile
from gentrain.models.autoregressive.networks import Causal
from gentrain.models.autoregressive.pixelcnn import GatedPixelCNN, PixelCNN
from gentrain.models.autoregressive.pixelrnn import PixelRNN
from gentrain.models.pixels import Binary, Levels, Logit, Pixels
from gentrain.training.datamodule import DataModule
from gentrain.training.single_objective import SingleObjective
from tests.support import toy
from tests.support.tensors import assert_equal

D = torch.float64
Maker = Callable[..., Causal]
NETWORKS: dict[str, Maker] = {
    "pixelcnn": partial(PixelCNN, width=6, depth=2),
    "gated": partial(GatedPixelCNN, width=6, depth=2),
    "row": partial(PixelRNN, width=6, depth=2, lstm=RowLSTM),
    "diagonal": partial(PixelRNN, width=6, depth=2, lstm=DiagonalBiLSTM),
}
networks = pytest.mark.parametrize("name", NETWORKS)


def stirred(module: Any, sd: float = 0.4) -> Any:
    """Double precision, and no weight zero."""
    for p in module.to(D).parameters():
        nn.init.normal_(p, 0, sd)
    return module


def model(name: str, pixels: Pixels, shape: list[int], **options: Any) -> Autoregressive:
    return stirred(Autoregressive(NETWORKS[name], pixels, shape, **options))


def wide(shape: list[int]) -> Autoregressive:
    """Of labels that tell."""
    density = stirred(
        Autoregressive(
            partial(GatedPixelCNN, width=24, depth=2), Binary(), shape, conditional=True, classes=3
        ),
        0.3,
    )
    for layer in density.network.layers:  # type: ignore[union-attr]
        nn.init.normal_(layer.label.weight, 0, 2)
    return density


def every_image(values: int, shape: list[int]) -> Tensor:
    return torch.tensor(
        list(itertools.product(range(values), repeat=math.prod(shape))), dtype=D
    ).view(-1, *shape)


# --- a distribution -------------------------------------------------------------------------------

SPACES = {
    "binary 3x3": (Binary(), [1, 3, 3]),
    "5 levels 2x1": (Levels(5), [1, 2, 1]),
    "3 levels of 2 pixels in 2 colours": (Levels(3), [2, 1, 2]),
    "binary RGB 1x3": (Binary(), [3, 1, 3]),
}


@networks
@pytest.mark.parametrize("space", SPACES)
def test_it_sums_to_one(name: str, space: str) -> None:
    pixels, shape = SPACES[space]
    assert pixels.values is not None
    found = model(name, pixels, shape).log_prob(every_image(pixels.values, shape)).exp()
    torch.testing.assert_close(found.sum(), torch.ones((), dtype=D))
    assert found.min() > 0 and found.max() > 2 * found.min()


@networks
def test_given_each_label_it_sums_to_one_and_the_label_matters(name: str) -> None:
    shape = [1, 2, 3]
    if name != "gated":
        with pytest.raises(UserError, match="sees no label"):
            model(name, Binary(), shape, conditional=True, classes=3)
        return
    density, every = wide(shape), every_image(2, shape)
    of_each = torch.stack([density.log_prob(every, torch.full((len(every),), y)) for y in range(3)])
    torch.testing.assert_close(of_each.exp().sum(1), torch.ones(3, dtype=D))
    assert (of_each.exp().diff(dim=0).abs().sum(1) > 0.1).all()
    labels = torch.arange(len(every)) % 3
    black_and_white = density.pixels.inverse(every)
    torch.testing.assert_close(
        density.log_likelihood((black_and_white, labels), 1),
        of_each[labels, torch.arange(len(every))],
    )
    torch.testing.assert_close(
        density.objective((black_and_white, labels)).loss,
        -density.log_prob(every, labels).mean(),
    )


def test_levels_may_be_few() -> None:
    x = torch.tensor([-1.0, -0.6, -0.4, 0.0, 0.4, 0.6, 1.0])
    v, _ = Levels(3)(x)
    assert v.tolist() == [0, 0, 1, 1, 1, 2, 2] and Levels(3).inverse(v).tolist() == [
        -1,
        -1,
        0,
        0,
        0,
        1,
        1,
    ]
    every = torch.arange(256)
    assert torch.equal(Levels()(every / 127.5 - 1)[0], every.float())


def test_values_follow_their_distribution_as_the_uniforms_do() -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0, 0.5]], dtype=D)
    u = (torch.arange(100_000, dtype=D) + 0.5) / 100_000
    drawn = quantile(logits.expand(100_000, -1), u)
    assert (drawn.diff() >= 0).all()
    torch.testing.assert_close(
        torch.bincount(drawn.long()) / 100_000, logits.softmax(1)[0].float(), atol=2e-5, rtol=0
    )


@networks
def test_samples_have_the_frequencies_of_the_density(name: str) -> None:
    """Pearson's chi-square over the 16 images of 2 x 2 pixels: beyond the 99.9 % quantile once in a
    thousand, and this seed is not it.
    """
    density, n = model(name, Binary(), [1, 2, 2]), 20_000
    u = torch.rand(n, 4, generator=torch.Generator().manual_seed(0), dtype=D)
    images = (density.sample((torch.zeros(n, 1, 2, 2, dtype=D),), u) + 1) / 2
    found = torch.bincount(
        (images.flatten(1) @ torch.tensor([8.0, 4, 2, 1], dtype=D)).long(), minlength=16
    )
    wanted = density.log_prob(every_image(2, [1, 2, 2])).exp() * n
    assert wanted.min() > 5
    assert ((found - wanted).square() / wanted).sum() < chi2.ppf(0.999, 15)


# --- what sees what -------------------------------------------------------------------------------


def seen(network: Causal, points: int = 12) -> Tensor:
    """(values of an image, values of an image) in their order: does the logit of the one change
    with the other, at any of some points?
    """
    C, H, W = network.shape
    n = C * H * W
    weights = torch.arange(1, network.values + 1, dtype=D).view(1, -1, 1, 1, 1)
    total = torch.zeros(n, n, dtype=D)
    for _ in range(points):  # a rectifier may be shut at one of them
        # image k for output k
        x = torch.randn(1, C, H, W, dtype=D).repeat(n, 1, 1, 1).requires_grad_()
        out = (network(x) * weights).sum(1).permute(0, 2, 3, 1).reshape(n, n)
        (rows,) = torch.autograd.grad(out.diagonal().sum(), x)
        total += rows.permute(0, 2, 3, 1).reshape(n, n).abs()
    return total != 0


@networks
@pytest.mark.parametrize(("colours", "values"), [(1, 2), (2, 4), (3, 2), (3, 4)])
def test_nothing_is_seen_of_what_is_to_come_and_all_that_is_past(
    name: str, colours: int, values: int
) -> None:
    shape = [colours, 4, 5]
    found = seen(stirred(NETWORKS[name](shape=shape, values=values, width=4 * colours)))
    past = torch.ones(math.prod(shape), math.prod(shape)).tril(-1).bool()
    assert not found[~past].any()
    if name in ("gated", "diagonal"):
        assert found[past].all()
    else:
        assert found[past].float().mean() > 0.7


def offsets(network: Causal) -> set[tuple[int, int]]:
    """Pixels seen from the one in the middle of the third row, (down, right) of it."""
    W = network.shape[2]
    found = seen(network)[2 * W + W // 2].nonzero()[:, 0].tolist()
    return {(k // W - 2, k % W - W // 2) for k in found}


def reach(layers: list[set[tuple[int, int]]], H: int, W: int) -> set[tuple[int, int]]:
    """Where a chain of layers leads that each see some pixels around, within the image.

    All layers but the last, which is mask A, may be skipped (their residual connections).
    """
    found = {(0, 0)}
    for layer in layers:
        found = {
            (y + dy, x + dx)
            for (y, x), (dy, dx) in itertools.product(found, layer)
            if -2 <= y + dy < H - 2 and abs(x + dx) <= W // 2
        }
    return found


FIRST = {(0, -1), (-1, -1), (-1, 0), (-1, 1)}  # 3 x 3, mask A


def test_pixelcnn_has_its_blind_spot() -> None:
    """However many layers: a pixel k rows above is hidden where it is more than k to the right."""
    shape = [1, 3, 9]
    found = offsets(stirred(PixelCNN(shape, 2, width=6, depth=3, first=3)))
    assert found == reach([FIRST | {(0, 0)}] * 3 + [FIRST], 3, 9)
    assert (-1, 1) in found and (-1, 2) not in found and (-2, 3) not in found


def test_the_gated_network_of_the_same_kernels_has_none() -> None:
    found = offsets(stirred(GatedPixelCNN([1, 3, 9], 2, width=6, depth=4, kernel=3, first=3)))
    assert found == {(y, x) for y in (-2, -1, 0) for x in range(-4, 5) if y < 0 or x < 0}


@pytest.mark.parametrize("depth", [1, 2])
def test_the_row_lstm_sees_a_triangle(depth: int) -> None:
    """State-to-state, one pixel more on each side a row; input-to-state, the pixel and the one on
    its left.
    """
    found = offsets(stirred(PixelRNN([1, 3, 9], 2, RowLSTM, width=6, depth=depth, first=3)))
    triangle = {(-k, x) for k in range(3) for x in range(-k - 1, k + 1)}
    assert found == reach([triangle] * depth + [FIRST], 3, 9)
    assert max(x for y, x in found if y == -1) == 1 and max(x for y, x in found if y == -2) == 2


def test_one_diagonal_layer_sees_all() -> None:
    found = offsets(stirred(PixelRNN([1, 3, 9], 2, DiagonalBiLSTM, width=6, depth=1, first=3)))
    assert found == {(y, x) for y in (-2, -1, 0) for x in range(-4, 5) if y < 0 or x < 0}


# --- layers against their formulas ----------------------------------------------------------------


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("above", [0, 2])
@pytest.mark.parametrize("colours", [1, 3])
def test_a_cropped_kernel_is_a_masked_one(strict: bool, above: int, colours: int) -> None:
    """Against the whole square kernel, each of whose numbers is kept or made zero by itself."""
    seen, given, side = group_of_channels(5, colours), group_of_channels(4, colours), 2
    conv = stirred(CausalConv2d(seen, given, above, side, strict))
    whole = torch.zeros(4, 5, 5, 5, dtype=D)
    for o, i, y, x in itertools.product(range(4), range(5), range(-2, 3), range(-2, 3)):
        own = seen[i] < given[o] if strict else seen[i] <= given[o]
        if (-above <= y < 0) or (y == 0 and x < 0) or (y == x == 0 and own):
            whole[o, i, y + 2, x + 2] = conv.weight[o, i, y + above, x + side]
    x = torch.randn(2, 5, 6, 7, dtype=D)
    torch.testing.assert_close(conv(x), F.conv2d(x, whole, conv.bias, padding=2))


def test_colours_are_groups_of_channels_in_order() -> None:
    assert group_of_channels(6, 3).tolist() == [0, 0, 1, 1, 2, 2] and group_of_channels(
        7, 3
    ).tolist() == [
        0,
        0,
        0,
        1,
        1,
        2,
        2,
    ]
    network = GatedPixelCNN([3, 4, 4], 5, width=6, depth=1, kernel=3)
    mask = network.layers[0].horizontal.mask
    assert mask is not None
    # tanh's half and sigmoid's half both: R sees R, G sees R and G, B all three
    assert mask[:, :, 0, 1].tolist() == [
        [float(i // 2 <= o % 6 // 2) for i in range(6)] for o in range(12)
    ]
    assert (mask[:, :, 0, 0] == 1).all()


def test_a_gated_layer() -> None:
    """v = gate(W_v v + V y),  h = h + U gate(W_h h + N (W_v v) + V' y),  gate(a, b) = tanh a
    sigmoid b.
    """
    layer = stirred(GatedPixelCNN([1, 4, 5], 2, width=3, depth=1, kernel=3, classes=4)).layers[0]
    v, h, y = (
        torch.randn(2, 3, 4, 5, dtype=D),
        torch.randn(2, 3, 4, 5, dtype=D),
        torch.tensor([1, 3]),
    )
    padded = F.pad(v, (1, 1, 1, 0))
    a = torch.stack(
        [
            torch.einsum("ocrk,ncrk->no", layer.vertical.weight, padded[:, :, i : i + 2, j : j + 3])
            for i in range(4)
            for j in range(5)
        ],
        2,
    )
    a = (a + layer.vertical.bias[:, None]).view(2, 6, 4, 5)
    b = (
        torch.einsum("oc,nchw->nohw", layer.down.weight[:, :, 0, 0], a)
        + layer.down.bias[:, None, None]
        + layer.horizontal.bias[:, None, None]
    )
    b = b + torch.einsum("oc,nchw->nohw", layer.horizontal.weight[:, :, 0, 1], h)
    b[..., 1:] += torch.einsum("oc,nchw->nohw", layer.horizontal.weight[:, :, 0, 0], h[..., :-1])
    labels = layer.label.weight[y][:, :, None, None]
    a, b = a + labels[:, :6], b + labels[:, 6:]
    out = torch.tanh(b[:, :3]) * torch.sigmoid(b[:, 3:])
    want = (
        h
        + torch.einsum("oc,nchw->nohw", layer.out.weight[:, :, 0, 0], out)
        + layer.out.bias[:, None, None]
    )
    found = layer(v, h, y)
    torch.testing.assert_close(found[0], torch.tanh(a[:, :3]) * torch.sigmoid(a[:, 3:]))
    torch.testing.assert_close(found[1], want)


def gates(z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One pixel of one image, written out: z (4 width,), c (width,)."""
    o, f, i, g = z.view(4, -1)
    c = c / (1 + torch.exp(-f)) + torch.tanh(g) / (1 + torch.exp(-i))
    return torch.tanh(c) / (1 + torch.exp(-o)), c


@pytest.mark.parametrize("colours", [1, 3])
def test_the_row_lstm_pixel_by_pixel(colours: int) -> None:
    lstm, (H, W, width) = stirred(RowLSTM(6, 3, colours)), (4, 5, 3)
    x, zero = torch.randn(2, 6, H, W, dtype=D), torch.zeros(width, dtype=D)
    kernel = lstm.input.kernel()[:, :, 0]  # (4 width, 6, the pixel on the left and the pixel)
    found = lstm(x)
    for n in range(2):
        h: dict[tuple[int, int], Tensor] = {}
        c: dict[tuple[int, int], Tensor] = {}
        for i, j in itertools.product(range(H), range(W)):
            z = (
                lstm.input.bias
                + kernel[:, :, 1] @ x[n, :, i, j]
                + (kernel[:, :, 0] @ x[n, :, i, j - 1] if j else 0)
            )
            for k in (-1, 0, 1):
                z = z + lstm.state.view(4 * width, 3, width)[:, k + 1] @ h.get((i - 1, j + k), zero)
            h[i, j], c[i, j] = gates(z, c.get((i - 1, j), zero))
            torch.testing.assert_close(found[n, :, i, j], h[i, j])


@pytest.mark.parametrize(("H", "W"), [(4, 5), (5, 3), (1, 4), (4, 1)])
def test_the_diagonal_lstm_pixel_by_pixel(H: int, W: int) -> None:
    width, colours = 3, 3
    lstm = stirred(DiagonalBiLSTM(6, width, colours))
    x, zero = torch.randn(2, 6, H, W, dtype=D), torch.zeros(width, dtype=D)
    kernel, found = lstm.input.kernel()[:, :, 0, 0], lstm(x)
    for n in range(2):
        sums: dict[tuple[int, int], Tensor] = {
            (i, j): kernel @ x[n, :, i, j] + lstm.input.bias for i in range(H) for j in range(W)
        }
        way: list[dict[tuple[int, int], Tensor]] = []
        for direction, back in ((0, -1), (1, 1)):
            h: dict[tuple[int, int], Tensor] = {}
            c: dict[tuple[int, int], Tensor] = {}
            for i, j in itertools.product(range(H), range(W) if back < 0 else reversed(range(W))):
                before = torch.cat([h.get((i - 1, j), zero), h.get((i, j + back), zero)])
                z = sums[i, j].view(2, -1)[direction] + before @ lstm.state[direction]
                h[i, j], c[i, j] = gates(z, c.get((i, j + back), zero))
            way.append(h)
        for i, j in sums:
            torch.testing.assert_close(
                found[n, :, i, j], way[0][i, j] + way[1].get((i - 1, j), zero)
            )


def test_skewed_and_back() -> None:
    x = torch.randn(2, 3, 4, 5)
    skewed = skew(x)
    assert skewed.shape == (2, 3, 6, 5)
    for i, j in itertools.product(range(3), range(4)):
        assert torch.equal(skewed[:, i, i + j], x[:, i, j])
    assert skewed.count_nonzero() == x.count_nonzero()
    assert torch.equal(unskew(skewed), x)


# --- samplers -------------------------------------------------------------------------------------


@networks
@pytest.mark.parametrize("pixels", [Binary(), Levels(256)], ids=["binary", "levels"])
@pytest.mark.parametrize("colours", [1, 3])
def test_what_is_kept_gives_the_samples_of_whole_passes(
    name: str, pixels: Pixels, colours: int
) -> None:
    density = model(name, pixels, [colours, 5, 6])
    u = torch.rand(3, colours, 5, 6, dtype=D)
    with torch.no_grad():
        kept, naive = (density.fill(u, cached=cached) for cached in (True, False))
    assert torch.equal(kept, naive) and len(kept.unique()) > 1
    torch.testing.assert_close(density.sample((u,), u.flatten(1)), pixels.inverse(kept))


@networks
def test_the_logits_of_a_pixel_are_those_of_the_whole_image(name: str) -> None:
    """At each pixel and colour, given the values before it; those after it are put in later, and
    what was wrong meanwhile is gone.
    """
    density = model(name, Levels(4), [2, 4, 5])
    x = torch.randn(3, 2, 4, 5, dtype=D)
    with torch.no_grad():
        whole, past = density.network(x), density.network.sampling_cache(3)
        for i in range(4):
            past.next_row()
            for j, c in itertools.product(range(5), range(2)):
                torch.testing.assert_close(past.logits(j)[:, :, c], whole[:, :, c, i, j])
                past.set_pixel(j, torch.where(torch.arange(2) <= c, x[:, :, i, j], 9.0))


def test_given_labels_too() -> None:
    density = wide([1, 5, 5])
    y = torch.tensor([0, 1, 2, 2])
    u = torch.rand(1, 1, 5, 5, dtype=D).expand(4, -1, -1, -1)
    with torch.no_grad():
        kept, naive = (density.fill(u, y, cached=cached) for cached in (True, False))
    assert (
        torch.equal(kept, naive)
        and torch.equal(kept[2], kept[3])
        and not torch.equal(kept[0], kept[1])
    )


@pytest.mark.parametrize(
    "conv",
    [
        UpwardConv2d(3, 4, 2, 1, 1),
        UpwardConv2d(3, 4),
        CausalConv2d(group_of_channels(3, 3), group_of_channels(4, 3), 1, 2, True),
    ],
)
def test_a_convolutions_cache_by_rows(conv: UpwardConv2d) -> None:
    x, cache = torch.randn(2, 3, 5, 6, dtype=D), ConvCache(stirred(conv), 2, 6)
    rows = [cache.row(x[:, :, i].transpose(1, 2)).transpose(1, 2) for i in range(5)]
    torch.testing.assert_close(torch.stack(rows, 2), conv(x))


@networks
def test_completion(name: str) -> None:
    density = model(name, Levels(7), [2, 5, 4])
    with torch.no_grad():
        u, mask = torch.rand(4, 2, 5, 4, dtype=D), torch.rand(4, 1, 5, 4) < 0.5
        whole = density.fill(u)
        # what was drawn, and is given, leads to the rest as it was drawn; whatever is known in
        # between
        assert torch.equal(
            density.fill(u, None, torch.where(mask, whole, 3.0), mask.expand_as(whole)), whole
        )
    images = torch.rand(4, 2, 5, 4, dtype=D) * 2 - 1
    known = torch.zeros(1, 1, 5, 4, dtype=torch.bool)
    known[:, :, :2] = True
    made = density.complete((images,), known, u.flatten(1))
    assert torch.equal(made[:, :, :2], images[:, :, :2]) and not torch.equal(
        made[:, :, 2:], images[:, :, 2:]
    )
    assert torch.equal(made, density.complete((images,), known, u.flatten(1)))
    other = density.complete((images.flip(0),), known, u.flatten(1))
    assert not torch.equal(made[:, :, 2:], other[:, :, 2:])  # it sees what is known
    assert torch.equal(density.complete((images,), torch.ones_like(known)), images)


# --- what is refused, and what trains -------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "options", "told"),
    [
        (Logit(), {}, "pixels"),
        (Binary(), {"shape": [2]}, "data"),
        (Binary(), {"conditional": True}, "model.conditional"),
        (Binary(), {"network": partial(PixelCNN, kernel=4)}, "model.network.kernel"),
        (Binary(), {"network": partial(GatedPixelCNN, first=2)}, "model.network.first"),
        (
            Binary(),
            {"network": partial(PixelRNN, lstm=partial(RowLSTM, kernel=2))},
            "model.network.lstm.kernel",
        ),
    ],
)
def test_refused(pixels: Pixels, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Autoregressive(**{"network": PixelCNN, "pixels": pixels, "shape": [1, 4, 4]} | options)


def scheme(name: str) -> SingleObjective:
    L.seed_everything(0, verbose=False)
    density = Autoregressive(NETWORKS[name], Levels(256), [1, 8, 8])
    return SingleObjective(
        density,
        {"model": partial(torch.optim.Adam, lr=1e-3)},
        partial(torch.optim.lr_scheduler.StepLR, step_size=2),
        log_every=1,
    )


@networks
def test_a_resumed_run_is_the_run_that_was_not_stopped(name: str, tmp_path: Path) -> None:
    def run(steps: int, resume: Path | None = None) -> SingleObjective:
        found = scheme(name)
        trainer = toy.trainer(tmp_path, steps, [])
        trainer.fit(
            found,
            datamodule=DataModule(
                toy.Noise(name="noise", shape=(1, 8, 8), classes=4, batch_size=8)
            ),
            ckpt_path=resume,
        )
        trainer.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return found

    whole, _ = run(5), run(3)
    resumed = run(5, tmp_path / "3.ckpt")
    assert_equal(whole.state_dict(), resumed.state_dict())
    assert (
        whole.latest["model/nll"] == resumed.latest["model/nll"]
        and "model/bits_per_dim" in whole.latest
    )


@networks
def test_one_graph(name: str) -> None:
    """compile=true compiles an objective whole or not at all."""
    density = model(name, Levels(4), [1, 2, 2])
    batch = (torch.rand(2, 1, 2, 2, dtype=D) * 2 - 1,)
    compiled = torch.compile(density.objective, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(batch).loss, density.objective(batch).loss)
