"""Every option of a training changes the run or is refused.

Each option of a preset's model and scheme, loss, Lipschitz method, tricks, likelihood, pixels and
sampler among them, gets other values. Then the weights at the start or after some steps, what was
logged, the settings of the optimizers, or samples must differ from those of the preset. So it is
for every preset, and for every other choice of a group.
"""

from __future__ import annotations

import copy
import inspect
import re
import typing
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal

import lightning as L
import pytest
import torch
import yaml
from hydra.errors import HydraException

from gentrain.adversarial.lipschitz import GradientPenalty
from gentrain.adversarial.losses import hinge, js, ls
from gentrain.adversarial.regularizer import Regularizer
from gentrain.adversarial.tricks import FeatureMatching, LabelSmoothing
from gentrain.commands.check.equality import difference
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.config.factory import Factory
from gentrain.config.validate import argument_types, coerced, locate, signature
from gentrain.data.batches import as_batch
from gentrain.errors import UserError
from gentrain.models.base import eval_mode
from gentrain.models.energy.hopfield import Hopfield
from gentrain.models.flow import InverseAutoregressive, RealNVP, RealNVPOfPoints
from gentrain.models.gan.gan import GAN
from gentrain.networks import ali, autoencoder, biggan, mlp, normfree
from gentrain.networks.base import Backbone
from gentrain.networks.conditional import conditional_generator
from gentrain.training.datamodule import DataModule
from gentrain.training.single_objective import SingleObjective
from tests.contracts.test_matrix import Toy
from tests.support import compose
from tests.support.backbones import criterion
from tests.support.compose import resolve, unresolved
from tests.support.presets import NAMES, small

# what is read, names and paths, speed and memory; what acts only where an update has diverged
ELSEWHERE = {
    "shape", "source_shape", "classes", "log_every", "start", "compile", "on_divergence",
    "divergence_budget",
}  # fmt: skip
# words with which a run is short enough that an option can act in it
PLAIN = ("data.size=8",)
CONVOLUTIONS = ("data.size=16",)  # with norms: of 8 pixels DCGAN's critic has one layer
SHORT_SOUNDS = ("data.length=256", "data.notes=[76,80]", "data.classes=8")
WORDS: dict[str, tuple[str, ...]] = {
    "ali": ("data.size=28",), "iaf": (), "planar": (), "realnvp_points": (),
    "wavegan": SHORT_SOUNDS,
    "hopfield": (*PLAIN, "model.memories=8"),  # so many that recalls take some sweeps
    "cyclegan": (*PLAIN, "tricks.replay.size=4"),
    "progan": (*PLAIN, "model.growth.stable=1"),
    "iaf_distilled": (*PLAIN, "model.teacher_steps=1"),
    "improved_gan": (*CONVOLUTIONS, "steps=3"),  # the first mean is of the weights themselves
    "wgan": (
        *CONVOLUTIONS, "scheme.critic_warmup.steps=6", "scheme.critic_warmup.first=1",
        "scheme.critic_warmup.every=2",
    ),
    **dict.fromkeys(
        (
            "acgan", "dcgan", "gan_cls", "hinge_gan", "infogan", "inpainting", "lsgan", "pacgan",
            "wgan_gp",
        ),
        CONVOLUTIONS,
    ),
}  # fmt: skip
# quick ones of each kind of model; the others take some minutes
QUICK = ("gan", "rbm", "vae", "hopfield", "gated_pixelcnn")
PRESETS = [
    preset if preset in QUICK else pytest.param(preset, marks=pytest.mark.slow) for preset in NAMES
]


