"""A Wasserstein critic is never free: for every backbone x norm x method that promises a bound.

Whatever training may make of the parameters, after the method's hook the scores' slope is at most
the K that the method promises, or the combination is refused. A gradient penalty promises nothing,
and is not here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import product
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gentrain.adversarial import losses
from gentrain.adversarial.lipschitz import GradientPenalty, Lipschitz, SpectralNorm, WeightClip
from gentrain.adversarial.regularizer import Regularizer
from gentrain.adversarial.tricks import MinibatchDiscrimination, Packing, VirtualBatchNormalization
from gentrain.adversarial.tricks.networks import MinibatchSimilarity
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.lipschitz_bound import (
    LipschitzBounded,
    WeightLimits,
    lipschitz_bound,
    unbounded_layers,
)
from gentrain.layers.normalization import norm2d
from gentrain.layers.resample import Downsample, Upsample
from gentrain.models.gan.bigan import pair_critic
from gentrain.models.gan.bigbigan import ThreeScoreCritic
from gentrain.models.gan.cyclegan import TwoCritics
from gentrain.models.gan.gan_cls import CaptionCritic, CaptionProjectionCritic
from gentrain.networks import ali, dcgan, mlp, patchgan, resnet
from gentrain.networks.base import Backbone
from gentrain.networks.classifier import ClassifierCritic, LogitCritic
from gentrain.networks.conditional import ConcatCritic, ProjectionCritic
from tests.support.paths import CONF
from tests.support.presets import small

SHAPE, CLASSES, LATENT, TEXT, SAMPLES = [1, 32, 32], 3, 4, 5, 4
SHAPES = {"wavegan": [1, 256]}  # of networks for other data than images
METHODS = {"clip": WeightClip, "spectral_norm": SpectralNorm}


def read(network: str) -> dict[str, Any]:
    """A file of conf/network, with those that it is built on; interpolations stay."""
    node = yaml.safe_load((CONF / "network" / f"{network}.yaml").read_text())
    bases = [base for base in node.pop("defaults", []) if base != "_self_"]
    merged = OmegaConf.merge(*(read(base) for base in bases), node)
    return OmegaConf.to_container(merged, resolve=False)  # type: ignore[return-value]


@cache
def backbones() -> dict[str, Backbone[Any]]:
    """Every critic of conf/network, a few channels wide, with each of its norms."""
    found: dict[str, Backbone[Any]] = {}
    for file in sorted((CONF / "network").glob("*.yaml")):
        node = small(read(file.stem)).get("critic")
        if node is None:
            continue
        kind = get_object(node["_target_"])
        shape = SHAPES.get(file.stem, SHAPE)
        known = {"shape": shape, "classes": CLASSES, "source_shape": None}
        options = {k: known.get(k, v) for k, v in node.items() if not k.startswith("_")}
        if kind.conditional:
            options["classes"] = CLASSES
        parameters = inspect.signature(kind).parameters
        varied = {"norm": kind.norms, "attention": (0, 8), "input_scale": (1.0, 2.0)}
        varied = {key: values for key, values in varied.items() if key in parameters}
        for values in product(*varied.values()):
            options |= dict(zip(varied, values, strict=True))
            name = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
            told = {k: v for k, v in options.items() if k not in known}
            label = f"{name} {told}"
            found[label] = Backbone(kind, **options)
    return found


class Player:
    """What a regularizer reads of a model: its critic."""

    def __init__(self, critic: Any, loss: losses.AdversarialLoss | None = None) -> None:
        self.critic, self.loss = critic, loss or losses.wasserstein()
        self.critic_is_conditional = self.critic_classifies = False

    def player(self, name: str) -> Any:
        return self.critic

    def critics(self) -> list[Any]:
        return self.critic.backbones()


def extremes(critic: nn.Module) -> Iterator[str]:
    """Set every parameter, gains and embeddings included, to values that training might find."""
    for name in ("all 1,000", "random", "random, without shifts"):
        for p in critic.parameters():
            p.data = torch.full_like(p, 1e3) if name == "all 1,000" else 1e3 * torch.randn_like(p)
            if name.endswith("shifts") and p.ndim == 1 and p.numel() > 1:
                p.data.abs_()
        yield name


def converge(critic: nn.Module) -> None:
    """Spectral norm's power iteration follows the weights in training; let it arrive."""
    for module in critic.modules():
        if parametrize.is_parametrized(module):
            for _ in range(20):
                module.weight  # noqa: B018  (reading it is an iteration)


