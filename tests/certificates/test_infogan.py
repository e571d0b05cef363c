"""InfoGAN: the bound against enumerated and closed informations, both objectives from
probabilities, and a Q that shares the critic's body.
"""

import math
from functools import partial

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2
from torch import Tensor
from torch.distributions import Categorical, Normal, Uniform

from gentrain.adversarial import losses, tricks
from gentrain.adversarial.augment import Augmentation, augmented
from gentrain.adversarial.regularizer import Regularizer
from gentrain.config.build import build
from gentrain.data.arrays import ArrayDataset, to_float
from gentrain.data.labels import Attributes
from gentrain.errors import UserError
from gentrain.models.gan.bigan import BiGAN
from gentrain.models.gan.infogan import (
    ENTROPY,
    CodePart,
    Codes,
    InfoGAN,
    information_terms,
    normal_log_density,
    view_entropies,
)
from gentrain.networks import mlp
from gentrain.quality.matching import MatchedAccuracy, matching
from tests.support.backbones import criterion
from tests.support.compose import composed
from tests.support.toy import Noise

SHAPE, LATENT, K = [1, 4, 4], 5, 3


def make(
    *chosen: Regularizer,
    loss: losses.AdversarialLoss | None = None,
    categories: tuple[int, ...] = (K,),
    continuous: int = 2,
    information: float = 1.0,
    continuous_information: float | None = None,
    deviation: float | None = 1.0,
    consistency: float = 0.0,
    balance: float = 1.0,
    augment: list[Augmentation] | None = None,
) -> InfoGAN:
    return InfoGAN(
        partial(mlp.Generator, shape=SHAPE, latent=LATENT, width=16, prior="uniform"),
        partial(mlp.Critic, shape=SHAPE, width=16),
        criterion(*chosen, loss=loss),
        list(categories),
        continuous,
        information,
        continuous_information,
        deviation,
        hidden=8,
        consistency=consistency,
        balance=balance,
        augment=augment,
    )


# --- the bound ------------------------------------------------------------------------------------

# how often each of 4 images comes of each of 3 codes, in 8 of each
COUNTS = torch.tensor([[8, 0, 0, 0], [1, 5, 2, 0], [0, 2, 2, 4]])
PAIRS = torch.tensor([(c, x) for c in range(3) for x in range(4) for _ in range(COUNTS[c, x])])


def enumerated(joint: Tensor) -> float:
    """I(c; x) of a table of probabilities, by its definition."""
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return float((joint * (joint / independent).clamp(min=1e-300).log()).sum())


def bound(q: Tensor) -> Tensor:
    """L of the pairs, where q (x, c) has log q(c | x)."""
    c, x = PAIRS.T
    return CodePart(math.log(3), q[x, c]).bound


def test_the_bound_is_the_information_where_q_is_the_posterior() -> None:
    """Every code is equally likely, so the pairs are the joint distribution itself."""
    joint = COUNTS.double() / COUNTS.sum()
    posterior = joint.T / joint.sum(0)[:, None]
    assert float(bound(posterior.log())) == pytest.approx(enumerated(joint), abs=1e-12)
    for seed in range(5):
        torch.manual_seed(seed)
        q = torch.randn(4, 3, dtype=torch.float64).log_softmax(1)
        gap = (posterior * (posterior.clamp(min=1e-300).log() - q)).sum(1) @ joint.sum(0)  # E KL
        assert float(bound(q)) == pytest.approx(enumerated(joint) - float(gap), abs=1e-12)
        assert float(bound(q)) < enumerated(joint)


def test_descent_on_the_loss_finds_the_information() -> None:
    logits = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.Adam([logits], 0.2)
    assert float(bound(logits.log_softmax(1))) == pytest.approx(0, abs=1e-12)  # it knows nothing
    for _ in range(300):
        c, x = PAIRS.T
        part = CodePart(math.log(3), logits.log_softmax(1)[x, c], weight=2.0)
        objective = information_terms(codes=part)
        torch.testing.assert_close(objective.loss, -2 * objective.metrics["mutual_information"])
        descent.zero_grad()
        objective.loss.backward()
        descent.step()
    found = float(objective.metrics["mutual_information"])
    assert found == pytest.approx(enumerated(COUNTS.double() / COUNTS.sum()), abs=2e-3)