def options(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any], str, Any]]:
    """The options below a node: their paths, the nodes that hold them, names and types.

    An option of gentrain's own that a file of conf/ does not show is put in with its default, but
    for those of a `_partial_`, which its caller gives.
    """
    if isinstance(node, list):
        for i, item in enumerate(node):
            yield from options(item, f"{path}.{i}")
    if not isinstance(node, dict):
        return
    target = locate(node["_target_"], path) if "_target_" in node else None
    hints = argument_types(target) if target else {}
    if target and node["_target_"].startswith("gentrain.") and not node.get("_partial_"):
        for name, parameter in signature(target).items():
            if parameter.default is not inspect.Parameter.empty:
                node.setdefault(name, parameter.default)
    for name, value in list(node.items()):
        if isinstance(value, dict) or (
            isinstance(value, list) and value and isinstance(value[0], dict)
        ):
            yield from options(value, f"{path}.{name}")
        elif not name.startswith("_"):
            yield f"{path}.{name}", node, name, hints.get(name, type(value))


def others(value: Any, hint: Any) -> list[Any]:
    """Other values of an option that its type allows."""
    parts = [hint, *typing.get_args(hint)]
    parts += [inner for part in parts for inner in typing.get_args(part)]
    words = [
        w for part in parts if typing.get_origin(part) is Literal for w in typing.get_args(part)
    ]
    match value:
        case bool():
            found: list[Any] = [not value]
        case int():
            found = [2 * value, value + 1, value - 1, value // 2, 1, 0, *words]
        case float():
            found = [value * 0.75, value * 1.5, 0.25, 0.75, 0.01, 1e-6, *words]
        case list() if value and isinstance(value[0], (int, float)):
            found = [[each * 0.5 for each in value], [each + 1 for each in value], value[:-1]]
        case list():
            found = [value[:-1], [*value, *value[:1]], *([word] for word in words)]
        case _:
            found = [*words, *([word] for word in words), True, 1, 2, 3, 0.3, 0.001]
    accepted = []
    for other in found:
        if other == value:
            continue
        try:
            coerced_value = coerced(other, hint, "x")
        except UserError:
            continue
        if isinstance(other, list) or (
            coerced_value != value and type(coerced_value) is type(other)
        ):
            accepted.append(other)
    return accepted


def initial(config: dict[str, Any]) -> Any:
    """The weights of a new model."""
    torch.manual_seed(0)
    return build(validate.check(copy.deepcopy(config))["model"], "model").state_dict()


def outcome(config: dict[str, Any]) -> list[Any]:
    """All that some steps leave, and samples."""
    torch.manual_seed(0)
    config = validate.check(copy.deepcopy(config))
    model = build(config["model"], "model")
    scheme = build(config["scheme"] | {"log_every": 1}, "scheme", model=model)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=config["steps"], max_epochs=-1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = config["data"]
    toy = Toy(
        name="toy", shape=data["shape"], source_shape=data["source_shape"],
        classes=data["classes"] or 10, batch_size=4, labelled=data["labelled"] and 10,
        label_kind=build(data["label_kind"], "data.label_kind"),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(scheme, datamodule=DataModule(toy))
    torch.manual_seed(1)
    batch = as_batch(toy.load("train"), torch.arange(2), torch.device("cpu"))
    with eval_mode(model):
        samples = model.sample(batch)
    states = [optimizer.state_dict() for optimizer in trainer.optimizers]
    logged = {key: value for key, value in scheme.latest.items() if key != "images_per_second"}
    return [scheme.state_dict(), logged, states, samples]


def without_effect(config: dict[str, Any]) -> list[str]:
    """The options of a configuration of which a value is taken, and none changes the run."""
    found, at_start, as_it_is = [], initial(config), outcome(config)
    assert difference(outcome(config), as_it_is) is None
    paths = [path for key in ("model", "scheme") for path, *_ in options(config[key], key)]
    for path in paths:
        if path.rsplit(".", 1)[-1] in ELSEWHERE:
            continue
        changed = copy.deepcopy(config)
        ((node, name, hint),) = (
            (node, name, hint)
            for key in ("model", "scheme")
            for each, node, name, hint in options(changed[key], key)
            if each == path
        )
        taken = []
        for other in others(node[name], hint):
            node[name] = other
            with suppress(UserError):
                if difference(initial(changed), at_start) is not None:
                    break
                if difference(outcome(changed), as_it_is) is not None:
                    break
                taken.append(other)
        else:
            found += [f"{path}={value}" for value in taken[:1]]
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_an_option_changes_the_run_or_is_refused(preset: str) -> None:
    words = WORDS.get(preset, PLAIN)
    config = small(resolve(unresolved(f"model={preset}", "steps=2", *words)))
    assert without_effect(config) == []


def node_at(config: Any, path: str) -> dict[str, Any]:
    for key in path.split("."):
        config = config[int(key) if isinstance(config, list) else key]
    return config


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_model_gives_its_parts_itself_is_no_option(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the value that was typed, `+model.network.shape=[3]`, is lost in silence."""
    config = small(resolve(unresolved(f"model={preset}", "steps=2")))
    config = validate.check(config)["model"]
    given: dict[tuple[str, str], Any] = {}
    call = Factory.__call__

    def spy(self: Any, /, *args: Any, **more: Any) -> Any:
        given.update({(self.path, key): value for key, value in more.items() if self.path})
        return call(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Factory, "__call__", spy)
        with suppress(UserError):  # tiny widths that a flow refuses after the call
            build(config, "model")
    for (path, key), value in given.items():
        changed = copy.deepcopy({"model": config})
        node_at(changed, path)[key] = value
        with pytest.raises(UserError, match=rf" \({re.escape(path)}\.{key}\); leave it out"):
            build(changed["model"], "model")


@pytest.mark.parametrize("word", ["max_steps=3", "callbacks=[]"])
def test_what_the_program_gives_the_trainer_is_no_option(word: str) -> None:
    key, value = word.split("=")
    node = {"_target_": "lightning.Trainer", key: yaml.safe_load(value)}
    with pytest.raises(UserError, match=rf"\(trainer\.{key}\); leave it out"):
        build(node, "trainer", max_steps=2, callbacks=[L.Callback()])


def test_what_an_optimizer_gets_is_no_option() -> None:
    node = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1, "params": 3}
    with pytest.raises(UserError, match=r"\(scheme\.optimizers\.model\.params\); leave it out"):
        validate.checked(node, "scheme.optimizers.model")


# every other choice of a group, in a preset that takes it
HOSTS = {
    "loss": ("gan", "gan lipschitz=clip"), "lipschitz": ("gan", "progan"), "tricks": ("gan",),
    "optimizer": ("gan",), "schedule": ("gan",), "likelihood": ("vae",), "visible": ("rbm",),
    "content": ("pix2pix", "srgan"), "sampler": ("ebm",), "pixels": ("maf", "pixelcnn"),
    "network": (
        "gan", "pix2pix", "vae", "ebgan", "progan", "ebm", "srresnet", "srgan", "unet", "biggan",
        "inpainting", "stargan", "bigan", "ali", "semi_supervised_vae", "cgan", "sngan",
    ),
}  # fmt: skip
# further words for a choice; without any but the size it is of 16 pixels
MORE = {
    "real": ("data=two_moons",), "ali": ("data.size=28",),
    "wavegan": ("data=tones", *SHORT_SOUNDS),
    "replay": (*PLAIN, "tricks.replay.size=4"),
    "historical_averaging": (*PLAIN, "steps=3"),
    "gp_one_sided": (*PLAIN, "lipschitz.center=0.1"),  # some norms are above, and some below
    **dict.fromkeys(("energy_conv", "energy_conv_spectral", "energy_mlp"), PLAIN),
    "gp_grouped": (*PLAIN, "model.growth.stable=1"),  # of progan
    "label_smoothing": (*PLAIN, "loss=ls"),
}  # fmt: skip
CHOICES = [
    (group, choice)
    for group in HOSTS
    for choice in compose.options(group)
    if choice != "vgg"  # which needs a file of weights
]


@pytest.mark.slow
@pytest.mark.parametrize("group, choice", CHOICES)
def test_an_option_of_a_choice_changes_the_run_or_is_refused(group: str, choice: str) -> None:
    word = f"tricks=[{choice}]" if group == "tricks" else f"{group}={choice}"
    refusals = []
    for host in HOSTS[group]:
        more = MORE.get(choice, CONVOLUTIONS if group == "network" else PLAIN)
        words = (*f"model={host}".split(), word, "steps=2", *more)
        try:
            config = small(resolve(unresolved(*words)))
            initial(config)
        except (UserError, HydraException) as error:
            refusals.append(f"{words}: {error}")
            continue
        assert without_effect(config) == []
        return
    raise AssertionError(refusals)


def attached(*tricks: Regularizer, loss: Any = None, lipschitz: Any = None) -> GAN:
    networks = (Backbone(module, shape=[4], width=4) for module in (mlp.Generator, mlp.Critic))
    return GAN(*networks, criterion(*tricks, loss=loss, lipschitz=lipschitz))


def of_codes(**width: Any) -> Any:
    return ali.PairCritic(Backbone(ali.Critic, shape=[1, 28, 28], width=4), 3, **width)


def trained(**memory: Any) -> SingleObjective:
    return SingleObjective(Hopfield([1, 2, 2], **memory), {}, accumulate=2)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "one side of zero": (lambda: GradientPenalty(center=0, one_sided=True), "lipschitz.one_sided"),
    "groups of nothing": (
        lambda: attached(lipschitz=GradientPenalty(coupled="within_groups")), "lipschitz=gp,",
    ),
    "saturating": (lambda: attached(FeatureMatching(), loss=js(saturating=True)), "saturating"),
    "c": (lambda: attached(FeatureMatching(), loss=ls(c=0.5)), "loss.c=0.5"),
    "two targets": (lambda: attached(LabelSmoothing(), loss=js(real_target=0.8)), "real_target"),
    "two targets of ls": (lambda: attached(LabelSmoothing(), loss=ls(b=0.8)), "loss.b=0.8"),
    "norm of maxout": (lambda: mlp.Critic([4], maxout=2, norm="batch"), "model.critic.norm=none"),
    "no hidden layer": (lambda: autoencoder.MLP([4], width=8, depth=1), "null for"),
    "no width": (lambda: autoencoder.MLP([4], width=None), "model.critic.width"),
    "bound of gates": (lambda: InverseAutoregressive(4, bound=1.0), "gated=false"),
    "no embedding": (
        lambda: conditional_generator(Backbone(biggan.Generator), 3, 5), "model.embedding=null",
    ),
    "one objective": (trained, "scheme.accumulate=1"),
    "realnvp of points": (lambda: RealNVP([2]), "model=realnvp_points"),
    "points of images": (lambda: RealNVPOfPoints([1, 8, 8]), "model=realnvp"),
    # a width that must divide
    "units of two": (lambda: ali.Critic([1, 28, 28], width=7), "model.critic.width.*of 2"),
    "joint units": (lambda: of_codes(width=7), "model.joint_width.*of 2"),
    "groups": (lambda: normfree.Block(6, 8, 1), "groups, width.*divisor of 12"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_have_no_effect_is_refused_in_a_line(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(UserError, match=words) as refused:
        make()
    assert "\n" not in str(refused.value) and "; " in str(refused.value)


def test_what_has_an_effect_is_not_refused() -> None:
    attached(FeatureMatching(adversarial=True), loss=js(saturating=True))
    attached(FeatureMatching(), LabelSmoothing(), loss=ls())
    autoencoder.MLP([4], width=None, depth=1)
    trained(unlearning=0.1)
    of_codes(width=8), of_codes()
    with pytest.raises(UserError, match="label smoothing"):  # and not of the target
        attached(LabelSmoothing(), loss=hinge())
