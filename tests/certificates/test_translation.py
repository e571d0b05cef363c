"""CycleGAN and StarGAN: patches, both objectives by hand, critics that learn alone, a pool for each
domain.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gentrain.adversarial import losses, tricks
from gentrain.adversarial.lipschitz import (
    GradientPenalty,
    SpectralNorm,
    WeightClip,
    input_gradient,
)
from gentrain.adversarial.regularizer import Regularizer
from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.data.labels import Attributes, Exclusive
from gentrain.errors import UserError
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.gan.cyclegan import CycleGAN, both_shapes
from gentrain.models.gan.stargan import StarGAN
from gentrain.networks import base, patchgan
from gentrain.networks.translator import Translator
from gentrain.training.adversarial import AdversarialModule
from gentrain.training.datamodule import DataModule
from gentrain.training.schedules import constant_then_linear
from tests.support.backbones import criterion, ready
from tests.support.compose import build_model

SHAPE, DOMAINS = [3, 16, 16], 3


def images(n: int = 4, shape: list[int] = SHAPE) -> Tensor:
    return torch.rand(n, *shape) * 2 - 1


def cyclegan(
    *chosen: Regularizer,
    loss: Any = None,
    lipschitz: Any = None,
    translator: Any = None,
    **options: Any,
) -> CycleGAN:
    options_of_both = {"shape": SHAPE, "source_shape": SHAPE}
    translator = translator or partial(Translator, width=4, blocks=1, **options_of_both)
    critic = partial(patchgan.Critic, width=4, depth=1, **options_of_both)
    chosen_criterion = criterion(*chosen, loss=loss or losses.ls(), lipschitz=lipschitz)
    return CycleGAN(translator, critic, chosen_criterion, **options)


def stargan(*chosen: Regularizer, **options: Any) -> StarGAN:
    return StarGAN(
        partial(Translator, shape=SHAPE, width=4, blocks=1, kernel=4, padding="zeros"),
        partial(patchgan.Strided, shape=SHAPE, width=4),
        criterion(*chosen, loss=losses.wasserstein(), lipschitz=GradientPenalty()),
        classes=DOMAINS,
        **{"label_kind": Exclusive()} | options,
    )


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "patch"), [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_the_receptive_field_is_what_moves_one_score(depth: int, patch: int) -> None:
    """By the formula, and by asking which pixels have a gradient: 70 at the paper's depth."""
    critic = patchgan.Critic([1, 160, 160], width=2, depth=depth, norm="none")
    assert patchgan.receptive_field(critic) == patch
    x = torch.randn(1, 1, 160, 160, requires_grad=True)
    scores = critic(x)
    side = int(len(scores) ** 0.5)
    assert len(scores) == side**2
    (moved,) = torch.autograd.grad(scores[side * (side // 2) + side // 2], x)
    rows, columns = moved[0, 0].nonzero().T
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (patch, patch)


def test_networks_at_the_papers_sizes() -> None:
    """c7s1-64 d128 d256 R256 x 9 u128 u64 c7s1-3 has 11.378 million weights beside the norms' gains
    and shifts; C64-C512 2.765 million.
    """
    with torch.device("meta"):
        network, critic = Translator([3, 256, 256], blocks=9), patchgan.Critic([3, 256, 256])
        stargans, stars = (
            Translator([3, 128, 128], [8, 128, 128], kernel=4, padding="zeros"),
            patchgan.Strided([3, 128, 128]),
        )

    def count(model: nn.Module) -> int:
        norms = {
            id(p)
            for m in model.modules()
            if isinstance(m, nn.InstanceNorm2d)
            for p in m.parameters()
        }
        return sum(p.numel() for p in model.parameters() if id(p) not in norms)

    assert count(network) == 11_378_179 and count(critic) == 2_764_737
    sizes = [
        (m.in_channels, m.out_channels, m.kernel_size[0])
        for m in stars.modules()
        if isinstance(m, nn.Conv2d)
    ]
    assert sizes == [
        (3, 64, 4),
        (64, 128, 4),
        (128, 256, 4),
        (256, 512, 4),
        (512, 1024, 4),
        (1024, 2048, 4),
        (2048, 1, 3),
    ]
    assert stars.size == 2048 * 2 * 2
    ups = [m for m in stargans.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in ups] == [
        (256, 128, 4),
        (128, 64, 4),
    ]


def test_a_pair_is_joined_on_channels() -> None:
    critic = patchgan.Critic([1, 16, 16], [3, 16, 16], width=4, depth=1, norm="none")
    x, source = images(2, [1, 16, 16]), images(2)
    torch.testing.assert_close(
        critic(x, source), critic.head(critic.body(torch.cat([x, source], 1))).flatten()
    )
    assert not torch.allclose(critic(x, source), critic(x, source.flip(0)))


def test_sizes_that_do_not_work_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of 4"):
        Translator([3, 30, 30])
    with pytest.raises(UserError, match="source and target differ in size"):
        Translator([3, 32, 32], [3, 16, 16])
    with pytest.raises(UserError, match="smaller depth"):
        patchgan.Critic([3, 16, 16], depth=3)
    with pytest.raises(UserError, match="smaller depth"):
        patchgan.Strided([3, 16, 16], depth=5)
    with pytest.raises(UserError, match="digit_domains"):
        both_shapes(partial(Translator, shape=[3, 16, 16], source_shape=None))
    with pytest.raises(UserError, match=r"model\.identity=0"):
        CycleGAN(
            partial(Translator, shape=[3, 16, 16], source_shape=[1, 16, 16], width=4),
            partial(patchgan.Critic, shape=SHAPE, depth=1),
            criterion(loss=losses.ls()),
        )
    with pytest.raises(UserError, match=r"share of the cycle's.*write model\.identity=0"):
        cyclegan(cycle=0.0)


def test_without_its_weight_the_cycle_is_no_loss() -> None:
    batch = (images(), images())
    losses_with, losses_without = (
        cyclegan(cycle=cycle, identity=0.0).generator_loss(batch).losses for cycle in (10.0, 0.0)
    )
    assert {*losses_with} - {*losses_without} == {"target_cycle", "source_cycle"}


def test_a_penalty_is_of_the_mean_score_of_an_images_patches() -> None:
    critic, x = patchgan.Critic(SHAPE, width=4, depth=1, norm="none"), images()
    v = x.clone().requires_grad_()
    (by_hand,) = torch.autograd.grad(critic(v).view(4, -1).mean(1).sum(), v)
    torch.testing.assert_close(input_gradient(critic, x), by_hand)


# --- CycleGAN -------------------------------------------------------------------------------------


class Scale(base.Translator):
    def __init__(self, factor: float) -> None:
        super().__init__(nn.Identity())
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, source: Tensor) -> Tensor:
        return self.factor * source


def scales(there: float, back: float) -> Any:
    return ready(Scale(there), Scale(back), shape=SHAPE, source_shape=SHAPE)


def test_cycle_and_identity_by_hand() -> None:
    """G = 2 x, F = x / 4: the way there and back halves, G moves by |x|, F by 3/4 |x|."""
    model, a, b = cyclegan(translator=scales(2.0, 0.25)), images(), images()
    terms = model.generator_loss((b, a)).losses
    torch.testing.assert_close(terms["source_cycle"], 10 * 0.5 * a.abs().mean())
    torch.testing.assert_close(terms["target_cycle"], 10 * 0.5 * b.abs().mean())
    torch.testing.assert_close(terms["target_identity"], 5 * b.abs().mean())
    torch.testing.assert_close(terms["source_identity"], 5 * 0.75 * a.abs().mean())
    without = cyclegan(identity=0.0).generator_loss((b, a)).losses
    assert set(without) == {
        "target_adversarial",
        "source_adversarial",
        "target_cycle",
        "source_cycle",
    }


def test_both_objectives_are_those_of_the_paper() -> None:
    """Least squares that are not halved for the generators, and halved for the critics."""
    model, a, b = cyclegan(), images(), images()
    G, back = model.generator.there, model.generator.back
    of_b, of_a = model.critic.target, model.critic.source
    wanted = (of_b(G(a)) - 1).square().mean() + (of_a(back(b)) - 1).square().mean()
    wanted = wanted + 10 * ((back(G(a)) - a).abs().mean() + (G(back(b)) - b).abs().mean())
    wanted = wanted + 5 * ((G(b) - b).abs().mean() + (back(a) - a).abs().mean())
    torch.testing.assert_close(model.generator_loss((b, a)).loss, wanted)
    halves = [
        (c(x) - 1).square().mean() + c(fake).square().mean()
        for c, x, fake in ((of_b, b, G(a)), (of_a, a, back(b)))
    ]
    torch.testing.assert_close(model.critic_loss((b, a)).loss, 0.5 * (halves[0] + halves[1]))
    torch.testing.assert_close(model.sample((b, a)), G(a))
    torch.testing.assert_close(model.translate_back(model.translate(a)), back(G(a)))
    patches = of_b(b)
    assert len(patches) > len(b)
    # an image is judged once
    torch.testing.assert_close(model.critic_scores((b, a)), patches.view(len(b), -1).mean(1))


def test_each_player_leaves_the_others_weights_alone() -> None:
    for model, batch in (
        (cyclegan(), (images(), images())),
        (stargan(), (images(), torch.arange(4) % DOMAINS)),
    ):
        scheme = AdversarialModule(model, {})
        scheme.players = {
            "critic": list(model.critic.parameters()),
            "generator": list(model.generator.parameters()),
        }
        for player, opponent in (("critic", "generator"), ("generator", "critic")):
            model.zero_grad()
            with scheme.frozen(opponent):
                scheme.objectives[player](batch).loss.backward()
            assert all(p.grad is not None for p in getattr(model, player).parameters())
            assert all(p.grad is None for p in getattr(model, opponent).parameters())


def test_a_lipschitz_method_acts_on_both_critics() -> None:
    a, b = images(), images()
    model = cyclegan(
        loss=losses.wasserstein(), lipschitz=GradientPenalty(points="real", center=1.0, weight=10.0)
    )
    objective = model.critic_loss((b, a))
    for name, critic, real in (
        ("target", model.critic.target, b),
        ("source", model.critic.source, a),
    ):
        norms = input_gradient(critic, real).flatten(1).norm(dim=1)
        torch.testing.assert_close(
            objective.losses[f"{name}_gradient_penalty"],
            10 * (norms - 1).square().mean(),
            atol=1e-4,
            rtol=1e-4,
        )
        assert f"{name}_wasserstein_estimate" in objective.metrics
    spectral = cyclegan(lipschitz=SpectralNorm())
    for critic in (spectral.critic.target, spectral.critic.source):
        layers = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
        assert len(layers) == 3 and all(hasattr(layer, "parametrizations") for layer in layers)
    clipped = cyclegan(loss=losses.wasserstein(), lipschitz=WeightClip(0.001))
    clipped.after_critic_step({})
    for critic in (clipped.critic.target, clipped.critic.source):
        assert all(
            m.weight.abs().max() <= 0.001 for m in critic.modules() if isinstance(m, nn.Conv2d)
        )


def test_tricks_act_in_both_domains_and_what_is_of_weights_counts_once() -> None:
    model, batch = (
        cyclegan(
            tricks.FeatureMatching(adversarial=True),
            tricks.HistoricalAveraging(1.0),
            tricks.Orthogonal(),
        ),
        (images(), images()),
    )
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    terms = model.generator_loss(batch).losses
    names = {"adversarial", "cycle", "identity", "FeatureMatching"}
    assert set(terms) == {
        f"{domain}_{name}" for domain in ("target", "source") for name in names
    } | {"HistoricalAveraging", "Orthogonal"}
    weights = sum(p.numel() for p in model.generator.parameters())
    torch.testing.assert_close(terms["HistoricalAveraging"], torch.tensor(0.01 * weights))
    assert "HistoricalAveraging" in model.critic_loss(batch).losses
    averaged = cyclegan(tricks.EMA())
    averaged.init_from_batch(batch)
    with torch.no_grad():
        averaged.generator.there.body[0].weight.add_(1.0)
    assert not torch.equal(averaged.translate(batch[1]), averaged.generator.there(batch[1]))


def test_each_domain_has_a_pool_which_is_that_of_the_paper() -> None:
    """Against a plain pool a domain, image by image, of the same random numbers; images of one
    domain never meet the other's critic.
    """
    model = cyclegan(tricks.Replay(3, 0.5), translator=scales(1.0, -1.0))
    shown: dict[str, list[float]] = {"target": [], "source": []}
    model.critic_terms = lambda critic, real, fake, domain: (
        shown[domain].append(  # type: ignore[assignment, method-assign]
            float(model.transform_batch(real, fake, True, domain)[1].mean())
        )
        or model.adversarial_terms(torch.zeros(1), torch.zeros(1))
    )
    pools: dict[str, list[float]] = {"target": [], "source": []}
    wanted: dict[str, list[float]] = {"target": [], "source": []}
    for i in range(1, 30):
        a, b = torch.full((1, *SHAPE), i / 100), torch.full((1, *SHAPE), i / 50)
        state = torch.get_rng_state()
        model.critic_loss((b, a))
        after = torch.get_rng_state()
        torch.set_rng_state(state)
        for domain, fake in (("target", i / 100), ("source", -i / 50)):
            pool = pools[domain]
            if len(pool) < 3:
                pool.append(fake)
            else:
                swap, place = bool(torch.rand(1) < 0.5), int(torch.rand(3).argsort()[0])
                if swap:
                    fake, pool[place] = pool[place], fake
            wanted[domain].append(fake)
        assert torch.equal(torch.get_rng_state(), after)
    for domain in shown:
        assert shown[domain] == pytest.approx(wanted[domain], abs=1e-6)
        assert len({round(value, 4) for value in shown[domain]}) < 29  # some are old ones
    assert min(shown["target"]) > 0 > max(shown["source"])


# --- StarGAN --------------------------------------------------------------------------------------


def test_the_critic_learns_domains_on_real_images_alone() -> None:
    model = stargan()
    x, y = images(6), torch.arange(6) % DOMAINS
    with torch.no_grad():
        model.critic.classifier.weight.mul_(50)
    objective = model.critic_loss((x, y))
    assert set(objective.losses) == {"adversarial", "classification", "gradient_penalty"}
    torch.testing.assert_close(
        objective.losses["classification"],
        F.cross_entropy(model.critic.classify(model.critic.features(x)), y),
    )
    of_whole = torch.autograd.grad(objective.loss, model.critic.classifier.weight)[0]
    of_real = torch.autograd.grad(
        F.cross_entropy(model.critic.classify(model.critic.features(x)), y),
        model.critic.classifier.weight,
    )[0]
    torch.testing.assert_close(of_whole, of_real)


class Recorder(nn.Module):
    """x + the number of the domain; keeps what it was asked."""

    classes = DOMAINS

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        self.asked.append((x, y))
        return x + y.view(-1, 1, 1, 1)


def test_the_generators_objective_by_hand() -> None:
    """To the domain asked for, and back with the image's own label."""
    model, recorder = stargan(classification=2.0, reconstruction=7.0), Recorder()
    model.generator = recorder
    x, y = images(6), torch.arange(6) % DOMAINS
    objective = model.generator_loss((x, y))
    (source, wanted), (made, home) = recorder.asked
    assert (
        torch.equal(source, x)
        and torch.equal(home, y)
        and torch.equal(made, x + wanted.view(-1, 1, 1, 1))
    )
    assert wanted.sort().values.tolist() == y.sort().values.tolist() and not torch.equal(wanted, y)
    terms, critic = objective.losses, model.critic
    torch.testing.assert_close(terms["adversarial"], -critic(made).mean())
    torch.testing.assert_close(
        terms["classification"], 2 * F.cross_entropy(critic.classify(critic.features(made)), wanted)
    )
    # |x - (x + c + c')|
    torch.testing.assert_close(terms["reconstruction"], 7 * (wanted + y).float().mean())


def test_the_identity_that_is_cyclegans_by_hand() -> None:
    model = stargan(identity=3.0)
    model.generator = Recorder()
    x, y = images(6), torch.arange(6) % DOMAINS
    torch.testing.assert_close(
        model.generator_loss((x, y)).losses["identity"], 3 * y.float().mean()
    )
    assert "identity" not in stargan().generator_loss((x, y)).losses


def test_samples_are_of_the_labels_asked_and_made_of_other_images() -> None:
    model = stargan()
    model.generator = Recorder()
    x, y = images(5), torch.tensor([0, 1, 2, 0, 1])
    torch.testing.assert_close(model.sample((x, y)), x.roll(1, 0) + y.view(-1, 1, 1, 1))
    elsewhere = model.other_domains(y.repeat(50))
    assert (elsewhere != y.repeat(50)).all() and set(elsewhere.tolist()) == {0, 1, 2}


def test_the_objectives_of_attributes_by_hand() -> None:
    """As in yunjey/stargan: targets are the labels of the batch in another order, as channels of
    ones and zeros; binary cross-entropies, summed over attributes and averaged over the batch.
    """
    model = stargan(label_kind=Attributes(["a", "b", "c"]), classification=2.0)
    x, y = images(6), torch.tensor([[0, 0, 1], [1, 1, 0], [1, 1, 1]] * 2)
    with torch.no_grad():
        model.critic.classifier.weight.mul_(50)

    def cross_entropy(x: Tensor, y: Tensor) -> float:
        p = 1 / (1 + np.exp(-model.critic.classify(model.critic.features(x)).detach().numpy()))
        each = [(q if bit else 1 - q) for row, bits in zip(p, y, strict=True) for q, bit in
                zip(row, bits, strict=True)]  # fmt: skip
        return -float(np.log(each).sum()) / len(x)

    found = model.critic_loss((x, y)).losses["classification"].item()
    assert found == pytest.approx(2 * cross_entropy(x, y), rel=1e-4)
    asked = []
    translate = model.generator.forward

    def recorded(v: Tensor, c: Tensor) -> Tensor:
        asked.append((v, c))
        return translate(v, c)

    model.generator.forward = recorded
    terms = model.generator_loss((x, y)).losses
    (source, wanted), (made, home) = asked
    assert torch.equal(source, x) and torch.equal(home, y)
    assert sorted(wanted.tolist()) == sorted(y.tolist())
    assert terms["classification"].item() == pytest.approx(
        2 * cross_entropy(made, wanted), rel=1e-4
    )
    planes = wanted.float()[:, :, None, None].expand(-1, -1, 16, 16)
    torch.testing.assert_close(made, model.generator.translator(torch.cat([x, planes], 1)))
    (changed,) = ((model.other_domains(y) != y).sum(1).unique(),)
    assert changed.tolist() == [1]
    assert model.sample((x, y)).shape == x.shape
    translated = model.translate_back(model.translate(x, wanted), y)
    assert translated.shape == x.shape


def test_instance_norm_has_gains_and_no_running_statistics() -> None:
    """The authors have gains; they keep running statistics, which are never used: no eval()."""
    model = build_model("model=stargan", "data.classes=4")
    norms = [m for m in model.generator.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert len(norms) == 1 + 2 + 2 * 6 + 2  # first, halvings, residual blocks, doublings
    assert all(m.affine and not m.track_running_stats for m in norms)


def test_labels_are_planes_beside_the_image() -> None:
    model, x = stargan(), images(2)
    planes = torch.zeros(2, DOMAINS, 16, 16)
    planes[0, 2], planes[1, 0] = 1, 1
    torch.testing.assert_close(
        model.translate(x, torch.tensor([2, 0])),
        model.generator.translator(torch.cat([x, planes], 1)),
    )


def test_replay_and_packing_are_refused_where_images_have_labels() -> None:
    for trick in (tricks.Replay(), tricks.Packing()):
        with pytest.raises(UserError, match="conditional"):
            stargan(trick)


# --- training -------------------------------------------------------------------------------------


def test_the_rate_stays_and_then_falls_to_zero() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=2e-4)
    schedule = constant_then_linear(optimizer, steps=10, constant=0.6)
    rates = []
    for _ in range(12):
        rates.append(schedule.get_last_lr()[0] / 2e-4)
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0])