@pytest.mark.parametrize("a", [0.1, 0.5, 1.0])
def test_the_bound_of_a_continuous_code(a: float) -> None:
    """x = c + u with u uniform in [-a, a] has I(c; x) = a / 2 - log a: h(x) is a trapezoid's."""
    c = torch.linspace(-1, 1, 2001, dtype=torch.float64)[:, None]
    u = torch.linspace(-a, a, 101, dtype=torch.float64)[None]
    x, c = (c + u).flatten()[:, None], c.expand(-1, 101).flatten()[:, None]
    low, high = (x - a).clamp(min=-1), (x + a).clamp(max=1)  # c given x is uniform between these
    mean, log_variance = (low + high) / 2, ((high - low).square() / 12 + 1e-9).log()
    found = CodePart(ENTROPY["uniform"], normal_log_density(c, mean, log_variance)).bound
    # the normal distribution of a uniform one's moments lies this much below it
    gap = math.log(2 * math.pi * math.e / 12) / 2
    assert float(found) == pytest.approx(a / 2 - math.log(a) - gap, abs=0.01)
    worse = CodePart(ENTROPY["uniform"], normal_log_density(c, mean, torch.zeros_like(mean))).bound
    assert worse < found


def test_the_parts_of_the_bound_are_torchs_own() -> None:
    torch.manual_seed(0)
    for deviation in (1.0, 0.3, None):
        codes = Codes([3, 4], 2, deviation)
        c, outputs = codes.draw(50, "cpu"), torch.randn(50, codes.outputs)
        assert c.shape == (50, 9) and codes.outputs == (9 if deviation else 11)
        found = codes.log_q(outputs, c)
        chosen = c[:, :3].argmax(1), c[:, 3:7].argmax(1)
        logits = outputs[:, :3], outputs[:, 3:7]
        wanted = sum(Categorical(logits=x).log_prob(k) for x, k in zip(logits, chosen, strict=True))
        torch.testing.assert_close(found["categorical"][1], wanted)
        sd = deviation or (outputs[:, 9:] / 2).exp()
        wanted = Normal(outputs[:, 7:9], sd).log_prob(c[:, 7:]).sum(1)
        torch.testing.assert_close(found["continuous"][1], wanted)
        assert found["categorical"][0] == pytest.approx(
            sum(float(Categorical(torch.ones(k)).entropy()) for k in (3, 4))
        )
        assert found["continuous"][0] == pytest.approx(2 * float(Uniform(-1, 1).entropy()))
    assert ENTROPY["normal"] == pytest.approx(float(Normal(0, 1).entropy()))


def shared(p: Tensor, other: Tensor) -> Tensor:
    """I(c; c') of the categories of two views."""
    of_one, given_other = view_entropies(p, other)
    return of_one - given_other


def test_what_two_views_say_of_each_other_is_the_information_of_their_joint() -> None:
    """Of the joint distribution of both categories, either of which may be the first view's."""
    p = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 0, 1, 1, 2, 2])]
    assert float(shared(p, p)) == pytest.approx(math.log(3))
    assert float(shared(p, p.roll(3, 0))) < math.log(3) - 0.5
    alike = torch.full_like(p, 1 / 3)
    assert float(shared(alike, alike)) == pytest.approx(0, abs=1e-12)
    torch.manual_seed(0)
    p, other = torch.randn(2, 6, 3, dtype=torch.float64).softmax(2)
    pairs = torch.stack([torch.outer(a, b) for a, b in zip(p, other, strict=True)]).sum(0) / 6
    joint = (pairs + pairs.T) / 2
    assert float(shared(p, other)) == pytest.approx(enumerated(joint), abs=1e-12)
    mean = Categorical((p + other).mean(0) / 2)
    torch.testing.assert_close(view_entropies(p, other)[0], mean.entropy())
    hard = torch.eye(3)[[0, 1, 2]].requires_grad_()  # zeros have a gradient
    shared(hard, hard).backward()
    assert hard.grad is not None and hard.grad.isfinite().all()


