"""Flows against autograd's Jacobian, integrals over the plane, zuko with the same weights, and a
distillation in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import zuko
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.distributions import AffineTransform, Normal, kl_divergence

from gentrain import __version__
from gentrain.commands.sample import energy_modes
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config import validate
from gentrain.data.plane import TwoMoons
from gentrain.errors import UserError
from gentrain.models.flow.autoregressive import (
    BatchNorm,
    InverseAutoregressive,
    MaskedAutoregressive,
)
from gentrain.models.flow.base import Flow, FlowDensity, Reversed, Standardised
from gentrain.models.flow.distillation import Distilled
from gentrain.models.flow.planar import PlanarMaps
from gentrain.models.flow.realnvp import (
    RealNVP,
    RealNVPOfPoints,
    checkerboards,
    halves,
    squeeze,
    unsqueeze,
)
from gentrain.models.pixels import Logit, Real
from gentrain.training.checkpoint_io import AtomicIO
from gentrain.training.datamodule import DataModule
from gentrain.training.job import load_initial_weights
from tests.support.compose import composed

D = torch.float64


def stirred(module: nn.Module, sd: float = 0.3) -> Any:
    """Double precision, and no weight zero."""
    for p in module.to(D).parameters():
        nn.init.normal_(p, 0, sd)
    return module


def iaf(shape: list[int], **options: Any) -> Reversed:
    return Reversed(shape, partial(InverseAutoregressive, **options))


def standardised(shape: list[int]) -> Standardised:
    flow = Standardised(shape, partial(RealNVPOfPoints, couplings=3, width=8, blocks=1))
    flow.init_from_batch(3 * torch.randn(50, *shape) + 1)
    return flow


def normalised(shape: list[int]) -> MaskedAutoregressive:
    """With batch norm whose statistics are of some data, as after a training."""
    flow = MaskedAutoregressive(shape, layers=3, width=20, bound=1.0, batch_norm=True).eval()
    flow.set_statistics(0.7 * torch.randn(250, math.prod(shape)) + 0.5)
    return flow


FLOWS: dict[str, tuple[list[int], Callable[[list[int]], Flow]]] = {
    "planar": ([5], partial(PlanarMaps, layers=6)),
    "maf": ([6], partial(MaskedAutoregressive, layers=3, width=20)),
    "maf, deep and bounded": (
        [6],
        partial(MaskedAutoregressive, layers=2, width=20, depth=3, bound=1.0),
    ),
    "maf, batch norm": ([6], normalised),
    "iaf": ([6], partial(iaf, layers=3, width=20)),
    "iaf, not gated": ([6], partial(iaf, layers=3, width=20, gated=False, bound=2.0)),
    "standardised": ([3], standardised),
    "realnvp of points": ([3], partial(RealNVPOfPoints, couplings=4, width=8, blocks=1)),
    "realnvp": ([1, 4, 4], partial(RealNVP, width=4, blocks=1, scales=2)),
    "realnvp in colour": ([3, 4, 4], partial(RealNVP, width=4, blocks=2, scales=1)),
    "realnvp of one scale": ([1, 5, 5], partial(RealNVP, width=4, blocks=1, scales=0)),
}


@pytest.mark.parametrize("name", FLOWS)
def test_there_and_back_with_the_determinant_of_the_jacobian(name: str) -> None:
    shape, make = FLOWS[name]
    flow = stirred(make(shape))
    z = torch.randn(4, math.prod(shape), dtype=D)
    out, log_det = flow(z)
    assert log_det.shape == (4,)
    # whole passes where gradients are kept, and a cache where they are not
    for keep in (True, False):
        with torch.set_grad_enabled(keep):
            back, log_det_back = flow.inverse(out)
        torch.testing.assert_close(back, z)
        torch.testing.assert_close(log_det_back, -log_det)
    for i in range(4):
        if name.startswith("iaf"):  # whose one pass is the other way
            jacobian = torch.autograd.functional.jacobian(
                lambda u: flow.inverse(u[None])[0][0], out[i].detach()
            )
            torch.testing.assert_close(-log_det[i], torch.linalg.slogdet(jacobian)[1])
        jacobian = torch.autograd.functional.jacobian(lambda z: flow(z[None])[0][0], z[i])
        torch.testing.assert_close(log_det[i], torch.linalg.slogdet(jacobian)[1])


@pytest.mark.parametrize("name", [name for name in FLOWS if name != "maf, batch norm"])
def test_a_density_is_the_same_in_training_and_of_each_sample_alone(name: str) -> None:
    shape, make = FLOWS[name]
    flow = stirred(make(shape))
    z = torch.randn(4, math.prod(shape), dtype=D)
    log_det = flow.train()(z)[1]
    torch.testing.assert_close(flow.eval()(z)[1], log_det)
    torch.testing.assert_close(torch.cat([flow(row[None])[1] for row in z]), log_det)


@pytest.mark.parametrize(
    "name", ["planar", "maf", "maf, batch norm", "iaf, not gated", "realnvp of points"]
)
def test_a_density_in_the_plane_integrates_to_one_and_samples_are_of_it(name: str) -> None:
    """Its integral over a grid, and those of some functions, which samples must have for their
    means.
    """
    density = stirred(FlowDensity(lambda shape: FLOWS[name][1](shape), Real(), [2]))
    line = torch.linspace(-20, 20, 701, dtype=D)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        p = (
            torch.cat([density.log_prob(part).exp() for part in grid.split(20_000)])
            * (line[1] - line[0]) ** 2
        )
        drawn = density.flow.inverse(torch.randn(20_000, 2, dtype=D))[0]
    torch.testing.assert_close(p.sum(), torch.ones((), dtype=D), atol=5e-3, rtol=0)
    for function in (
        torch.sin,
        torch.tanh,
        lambda x: torch.tanh(x).square(),
        lambda x: torch.sin(x.sum(1, keepdim=True)),
    ):
        torch.testing.assert_close(
            function(drawn).mean(0), (p[:, None] * function(grid)).sum(0), atol=0.03, rtol=0
        )


# --- batch norm -----------------------------------------------------------------------------------


def test_batch_norm_in_training_is_the_papers_formula_with_its_gradient() -> None:
    """Dinh et al., 2017, section 3.7; the gradient also goes through mean and variance."""
    norm = stirred(BatchNorm(3, eps=1e-3))
    x = (2 * torch.randn(7, 3, dtype=D) + 1).requires_grad_()
    weights = torch.randn(7, 3, dtype=D)
    y, log_det = norm(x)
    (of_x,) = torch.autograd.grad((weights * y).sum() + log_det.sum(), x)
    mean = x.sum(0) / 7
    variance = (x.square().sum(0) / 7 - mean.square()) + 1e-3
    expected = norm.log_gain.exp() * (x - mean) / variance.sqrt() + norm.shift
    torch.testing.assert_close(y, expected)
    expected_log_det = (norm.log_gain - 0.5 * torch.log(variance)).sum()
    torch.testing.assert_close(log_det, expected_log_det.expand(7))
    (same,) = torch.autograd.grad((weights * expected).sum() + 7 * expected_log_det, x)
    torch.testing.assert_close(of_x, same)


def with_batch_norm() -> FlowDensity:
    flow = partial(MaskedAutoregressive, layers=3, width=16, batch_norm=True)
    return stirred(FlowDensity(flow, Real(), [4]))


def test_batch_norm_has_the_training_datas_statistics_outside_training() -> None:
    """A whole batch in training mode is the reference: at test, each sample has the same density.

    So it is after each update, and once a checkpoint is read.
    """
    model, data = with_batch_norm(), 2 * torch.randn(300, 4, dtype=D) + 1
    assert model.init_images == 10_000
    model.init_from_data((data,))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(2):
        with torch.no_grad():
            whole = model.train().log_prob(data)
        torch.testing.assert_close(model.log_likelihood((data[:7],), 1), whole[:7])
        optimizer.zero_grad()
        model.objective((data[:50],)).loss.backward()
        optimizer.step()
    again = with_batch_norm()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        whole = model.log_prob(data)
    torch.testing.assert_close(again.log_likelihood((data[:7],), 1), whole[:7])


def test_statistics_are_taken_once_for_each_update(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, taken = with_batch_norm(), torch.randn(20, 4, dtype=D), []
    model.init_from_data((data,))
    monkeypatch.setattr(model.flow, "set_statistics", lambda z: taken.append(len(z)))
    for _ in range(3):
        model.log_likelihood((data,), 1)
        model.sample((data,))
    assert taken == [20]
    model.objective((data,))
    model.log_likelihood((data,), 1)
    assert taken == [20, 20]


def test_a_flow_without_statistics_keeps_no_data() -> None:
    model = FlowDensity(partial(MaskedAutoregressive, layers=1, width=4), Real(), [2])
    assert model.init_images == 0 and not any("reference" in key for key in model.state_dict())


def test_a_batch_of_one_has_no_variance() -> None:
    with pytest.raises(UserError, match=r"a batch of 1 .* \(data.batch_size\)"):
        BatchNorm(2)(torch.zeros(1, 2))
    BatchNorm(2).eval()(torch.zeros(1, 2))


# --- RealNVP --------------------------------------------------------------------------------------


def test_a_squeeze_takes_the_places_of_a_square_apart() -> None:
    x = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6).float()
    y = squeeze(x)
    assert y.shape == (2, 12, 2, 3) and torch.equal(unsqueeze(y), x)
    black = checkerboards(3, [6, 6])[0][:, :4].expand(2, -1, -1, -1)
    # half of the channels is one colour of the board
    assert set(y[:, :6].flatten().tolist()) == set(x[black].tolist())
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])


def test_masks_are_halves_and_each_others_rest() -> None:
    for one, other in (checkerboards(2, [4, 4]), halves(6)):
        assert torch.equal(one, ~other) and one.float().mean() == 0.5


def test_a_coupling_leaves_the_masked_and_starts_as_the_identity() -> None:
    flow = RealNVP([2, 4, 4], width=4, blocks=1, scales=1)
    z = torch.randn(3, 32)
    out, log_det = flow(z)
    # moved to their places, but not changed
    assert log_det.abs().max() == 0 and sorted(out[0].tolist()) == sorted(z[0].tolist())
    coupling = stirred(flow).levels[0].before.each[0]
    x = torch.randn(3, 2, 4, 4, dtype=D)
    changed = coupling(x)[0] != x
    assert torch.equal(changed, (coupling.mask == 0).expand(3, -1, -1, -1))


def test_every_value_has_an_effect_on_every_other() -> None:
    """Over both scales: no part of an image goes through alone."""
    flow = stirred(RealNVP([1, 8, 8], width=4, blocks=2, scales=2))
    jacobian = torch.autograd.functional.jacobian(
        lambda z: flow(z[None])[0][0], torch.randn(64, dtype=D)
    )
    assert (jacobian[32:] != 0).all() and (jacobian[:32] != 0).float().mean() > 0.9


def test_a_side_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"sides of 28 and 28 cannot be halved 3 times \(model.flow.scales\); at most 2",
    ):
        RealNVP([1, 28, 28], scales=3)


# --- zuko, with the same weights ------------------------------------------------------------------


def test_a_masked_autoregressive_flow_is_that_of_zuko() -> None:
    size, width = 5, 17
    ours = stirred(MaskedAutoregressive([size], layers=3, width=width, depth=2))
    theirs = zuko.flows.MAF(
        size,
        transforms=3,
        hidden_features=(width, width),
        univariate=lambda m, a: AffineTransform(-m * torch.exp(-a), torch.exp(-a)),
    ).to(D)
    for k, (made, transform) in enumerate(zip(ours.maps, theirs.transform.transforms, strict=True)):
        layers = [made.first, made.rest[1], made.last]
        # they reverse the order, we reverse the values
        rows = torch.arange(size) if k % 2 == 0 else torch.arange(size).flip(0)
        interleaved = torch.stack([rows, rows + size], 1).flatten()
        for layer, other in zip(
            layers, [m for m in transform.hyper if isinstance(m, nn.Linear)], strict=True
        ):
            weight, mask, bias = layer.weight.data, layer.mask.bool(), layer.bias.data
            if layer is made.first:
                weight, mask = weight[:, rows], mask[:, rows]
            if layer is made.last:
                weight, mask, bias = weight[interleaved], mask[interleaved], bias[interleaved]
            assert other.mask.shape == mask.shape
            other.weight.data, other.mask, other.bias.data = weight, mask, bias
    density = FlowDensity(lambda shape: ours, Real(), [size])
    x = torch.randn(40, size, dtype=D)
    torch.testing.assert_close(density.log_prob(x), theirs().log_prob(x))
    with torch.no_grad():
        u = theirs().transform(x)
        torch.testing.assert_close(ours.inverse(u if len(ours.maps) % 2 == 0 else u.flip(1))[0], x)


def test_couplings_are_those_of_zuko() -> None:
    size, units = 4, 9
    ours = stirred(RealNVPOfPoints([size], couplings=4, width=units, blocks=1))

    class Same(nn.Module):
        """A coupling's network as zuko asks for it: the shown values, and pairs of t and s."""

        def __init__(self, coupling: Any) -> None:
            super().__init__()
            self.coupling, self.shown = coupling, coupling.mask.bool()

        def forward(self, x: Tensor) -> Tensor:
            whole = x.new_zeros(*x.shape[:-1], size)
            whole[..., self.shown] = x
            s, t = self.coupling.network(whole).chunk(2, -1)
            s = self.coupling.bound * torch.tanh(s)
            return torch.stack([t[..., ~self.shown], s[..., ~self.shown]], -1).flatten(-2)

    theirs = zuko.flows.NICE(
        size, transforms=4, univariate=lambda t, s: AffineTransform(t, torch.exp(s))
    ).to(D)
    for coupling, transform in zip(ours.each, theirs.transform.transforms, strict=True):
        transform.hyper, transform.mask = Same(coupling), coupling.mask.bool()
    x = torch.randn(40, size, dtype=D)
    torch.testing.assert_close(
        FlowDensity(lambda shape: ours, Real(), [size]).log_prob(x), theirs().log_prob(x)
    )


