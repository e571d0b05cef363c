"""Progressive GANs: every part against loops and formulas, growth that begins where the smaller
players were, and resumes in mid-fade.
"""

import copy
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.adversarial.losses import wasserstein
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.errors import UserError
from gentrain.layers.equalized import equalized
from gentrain.layers.minibatch import MinibatchStddev
from gentrain.layers.normalization import PixelNorm
from gentrain.networks import progan
from gentrain.training.callbacks.checkpoint import Checkpoint
from gentrain.training.callbacks.rng import RNG
from gentrain.training.datamodule import DataModule
from tests.support.compose import batch, build_model, composed, options
from tests.support.tensors import assert_equal
from tests.support.toy import Noise, trainer

NARROW = ("model.generator.width=8", "model.critic.width=8", "model.generator.latent=8")
SHAPE = [2, 28, 28]


# --- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [lambda: nn.Conv2d(32, 64, 3, padding=1, padding_mode="circular"), lambda: nn.Linear(400, 300)],
)
def test_equalised_layers_keep_the_variance(layer: Any) -> None:
    """Weights of variance 1 are learned; an input of variance 1 comes out with variance gain^2."""
    for gain in (1.0, math.sqrt(2)):
        made = equalized(layer(), gain)
        x = torch.randn(64, 32, 8, 8) if isinstance(made, nn.Conv2d) else torch.randn(512, 400)
        assert made.parametrizations.weight.original.std().item() == pytest.approx(1, rel=0.03)
        assert made(x).var().item() == pytest.approx(gain**2, rel=0.1)
        assert not made.bias.any()


def test_depth_neither_drowns_nor_explodes() -> None:
    h = torch.randn(256, 300)
    for _ in range(20):
        h = equalized(nn.Linear(300, 300))(h).relu()
    assert 0.4 < h.square().mean() < 2.5


def test_the_learning_rate_is_equalised() -> None:
    """d/dw^ = c d/dw: the derivative is scaled at run time; and Adam's first step moves every
    layer's w by the same share of its size.
    """
    for fan_in in (16, 400):
        layer = equalized(nn.Linear(fan_in, 50))
        c, original = math.sqrt(2 / fan_in), layer.parametrizations.weight.original
        torch.testing.assert_close(layer.weight, c * original)
        x, before = torch.randn(8, fan_in), layer.weight.detach().clone()
        torch.nn.functional.linear(
            x, w := before.clone().requires_grad_(), layer.bias
        ).square().sum().backward()
        layer(x).square().sum().backward()
        torch.testing.assert_close(original.grad, c * w.grad, rtol=1e-4, atol=1e-5)
        torch.optim.Adam([original], 1e-3, betas=(0.0, 0.99)).step()
        moved = (layer.weight.detach() - before).abs().mean() / before.std()
        assert moved.item() == pytest.approx(1e-3, rel=0.05)


def test_pixel_norm_is_the_loop() -> None:
    x, y = torch.randn(2, 5, 3, 3), torch.empty(2, 5, 3, 3)
    for b in range(2):
        for r in range(3):
            for c in range(3):
                y[b, :, r, c] = (
                    x[b, :, r, c] / (sum(float(v) ** 2 for v in x[b, :, r, c]) / 5 + 1e-8) ** 0.5
                )
    torch.testing.assert_close(PixelNorm()(x), y)


@pytest.mark.parametrize("B", [4, 12, 3])
def test_minibatch_stddev_is_the_loop(B: int) -> None:
    x = torch.randn(B, 2, 3, 3, dtype=torch.float64)
    y = MinibatchStddev(4)(x.float()).double()
    groups = max(B // 4, 1)
    for i in range(B):
        mine = [j for j in range(B) if j % groups == i % groups]
        assert len(mine) == min(4, B)
        total = 0.0
        for c in range(2):
            for p in range(9):
                values = [float(x[j, c].flatten()[p]) for j in mine]
                mean = sum(values) / len(values)
                total += math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + 1e-8)
        torch.testing.assert_close(
            y[i, 2], torch.full((3, 3), total / 18).double(), rtol=1e-5, atol=1e-6
        )
    torch.testing.assert_close(y[:, :2], x, rtol=1e-6, atol=1e-6)