def slopes(critic: Any, shape: list[int]) -> float:
    """The largest |J^T v| of the scores of a batch, v a unit vector; K bounds it."""
    noise = torch.rand(SAMPLES, *shape, dtype=torch.float64) * 2 - 1
    # a norm divides by the spread of its input: also nearly constant images
    scale = torch.tensor([1.0, 1e-3, 1.0, 1e-2], dtype=torch.float64)
    x = (noise * scale.view(-1, *[1] * len(shape))).requires_grad_()
    conditions = {"y": torch.arange(SAMPLES) % CLASSES, "e": torch.randn(SAMPLES, TEXT).double()}
    asked = inspect.signature(critic.forward).parameters
    given = [value for name, value in conditions.items() if name in asked]
    scores = critic(x, *given).view(SAMPLES, -1).mean(1)
    if scores.grad_fn is None:
        return 0.0
    draws = [torch.eye(SAMPLES, dtype=torch.float64)[0], torch.randn(SAMPLES).double()]
    grads = [torch.autograd.grad(scores, x, v / v.norm(), retain_graph=True)[0] for v in draws]
    return max(float(grad.norm()) for grad in grads)


def certify(critic: Any, method: Lipschitz, *tricks: Regularizer, shape: list[int] = SHAPE) -> None:
    """Slopes stay under the promise, whatever the parameters; or UserError."""
    model: Any = Player(critic)
    for regularizer in (*tricks, method):
        regularizer.attach(model)
    critic.double().train()
    limits = method.limits()
    assert limits is not None
    promised = lipschitz_bound(critic, replace(limits, samples=SAMPLES))
    assert 0 < promised < math.inf
    for values in extremes(critic):
        converge(critic)
        method.after_critic_step(model)
        for part in (critic.target, critic.source) if isinstance(critic, TwoCritics) else (critic,):
            found = slopes(part, shape)
            assert found <= 1.02 * promised, f"{values}: a slope of {found}, promised {promised}"


def refused(backbone: Backbone[Any], method: str) -> str | None:
    """The layers for which a method must be refused; None where it must hold."""
    options = backbone.keywords
    if options.get("maxout") and options["norm"] != "none":
        return "maxout layers have no norm"
    if ".ali" in backbone.func.__module__ and options["norm"].startswith("instance"):
        return "single pixel"
    if method == "clip" and "progan" in backbone.func.__module__:
        return "equalised"
    if method == "spectral_norm" and "normfree" in backbone.func.__module__:
        return "start at zero"
    if method == "clip" and options.get("weight_norm"):
        return "weight_norm"
    if options.get("attention"):
        return "SelfAttention.*attention=0"
    if method == "spectral_norm" and options.get("norm") in ("batch", "layer", "instance"):
        return "Norm.*norm=none"
    return None


@pytest.mark.parametrize(
    "method",
    [m if m == "spectral_norm" else pytest.param(m, marks=pytest.mark.slow) for m in METHODS],
)
def test_every_backbone_is_bounded_or_refused(method: str) -> None:
    torch.manual_seed(0)
    assert len(backbones()) > 35
    for name, backbone in backbones().items():
        try:
            if reason := refused(backbone, method):
                with pytest.raises(UserError, match=reason) as error:
                    certify(backbone(), METHODS[method]())
                assert "\n" not in str(error.value)
            else:
                certify(backbone(), METHODS[method](), shape=backbone.keywords["shape"])
        except Exception as error:
            raise AssertionError(f"{method}: {name}") from error