# --- distillation ---------------------------------------------------------------------------------


def gaussians(**options: Any) -> tuple[Distilled, Normal, Normal]:
    """A student and a teacher of one map each without weights: Gaussians, of which all is known."""
    model = Distilled(
        partial(Reversed, flow=partial(InverseAutoregressive, layers=1, width=4, gated=False)),
        partial(MaskedAutoregressive, layers=1, width=4),
        Real(),
        [2],
        **options,
    )
    student, teacher = torch.tensor([0.3, -0.4, 0.2, -0.5]), torch.tensor([-0.2, 0.5, 0.4, 0.1])
    with torch.no_grad():
        model.flow.flow.maps[0].last.bias.copy_(student)
        model.teacher.flow.maps[0].last.bias.copy_(teacher)
    # of the student the values are reversed behind the map, of the teacher the noise
    mean, scale = student.view(2, 2).flip(1)
    return model, Normal(mean, scale.exp()), Normal(teacher[:2], teacher[2:].exp())


def test_the_divergence_of_gaussians() -> None:
    model, student, teacher = gaussians(teacher="a run")
    cross, entropy = model.entropies(400_000, torch.device("cpu"))
    torch.testing.assert_close(entropy, student.entropy().sum())  # exact, whatever is drawn
    torch.testing.assert_close(
        cross - entropy, kl_divergence(student, teacher).sum(), atol=0.01, rtol=0
    )
    found = model.objective((torch.zeros(64, 2),))
    torch.testing.assert_close(found.loss, found.metrics["kl"])
    points = torch.randn(5, 2)
    torch.testing.assert_close(model.log_likelihood((points,), 1), student.log_prob(points).sum(1))
    torch.testing.assert_close(model.teacher.log_prob(points), teacher.log_prob(points).sum(1))


