"""SYSTEMS.md section 2: penalties per sample against hand-made critics, spectral norm against SVD,
clipping.
"""

import logging
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gentrain.adversarial import losses
from gentrain.adversarial.lipschitz import GradientPenalty, SpectralNorm, Unconstrained, WeightClip
from gentrain.adversarial.regularizer import Regularizer
from gentrain.certificates.lipschitz import EachSample, LinearCritic
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU, ReLU
from gentrain.layers.precision import default_dtype
from gentrain.models.gan.gan import GAN
from gentrain.networks import dcgan, mlp, normfree, resnet
from tests.support.backbones import criterion, ready

SHAPE = [1, 28, 28]


class Quadratic(nn.Module):
    """D(x) = 1/2 x^T diag(a) x + w.x, whose gradient a * x + w is known for each sample."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.a, self.w = (
            nn.Parameter(torch.rand(dim).double()),
            nn.Parameter(torch.randn(dim).double()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.a * x.square() / 2 + self.w * x).flatten(1).sum(1)

    def gradient(self, x: Tensor) -> Tensor:
        return self.a * x + self.w


def penalties(**options: object) -> tuple[Tensor, Tensor, Quadratic]:
    """(penalty, the same from the known gradient at the same points, critic)"""
    critic, real, fake = Quadratic(12), torch.randn(6, 12).double(), torch.randn(6, 12).double()
    penalty = GradientPenalty(**options)  # type: ignore[arg-type]
    points: list[Tensor] = []
    penalty.penalty_points = lambda r, f: (
        points.append(GradientPenalty.penalty_points(penalty, r, f)) or points[0].double()
    )  # type: ignore[method-assign, func-returns-value]
    value = penalty.critic_term(critic, real, fake)
    assert value is not None
    return value, critic.gradient(points[0].double()).norm(dim=1), critic


@pytest.mark.parametrize("kind", [LinearCritic, EachSample])
@pytest.mark.parametrize("points", ["interpolate", "real", "fake", "both", "dragan"])
def test_critics_with_known_gradients(kind: type[LinearCritic], points: str) -> None:
    """The certificates of `gentrain verify`, with options that no preset has."""
    options = {"weight": 7.0, "center": 0.5, "one_sided": True, "points": points, "every": 3}
    with default_dtype(torch.float64):
        found = kind(None, options | {"coupled": "refuse"}).measure()  # type: ignore[arg-type]
    assert found is not None and found <= kind.bound


@pytest.mark.parametrize("points", ["interpolate", "real", "fake", "both", "dragan"])
@pytest.mark.parametrize(
    ("center", "one_sided"), [(1.0, False), (1.0, True), (0.0, False), (3.0, True)]
)
def test_one_norm_per_sample(points: str, center: float, one_sided: bool) -> None:
    value, norms, critic = penalties(points=points, center=center, one_sided=one_sided, weight=7.0)
    excess = (norms - center).clamp(min=0) if one_sided else norms - center
    expected = 7 * excess.square().mean()
    torch.testing.assert_close(value.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    params = [critic.a, critic.w]
    for got, want in zip(
        torch.autograd.grad(value, params), torch.autograd.grad(expected, params), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    # one norm for the whole batch, the usual mistake, is another number
    assert not torch.isclose(value.double(), 7 * (norms.square().sum().sqrt() - center) ** 2)


def test_where_the_points_lie() -> None:
    real, fake = torch.zeros(64, 1, 4, 4), torch.ones(64, 1, 4, 4)
    x = GradientPenalty(points="interpolate").penalty_points(real, fake).flatten(1)
    assert (x == x[:, :1]).all()  # one eps for a sample
    assert x[:, 0].unique().numel() == 64  # another for the next
    assert x.min() >= 0
    assert x.max() <= 1
    assert torch.equal(GradientPenalty(points="real").penalty_points(real, fake), real)
    assert torch.equal(GradientPenalty(points="fake").penalty_points(real, fake), fake)
    assert torch.equal(
        GradientPenalty(points="both").penalty_points(real, fake), torch.cat([real, fake])
    )
    noisy = torch.randn(4096, 1, 2, 2) * 3
    shift = (GradientPenalty(points="dragan").penalty_points(noisy, fake) - noisy) / (
        0.5 * noisy.std()
    )
    assert shift.min() >= 0  # eps u, both uniform: mean 1/4
    assert shift.mean().item() == pytest.approx(0.25, abs=0.01)


def test_lazy_penalty_keeps_its_weight() -> None:
    lazy, eager = GradientPenalty(every=4), GradientPenalty()
    critic, real = Quadratic(3), torch.randn(2, 3).double()
    torch.manual_seed(1)
    terms = []
    for _ in range(8):
        terms.append(lazy.critic_term(critic, real, real))
        lazy.after_critic_step(critic)  # type: ignore[arg-type]
    assert [t is not None for t in terms] == [True, False, False, False] * 2
    torch.testing.assert_close(terms[0], 4 * eager.critic_term(critic, real, real))
    restored = GradientPenalty(every=4)
    lazy.after_critic_step(critic)  # type: ignore[arg-type]
    restored.load_state_dict(lazy.state_dict())
    assert (restored.steps, restored.due) == (9, False)


def test_penalty_is_float32_under_autocast() -> None:
    critic = dcgan.Critic(SHAPE, 8, "none")
    real, fake = torch.rand(4, *SHAPE), torch.rand(4, *SHAPE)
    torch.manual_seed(3)
    plain = GradientPenalty().critic_term(critic, real, fake)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = GradientPenalty().critic_term(critic, real.bfloat16().float(), fake)
        assert mixed is not None
        assert mixed.dtype == torch.float32
    torch.manual_seed(3)
    torch.testing.assert_close(
        mixed, GradientPenalty().critic_term(critic, real.bfloat16().float(), fake), rtol=0, atol=0
    )
    assert plain is not None


@pytest.mark.parametrize("slope", [0.2, 0.0])
def test_declared_second_derivative_changes_nothing(slope: float) -> None:
    """Bit-equal to torch's own rectifier through the backward of a backward."""

    def gradients(activation: nn.Module) -> list[Tensor]:
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            activation,
            nn.Conv2d(4, 4, 3),
            activation,
            nn.Flatten(),
            nn.Linear(4 * 36, 1),
        )
        x = torch.randn(5, 1, 10, 10, requires_grad=True)
        (g,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        return list(
            torch.autograd.grad(
                (g.flatten(1).norm(dim=1) - 1).square().mean() + net(x).mean(),
                list(net.parameters()),
            )
        )

    ours, theirs = (
        LeakyReLU(slope) if slope else ReLU(),
        nn.LeakyReLU(slope) if slope else nn.ReLU(),
    )
    assert all(torch.equal(a, b) for a, b in zip(gradients(ours), gradients(theirs), strict=True))


CRITICS = {
    "mlp": lambda: mlp.Critic(SHAPE, 32),
    "dcgan": lambda: dcgan.Critic(SHAPE, 8, "layer"),
    "resnet": lambda: resnet.Critic(SHAPE, 8),
    "normfree": lambda: normfree.Critic(SHAPE, 8, 1),
}


@pytest.mark.parametrize("name", CRITICS)
def test_penalty_against_float64_per_sample(name: str) -> None:
    """Of the whole batch at once, in float32, against each sample alone in float64 with torch's own
    rectifiers.
    """
    torch.manual_seed(0)
    critic = CRITICS[name]()
    for p in critic.parameters():  # fix-up starts at zero: make every path count
        p.data.normal_(0, 0.1)
    exact = plain_activations(CRITICS[name]()).double()
    exact.load_state_dict(critic.state_dict())
    x = torch.randn(4, *SHAPE)
    value = GradientPenalty(points="real").critic_term(critic, x, x)
    got = torch.autograd.grad(value, list(critic.parameters()), allow_unused=True)
    total = torch.zeros((), dtype=torch.float64)
    for sample in x.double():
        point = sample[None].requires_grad_()
        (g,) = torch.autograd.grad(exact(point).sum(), point, create_graph=True)
        total = total + 10 * (g.norm() - 1) ** 2 / len(x)
    want = torch.autograd.grad(total, list(exact.parameters()), allow_unused=True)
    torch.testing.assert_close(value.double(), total.detach(), rtol=1e-4, atol=1e-5)
    scale = max(w.abs().max() for w in want if w is not None)
    for a, b in zip(got, want, strict=True):
        if a is not None and b is not None:
            assert (a.double() - b).abs().max() <= 1e-4 * scale
        else:
            assert (a is None or not a.any()) and (b is None or not b.any())


def plain_activations(network: nn.Module) -> nn.Module:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, LeakyReLU):
                setattr(module, name, nn.LeakyReLU(child.slope))
    return network


