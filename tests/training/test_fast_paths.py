"""Every fast path against plain eager float64: values, the gradient of every parameter, and three
whole iterations.

What makes this necessary: a custom autograd Function inside a compiled step loses the gradient of
the penalty without a word.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from gentrain.adversarial import lipschitz
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU, ReLU
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.objective import Objective
from gentrain.training import gradients
from gentrain.training.adversarial import OPPONENT, AdversarialModule
from tests.support.compose import composed
from tests.support.tensors import tensors

NARROW = ("model.generator.width=8", "model.critic.width=8")
PENALISED = {
    "dcgan": ("model=wgan_gp", *NARROW),
    "dcgan, layer norm": ("model=wgan_gp", "model.critic.norm=layer", *NARROW),
    "mlp": ("model=wgan_gp", "network=mlp", *NARROW),
    "resnet": ("model=wgan_gp", "network=resnet", *NARROW),
    "one-sided": ("model=wgan_gp", "lipschitz=gp_one_sided", *NARROW),
    "zero-centred": ("model=wgan_gp", "lipschitz=gp_zero_centred", *NARROW),
}
# what else compiles: every way in which an objective may be unlike the others
OTHERS = {
    "spectral norm": ("model=sngan", "network=dcgan", *NARROW),
    "batch norm, two forwards": ("model=dcgan", *NARROW),
    "dropout": ("model=gan", *NARROW),
    "labels": ("model=cgan",),
    "norm-free, R1 + R2, averaged": (
        "model=r3gan",
        "model.generator.blocks=1",
        "model.critic.blocks=1",
        *NARROW,
    ),
    "points around real images": ("model=wgan_gp", "lipschitz=dragan", *NARROW),
    "lazy": ("model=wgan_gp", "lipschitz.every=3", *NARROW),
    "attention, conditional batch norm": (
        "model=sagan",
        "model.generator.width=8",
        "model.critic.width=8",
    ),
    "orthogonal, in parts": (
        "model=biggan",
        "scheme.accumulate=2",
        "model.generator.width=8",
        "model.critic.width=8",
    ),
    "growing": ("model=progan", "model.growth.fade=16", "model.growth.stable=16", *NARROW),
    "five tricks": ("model=improved_gan", *NARROW),
    "codes, read from changed images": (
        "model=bigan",
        "experiment=codes",
        "model.generator.width=8",
        "model.critic.width=8",
    ),
    "a history and packs": ("model=wgan_gp", "tricks=[historical_averaging,packing]", *NARROW),
}
WITH_A_FORMULA = [*PENALISED, "spectral norm", "batch norm, two forwards"]
# one case of each fast path compiles in the test command, all do in make test-slow
COMPILED = ("dcgan", "spectral norm")


def every(names: Iterable[str], without: str = "") -> list[Any]:
    quick = set(COMPILED) - {without}
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


B = 8


def nodes(*overrides: str) -> dict[str, Any]:
    cfg = composed(*overrides)
    return {key: validate.checked(cfg[key], key) for key in ("model", "data")} | {
        "scheme": cfg["scheme"]
    }


def build_model(*overrides: str) -> AdversarialModel:
    torch.manual_seed(0)
    return build(nodes(*overrides)["model"], "model")


def scheme(*overrides: str, **options: Any) -> AdversarialModule:
    torch.manual_seed(0)
    node = nodes(*overrides)
    return build(node["scheme"] | options, "scheme", model=build(node["model"], "model"))


def batch() -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    return torch.rand(B, 1, 28, 28, generator=draw) * 2 - 1, torch.randint(10, (B,), generator=draw)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Choose what compiles.

    `aot_eager` traces, differentiates and functionalises as inductor does, without its ten seconds
    of C++.
    """
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    def choose(name: str) -> None:
        monkeypatch.setattr(gradients, "BACKEND", name)

    choose("aot_eager")
    yield choose
    torch._dynamo.reset()


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> Draws:
    """The random numbers of an objective, fixed, so that float64 has the same."""
    drawn = Draws()
    monkeypatch.setattr(lipschitz, "uniform_per_sample", lambda x: drawn.eps)
    return drawn


class Draws:
    def __init__(self) -> None:
        self.eps = torch.rand(B, 1, 1, 1, generator=torch.Generator().manual_seed(2))
        self.z: Tensor | None = None

    def fix(self, model: AdversarialModel) -> AdversarialModel:
        self.z = model.generator.noise(B, "cpu")
        model.generator.noise = lambda n, device: self.z  # type: ignore[assignment]
        return model