def test_the_student_becomes_the_teacher() -> None:
    model, *_ = gaussians(teacher="a run")
    optimizer, found = torch.optim.Adam(model.parameters(), 0.02), []
    for _ in range(400):
        optimizer.zero_grad()
        objective = model.objective((torch.zeros(256, 2),))
        objective.loss.backward()
        optimizer.step()
        found.append(objective.metrics["kl"].item())
    assert found[0] > 0.3 and abs(sum(found[-50:]) / 50) < 0.02
    points = torch.randn(200, 2)
    torch.testing.assert_close(
        model.log_prob(points), model.teacher.log_prob(points), atol=0.3, rtol=0.1
    )


def test_the_teacher_learns_first_and_then_no_more() -> None:
    model, *_ = gaussians(teacher_steps=2)
    optimizer, batch = torch.optim.Adam(model.parameters(), 0.1), (torch.rand(8, 2),)

    def parts() -> list[Tensor]:
        return [
            torch.cat([p.detach().flatten() for p in part.parameters()])
            for part in (model.teacher, model.flow)
        ]

    for step in range(4):
        before = parts()
        assert model.teaching is (step < 2) and model.teacher.training is (step < 2)
        optimizer.zero_grad()
        found = model.objective(batch)
        assert set(found.losses) == (
            {"teacher_nll"} if step < 2 else {"cross_entropy", "negative_entropy"}
        )
        found.loss.backward()
        optimizer.step()
        model.after_step()
        changed = [not torch.equal(a, b) for a, b in zip(before, parts(), strict=True)]
        assert changed == [step < 2, step >= 2]
        again, *_ = gaussians(teacher_steps=2)
        again.load_state_dict(model.state_dict())  # a resume knows where it is
        assert again.teaching is model.teaching and again.done == step + 1