def built(
    critic: nn.Module, lipschitz: Regularizer, loss: losses.AdversarialLoss | None = None
) -> GAN:
    generator = partial(dcgan.Generator, shape=SHAPE, latent=16, width=8)
    return GAN(
        generator, ready(critic), criterion(loss=loss or losses.hinge(), lipschitz=lipschitz)
    )


def test_spectral_norm_against_svd() -> None:
    """After enough power iterations every layer's largest singular value is 1; conv weights as
    (out, in * kh * kw).
    """
    model = built(dcgan.Critic(SHAPE, 8, "none"), SpectralNorm())
    x = torch.randn(4, *SHAPE)
    model.train()
    with torch.no_grad():
        for _ in range(200):
            model.critic(x)
    layers = [m for m in model.critic.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 3
    model.eval()
    for layer in layers:
        original = layer.parametrizations.weight.original
        sigma = torch.linalg.matrix_norm(original.flatten(1), 2)
        torch.testing.assert_close(layer.weight, original / sigma, rtol=1e-3, atol=1e-5)


def test_spectral_norm_state() -> None:
    """u moves once in a training forward of real and fake together, not in eval, and is in the
    checkpoint.
    """
    model = built(dcgan.Critic(SHAPE, 8, "none"), SpectralNorm())
    u = next(b for n, b in model.critic.named_buffers() if n.endswith("_u"))
    assert any(n.endswith("_u") for n in model.state_dict())
    before = u.clone()
    model.eval()
    model.critic(torch.randn(2, *SHAPE))
    assert torch.equal(u, before)
    model.train()
    calls = []
    model.critic.body.register_forward_hook(lambda *_: calls.append(1))
    model.critic_loss((torch.randn(2, *SHAPE),))
    assert len(calls) == 1
    assert not torch.equal(u, before)


def test_sigma_is_differentiable_through_the_weight() -> None:
    """grad of f(W / sigma(W)) with u, v fixed has the -(u v^T) term of Miyato et al., eq. 12;
    without it W's scale would matter.
    """
    model = built(mlp.Critic([6], 4, 1), SpectralNorm())
    layer = model.critic.head
    layer(torch.randn(3, 4)).sum().backward()
    original = layer.parametrizations.weight.original
    # f(W / sigma) does not change along W itself, so the gradient is orthogonal to W
    assert abs((original.grad * original).sum().item()) < 1e-5


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance"])
def test_clip_bounds_every_parameter(norm: str) -> None:
    """The gains and shifts of norms too, as in the authors' code, and from the first step on."""
    critic = dcgan.Critic(SHAPE, 8, norm)  # type: ignore[arg-type]
    model = built(critic, WeightClip(0.01), losses.wasserstein())
    images = torch.rand(4, *SHAPE) * 2 - 1
    model.init_from_batch((images,))
    for _ in range(2):
        assert all((p.abs() <= 0.01).all() for p in model.critic.parameters())
        for p in model.critic.parameters():
            p.data.add_(1.0)
        model.after_critic_step({})


def test_clip_warns_of_momentum(caplog: pytest.LogCaptureFixture) -> None:
    model = built(dcgan.Critic(SHAPE, 8, "batch"), WeightClip(0.01), losses.wasserstein())
    with caplog.at_level(logging.WARNING, "gentrain"):
        model.regularizers["weight_clip"].check_optimizer(
            "critic", torch.optim.RMSprop(model.critic.parameters())
        )
        assert not caplog.records
        model.regularizers["weight_clip"].check_optimizer(
            "critic", torch.optim.Adam(model.critic.parameters())
        )
    assert "Arjovsky" in caplog.text


def test_refusals() -> None:
    with pytest.raises(UserError, match="lipschitz=none"):
        built(dcgan.Critic(SHAPE, 8, "none"), Unconstrained(), losses.wasserstein())
    with pytest.raises(UserError, match=r"couple samples.*norm=layer"):
        built(dcgan.Critic(SHAPE, 8, "batch"), GradientPenalty())
    for norm in ("layer", "instance", "none"):
        built(dcgan.Critic(SHAPE, 8, norm), GradientPenalty())


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "none"])
def test_spectral_norm_before_a_norm_warns(norm: str, caplog: pytest.LogCaptureFixture) -> None:
    """The reason is measured: weights x 7 leave the scores as they are, but for the norm's eps."""
    torch.manual_seed(0)
    critic = dcgan.Critic(SHAPE, 8, norm)  # type: ignore[arg-type]
    x, second = torch.rand(8, *SHAPE), critic.body[2]
    nn.init.normal_(second.weight, 0, 0.5)
    before = critic(x).detach()
    with torch.no_grad():
        second.weight.mul_(7)
    change = float((critic(x) - before).norm() / before.norm())
    assert change > 1 if norm == "none" else change < 0.03
    model = built(critic, SpectralNorm())
    with caplog.at_level(logging.WARNING, "gentrain"):
        model.init_from_batch((x,))
    if norm == "none":
        assert not caplog.records
    else:
        (record,) = caplog.records
        assert "no effect on body.2 of the critic" in record.getMessage()
        assert "model.critic.norm=none" in record.getMessage()