PLAIN: dict[str, Backbone[Any]] = {
    "dcgan": Backbone(dcgan.Critic, shape=SHAPE, width=4, norm="none"),
    "mlp": Backbone(mlp.Critic, shape=SHAPE, width=8),
    "patchgan": Backbone(patchgan.Critic, shape=SHAPE, width=4, depth=1, norm="none"),
}
JOINED = {"dcgan": PLAIN["dcgan"], "mlp": PLAIN["mlp"]}
PAIRED = JOINED | {"ali": Backbone(ali.Critic, shape=SHAPE, width=4)}
WRAPPED = {
    "concat": (partial(ConcatCritic, classes=CLASSES), PLAIN),
    "projection": (partial(ProjectionCritic, classes=CLASSES), JOINED),
    "captions": (partial(CaptionCritic, size=TEXT, code=3), JOINED),
    "caption projection": (partial(CaptionProjectionCritic, size=TEXT), JOINED),
    "classifier": (partial(ClassifierCritic, classes=CLASSES), PLAIN),
    "logits": (partial(LogitCritic, classes=CLASSES), JOINED),
    "two": (partial(TwoCritics, shapes=(SHAPE, SHAPE)), PLAIN),
    "pair": (partial(pair_critic, latent=LATENT, width=None), PAIRED),
    "three scores": (partial(ThreeScoreCritic, latent=LATENT, width=8, blocks=2), JOINED),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrapper", WRAPPED)
def test_every_wrapper_is_bounded(wrapper: str, method: str) -> None:
    torch.manual_seed(0)
    wrap, inner = WRAPPED[wrapper]
    pairs = wrapper in ("pair", "three scores")
    shape = [math.prod(SHAPE) + LATENT] if pairs else SHAPE
    for backbone in inner.values():
        certify(wrap(backbone), METHODS[method](), shape=shape)


@pytest.mark.parametrize("method", METHODS)
def test_what_tricks_add_is_bounded(method: str) -> None:
    torch.manual_seed(0)
    plain = PLAIN["dcgan"]
    with pytest.raises(UserError, match="grows with the batch"):
        certify(plain(), METHODS[method](), MinibatchDiscrimination(3, 2))
    limits = METHODS[method]().limits()
    assert limits is not None
    similarity = MinibatchSimilarity(8, 3, 2)  # and so is the layer itself
    assert unbounded_layers(similarity, limits) == ["(MinibatchSimilarity)"]
    certify(plain(), METHODS[method](), Packing(2), shape=[2, *SHAPE[1:]])
    virtual = VirtualBatchNormalization(["critic"])
    if method == "clip":
        certify(plain(norm="batch"), WeightClip(), virtual)
    else:
        with pytest.raises(UserError, match=r"VirtualBatchNorm.*norm=none"):
            certify(plain(norm="batch"), SpectralNorm(), virtual)


def test_every_declared_bound_is_held_to() -> None:
    """A new layer with a bound of its own must come up in a critic of this file."""
    critics = [wrap(inner) for wrap, each in WRAPPED.values() for inner in each.values()]
    for backbone in backbones().values():
        with suppress(UserError):  # a norm that does not fit
            critics.append(backbone())
    for trick in (MinibatchDiscrimination(3, 2), VirtualBatchNormalization(["critic"])):
        critics.append(PLAIN["dcgan"](norm="batch"))
        trick.attach(Player(critics[-1], losses.hinge()))  # type: ignore[arg-type]
    seen = {kind for critic in critics for m in critic.modules() for kind in type(m).__mro__}
    own = {kind for kind in subclasses(LipschitzBounded) if "lipschitz_bound" in vars(kind)}
    assert {kind.__name__ for kind in own - seen} == set()


def subclasses(kind: type) -> set[type]:
    inner = {each for each in kind.__subclasses__() if each.__module__.startswith("gentrain.")}
    return inner.union(*map(subclasses, inner))


def test_the_bound_is_reached() -> None:
    """It is no larger than need be: equal weights and positive inputs reach clip's product."""
    critic: Any = mlp.Critic(SHAPE, width=8, depth=2).double()
    for p in critic.parameters():
        p.data.fill_(9.0)
    method = WeightClip(0.01)
    model: Any = Player(critic)
    method.after_critic_step(model)
    x = torch.ones(1, *SHAPE, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(critic(x).sum(), x)
    promised = lipschitz_bound(critic, method.limits())
    assert promised == pytest.approx(0.01**3 * math.sqrt(1024 * 8) * 8 * math.sqrt(8))
    assert float(grad.norm()) == pytest.approx(promised)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 5, 4, 2, 1),
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.Conv2d(2, 3, 3, 2),
        nn.Conv2d(2, 3, (1, 4)),
        nn.ConvTranspose2d(3, 2, 4, 2, 1),
        nn.ConvTranspose2d(3, 2, 3, 2, 1, output_padding=1),
        nn.AvgPool2d(2),
        Downsample(),
        Upsample(),
        patchgan.PatchHead((2, 8, 8), 4),
        patchgan.PatchHead((2, 8, 8), 1),
        resnet.PixelPool("sum", 64),
        resnet.PixelPool("mean", 64),
        mlp.Maxout(8, 4, 3),
        LeakyReLU(0.2),
        nn.Dropout(0.3),
    ],
    ids=lambda layer: str(layer).splitlines()[0],
)
def test_a_layer_against_its_jacobian(layer: nn.Module) -> None:
    """The largest singular value of the whole map, at weights of spectral norm 1 and of +-c."""
    torch.manual_seed(0)
    layer = layer.double()
    first = next((m for m in layer.modules() if isinstance(m, MATRICES)), None)
    match layer:
        case mlp.Maxout():
            shape: tuple[int, ...] = (1, 8)
        case patchgan.PatchHead():
            shape = (1, 2 * 8 * 8)
        case _:
            shape = (1, getattr(first, "in_channels", 2), 8, 8)
    for limits in (WeightLimits(spectral=1.0), WeightLimits(entry=0.3)):
        if first is not None:
            w = torch.randn_like(first.weight).sign() * 0.3
            if isinstance(first, nn.ConvTranspose2d):
                w = w if limits.entry < 1 else w / norm(w.transpose(0, 1))
            else:
                w = w if limits.entry < 1 else w / norm(w)
            first.weight.data = w

        def f(x: Tensor) -> Tensor:
            y = layer(x)
            return y.mean() if isinstance(layer, patchgan.PatchHead) else y.flatten()

        flat = torch.autograd.functional.jacobian(f, torch.randn(shape, dtype=torch.float64))
        found = torch.linalg.matrix_norm(flat.reshape(-1, math.prod(shape)), 2)
        promised = lipschitz_bound(layer, limits)
        assert 0 < float(found) <= promised * (1 + 1e-9)