def test_a_teacher_is_frozen_with_the_statistics_of_the_data() -> None:
    student = partial(iaf, layers=1, width=8)
    flow = partial(MaskedAutoregressive, layers=2, width=8, batch_norm=True)
    model = Distilled(student, flow, Real(), [2], teacher_steps=1)
    data = torch.randn(40, 2)
    model.init_from_data((data,))
    model.objective((data,)).loss.backward()
    with torch.no_grad():
        for p in model.teacher.parameters():
            p -= 0.1 * torch.ones_like(p)
        expected = model.teacher.log_prob(data)
    model.after_step()
    assert not model.teacher.training
    torch.testing.assert_close(model.teacher.log_prob(data), expected)
    with pytest.raises(UserError, match=r"a student .* \(model.flow.batch_norm\)"):
        Distilled(flow, flow, Real(), [2])


def teachers_run(folder: Path, density: FlowDensity, *words: str) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(
        OmegaConf.create(composed("model=maf", *words)), folder / ".hydra" / "config.yaml"
    )
    AtomicIO().save_checkpoint(
        {
            "state_dict": {f"model.{k}": v for k, v in density.state_dict().items()},
            "origin": {"version": __version__},
        },
        folder / "checkpoints" / "last.ckpt",
    )
    return folder


def distilled(run: Path, **sizes: Any) -> Distilled:
    flow = partial(
        MaskedAutoregressive,
        **({"layers": 2, "width": 8, "depth": 1, "bound": 5.0, "batch_norm": False} | sizes),
    )
    return Distilled(partial(iaf, layers=1, width=8), flow, Real(), [2], teacher=str(run))