# --- the reference: the formula, in float64, eagerly, with torch's own rectifiers -----------------


def exact(model: AdversarialModel) -> AdversarialModel:
    """The same weights in float64, without a fast path."""
    return plain(copy.deepcopy(model)).double()  # type: ignore[return-value]


def plain(network: nn.Module) -> nn.Module:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, LeakyReLU):
                setattr(
                    module,
                    name,
                    nn.ReLU() if isinstance(child, ReLU) else nn.LeakyReLU(child.slope),
                )
    return network


def formula(model: AdversarialModel, real: Tensor, fake: Tensor, eps: Tensor) -> dict[str, Tensor]:
    """The critic's terms of WGAN-GP and its kin, by the paper."""
    on_real, on_fake = model.scores(model.critic, real, fake)
    terms = {"adversarial": model.loss.critic(on_real, on_fake)}
    penalty = next(
        (r for r in model.each_regularizer() if isinstance(r, lipschitz.GradientPenalty)), None
    )
    if penalty is not None:
        x = (eps * real + (1 - eps) * fake).requires_grad_()
        (grad,) = torch.autograd.grad(model.critic(x).sum(), x, create_graph=True)
        excess = grad.flatten(1).norm(dim=1) - penalty.center
        terms["gradient_penalty"] = (
            10 * (excess.clamp(min=0) if penalty.one_sided else excess).square().mean()
        )
    return terms


def gradients_of(loss: Tensor, player: nn.Module) -> dict[str, Tensor]:
    names, parameters = zip(*player.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(names, found, strict=True))


