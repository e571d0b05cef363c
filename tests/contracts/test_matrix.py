"""Every adversarial preset x loss x Lipschitz method x trick: composed, built or refused with the
reason; a covering set trains.

make test has one preset of each model class, make test-slow has them all.

A composition is a product: each group has a package of its own, so a configuration is the preset's
with the chosen nodes put in. That is itself tested, against Hydra on a sample of full commands. The
rules of what is refused are written here a second time.
"""

from __future__ import annotations

import itertools
import random
from functools import cache
from typing import Any

import lightning as L
import pytest
import torch
from hydra.errors import HydraException

from gentrain.adversarial.tricks.images import Packing
from gentrain.adversarial.tricks.weights import EMA
from gentrain.config import validate
from gentrain.data.arrays import ArrayDataset
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.layers.normalization import WithReferenceBatch
from gentrain.training.datamodule import DataModule
from tests.support.compose import options, resolve, unresolved
from tests.support.labels import toy_labels
from tests.support.presets import (
    DENSITIES,
    ENERGIES,
    PRESETS,
    REGRESSIONS,
    first_of_each_class,
    small,
)

# whose critics score many places of an image
PATCHES = ("cyclegan", "stargan", "pix2pix", "colorization")
# whose critics have instance norm
INSTANCE_NORMS = ("cyclegan", "pix2pix", "colorization")
# no batch norm in the generator
UNNORMED = (
    *("r3gan", "sagan", "biggan", "progan", "cyclegan", "stargan", "pix2pix", "colorization"),
    *("wavegan", "bigbigan"),
)
# the critic sees a label, or a source, beside each image, or reads codes from it
BESIDE = (
    *("cgan", "acgan", "sagan", "biggan", "stargan", "pix2pix", "colorization", "infogan"),
    "gan_cls",
)
# with which the names of terms begin, where each domain has a critic
DOMAINS = {"cyclegan": ("target_", "source_")}
# the same of the terms of scores, where a critic has several
SCORES = {"bigbigan": ("image_", "code_", "joint_")}
# pairs with codes
BIDIRECTIONAL = ("bigan", "ali", "bigbigan")
LOSSES, LIPSCHITZ, TRICKS = options("loss"), options("lipschitz"), options("tricks")
PENALTIES = ("gp", "gp_grouped", "gp_one_sided", "gp_zero_centred", "r1", "r2", "r1r2", "dragan")
FIXED = "-"  # the loss of a preset that leaves no choice of it
NODES = ("loss", "lipschitz", "tricks")
# one of each model class, and those whose networks or losses have rules of their own
# colorization is pix2pix with other sources, inpainting that with a critic like dcgan's; bigbigan
# has pairs as bigan, and large networks
LIKE_ANOTHER = ("colorization", "inpainting", "bigbigan")
FIRST = tuple(
    preset
    for preset in first_of_each_class(PRESETS, "dcgan", "progan", "cgan", "ebgan", "bigan")
    if preset not in LIKE_ANOTHER
)
OTHERS = tuple(preset for preset in PRESETS if preset not in FIRST)
QUICK = ("dcgan", "cyclegan", "progan")  # by default; the others are slow
LARGE = ("cyclegan", "progan")
EVERY = [
    preset if preset in QUICK else pytest.param(preset, marks=pytest.mark.slow)
    for preset in (*FIRST, *OTHERS)
]


def test_every_preset_is_in_the_matrix() -> None:
    found = [*PRESETS, *DENSITIES, *ENERGIES, *REGRESSIONS]
    assert set(found) == set(options("model")) and len(found) == len(set(found))
    assert {"gan", "ebgan", "srgan"} <= set(PRESETS) and {"vae", "maf", "pixelcnn"} <= set(
        DENSITIES
    )
    assert {"rbm", "ebm"} <= set(ENERGIES) and {"unet", "srresnet"} == set(REGRESSIONS)


# --- composition ----------------------------------------------------------------------------------


@cache
def chosen() -> dict[str, dict[str, Any]]:
    """The node of each option of each group; options of different groups are composed together."""
    found: dict[str, dict[str, Any]] = {group: {} for group in NODES}
    options = (LOSSES, LIPSCHITZ, TRICKS)
    for i in range(max(map(len, options))):
        loss, lipschitz, trick = names = [each[i % len(each)] for each in options]
        words = (f"loss={loss}", f"lipschitz={lipschitz}", f"tricks=[{trick}]")
        raw = unresolved("model=dcgan", *words)
        for group, name in zip(NODES, names, strict=True):
            found[group][name] = raw[group]
    return found


def losses(preset: str) -> tuple[str, ...]:
    return (FIXED,) if preset == "ebgan" else LOSSES