class Domains(Data):
    """Two domains of unequal sizes."""

    @property
    def aligned(self) -> bool:
        return False

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (20, *SHAPE), generator=draw, dtype=torch.uint8)
        return ArrayDataset(pixels[:12], None, pixels[12:])


def descended(steps: int, resume: Any = None) -> tuple[AdversarialModel, L.Trainer]:
    torch.manual_seed(1)
    model = cyclegan(tricks.Replay(6, 0.5))
    makers = {player: partial(torch.optim.Adam, lr=1e-3) for player in ("critic", "generator")}
    scheme = AdversarialModule(model, makers, schedule=partial(constant_then_linear, steps=8))
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = L.Trainer(accelerator="cpu", max_steps=steps, max_epochs=-1, **quiet)
    if resume is not None:
        torch.set_rng_state(resume[1])
    trainer.fit(
        scheme,
        datamodule=DataModule(
            Domains(name="toy", shape=tuple(SHAPE), source_shape=tuple(SHAPE), batch_size=1)
        ),
        ckpt_path=resume and resume[0],
        weights_only=True,
    )
    return model, trainer


def test_a_run_resumed_with_half_full_pools_is_the_run_that_was_not_stopped(tmp_path: Any) -> None:
    """As its random numbers are restored (the callback `rng` does it in a run), every weight, rate
    and pooled image is equal.
    """
    whole, _ = descended(8)
    half, trainer = descended(3)
    assert [pool.filled for pool in half.regularizers["Replay"].pools.values()] == [3, 3]
    state = torch.get_rng_state()
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = descended(8, (tmp_path / "half.ckpt", state))
    found, wanted = resumed.state_dict(), whole.state_dict()
    assert found.keys() == wanted.keys() and any("pools.source.images" in name for name in found)
    for name, value in wanted.items():
        assert (
            torch.equal(found[name], value) if isinstance(value, Tensor) else found[name] == value
        ), name