# --- the codes ------------------------------------------------------------------------------------


def test_codes_are_of_their_prior() -> None:
    model, n = make(categories=(K, 2)), 6000
    torch.manual_seed(0)
    z = model.noise(n, "cpu")
    assert z.shape == (n, LATENT + K + 2 + 2) and model.prior == "mixed"
    for hot in (z[:, LATENT : LATENT + K], z[:, LATENT + K : LATENT + K + 2]):
        assert set(hot.unique().tolist()) == {0.0, 1.0} and (hot.sum(1) == 1).all()
        expected = n / hot.shape[1]
        statistic = float(((hot.sum(0) - expected).square() / expected).sum())
        assert statistic < chi2.isf(1e-6, hot.shape[1] - 1)
    uniform = torch.cat([z[:, :LATENT], z[:, -2:]], 1)
    assert uniform.abs().max() <= 1 and (uniform.var(0) - 1 / 3).abs().max() < 0.03


def test_chosen_codes_take_the_place_of_drawn_ones() -> None:
    model = make(categories=(K, 2))
    z = model.noise(4, "cpu")
    chosen = model.with_codes(z, 2, {1: torch.linspace(-2, 2, 4)})
    hot, rest = chosen[:, LATENT : LATENT + K], [*range(LATENT), *range(LATENT + K, LATENT + 6)]
    assert (hot == torch.tensor([0.0, 0.0, 1.0])).all()
    assert torch.equal(chosen[:, rest], z[:, rest])
    assert chosen[:, -1].tolist() == torch.linspace(-2, 2, 4).tolist()
    assert torch.equal(model.with_codes(z, None, {}), z)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("no codes to read", {"categories": (), "continuous": 0}),
        ("no continuous codes to weigh", {"continuous": 0, "continuous_information": 0.5}),
        (r"no views are compared \(model\.augment\)", {"augment": ["affine"]}),
        (r"could be balanced \(model\.balance\)", {"balance": 3.0}),
        (r"two equal views.*\(model\.consistency\)", {"consistency": 1.0}),
        (
            "no categories of two views",
            {"consistency": 1.0, "augment": ["affine"], "categories": ()},
        ),
    ],
)
def test_codes_that_cannot_be_read(words: str, options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=words):
        make(**options)  # type: ignore[arg-type]


# --- the objectives -------------------------------------------------------------------------------