def expected(
    model: AdversarialModel, real: Tensor, drawn: Draws, player: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(terms, gradients) of one player in float64; to be called before the model's own, whose
    forward moves its buffers.
    """
    assert drawn.z is not None
    reference = exact(model)
    fake = reference.generator(drawn.z.double())
    if player == "critic":
        terms = formula(reference, real.double(), fake.detach(), drawn.eps.double())
    else:
        assert reference.loss.generator is not None
        terms = {"adversarial": reference.loss.generator(fake, reference.critic(fake))}
    return terms, gradients_of(sum(terms.values()), getattr(reference, player))


def assert_close(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    """Each tensor relative to its own norm, and to a thirtieth of all for those that are zero but
    for rounding, as biases before a norm.
    """
    assert got.keys() == want.keys()
    whole = torch.stack([w.double().norm() for w in want.values()]).norm()
    for name in want:
        apart = (got[name].double() - want[name].double()).norm()
        assert apart <= tolerance * (want[name].double().norm() + whole / 30), (
            f"{name}: {apart / want[name].norm():.1e}"
        )


def check(
    model: AdversarialModel,
    run: Callable[[tuple[Tensor, ...]], tuple[Objective, dict[str, Tensor]]],
    player: str,
    drawn: Draws,
    tolerance: float,
) -> None:
    real = batch()
    terms, grads = expected(model, real[0], drawn, player)
    objective, found = run(real)
    assert objective.losses.keys() == terms.keys()
    for name, term in terms.items():
        torch.testing.assert_close(
            objective.losses[name].double(),
            term.detach(),
            rtol=tolerance,
            atol=tolerance,
            check_dtype=False,
        )
    assert_close(found, grads, tolerance)


def eagerly(
    model: AdversarialModel, player: str, data: tuple[Tensor, ...]
) -> tuple[Objective, dict[str, Tensor]]:
    objective = getattr(model, f"{player}_loss")(data)
    return objective, gradients_of(objective.loss, getattr(model, player))


def compiled(
    model: AdversarialModel, player: str, data: tuple[Tensor, ...]
) -> tuple[Objective, dict[str, Tensor]]:
    """The compiled step, which must not have given up."""
    step = compiled_step(model, player)
    objective = step(data, 1.0, False)
    assert step.compiled
    weights = getattr(model, player).named_parameters()
    return objective, {
        name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in weights
    }


def compiled_step(model: AdversarialModel, player: str) -> gradients.CompiledStep:
    model.player(OPPONENT[player]).requires_grad_(False)
    weights = list(getattr(model, player).requires_grad_(True).parameters())
    objective = getattr(model, f"{player}_loss")
    eager = gradients.EagerStep(objective, weights, lambda loss: loss.backward())
    precision = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
    return gradients.CompiledStep(player, eager, model, None, precision, torch.device("cpu"))


# --- eager, and compiled --------------------------------------------------------------------------


@pytest.mark.parametrize("player", ["critic", "generator"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", WITH_A_FORMULA)
def test_eager_equals_float64(name: str, channels_last: bool, player: str, draws: Draws) -> None:
    overrides = (PENALISED | OTHERS)[name]
    model = draws.fix(scheme(*overrides).model if channels_last else build_model(*overrides))
    check(model, partial(eagerly, model, player), player, draws, 1e-5)


@pytest.mark.parametrize("player", ["critic", "generator"])
@pytest.mark.parametrize("name", every(WITH_A_FORMULA))
def test_compiled_equals_float64(
    name: str, player: str, draws: Draws, backend: Callable[[str], None]
) -> None:
    """The whole update, the penalty's inner gradient and the outer one included, in one graph."""
    model = scheme(*(PENALISED | OTHERS)[name]).model
    draws.fix(model)
    check(model, partial(compiled, model, player), player, draws, 1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcgan", "resnet", "spectral norm"])
def test_compiled_by_inductor_equals_float64(
    name: str, draws: Draws, backend: Callable[[str], None]
) -> None:
    backend("inductor")
    model = scheme(*(PENALISED | OTHERS)[name]).model
    draws.fix(model)
    check(model, partial(compiled, model, "critic"), "critic", draws, 1e-5)


class Toy(L.LightningDataModule):
    batches_per_step = 1
    data = SimpleNamespace(batch_size=B)

    def train_dataloader(self) -> Iterator[tuple[Tensor, ...]]:
        return _Stream(self.batches_per_step)  # type: ignore[return-value]


class _Stream:
    def __init__(self, group: int) -> None:
        self.group = group

    def __iter__(self) -> Iterator[list[tuple[Tensor, ...]]]:
        draw = torch.Generator().manual_seed(4)
        while True:
            yield [
                (
                    torch.rand(B, 1, 28, 28, generator=draw) * 2 - 1,
                    torch.randint(10, (B,), generator=draw),
                )
                for _ in range(self.group)
            ]


def trained(
    *overrides: str, steps: int = 3, precision: str = "32-true", **options: Any
) -> AdversarialModule:
    """Generator steps of the real scheme under Lightning's trainer, from the same weights, images
    and random numbers every time.
    """
    model = scheme(*overrides, **options)
    torch.manual_seed(3)
    quiet: Any = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_steps=steps, max_epochs=-1, precision=precision, **quiet
    )  # type: ignore[arg-type]
    trainer.fit(model, datamodule=Toy())
    assert trainer.global_step == steps
    return model


@pytest.mark.parametrize("name", every((*PENALISED, *OTHERS), without="spectral norm"))
def test_three_compiled_iterations_equal_three_eager(
    name: str, backend: Callable[[str], None]
) -> None:
    """The same draws: parameters, buffers and curves."""
    options: dict[str, Any] = {"critic_steps": 2, "log_every": 1, "optimizers": descent(1e-3)}
    eager, fast = (
        trained(*(PENALISED | OTHERS)[name], compile=way, **options) for way in (False, True)
    )
    assert_close(tensors(fast.state_dict()), tensors(eager.state_dict()), 1e-5)
    assert eager.latest.keys() == fast.latest.keys()
    assert not torch._dynamo.utils.counters["graph_break"]


def descent(lr: float) -> dict[str, Any]:
    """Adam makes whole steps of the rounding in gradients that are zero."""
    return {
        player: {"_target_": "torch.optim.SGD", "_partial_": True, "lr": lr}
        for player in ("critic", "generator")
    }


@pytest.mark.parametrize("factor", [0, 1.002])
def test_a_wrong_graph_is_found_and_not_used(
    factor: float,
    draws: Draws,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first call of a graph is compared with eager code: the player goes on as if it had never
    been compiled, and one line says why.
    """
    model = draws.fix(scheme("model=wgan_gp", "network=mlp", *NARROW).model)
    want, grads = eagerly(copy.deepcopy(model), "critic", batch())

    def lost(graph: Any, inputs: Any) -> Any:
        def run(*given: Any) -> Any:
            found = graph(*given)
            return [x * factor if x is not None and x.ndim == 2 else x for x in found]

        return run

    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda name: lost)
    monkeypatch.setattr(gradients, "BACKEND", "a wrong one")
    torch._dynamo.reset()
    step, data = compiled_step(model, "critic"), batch()
    state = torch.get_rng_state()
    for _ in range(2):
        found = step(data, 1.0, False)
        assert found.losses.keys() == want.losses.keys()
        assert_close({name: p.grad for name, p in model.critic.named_parameters()}, grads, 1e-6)
    assert not step.compiled
    assert torch.equal(state, torch.get_rng_state())
    (line,) = [r.message for r in caplog.records if "not compiled" in r.message]
    assert "the gradient of critic." in line and line.endswith("(compile)")
    torch._dynamo.reset()


def test_a_gradient_that_rounding_moves_may_differ_by_that() -> None:
    """Where a rectifier is within a few last bits of zero; elsewhere nothing of the kind."""
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0], [3.0]]))

    def objective(batch: gradients.Batch) -> Objective:
        near, far = (model(batch[0]) - torch.tensor([1 - 1e-7, 1.0])).unbind(1)
        return Objective({"loss": near.relu().sum() + far.relu().sum()}, {})

    eager = gradients.EagerStep(objective, list(model.parameters()), lambda loss: loss.backward())
    step = gradients.CompiledStep("critic", eager, model, None, torch.float32, torch.device("cpu"))
    data, before = (torch.ones(4, 1),), gradients.Snapshot(model, torch.device("cpu"))
    step.eager(data, 1.0, False)
    eagerly = step.gradients()
    (jump,) = step.sensitivity(before, data, 1.0, eagerly)
    assert jump == pytest.approx(4)
    assert torch.equal(model.weight, torch.tensor([[1.0], [3.0]]))
    flipped = [torch.tensor([[0.0], [4.0]])]
    assert step.other_gradient(eagerly, eagerly, flipped)
    assert step.other_gradient(eagerly, eagerly, flipped, [jump]) is None


def test_what_cannot_be_traced_goes_on_eagerly(
    backend: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    model = scheme("model=wgan_gp", "network=mlp", *NARROW).model
    plain_loss = model.critic_loss

    def untraceable(data: tuple[Tensor, ...]) -> Objective:
        torch._dynamo.graph_break()
        return plain_loss(data)

    model.critic_loss = untraceable  # type: ignore[method-assign]
    step = compiled_step(model, "critic")
    assert step(batch(), 1.0, False).loss.isfinite()
    assert not step.compiled
    assert [r.message for r in caplog.records if "not compiled" in r.message]


@pytest.mark.slow
def test_the_check_leaves_no_trace(backend: Callable[[str], None]) -> None:
    """Random numbers and buffers are those of a call without a comparison."""
    steps = {}
    for way in ("first", "later"):
        model = scheme("model=sngan", "network=mlp", *NARROW).model
        step, data = compiled_step(model, "critic"), batch()
        start = copy.deepcopy(model.state_dict())
        for _ in range(1 if way == "first" else 2):
            model.load_state_dict(start)
            torch.manual_seed(5)
            step(data, 1.0, False)
        assert step.compiled
        steps[way] = [*(p.grad for p in step.parameters), *model.buffers(), torch.get_rng_state()]
    assert all(torch.equal(a, b) for a, b in zip(*steps.values(), strict=True))


@pytest.mark.parametrize(("seconds", "worth"), [(10.0, False), (1e4, True)])
def test_auto_compiles_what_takes_long(
    seconds: float, worth: bool, monkeypatch: pytest.MonkeyPatch, backend: Callable[[str], None]
) -> None:
    """The rest of the run counts: 3 steps here, of 2 critic updates each."""
    from gentrain.training import module

    monkeypatch.setattr(module, "seconds_of", lambda *_: seconds / 6)
    run = trained(
        "model=wgan_gp", "network=mlp", *NARROW, critic_steps=2, compile="auto", log_every=1
    )
    assert run.chosen == {"critic": worth, "generator": worth}
    assert run.steps["critic"].compiled == worth


@pytest.mark.slow
@pytest.mark.parametrize(("every", "graphs"), [(1, 2), (4, 3)])
def test_a_long_run_compiles_each_objective_once(
    every: int, graphs: int, backend: Callable[[str], None]
) -> None:
    """Nothing counts inside a graph. A lazy penalty has a graph with it and one without it."""
    trained(
        "model=wgan_gp",
        "network=mlp",
        f"lipschitz.every={every}",
        *NARROW,
        steps=6,
        critic_steps=3,
        log_every=2,
        compile=True,
    )
    stats = torch._dynamo.utils.counters
    assert stats["stats"]["unique_graphs"] == graphs
    assert not stats["graph_break"]


def test_what_cannot_be_compiled_is_refused() -> None:
    with pytest.raises(UserError, match=r"replay.*compile=true.*compile=false"):
        scheme("model=wgan_gp", "tricks=[replay]", *NARROW, compile=True)


# --- memory format --------------------------------------------------------------------------------


def test_the_scheme_lays_convolutions_out_channels_last() -> None:
    weights = [
        p
        for p in scheme("model=wgan_gp", *NARROW).model.parameters()
        if p.ndim == 4 and min(p.shape[1], p.shape[2]) > 1
    ]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


# --- half precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", every(["dcgan", "mlp", "resnet"]))
def test_bf16_is_near_and_its_penalty_in_float32(
    name: str, compile: bool, draws: Draws, backend: Callable[[str], None]
) -> None:
    """bfloat16 has 8 bits: scores within 2%, the gradient within 5% of its length; the penalty at
    the same fakes is float32's.
    """
    model = scheme(*PENALISED[name]).model
    draws.fix(model)
    real = batch()
    terms, grads = expected(model, real[0], draws, "critic")
    with torch.autocast("cpu", torch.bfloat16):
        objective, found = (compiled if compile else eagerly)(model, "critic", real)
    assert objective.losses["gradient_penalty"].dtype == torch.float32
    torch.testing.assert_close(
        objective.losses["gradient_penalty"].double(),
        terms["gradient_penalty"].detach(),
        rtol=2e-2,
        atol=1e-2,
    )
    got = torch.cat([g.double().flatten() for g in found.values()])
    want = torch.cat([g.flatten() for g in grads.values()])
    assert (got - want).norm() <= 0.05 * want.norm()


def test_under_autocast_the_generator_meets_the_new_critic() -> None:
    """Autocast keeps its 16-bit copies of weights till the end of a step: one made before the
    critic's update must not be used after it.
    """
    seen = {}
    for precision in ("32-true", "bf16-mixed"):
        options: dict[str, Any] = {"critic_steps": 1, "log_every": 1, "optimizers": descent(1.0)}
        seen[precision] = trained(
            "model=wgan_gp", "network=mlp", *NARROW, steps=1, precision=precision, **options
        ).latest
    # the update was a large one
    assert abs(seen["32-true"]["generator/adversarial"] - seen["32-true"]["critic/fake_score"]) > 1
    assert seen["bf16-mixed"]["generator/adversarial"] == pytest.approx(
        seen["32-true"]["generator/adversarial"], rel=0.05, abs=0.02
    )


# --- the rectifier --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [partial(LeakyReLU, 0.2), ReLU])
def test_rectifier_against_finite_differences(make: Callable[[], nn.Module]) -> None:
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(make(), x)
    assert torch.autograd.gradgradcheck(make(), x)


@pytest.mark.parametrize("make", [partial(LeakyReLU, 0.2), ReLU])
def test_rectifier_has_one_value_in_every_form(
    make: Callable[[], nn.Module], backend: Callable[[str], None]
) -> None:
    """Zero, infinity and an empty batch too; layout and dtype are kept."""
    layer = make()
    theirs = nn.ReLU() if isinstance(layer, ReLU) else nn.LeakyReLU(0.2)
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    x[0, 0, 0, :2] = torch.tensor([0.0, 1e30])
    for form in (layer, torch.compile(layer, backend=gradients.BACKEND)):
        assert torch.equal(form(x), theirs(x))
        assert form(x).is_contiguous(memory_format=torch.channels_last)
        assert form(x.bfloat16()).dtype == torch.bfloat16
        assert form(x[:0]).shape == (0, 3, 4, 4)


def test_a_penalty_costs_no_second_backward_of_zeros() -> None:
    """The reason for the rectifier: torch's own sends a tensor of zeros through the critic once
    more.
    """

    def operations(activation: Callable[[], nn.Module]) -> int:
        critic = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            activation(),
            nn.Conv2d(4, 4, 3),
            activation(),
            nn.Flatten(),
            nn.LazyLinear(1),
        )
        x = torch.randn(2, 1, 8, 8, requires_grad=True)
        critic(x)
        with torch.profiler.profile() as profile:
            (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
            torch.autograd.grad(g.square().sum(), list(critic.parameters()), allow_unused=True)
        return sum(event.count for event in profile.key_averages() if "conv" in event.key)

    assert operations(partial(LeakyReLU, 0.2)) < operations(partial(nn.LeakyReLU, 0.2))