def test_a_teacher_of_another_run(tmp_path: Path) -> None:
    teacher = FlowDensity(partial(MaskedAutoregressive, layers=2, width=8, bound=5.0), Real(), [2])
    words = ("data=two_moons", "pixels=real", "model.flow.layers=2", "model.flow.width=8")
    words += ("model.flow.depth=1", "model.flow.batch_norm=false")
    run = teachers_run(tmp_path / "run", stirred(teacher).float(), *words)
    model, x = distilled(run), torch.randn(7, 2)
    load_initial_weights(model)
    torch.testing.assert_close(model.teacher.log_prob(x), teacher.log_prob(x))
    assert not model.teaching and not any(p.requires_grad for p in model.teacher.parameters())
    with pytest.raises(UserError, match=r"add model.teacher_flow.width=8$"):
        load_initial_weights(distilled(run, width=16))
    with pytest.raises(UserError, match=r"add model.teacher_flow.batch_norm=False$"):
        load_initial_weights(distilled(run, batch_norm=True))
    digits, flow = (
        teachers_run(tmp_path / "digits", teacher),
        partial(MaskedAutoregressive, layers=5, width=1024, depth=2, bound=5.0, batch_norm=True),
    )
    for pixels, shape, told in (
        (Real(), [2], "is of shape"),
        (Logit(0.05), [1, 28, 28], "the pixels in"),
    ):
        with pytest.raises(UserError, match=told):
            load_initial_weights(
                Distilled(
                    partial(iaf, layers=1, width=784), flow, pixels, shape, teacher=str(digits)
                )
            )
    missing = distilled(tmp_path / "gone")  # a finished student does without
    with pytest.raises(UserError, match=r"no finished run in .* \(model.teacher\)"):
        load_initial_weights(missing)


# --- what the presets do --------------------------------------------------------------------------


def small(node: Any, width: int) -> Any:
    """The same flows, with few layers; a MADE is at least as wide as there are values."""
    if not isinstance(node, dict):
        return node
    made = "flow.autoregressive" in node.get("_target_", "")
    sizes = {"width": width if made else 8, "layers": 2, "couplings": 2}
    sizes["teacher_steps"] = 1
    return {k: small(v, width) if isinstance(v, dict) else sizes.get(k, v) for k, v in node.items()}


