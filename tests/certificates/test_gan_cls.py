"""Text to image: the joint embedding by brute force, the losses of both players by their formulas,
captions in between, and that a caption's text encoder learns of its own loss alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gentrain.adversarial import losses
from gentrain.adversarial.losses import AdversarialLoss
from gentrain.adversarial.regularizer import Regularizer
from gentrain.adversarial.tricks.terms import FeatureMatching
from gentrain.certificates import Certificate, Subject
from gentrain.certificates.base import defaults, finding
from gentrain.certificates.captions import (
    CaptionsBetween,
    CaptionsDescend,
    Contrast,
    JointEmbedding,
    contrastive,
    joint_embedding,
)
from gentrain.certificates.tiny import tiny
from gentrain.cli.compose import composed
from gentrain.data.labels import Captions
from gentrain.errors import UserError
from gentrain.models.gan import gan_cls
from gentrain.models.gan.gan_cls import (
    GANCLS,
    TextEncoder,
    contrastive_loss,
    joint_embedding_loss,
    retrieval,
    scaled,
)
from gentrain.networks import autoencoder, dcgan, mlp
from gentrain.networks.base import Backbone
from gentrain.quality.captions import agreements
from tests.support.backbones import criterion
from tests.support.toy import Noise

SHAPE, WORDS, LENGTH = [1, 8, 8], 7, 3


def make(
    *tricks: Regularizer,
    loss: AdversarialLoss | None = None,
    convolutions: bool = False,
    **options: Any,
) -> GANCLS:
    torch.manual_seed(0)
    network: Any = dcgan if convolutions else mlp
    more = {"width": 4} if convolutions else {"width": 16}
    return GANCLS(
        Backbone(network.Generator, shape=SHAPE, latent=5, **more),
        Backbone(network.Critic, shape=SHAPE, **more),
        criterion(*tricks, loss=loss),
        classes=WORDS,
        text=6,
        text_width=4,
        code=3,
        **options,
    )


def batch(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    y = torch.randint(1, WORDS, (n, LENGTH), generator=draw)
    y[0, 2] = 0
    return torch.rand(n, *SHAPE, generator=draw) * 2 - 1, y


# --- the joint embedding --------------------------------------------------------------------------


def test_the_joint_embedding_against_brute_force() -> None:
    draw = torch.Generator().manual_seed(0)
    v, t = (torch.randn(7, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    of = torch.tensor([[0], [1], [0], [2], [3], [3], [4]])  # which captions are the same
    expected = joint_embedding(v.numpy(), t.numpy(), of.numpy(), 0.7)
    assert float(joint_embedding_loss(v, t, of == of.T, 0.7)) == pytest.approx(expected)


def test_the_joint_embedding_in_closed_form() -> None:
    same = torch.eye(2, dtype=torch.bool)
    apart = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # F = diag(4, 9): all margins are kept
    assert joint_embedding_loss(apart, apart, same, 1.0) == 0
    assert retrieval(apart, apart, same) == 1
    # all alike: every term is the margin, whatever the scale
    alike = torch.full((2, 2), 5.0)
    assert joint_embedding_loss(alike, alike, same, 1.5) == pytest.approx(3.0)
    # exchanged: F_ii = 0, the others are 4 and 9, so both terms are 1 + 4 or 1 + 9
    assert joint_embedding_loss(apart, apart.flip(0), same, 1.0) == pytest.approx(15.0)
    assert retrieval(apart, apart.flip(0), same) == 0
    # captions that are all the same are no pairs
    assert joint_embedding_loss(apart, apart.flip(0), torch.ones(2, 2).bool(), 1.0) == 0


@pytest.mark.parametrize("further", [0, 2])
def test_the_contrastive_loss_against_brute_force(further: int) -> None:
    draw = torch.Generator().manual_seed(0)
    v, t = (torch.randn(5, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    wrong = torch.randn(further, 5, 4, generator=draw, dtype=torch.float64)
    of = torch.tensor([[0], [1], [0], [2], [3]])  # which captions are the same
    same = of == of.T
    expected = contrastive(*(each.numpy() for each in (v, t, of, wrong)))
    assert float(contrastive_loss(v, t, same, wrong)) == pytest.approx(expected)
    scales = torch.rand(5, 1, generator=draw) + 0.5
    assert contrastive_loss(scales * v, t * 3, same, wrong * 2) == pytest.approx(expected)


def test_what_fills_up_a_caption_changes_nothing() -> None:
    torch.manual_seed(0)
    phi, y = TextEncoder(9, 5, 4), torch.tensor([[3, 8, 1], [2, 5, 0]])
    longer = F.pad(y, (0, 4))
    assert torch.allclose(phi(y), phi(longer), atol=1e-6)
    turned = y.flip(1)[:1]
    assert not torch.allclose(phi(y[:1]), phi(turned), atol=1e-3)  # the order of words counts


# --- the players ----------------------------------------------------------------------------------


def test_the_critics_loss_is_that_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """-log D(x, t) - 1/2 [log(1 - D(x, t')) + log(1 - D(G(z, t), t))]."""
    model, (x, y) = make(), batch()
    wrong = y.roll(1, 0)
    monkeypatch.setattr(GANCLS, "wrong_labels", lambda self, y: wrong)
    z = model.generator.noise(len(x), "cpu")
    monkeypatch.setattr(type(model.generator), "noise", lambda self, n, device: z[:n])
    phi = model.generator.text

    def log_d(images: torch.Tensor, captions: torch.Tensor, sign: int) -> torch.Tensor:
        return F.logsigmoid(sign * model.critic(images, phi(captions))).mean()

    fake = model.generator(z, y)
    expected = -log_d(x, y, 1) - (log_d(x, wrong, -1) + log_d(fake, y, -1)) / 2
    found = model.critic_loss((x, y))
    assert float(found.losses["adversarial"]) == pytest.approx(float(expected), rel=1e-5)
    assert found.metrics["mismatched_score"].item() == pytest.approx(
        float(model.critic(x, phi(wrong)).mean()), rel=1e-5
    )
    without = make(matching_aware=False)
    without.load_state_dict(model.state_dict())
    expected = -log_d(x, y, 1) - log_d(fake, y, -1)
    found = without.critic_loss((x, y))
    assert float(found.losses["adversarial"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("beta", [0.5, 0.2])
def test_the_generators_loss_is_that_of_the_paper(
    beta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-log D(G(z, t), t), and the same of beta phi(t1) + (1 - beta) phi(t2)."""
    model, (x, y) = make(interpolation=beta), batch()
    z = model.generator.noise(9, "cpu")
    monkeypatch.setattr(type(model.generator), "noise", lambda self, n, device: z[:n])
    found = model.generator_loss((x, y))
    e = model.generator.text(y)
    mixed = torch.stack([beta * e[i] + (1 - beta) * e[i + 3] for i in range(3)])
    pairs = ((z[:6], e), (z[6:], mixed))
    # batch norm sees all nine at once
    fakes = model.generator.of_text(z, torch.cat([e, mixed])).split([6, 3])
    own, between = (
        -F.logsigmoid(model.critic(fake, texts)).mean()
        for fake, (_, texts) in zip(fakes, pairs, strict=True)
    )
    assert float(found.losses["adversarial"]) == pytest.approx(float(own), rel=1e-5)
    assert float(found.losses["interpolation"]) == pytest.approx(float(between), rel=1e-5)
    theta, same = model.generator.images(x), (y[:, None] == y[None]).all(2)
    embedding = joint_embedding_loss(theta, e, same, 1.0)
    assert float(found.losses["embedding"]) == pytest.approx(float(embedding), rel=1e-5)
    plain = make(interpolation=None).generator_loss((x, y)).losses
    assert "interpolation" not in plain and "embedding" in plain


@pytest.mark.parametrize("conditioning", ["concat", "projection"])
def test_both_players_minimise_the_weighted_contrastive_loss(
    conditioning: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(convolutions=True, conditioning=conditioning, contrast=0.3, negatives=2)
    (x, y), phi = batch(), model.generator.text
    z = model.generator.noise(9, "cpu")
    monkeypatch.setattr(type(model.generator), "noise", lambda self, n, device: z[:n])
    monkeypatch.setattr("gentrain.models.gan.gan_cls.one_word_off", lambda y: y.roll(1, 1))
    head, same = model.critic.contrast, (y[:, None] == y[None]).all(2)
    texts = head.texts(scaled(phi(y)))
    wrong = head.texts(scaled(phi(y.roll(1, 1)))).expand(2, -1, -1)

    def expected(images: torch.Tensor) -> float:
        h = head.images(model.critic.critic.features(images))
        return 0.3 * float(contrastive_loss(h, texts, same, wrong))

    of_critic = model.critic_loss((x, y)).losses
    assert float(of_critic["contrast"]) == pytest.approx(expected(x), rel=1e-4)
    with torch.no_grad():  # a batch of captions in between makes the same statistics
        half = torch.lerp(phi(y)[3:6], phi(y)[:3], 0.5)
        fake = model.generator.of_text(z, torch.cat([phi(y), half]))[:6]
    of_generator = model.generator_loss((x, y)).losses
    assert float(of_generator["contrast"]) == pytest.approx(expected(fake), rel=1e-4)
    assert not {"contrast"} & {*make().critic_loss((x, y)).losses}


def test_the_embedding_without_a_margin_is_contrastive(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, y) = make(margin=None, negatives=1), batch()
    monkeypatch.setattr("gentrain.models.gan.gan_cls.one_word_off", lambda y: y.roll(1, 1))
    phi, same = model.generator.text, (y[:, None] == y[None]).all(2)
    found = model.generator_loss((x, y))
    wrong = phi(y.roll(1, 1))[None]
    expected = contrastive_loss(model.generator.images(x), phi(y), same, wrong)
    assert float(found.losses["embedding"]) == pytest.approx(float(expected), rel=1e-5)
    cosines = F.normalize(phi(y), dim=1)
    best = retrieval(model.generator.images(x), cosines, same)
    assert found.metrics["retrieval"] == best


def test_the_image_encoder_may_have_a_network_of_its_own() -> None:
    of_maps = Backbone(dcgan.Critic, shape=SHAPE, width=4)
    for images, convolves in ((None, False), (of_maps, True)):
        theta = make(images=images).generator.images  # the players are perceptrons
        assert theta(batch()[0]).shape == (6, 6)
        assert any(isinstance(m, torch.nn.Conv2d) for m in theta.modules()) == convolves


def test_the_text_encoder_learns_of_its_own_loss_alone() -> None:
    model, pair = make(contrast=1.0, negatives=1), batch()
    objective = model.generator_loss(pair)
    phi = list(model.generator.text.parameters())
    others = [objective.losses[name] for name in ("adversarial", "interpolation", "contrast")]
    gradients = torch.autograd.grad(sum(others), phi, allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in gradients)
    own = torch.autograd.grad(objective.losses["embedding"], phi, retain_graph=True)
    assert all(gradient.abs().sum() > 0 for gradient in own)
    players = [*model.critic.parameters(), *model.generator.generator.parameters()]
    of_players = torch.autograd.grad(objective.losses["embedding"], players, allow_unused=True)
    assert all(gradient is None for gradient in of_players)
    sum(model.critic_loss(pair).losses.values()).backward()
    assert all(p.grad is None for p in model.generator.parameters())


@pytest.mark.parametrize("convolutions", [False, True])
def test_the_text_joins_the_last_map_at_every_place(convolutions: bool) -> None:
    model, (x, y) = make(convolutions=convolutions), batch()
    critic, e = model.critic, model.embed(y)
    channels, height, width = critic.map
    assert (height, width) == ((4, 4) if convolutions else (1, 1))
    maps = critic.critic.features(x).view(6, channels, height, width)
    code = critic.compress(scaled(e))
    layer = critic.join[0]
    found = critic.features(x, e).view(6, channels, height, width)
    for i, j in ((0, 0), (height - 1, width - 1)):
        column = torch.cat([maps[:, :, i, j], code], 1)
        expected = F.leaky_relu(column @ layer.weight[:, :, 0, 0].T + layer.bias, 0.2)
        assert torch.allclose(found[:, :, i, j], expected, atol=1e-5)


def test_projection_is_a_product_of_features_and_text() -> None:
    model, (x, y) = make(convolutions=True, conditioning="projection"), batch()
    critic, e = model.critic, model.embed(y)
    assert scaled(e).square().mean(1) == pytest.approx(torch.ones(6), rel=1e-5)
    h = critic.critic.features(x)
    expected = critic.critic.head(h)[:, 0] + torch.einsum(
        "bf,fe,be->b", h, critic.project.weight, scaled(e)
    )
    assert torch.allclose(critic(x, e), expected, atol=1e-5)
    assert torch.equal(critic.features(x, e), h)


@pytest.mark.parametrize("near", [0.0, 0.5, 1.0])
def test_so_many_wrong_captions_are_nearly_right(near: float) -> None:
    model = make(near=near)
    y = torch.randint(1, WORDS, (64, LENGTH), generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    wrong = torch.stack([model.wrong_labels(y) for _ in range(50)])
    off = (wrong != y).sum(2)
    assert off.min() == 1
    # of random captions of three words, few differ in one word alone
    plain = torch.stack([make().wrong_labels(y) for _ in range(50)])
    chance = ((plain != y).sum(2) == 1).double().mean().item()
    expected = near + (1 - near) * chance
    assert (off == 1).double().mean().item() == pytest.approx(expected, abs=0.03)


# --- what is refused ------------------------------------------------------------------------------


def test_interpolation_is_refused_where_it_has_no_loss() -> None:
    with pytest.raises(UserError, match=r"\(loss, model.interpolation\)"):
        make(loss=losses.relativistic())
    make(loss=losses.relativistic(), interpolation=None)
    with pytest.raises(UserError, match="use feature_matching_added"):
        make(FeatureMatching())
    make(FeatureMatching(), interpolation=None)
    make(FeatureMatching(adversarial=True))


def test_wrong_captions_that_no_one_sees_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(model.near, model.matching_aware\)"):
        make(matching_aware=False, near=0.5)


def test_further_captions_that_no_loss_looks_at_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(model.negatives, model.margin, model.contrast\)"):
        make(negatives=2)
    make(negatives=2, margin=None)
    make(negatives=2, contrast=0.5)


def test_an_image_encoder_without_features_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(model.images\); write model.images=null"):
        make(images=Backbone(autoencoder.MLP, shape=SHAPE))


def test_a_batch_of_one_has_no_other_caption() -> None:
    model = make()
    data = partial(Noise, name="noise", shape=(1, 8, 8), classes=WORDS, label_kind=Captions(3))
    with pytest.raises(UserError, match=r"\(data.batch_size\); give 2 or more"):
        model.check_data(data(batch_size=1))
    model.check_data(data(batch_size=2))


# --- scores ---------------------------------------------------------------------------------------


def test_agreement_counts_what_is_said() -> None:
    said = torch.tensor([[3, 1, -1], [3, -1, 0], [2, 1, 1]])
    shown = torch.tensor([[3, 0, 1], [3, 1, 0], [2, 1, 0]])
    found = agreements(shown, said, ["digit", "colour", "size"])
    assert found == {"digit": 1.0, "colour": 0.5, "size": 0.5, "caption": pytest.approx(1 / 3)}


# --- certificates ---------------------------------------------------------------------------------


@cache
def subject(*words: str) -> Subject:
    made = Subject(tiny(composed("train", ["model=gan_cls", "data.size=16", *words]).values))
    if words:
        made.batch = subject().batch  # the data take a second to make
    return made


def holds(kind: type[Certificate], *words: str) -> bool:
    system = subject(*words)
    found = finding(kind(system, defaults(GANCLS) | system.config["model"]))
    assert found is not None and not found.reason
    return found.holds


def wrong_sign(patch: pytest.MonkeyPatch) -> None:
    def swapped(v: Any, t: Any, same: Any, m: float) -> Any:
        return joint_embedding_loss(v, -t, same, m)

    patch.setattr(gan_cls, "joint_embedding_loss", swapped)


def same_captions_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gan_cls, "same_captions", lambda y: y[:, None, 0] == y[None, :, 0])


def forgotten_negatives(patch: pytest.MonkeyPatch) -> None:
    def without(v: Any, t: Any, same: Any, further: Any) -> Any:
        return contrastive_loss(v, t, same, further[:0])

    patch.setattr(gan_cls, "contrastive_loss", without)


def warmer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gan_cls, "TEMPERATURE", 0.2)


def right_negatives(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gan_cls, "one_word_off", lambda y: y)


def texts_as_they_are(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gan_cls, "scaled", lambda e: e)


def other_players_images(patch: pytest.MonkeyPatch) -> None:
    """The generator's contrast is of real images."""
    loss = GANCLS.contrast_loss

    def of_data(self: Any, x: Any, *rest: Any) -> Any:
        return loss(self, subject(*CONTRAST).batch[0], *rest)

    patch.setattr(GANCLS, "contrast_loss", of_data)


def forgotten_weight(patch: pytest.MonkeyPatch) -> None:
    loss = GANCLS.contrast_loss
    patch.setattr(GANCLS, "contrast_loss", lambda self, *args: loss(self, *args) / self.contrast)


def not_between(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GANCLS, "between", lambda self, e: e[: len(e) // 2])


def always_halfway(patch: pytest.MonkeyPatch) -> None:
    half = len(subject().batch[1]) // 2
    patch.setattr(GANCLS, "between", lambda self, e: (e[:half] + e[half : 2 * half]) / 2)


def scored_by_others(patch: pytest.MonkeyPatch) -> None:
    """The critic sees the first captions beside images of captions in between."""
    loss = GANCLS.interpolation_loss

    def of_first(self: Any, real: Any, fake: Any, e: Any) -> Any:
        return loss(self, real, fake, self.embed(subject().batch[1])[: len(e)])

    patch.setattr(GANCLS, "interpolation_loss", of_first)


def detached_texts(patch: pytest.MonkeyPatch) -> None:
    """phi does not learn."""
    texts = GANCLS.texts
    patch.setattr(GANCLS, "texts", lambda self, y: tuple(e.detach() for e in texts(self, y)))


CONTRAST = ("model.contrast=0.5", "model.negatives=2", "model.critic.norm=none")
NO_MARGIN = ("model.margin=null", "model.negatives=1")
BETA = ("model.interpolation=0.2",)
BUGS: list[tuple[Callable[[pytest.MonkeyPatch], None], type[Certificate], tuple[str, ...]]] = [
    (wrong_sign, JointEmbedding, ()),
    (same_captions_count, JointEmbedding, ()),
    (forgotten_negatives, JointEmbedding, NO_MARGIN),
    (not_between, CaptionsBetween, ()),
    (always_halfway, CaptionsBetween, BETA),
    (scored_by_others, CaptionsBetween, ()),
    (forgotten_negatives, Contrast, CONTRAST),
    (right_negatives, Contrast, CONTRAST),
    (same_captions_count, Contrast, CONTRAST),
    (warmer, Contrast, CONTRAST),
    (texts_as_they_are, Contrast, CONTRAST),
    (other_players_images, Contrast, CONTRAST),
    (forgotten_weight, Contrast, CONTRAST),
    (detached_texts, CaptionsDescend, ()),
]


@pytest.mark.parametrize(
    ("bug", "kind", "words"), BUGS, ids=[f"{kind.__name__}-{bug.__name__}" for bug, kind, _ in BUGS]
)
def test_a_certificate_sees_a_bug(
    bug: Callable[[pytest.MonkeyPatch], None],
    kind: type[Certificate],
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert holds(kind, *words)
    bug(monkeypatch)
    assert not holds(kind, *words)


def test_steps_are_certified_where_texts_count() -> None:
    """Without norms the contrast hangs on phi, which does not learn of it."""
    assert holds(CaptionsDescend, *CONTRAST)