def test_minibatch_discrimination_is_as_steep_as_its_batch_is_large() -> None:
    """In a batch of samples that are alike, and within the bound for a batch of that size."""
    layer = MinibatchSimilarity(1, 1, 1).double()
    layer.T.weight.data.fill_(1.0)
    for samples in (2, 4, 64):
        x = torch.full((samples, 1), 0.5, dtype=torch.float64)
        x[0] += 1e-6  # a distance has no slope at zero
        jacobian = torch.autograd.functional.jacobian(layer, x)
        slope = float(torch.linalg.matrix_norm(jacobian.reshape(2 * samples, samples), 2))
        limits = WeightLimits(spectral=1.0, samples=samples)
        assert 0.99 * (samples - 1) < slope <= lipschitz_bound(layer, limits)


@pytest.mark.parametrize("layer", [Downsample(), Upsample()], ids=["down", "up"])
def test_the_bound_of_resampling_is_the_least(layer: nn.Module) -> None:
    """A large constant map comes near to it; at its edges alone it loses length."""
    x = torch.ones(1, 1, 256, 256)
    assert 0.99 < float(layer(x).norm() / x.norm()) / lipschitz_bound(layer, WeightLimits()) <= 1


MATRICES = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def norm(w: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(w.flatten(1), 2)


@pytest.mark.parametrize("gain", [1.0, 1e3])
def test_gains_of_version_0_1(gain: float) -> None:
    """The measured fault: gains x 1,000 made wgan's scores 1,000 times as steep."""
    critic: Any = dcgan.Critic(SHAPE, 4, "batch")
    method, model = WeightClip(), Player(critic)
    method.attach(model)  # type: ignore[arg-type]
    for module in critic.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, gain)
    method.on_train_start(model)  # type: ignore[arg-type]
    assert max(float(p.abs().max()) for p in critic.parameters()) <= 0.01


def test_norms_without_gains_are_bounded_by_eps() -> None:
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2), LeakyReLU(0.2), nn.Flatten())
    assert lipschitz_bound(body, WeightLimits(spectral=1.0)) == pytest.approx(3 / math.sqrt(1e-5))
    assert lipschitz_bound(norm2d("batch", 2), WeightLimits(spectral=1.0)) == math.inf


def test_a_layer_that_says_nothing_is_refused() -> None:
    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(30 * x)

    for method in (WeightClip(), SpectralNorm()):
        critic: Any = dcgan.Critic(SHAPE, 4, "none")
        critic.body[1] = Sine()
        with pytest.raises(UserError, match=r"body\.1 \(Sine\)"):
            method.attach(Player(critic))  # type: ignore[arg-type]
        method.attach(Player(critic, losses.hinge()))  # type: ignore[arg-type]
    GradientPenalty().attach(Player(critic))  # type: ignore[arg-type]
    assert GradientPenalty().limits() is None