TERMS = {"iaf_distilled": {"teacher_nll", "cross_entropy", "negative_entropy", "kl"}}
COMMANDS = [
    (model, "data=two_moons", "pixels=real")
    for model in ("maf", "realnvp_points", "planar", "iaf", "iaf_distilled")
]
COMMANDS += [
    ("realnvp",),
    ("iaf_distilled",),
    ("maf",),
    ("planar", "data=mnist_5k", "pixels=logit"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_preset_takes_two_steps(words: tuple[str, ...]) -> None:
    from gentrain.config.build import build

    width = 8 if "data=two_moons" in words else 784
    config = small(composed(f"model={words[0]}", *words[1:], "data.batch_size=4"), width)
    checked = validate.check(config)
    model = build(checked["model"], "model")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    scheme = build(checked["scheme"] | {"log_every": 1}, "scheme", model=model)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(accelerator="cpu", max_steps=2, max_epochs=-1, **quiet)
    trainer.fit(scheme, datamodule=DataModule(build(checked["data"], "data")))
    assert {f"model/{name}" for name in TERMS.get(words[0], {"nll"})} <= scheme.latest.keys()
    assert any(not torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize(("data", "pixels"), [("two_moons", "logit"), ("mnist_5k", "real")])
def test_pixels_of_another_kind_of_data_are_refused(data: str, pixels: str) -> None:
    from gentrain.config.build import build

    other = "real" if pixels == "logit" else "logit"
    with pytest.raises(UserError, match=rf"\(pixels\); add pixels={other}"):
        build(
            validate.check(composed("model=maf", f"data={data}", f"pixels={pixels}"))["model"],
            "model",
        )


@pytest.mark.parametrize("name", ["realnvp of points", "iaf, not gated"])
def test_a_flow_learns_two_moons(name: str) -> None:
    """Better than the best Gaussian can be."""
    points = TwoMoons(name="two_moons", shape=(2,), n=20_000).load("train").images
    gaussian = 0.5 * torch.logdet(torch.cov(points.T)) + 1 + math.log(2 * math.pi)
    make = (
        partial(RealNVPOfPoints, width=32, blocks=1)
        if name.startswith("realnvp")
        else partial(iaf, layers=3, width=32, gated=False)
    )
    density = FlowDensity(make, Real(), [2])
    optimizer = torch.optim.Adam(density.parameters(), 5e-3)
    for i in range(250):
        optimizer.zero_grad()
        density.objective((points[i * 64 % 19_000 :][:128],)).loss.backward()
        optimizer.step()
    assert -density.log_likelihood((points[-1000:],), 1).mean() < gaussian - 0.1


def test_the_picture_of_a_density(tmp_path: Path) -> None:
    density = FlowDensity(partial(MaskedAutoregressive, layers=2, width=8), Real(), [2])
    with torch.no_grad():
        for made in density.flow.maps:
            # deviations of exp(-2), so that all of it is inside
            made.last.bias.copy_(torch.tensor([0.0, 0.0, -1.0, -1.0]))
    run = SimpleNamespace(
        model=density,
        data=TwoMoons(name="two_moons", shape=(2,), n=1000),
        device=torch.device("cpu"),
    )
    session, mode = SampleSession(run), energy_modes.Density(n=200)  # type: ignore[arg-type]
    mode.check(session)
    assert abs(mode.draw(session, Output(tmp_path, "none"))["mass"] - 1) < 1e-3
    assert (tmp_path / "density.png").exists()
    p, *_ = energy_modes.density_on_grid(density, torch.device("cpu"), 5)
    want = Normal(0.0, math.exp(-2)).log_prob(torch.tensor([-0.8, -0.4, 0.0, 0.4, 0.8])).exp()
    torch.testing.assert_close(p, want[:, None] * want[None], rtol=1e-4, atol=1e-6)
    run.model = FlowDensity(partial(RealNVP, width=2, blocks=1), Logit(), [1, 4, 4])
    run.data = SimpleNamespace(shape=(1, 4, 4), name="digits", classes=None, things="images")
    with pytest.raises(UserError, match="points in the plane"):
        mode.check(SampleSession(run))  # type: ignore[arg-type]