def combined(preset: str, loss: str, lipschitz: str, tricks: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of a command, from compositions in which one thing is chosen at a time."""
    raw = dict(unresolved(f"model={preset}"))
    if loss != FIXED:
        raw["loss"] = chosen()["loss"][loss]
    raw["lipschitz"] = chosen()["lipschitz"][lipschitz]
    nodes = [chosen()["tricks"][trick] for trick in tricks]
    raw["tricks"] = {key: value for node in nodes for key, value in node.items()}
    return resolve(raw)


def key(trick: str) -> str:
    """The trick of which an option is a variant."""
    return trick.removesuffix("_added").removesuffix("_slow")


def cells(presets: tuple[str, ...] = PRESETS) -> list[tuple[str, str, str, str]]:
    return [
        cell
        for preset in presets
        for cell in itertools.product([preset], losses(preset), LIPSCHITZ, TRICKS)
    ]


@pytest.mark.parametrize("preset", EVERY)
def test_composition_is_a_product(preset: str) -> None:
    chosen = random.Random(preset).sample([c for c in cells() if c[0] == preset], 2)
    for _, loss, lipschitz, trick in chosen:
        other = random.Random(loss + trick).choice([t for t in TRICKS if key(t) != key(trick)])
        words = [] if loss == FIXED else [f"loss={loss}"]
        whole = resolve(
            unresolved(
                f"model={preset}", *words, f"lipschitz={lipschitz}", f"tricks=[{trick},{other}]"
            )
        )
        ours = combined(preset, loss, lipschitz, (trick, other))
        for volatile in (whole, ours):
            volatile.pop("sweep")  # holds the time
        assert whole == ours


# one of each base: the others are slow
ONE_PLAYER = ("vae", "realnvp", "pixelcnn", "rbm", "unet")


@pytest.mark.parametrize(
    "preset",
    [
        preset if preset in ONE_PLAYER else pytest.param(preset, marks=pytest.mark.slow)
        for preset in DENSITIES + ENERGIES + REGRESSIONS
    ],
)
def test_a_model_of_one_player_has_no_adversarial_choices(preset: str) -> None:
    for axis in ("loss=hinge", "lipschitz=gp", "tricks=[ema]"):
        with pytest.raises(HydraException):
            unresolved(f"model={preset}", axis)


# --- what is refused, said a second time ----------------------------------------------------------


def refusal(preset: str, loss: str, lipschitz: str, tricks: tuple[str, ...]) -> str | None:
    """The words in which a combination must be refused; None where it must work."""
    batch_norm_critic = preset in (
        *("dcgan", "lsgan", "wgan", "hinge_gan", "improved_gan", "srgan", "inpainting", "infogan"),
        "gan_cls",
    )
    if preset in BESIDE and {"packing", "replay"} & set(tricks):
        return "conditional"
    if preset == "semi_supervised_gan" and "packing" in tricks:
        return "classifier"
    of_one_score = preset not in (*PATCHES, "ebgan", "bigbigan")
    if of_one_score and loss.startswith("wasserstein") and "minibatch_discrimination" in tricks:
        return "grows with the batch"
    if preset == "semi_supervised_gan" and lipschitz == "clip":
        return "weight_norm"
    if preset == "progan" and lipschitz == "clip" and "virtual_batch_norm" not in tricks:
        return "equalised"
    if preset in ("ali", "bigbigan") and (refused := {"packing", "diff_augment"} & set(tricks)):
        return "|".join(refused)
    if preset in ("bigan", "wavegan") and "diff_augment" in tricks:
        return "diff_augment"
    if preset == "ebgan" and (refused := {"packing", "minibatch_discrimination"} & set(tricks)):
        return "|".join(refused)
    if preset in (*PATCHES, "bigbigan") and "minibatch_discrimination" in tricks:
        return "minibatch_discrimination"
    if "virtual_batch_norm" in tricks and preset in UNNORMED:
        return "virtual_batch_norm"
    in_groups = preset == "progan" and lipschitz != "gp_grouped"
    if lipschitz in PENALTIES and (
        batch_norm_critic or in_groups or "minibatch_discrimination" in tricks
    ):
        return "couple samples"
    if preset == "r3gan" and lipschitz.startswith("spectral_norm"):
        return "start at zero"
    if lipschitz == "gp_grouped" and preset != "progan":
        return "couples samples"
    if loss.startswith("wasserstein") and lipschitz == "none":
        return "lipschitz=none"
    if loss.startswith("wasserstein") and lipschitz.startswith(("clip", "spectral_norm")):
        critic = unresolved(f"model={preset}")["model"]["critic"]
        if critic.get("attention"):
            return "attention=0"
        if lipschitz != "clip" and critic.get("norm") in ("batch", "layer", "instance"):
            return "norm=none"  # whose gains only clipping bounds
    if "feature_matching" in tricks and loss == "js_saturating":
        return "loss.saturating"
    if "label_smoothing" in tricks and not loss.startswith(("js", "ls")):
        return "label_smoothing"
    if "top_k" in tricks and ("feature_matching" in tricks or loss == "relativistic"):
        return "top_k"
    if "top_k" in tricks and preset in PATCHES:
        return "top_k"
    if {"unrolled", "feature_matching"} <= set(tricks) or (
        preset in BIDIRECTIONAL and "unrolled" in tricks
    ):
        return "unrolled"
    if "unrolled" in tricks and lipschitz in PENALTIES and preset in INSTANCE_NORMS:
        return "third derivative"
    if preset == "gan_cls" and (loss == "relativistic" or "unrolled" in tricks):
        return "model.interpolation"
    if preset in (*BIDIRECTIONAL, "gan_cls") and "feature_matching" in tricks:
        return "feature_matching_added"
    return None


def built(
    preset: str, loss: str, lipschitz: str, tricks: tuple[str, ...]
) -> tuple[Any, dict[str, Any]]:
    from gentrain.config.build import build

    checked = validate.check(small(combined(preset, loss, lipschitz, tricks)))
    return build(checked["model"], "model"), checked


def assert_built_or_refused(preset: str, loss: str, lipschitz: str, trick: str) -> None:
    reason = refusal(preset, loss, lipschitz, (trick,))
    if reason is None:
        model, _ = built(preset, loss, lipschitz, (trick,))
        assert key(trick) in model.regularizers
    else:
        with pytest.raises(UserError, match=reason) as refused:
            built(preset, loss, lipschitz, (trick,))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("preset", EVERY)
def test_every_pair_of_choices_is_built_or_refused(preset: str) -> None:
    """Each loss with each Lipschitz method, and each trick with some of both; by default of dcgan,
    and of larger models a third: the slow test below has all of them.
    """
    tricks = itertools.cycle(random.Random(preset).sample(TRICKS, len(TRICKS)))
    for i, loss in enumerate(losses(preset)):
        for j, lipschitz in enumerate(LIPSCHITZ):
            if preset not in LARGE or (i + j) % 3 == 0:
                assert_built_or_refused(preset, loss, lipschitz, next(tricks))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_combination_is_built_or_refused(preset: str) -> None:
    for loss, lipschitz, trick in itertools.product(losses(preset), LIPSCHITZ, TRICKS):
        assert_built_or_refused(preset, loss, lipschitz, trick)


# --- what trains ----------------------------------------------------------------------------------


def allowed(cell: tuple[str, ...]) -> bool:
    preset, loss, lipschitz, first, second = cell
    return key(first) != key(second) and refusal(preset, loss, lipschitz, (first, second)) is None


def pairs(cell: tuple[str, ...]) -> set[tuple[Any, ...]]:
    """Every pair of choices in a cell, tricks as a set."""
    preset, loss, lipschitz, *tricks = cell
    named = [
        ("preset", preset),
        ("loss", loss),
        ("lipschitz", lipschitz),
        *(("trick", t) for t in sorted(tricks)),
    ]
    return set(itertools.combinations(named, 2))


@cache
def covering(presets: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Few cells in which every pair of choices that may meet does meet: greedy, from a seeded
    sample.
    """
    every = [
        (*cell, trick)
        for cell in cells(presets)
        for trick in TRICKS
        if cell[3] < trick and allowed((*cell, trick))
    ]
    todo = set().union(*map(pairs, every))
    draw, chosen = random.Random(0), []
    while todo:
        candidates = draw.sample(every, 100)
        best = max(candidates, key=lambda c: len(pairs(c) & todo))
        if not pairs(best) & todo:
            wanted = next(iter(sorted(todo, key=str)))
            best = next(c for c in every if wanted in pairs(c))
        chosen.append(best)
        todo -= pairs(best)
    return chosen


class Toy(Data):
    """Random images with labels, and with sources where there are any."""

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(0)
        images, sources = (
            None
            if shape is None
            else torch.randint(256, (64, *shape), generator=draw, dtype=torch.uint8)
            for shape in (self.shape, self.source_shape)
        )
        assert images is not None and self.classes is not None
        return ArrayDataset(images, toy_labels(self.label_kind, 64, self.classes), sources)


# a trick without a term of its own must have done what it is for
EFFECTS = {
    "ema": lambda model: (
        isinstance(model.regularizers["ema"], EMA)
        and model.ema_generator is not None
        and model.regularizers["ema"].steps == 2
    ),
    "replay": lambda model: all(
        pool.filled > 0 for pool in model.regularizers["replay"].pools.values()
    ),
    "packing": lambda model: isinstance(model.regularizers["packing"], Packing),
    "instance_noise": lambda model: model.regularizers["instance_noise"].done == 2,
    "virtual_batch_norm": lambda model: any(
        isinstance(m, WithReferenceBatch) and m.reference is not None
        for m in model.generator.modules()
    ),
    "minibatch_discrimination": lambda model: any(
        "MinibatchSimilarity" in type(m).__name__ for m in model.critic.modules()
    ),
    "top_k": lambda model: model.regularizers["top_k"].updates == 2,
    "label_smoothing": lambda model: (
        model.loss.critic(torch.full((1,), 9.0), torch.full((1,), -99.0)) > 0.5
    ),
    "diff_augment": lambda model: (
        not torch.equal(
            *model.regularizers["diff_augment"].transform_batch(
                torch.ones(4, 1, 8, 8), torch.ones(4, 1, 8, 8), True
            )
        )
    ),
}


# the terms that are a preset's own
EXTRA = {
    "acgan": {"critic/classification", "generator/classification"},
    "semi_supervised_gan": {"critic/classification"},
    "gan_cls": {"generator/embedding", "generator/retrieval", "critic/mismatched_score"},
    "infogan": {
        f"{player}/{name}"
        for player in ("critic", "generator")
        for name in ("information", "mutual_information", "categorical_information")
    },
    "cyclegan": {
        f"generator/{domain}_{name}"
        for domain in ("target", "source")
        for name in ("cycle", "identity")
    },
    **{
        preset: {"generator/content"}
        for preset in ("pix2pix", "colorization", "inpainting", "srgan")
    },
    "stargan": {"critic/classification", "generator/classification", "generator/reconstruction"},
}


def train(preset: str, loss: str, lipschitz: str, *tricks: str) -> None:
    from gentrain.config.build import build

    # a cell's draw does not hang on the cells before it: under one, a narrow clipped critic had no
    # gradient left
    torch.manual_seed(0)
    model, checked = built(preset, loss, lipschitz, tricks)
    scheme = build(checked["scheme"] | {"log_every": 1, "critic_steps": 2}, "scheme", model=model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=2,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    shapes = {name: checked["data"][name] for name in ("shape", "source_shape")}
    labelled = checked["data"]["labelled"] and 10
    trainer.fit(
        scheme,
        datamodule=DataModule(
            Toy(
                name="toy",
                **shapes,
                classes=checked["data"]["classes"] or 10,
                batch_size=8,
                labelled=labelled,
                label_kind=build(checked["data"]["label_kind"], "data.label_kind"),
            )
        ),
    )
    assert trainer.global_step == 2
    terms = {("critic", "adversarial"), ("critic", "real_score"), ("critic", "fake_score")}
    if not {"feature_matching", "unrolled"} & set(tricks):
        terms |= {("generator", "adversarial")}
    terms |= {("critic", "gradient_penalty")} if lipschitz in PENALTIES else set()
    terms |= {("critic", "wasserstein_estimate")} if loss.startswith("wasserstein") else set()
    terms |= {
        ("generator", key(trick))
        for trick in tricks
        if key(trick) in ("feature_matching", "pulling_away", "unrolled")
    }
    of_scores = ("adversarial", "real_score", "fake_score", "wasserstein_estimate")
    expected = {
        f"{player}/{start}{name}"
        for player, name in terms
        for start in (SCORES if name in of_scores else DOMAINS).get(
            preset, DOMAINS.get(preset, ("",))
        )
    }
    expected |= {"critic/gradient_norm", "generator/gradient_norm"} | EXTRA.get(preset, set())
    for trick in tricks:
        name = key(trick)
        expected |= {"generator/orthogonal"} if name == "orthogonal" else set()
        expected |= (
            {"critic/historical_averaging", "generator/historical_averaging"}
            if name == "historical_averaging"
            else set()
        )
        if name in EFFECTS:
            assert EFFECTS[name](model), name
    assert expected <= scheme.latest.keys()
    changed = {
        name
        for name, p in model.named_parameters()
        if name in before and not torch.equal(p, before[name])
    }
    assert any(name.startswith("critic") for name in changed)
    assert any(name.startswith("generator") for name in changed)


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 8))]
)
@pytest.mark.parametrize(
    "presets", [FIRST, pytest.param(PRESETS, marks=pytest.mark.slow)], ids=["first", "all"]
)
def test_a_covering_set_trains(presets: tuple[str, ...], part: int) -> None:
    for cell in covering(presets)[part::8]:
        try:
            train(*cell)
        except Exception as error:
            raise AssertionError(
                f"model={cell[0]} loss={cell[1]} lipschitz={cell[2]} tricks=[{cell[3]},{cell[4]}]"
            ) from error


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_combination_trains(preset: str) -> None:
    for loss, lipschitz, trick in itertools.product(losses(preset), LIPSCHITZ, TRICKS):
        if refusal(preset, loss, lipschitz, (trick,)) is None:
            train(preset, loss, lipschitz, trick)