def test_spectral_norm_of_a_generator_with_norms_warns(caplog: pytest.LogCaptureFixture) -> None:
    model = built(dcgan.Critic(SHAPE, 8, "none"), SpectralNorm(["critic", "generator"]))
    with caplog.at_level(logging.WARNING, "gentrain"):
        model.init_from_batch((torch.rand(8, *SHAPE),))
    (record,) = caplog.records
    assert "no effect on body." in record.getMessage() and "generator" in record.getMessage()


@pytest.mark.parametrize("norm", ["batch", "layer", "instance"])
def test_a_wasserstein_critic_with_free_gains_is_refused(norm: str) -> None:
    critic = dcgan.Critic(SHAPE, 8, norm)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"spectral_norm sets no bound to body\.3.*norm=none"):
        built(critic, SpectralNorm(), losses.wasserstein())


@pytest.mark.parametrize("norm", ["layer", "instance", "none"])
def test_allowed_norms_do_not_couple_samples(norm: str) -> None:
    """The reason for the refusal, checked on what is let through: one sample's score does not
    depend on the others.
    """
    critic = dcgan.Critic(SHAPE, 8, norm)  # type: ignore[arg-type]
    x = torch.randn(4, *SHAPE)
    torch.testing.assert_close(critic(x)[:1], critic(x[:1]), rtol=1e-4, atol=1e-5)