def informations(model: InfoGAN, fake: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """L of both kinds of codes, from probabilities."""
    outputs = model.critic.classify(model.critic.features(fake))
    hot, c = z[:, LATENT : LATENT + K], z[:, LATENT + K :]
    q = outputs[:, :K].softmax(1)
    categorical = math.log(K) + (q * hot).sum(1).log().mean()
    squares = (c - outputs[:, K:]).square().sum(1)
    continuous = 2 * math.log(2) - math.log(2 * math.pi) - (squares / 2).mean()
    return categorical, continuous


@pytest.mark.parametrize("weight", [None, 0.25])
def test_both_objectives_are_those_of_the_paper(weight: float | None) -> None:
    """The critic descends -V - lambda L, and the generator, with the saturating loss, V - lambda L
    but for what it cannot change.
    """
    model = make(loss=losses.js(saturating=True), information=2.0, continuous_information=weight)
    x = torch.rand(6, *SHAPE) * 2 - 1
    torch.manual_seed(5)
    critics = model.critic_loss((x,))
    torch.manual_seed(5)
    generators = model.generator_loss((x,))
    torch.manual_seed(5)
    z = model.noise(6, "cpu")
    fake = model.generator(z)
    of_real, of_fake = model.critic(x).sigmoid(), model.critic(fake).sigmoid()
    value = of_real.log().mean() + (1 - of_fake).log().mean()
    categorical, continuous = informations(model, fake, z)
    weighted = 2 * categorical + (2.0 if weight is None else weight) * continuous
    torch.testing.assert_close(critics.loss, -value - weighted)
    torch.testing.assert_close(
        generators.loss, (1 - of_fake).log().mean() - weighted, rtol=1e-4, atol=1e-5
    )
    for objective in (critics, generators):
        assert set(objective.losses) == {"adversarial", "information"}
        torch.testing.assert_close(objective.metrics["categorical_information"], categorical)
        torch.testing.assert_close(objective.metrics["continuous_information"], continuous)
        torch.testing.assert_close(
            objective.metrics["mutual_information"], categorical + continuous
        )


def test_q_shares_the_body_of_the_critic() -> None:
    """Q has a hidden layer and outputs of its own, and both heads read one pass of the body."""
    model, x = make(), torch.rand(6, *SHAPE)
    own = {name for name, _ in model.critic.named_parameters() if "critic." not in name}
    assert own == {f"classifier.{i}.{kind}" for i in (0, 3) for kind in ("weight", "bias")}
    passes: list[int] = []
    model.critic.critic.body.register_forward_hook(lambda m, i, o: passes.append(len(o)))
    model.critic_loss((x,))
    assert passes == [12]  # real images and fakes, together
    passes.clear()
    model.generator_loss((x,))
    assert passes == [6]


def test_the_information_teaches_every_network() -> None:
    """In the critic's update Q and the body, in the generator's the generator, its codes first."""
    model, x = make(), torch.rand(6, *SHAPE)
    model.critic_loss((x,)).losses["information"].backward()
    shared = [p for name, p in model.critic.named_parameters() if ".head." not in name]
    assert all(p.grad is not None and p.grad.any() for p in shared)
    assert model.critic.critic.head.weight.grad is None
    assert all(p.grad is None for p in model.generator.parameters())
    model.generator_loss((x,)).losses["information"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.generator.parameters())
    of_codes = model.generator.generator.body[0].weight.grad[:, LATENT:]
    assert of_codes.any(0).all()  # each category and each number moves the image


def test_the_critic_learns_from_two_views_of_real_images() -> None:
    """Each code of categories counts; the generator learns nothing of them."""
    model = make(categories=(K, 2), consistency=0.5, balance=3.0, augment=["affine"])
    plain, x = make(categories=(K, 2)), torch.rand(6, *SHAPE)
    plain.load_state_dict(model.state_dict())
    torch.manual_seed(2)
    objective = model.critic_loss((x,))
    torch.manual_seed(2)
    without = plain.critic_loss((x,))
    other = augmented(x, ["affine"])  # by the draws that follow those of the noise
    first, second = (model.critic.classify(model.critic.features(view)) for view in (x, other))
    of_one, given_other = (
        sum(entropies)
        for entropies in zip(
            *(
                view_entropies(first[:, part].softmax(1), second[:, part].softmax(1))
                for part in (slice(0, K), slice(K, K + 2))
            ),
            strict=True,
        )
    )
    gain = 0.5 * (3 * of_one - given_other)
    torch.testing.assert_close(objective.losses.pop("consistency"), -gain)
    torch.testing.assert_close(objective.metrics.pop("view_information"), of_one - given_other)
    assert objective.losses.keys() == without.losses.keys()
    torch.testing.assert_close(objective.loss, without.loss)
    assert "consistency" not in model.generator_loss((x,)).losses


def test_points_have_no_second_view() -> None:
    backbones = (
        partial(mlp.Generator, shape=[2], latent=2, width=4),
        partial(mlp.Critic, shape=[2], width=4),
    )
    with pytest.raises(UserError, match=r"points.*\(model\.augment\)"):
        InfoGAN(*backbones, criterion(), [3], consistency=1.0, augment=["affine"])


def test_bigan_has_the_same_part() -> None:
    """One bound, by the same names, with InfoGAN's entropy of the prior."""
    model = build(
        composed(
            "model=bigan", "model.information=1.5", "data.size=8", "model.critic.width=8",
            "model.generator.width=8", "model.generator.latent=4",
        )["model"],
        "model",
    )  # fmt: skip
    assert isinstance(model, BiGAN) and model.prior == "uniform"
    x = torch.rand(6, 1, 8, 8) * 2 - 1
    torch.manual_seed(1)
    objective = model.generator_loss((x,))
    torch.manual_seed(1)
    _, fake = model.pairs((x,))
    made, z = fake[:, :64].view(6, 1, 8, 8), fake[:, 64:]
    log_q = model.generator.encoder.log_q(made, z).mean()
    torch.testing.assert_close(objective.metrics["mutual_information"], 4 * math.log(2) + log_q)
    torch.testing.assert_close(
        objective.losses["information"], -1.5 * objective.metrics["mutual_information"]
    )


def test_tricks_that_would_mix_codes_are_refused() -> None:
    for trick in (tricks.Replay(4, 1.0), tricks.Packing()):
        with pytest.raises(UserError, match="codes"):
            make(trick)
    model, x = make(tricks.FeatureMatching()), torch.rand(6, *SHAPE)
    assert set(model.generator_loss((x,)).losses) == {"information", "FeatureMatching"}


# --- the score ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (10, 10), (4, 7), (7, 4)])
def test_the_matching_is_scipys(shape: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(0)
    for high in (3, 1000):
        for _ in range(20):
            gain = torch.randint(high, shape, generator=draw)
            pairs = matching(gain)
            rows, columns = zip(*pairs, strict=True)
            assert len(pairs) == min(shape) == len(set(rows)) == len(set(columns))
            best = gain.numpy()[linear_sum_assignment(gain.numpy(), maximize=True)].sum()
            assert sum(int(gain[pair]) for pair in pairs) == best


class Sorted(Noise):
    """Images whose mean tells the class, 60 of each of three."""

    def read(self, split: str) -> ArrayDataset:
        y = torch.arange(180) % 3
        images = (y * 80 + 20)[:, None, None, None].expand(-1, *self.shape)
        return ArrayDataset(images.byte(), y)


def test_the_score_names_a_class_for_each_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups in another order than the classes, of which one image in six is in another group."""
    data = Sorted(name="sorted", shape=(1, 4, 4), classes=3, batch_size=8)
    model = make()
    images = to_float(data.load("test").images)
    y = data.load("test").labels
    assert y is not None
    group = torch.tensor([2, 0, 1])[y]
    group[::6] = (group[::6] + 1) % 3
    known = iter(group.split(50))

    def cluster(x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(next(known), 3).float()

    monkeypatch.setattr(model, "cluster", cluster)
    metric = MatchedAccuracy(batch_size=50)
    metric.check(data, model)
    scores = metric.compute(data, model, torch.device("cpu"))
    assert scores["matched_accuracy"] == pytest.approx(5 / 6) and len(images) == 180
    assert metric.protocol(data, model)["groups"] == 3


def test_what_cannot_be_matched() -> None:
    data = Sorted(name="sorted", shape=(1, 4, 4), classes=3, batch_size=8)
    metric = MatchedAccuracy()
    with pytest.raises(UserError, match=r"no categories .*model\.categories"):
        metric.check(data, make(categories=()))
    data.label_kind = Attributes(("a", "b", "c"))
    with pytest.raises(UserError, match="several attributes"):
        metric.check(data, make())
    data = Sorted(name="sorted", shape=(1, 4, 4), classes=None, batch_size=8)
    with pytest.raises(UserError, match="no labels"):
        metric.check(data, make())
    assert metric.optional  # a training without labels warns


def test_the_categories_of_an_image_are_q_at_rest() -> None:
    """In eval mode, by the first code; the model's mode stays."""
    model, x = make(categories=(K, 2)), torch.rand(6, *SHAPE)
    logits = model.cluster(x)
    outputs = model.critic.classify(model.critic.features(x))
    torch.testing.assert_close(logits, outputs[:, :K])
    assert not logits.requires_grad and model.critic.training and model.categories == K