def test_minibatch_stddev_of_equal_samples_is_zero_and_of_odd_batches_refused() -> None:
    assert MinibatchStddev(4)(torch.ones(8, 2, 3, 3))[:, 2].max() < 1e-3
    with pytest.raises(UserError, match=r"data\.batch_size"):
        MinibatchStddev(4)(torch.ones(6, 2, 3, 3))
    x = torch.randn(6, 2, 3, 3)
    torch.testing.assert_close(
        MinibatchStddev(4).eval()(x), MinibatchStddev(4)(torch.cat([x, x[:2]]))[:6]
    )


def test_drift() -> None:
    real, fake = torch.randn(8), torch.randn(8)
    assert wasserstein(0.001).critic(real, fake).item() == pytest.approx(
        float(fake.mean() - real.mean()) + 0.001 * sum(float(r) ** 2 for r in real) / 8, abs=1e-6
    )


# --- networks -------------------------------------------------------------------------------------


def players(shape: list[int] = SHAPE) -> tuple[progan.Generator, progan.Critic]:
    return progan.Generator(shape, 8, 8), progan.Critic(shape, 8)


@pytest.mark.parametrize(
    ("side", "sides"), [(28, [7, 14, 28]), (32, [4, 8, 16, 32]), (64, [4, 8, 16, 32, 64])]
)
def test_every_level_gives_and_takes_images_of_the_full_size(side: int, sides: list[int]) -> None:
    generator, critic = players([3, side, side])
    assert (
        generator.body.sides == critic.body.sides == sides
        and generator.body.level == len(sides) - 1
    )
    for level, small in enumerate(sides):
        for network in (generator, critic):
            network.zero_grad()
            network.body.grow(level, 0.5)
        x = generator(generator.noise(4, "cpu"))
        assert x.shape == (4, 3, side, side)
        squares = x.unfold(2, side // small, side // small).unfold(3, side // small, side // small)
        assert (squares.amax((4, 5)) == squares.amin((4, 5))).all()  # nearest up-sampling
        score = critic(x)
        torch.testing.assert_close(critic(squares[..., 0, 0].contiguous()), score)
        score.square().sum().backward()
        used = {
            name
            for name, p in [*generator.named_parameters(), *critic.named_parameters()]
            if p.grad is not None
        }
        assert not any(f"blocks.{level}." in name for name in used) and (
            not level or any(f"blocks.{level - 1}." in name for name in used)
        )


def test_widths_of_the_paper() -> None:
    assert progan.level_channels([4 * 2**i for i in range(9)], 512) == [
        512,
        512,
        512,
        512,
        256,
        128,
        64,
        32,
        16,
    ]


def test_pixel_norm_is_in_the_generator_only() -> None:
    generator, critic = players()
    assert sum(isinstance(m, PixelNorm) for m in generator.modules()) == 1 + 2 + 2 * 2
    assert not any("Norm" in type(m).__name__ for m in critic.modules())
    assert not any("Norm2d" in type(m).__name__ for m in generator.modules())
    assert all(
        hasattr(m, "parametrizations")
        for n in (generator, critic)
        for m in n.modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    )


@pytest.mark.parametrize("level", [1, 2])
def test_a_new_level_begins_as_the_old_one(level: int) -> None:
    """At alpha 0 both players are what they were before; at 1 the old image layers have no say;
    between, outputs are blends.
    """
    generator, critic = players()
    z, x = generator.noise(4, "cpu"), torch.randn(4, *SHAPE)

    def at(level: int, alpha: float) -> tuple[Tensor, Tensor]:
        generator.body.grow(level, alpha)
        critic.body.grow(level, alpha)
        return generator(z), critic.features(x)

    with torch.no_grad():
        before, start, end, half = at(level - 1, 1), at(level, 0), at(level, 1), at(level, 0.25)
        torch.testing.assert_close(start[0], before[0], rtol=0, atol=0)
        # averaged in one go, or in two
        torch.testing.assert_close(start[1], before[1], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(half[0], 0.75 * start[0] + 0.25 * end[0])
        for layer in (generator.body.to_image[level - 1], critic.body.from_image[level - 1][0]):
            layer.parametrizations.weight.original.fill_(9)
        assert all(torch.equal(one, other) for one, other in zip(at(level, 1), end, strict=True))


# --- growth ---------------------------------------------------------------------------------------


def test_phases() -> None:
    growth = build_model(
        "model=progan", "model.growth.fade=100", "model.growth.stable=50", *NARROW
    ).regularizers["growth"]
    seen = {
        0: (0, 1),
        49: (0, 1),
        50: (1, 0),
        75: (1, 0.25),
        149: (1, 0.99),
        150: (1, 1),
        199: (1, 1),
        200: (2, 0),
        250: (2, 0.5),
    }
    seen |= {300: (2, 1), 349: (2, 1), 350: (2, 1), 10**6: (2, 1)}
    for images, (level, alpha) in seen.items():
        assert growth.phase(images) == (level, pytest.approx(alpha)), images


def test_real_images_fade_as_the_players_do() -> None:
    model = build_model("model=progan", *NARROW)
    growth, x = model.regularizers["growth"], batch(model)[0]
    fake = model.generate(model.generator, (x,))
    assert [t.shape[-1] for t in growth.transform_batch(x, fake, False)] == [7, 7]
    growth.apply_level(model, 2, 0.25)
    old = F.avg_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(growth.transform_batch(x, x, False)[0], 0.75 * old + 0.25 * x)
    real, made = (
        model.critic_scores((x,)),
        model.critic_scores((x,), fake=True),
    )  # which has faded in the generator
    torch.testing.assert_close(made, model.critic(x))
    torch.testing.assert_close(real, model.critic(0.75 * old + 0.25 * x))
    growth.apply_level(model, 1, 1.0)
    fake = model.generate(model.generator, (x,))
    real, small = growth.transform_batch(x, fake, False)
    torch.testing.assert_close(real, F.avg_pool2d(x, 2))
    torch.testing.assert_close(small.repeat_interleave(2, 2).repeat_interleave(2, 3), fake)


class Watch(L.Callback):
    """Levels, images and the age of the optimizers after every step."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, int, set[float]]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        model = pl_module.model
        level, alpha = model.critic.body.level, float(model.critic.body.alpha)
        for network in (model.generator, model.ema_generator):
            assert (network.body.level, float(network.body.alpha)) == (level, alpha)
        ages = {
            float(state["step"])
            for optimizer in trainer.optimizers
            for state in optimizer.state.values()
        }
        self.seen.append((level, alpha, int(model.regularizers["growth"].images), ages))


def run(folder: Path, steps: int, *overrides: str, resume: Path | None = None) -> tuple[Any, Watch]:
    torch.manual_seed(0)
    words = (
        "model=progan",
        "model.growth.fade=24",
        "model.growth.stable=16",
        "data.size=16",
        *NARROW,
        *overrides,
    )
    checked = validate.check(composed(*words))
    scheme = build(
        checked["scheme"] | {"log_every": 1}, "scheme", model=build(checked["model"], "model")
    )
    watch = Watch()
    data = Noise(name="noise", shape=(1, 16, 16), classes=4, batch_size=8)
    trainer(folder, steps, [RNG(), watch, Checkpoint(2)]).fit(
        scheme, datamodule=DataModule(data), ckpt_path=resume
    )
    return scheme, watch


def test_growth_counts_images_and_resets_the_optimizers(tmp_path: Path) -> None:
    """16 stable, 24 fading, 16 stable, 24 fading, in batches of 8."""
    scheme, watch = run(tmp_path, 11)
    assert [images for _, _, images, _ in watch.seen] == [8 * (i + 1) for i in range(11)]
    assert [level for level, *_ in watch.seen] == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert [alpha for _, alpha, *_ in watch.seen] == pytest.approx(
        [1, 0, 1 / 3, 2 / 3, 1, 1, 0, 1 / 3, 2 / 3, 1, 1]
    )
    # reset where a fade starts, and where it ends, as in the authors' code
    assert [max(ages, default=0) for *_, ages in watch.seen] == [1, 0, 1, 2, 0, 1, 0, 1, 2, 0, 1]
    assert scheme.latest["critic/levels_grown"] == pytest.approx(2)
    assert {
        "critic/gradient_penalty",
        "critic/wasserstein_estimate",
        "critic/drift",
    } < scheme.latest.keys()


# in mid-fade, and in the step before a new level
@pytest.mark.parametrize("stopped", [4, pytest.param(6, marks=pytest.mark.slow)])
def test_resumed_in_mid_fade(tmp_path: Path, stopped: int) -> None:
    whole, _ = run(tmp_path / "whole", 9)
    run(tmp_path / "parts", stopped)
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    again, watch = run(tmp_path / "parts", 9, resume=last)
    assert watch.seen[-1][:3] == (2, pytest.approx(2 / 3), 72)
    assert_equal(whole.model.state_dict(), again.model.state_dict())
    assert_equal(
        [o.state_dict() for o in whole.trainer.optimizers],
        [o.state_dict() for o in again.trainer.optimizers],
    )


def test_accumulated_batches_count(tmp_path: Path) -> None:
    _, watch = run(tmp_path, 2, "scheme.accumulate=2")
    assert [images for _, _, images, _ in watch.seen] == [16, 32]


# --- the penalty of samples that know of each other -----------------------------------------------


def test_the_penalty_is_of_the_sum_of_scores_at_the_level_s_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build_model("model=progan", *NARROW)
    model.regularizers["growth"].apply_level(model, 1, 0.5)
    real, fake = torch.randn(8, 1, 14, 14), torch.randn(8, 1, 14, 14)
    penalty = model.regularizers["gradient_penalty"]
    monkeypatch.setattr(
        "gentrain.adversarial.lipschitz.uniform_per_sample",
        lambda x: torch.full((len(x), 1, 1, 1), 0.3),
    )
    value = penalty.critic_term(model.critic, real, fake)
    exact = copy.deepcopy(model.critic).double()
    x = (0.3 * real + 0.7 * fake).double().requires_grad_()
    (grad,) = torch.autograd.grad(exact(x).sum(), x)
    assert value.item() == pytest.approx(
        10 * float((grad.flatten(1).norm(dim=1) - 1).square().mean()), rel=1e-4
    )
    seen = []
    model.regularizers["gradient_penalty"].penalty_points = lambda r, f: (
        seen.append(r.shape[-1]) or r
    )  # type: ignore[func-returns-value]
    model.critic_loss(batch(model))
    assert seen == [14]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), False),
        (("steps=3",), True),
        (("steps=9",), True),
        (("steps=10",), False),
        (("steps=5", "scheme.critic_steps=2"), False),
        (("steps=5", "scheme.accumulate=2"), False),
    ],
)
def test_a_run_that_ends_before_it_has_grown_says_so(
    words: tuple[str, ...], said: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All levels take 2 * (16 + 24) images: ten batches of 8."""
    steps = next((int(w[6:]) for w in words if w.startswith("steps=")), 10)
    with caplog.at_level("WARNING", logger="gentrain"):
        run(tmp_path, steps, *(w for w in words if not w.startswith("steps=")))
    found = [r.message for r in caplog.records if "before it has grown" in r.message]
    assert len(found) == said
    if said:
        assert "model.growth.fade" in found[0] and "take 80 " in found[0] and "16 px" in found[0]


# --- tricks act on what the critic sees -----------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_critic_sees_the_noise_that_was_asked_for(level: int) -> None:
    model = build_model("model=progan", "tricks=[instance_noise]", *NARROW)
    model.regularizers["growth"].apply_level(model, level, 1.0)
    x = torch.zeros(64, 1, 28, 28)
    for seen in model.transform_batch(x, x, critics_turn=True):
        assert seen.shape[-1] == model.critic.body.sides[level]
        assert seen.std().item() == pytest.approx(0.1, rel=0.05)


def test_orthogonal_and_historical_averaging_are_of_the_scaled_weights() -> None:
    """The weights that a forward uses, found layer by layer."""
    model = build_model("model=progan", "tricks=[orthogonal,historical_averaging]", *NARROW)
    layers = [m for m in model.generator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    used = [layer.weight.detach().flatten(1) for layer in layers]
    wanted = sum(
        float((w @ w.T).square().sum() - (w @ w.T).diagonal().square().sum()) for w in used
    )
    objective = model.generator_loss(batch(model))
    assert objective.losses["orthogonal"].item() == pytest.approx(1e-4 * wanted, rel=1e-4)
    moved = 0.0
    for layer in layers:
        before = layer.weight.detach().clone()
        with torch.no_grad():
            layer.parametrizations.weight.original.add_(0.5)
        moved += float((layer.weight.detach() - before).square().sum())
    distance = model.regularizers["historical_averaging"].distance("generator")
    assert distance.item() == pytest.approx(1e-3 * moved, rel=1e-4)


def test_spectral_norm_is_of_the_scaled_weights() -> None:
    model = build_model("model=progan", "lipschitz=spectral_norm", *NARROW)
    for _ in range(30):
        model.critic(batch(model)[0])
    for layer in model.critic.eval().modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
            assert largest.item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("trick", options("tricks"))
def test_each_trick_acts_at_every_level_or_is_refused(trick: str) -> None:
    """Images of the level's size reach the critic, and every loss is finite and not absurd."""
    words = ("model=progan", f"tricks=[{trick}]", "loss=js", "lipschitz=spectral_norm", *NARROW)
    if trick == "virtual_batch_norm":
        with pytest.raises(UserError, match="no batch norm"):
            build_model(*words)
        return
    model = build_model(*words)
    x = batch(model)
    model.init_from_batch(x)
    growth, packed = model.regularizers["growth"], 2 if trick == "packing" else 1
    for level, alpha in ((0, 1.0), (1, 0.3), (2, 1.0)):
        growth.apply_level(model, level, alpha)
        real, fake = model.transform_batch(x[0], model.sample(x), critics_turn=True)
        side = model.critic.body.sides[level]
        assert real.shape == fake.shape == (8 // packed, packed, side, side)
        for loss in (model.critic_loss, model.generator_loss):
            for name, term in loss(x).losses.items():
                assert term.isfinite() and term.abs() < 100, name
        model.after_critic_step({})
        model.after_generator_step()


def test_other_penalties_and_other_couplings_are_refused() -> None:
    for words in (("model=progan",), ("model=gan", "network=progan")):
        with pytest.raises(UserError, match="equalised"):
            build_model(*words, "lipschitz=clip", *NARROW)
    for lipschitz in ("gp", "r1"):
        with pytest.raises(UserError, match="couple samples"):
            build_model("model=progan", f"lipschitz={lipschitz}", *NARROW)
    with pytest.raises(UserError, match="couple samples"):
        build_model("model=dcgan", "lipschitz=gp_grouped")
    for loss, reason in (("hinge", "couple samples"), ("wasserstein", "grows with the batch")):
        words = (f"loss={loss}", "tricks=[minibatch_discrimination]")
        with pytest.raises(UserError, match=reason):
            build_model("model=progan", *words, *NARROW)


def test_what_else_is_refused_and_what_works() -> None:
    with pytest.raises(UserError, match="does not grow"):
        build_model("model=progan", "network=dcgan")
    model = build_model("model=progan", "tricks=[packing]", *NARROW)
    for level in range(3):
        model.regularizers["growth"].apply_level(model, level, 0.5)
        assert model.critic_loss(batch(model)).loss.isfinite()
    full = build_model("model=gan", "network=progan", *NARROW)  # full-grown, where nobody grows it
    assert full.generator.body.level == 2 and full.critic_loss(batch(full)).loss.isfinite()


def test_the_paper_s_numbers() -> None:
    cfg = composed("model=progan")
    assert {(o["lr"], *o["betas"]) for o in cfg["scheme"]["optimizers"].values()} == {
        (1e-3, 0.0, 0.99)
    }
    assert (
        cfg["scheme"]["critic_steps"],
        cfg["data"]["batch_size"],
        cfg["model"]["critic"]["group"],
    ) == (1, 16, 4)
    assert (cfg["loss"]["drift"], cfg["lipschitz"]["weight"], cfg["tricks"]["ema"]["decay"]) == (
        1e-3,
        10,
        0.999,
    )
