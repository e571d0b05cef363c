"""The certificates of every preset hold, and a bug on purpose is seen in each of ten."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from gentrain.adversarial.lipschitz import GradientPenalty, WeightClip
from gentrain.adversarial.losses import AdversarialLoss
from gentrain.certificates import FAMILIES, Certificate, Subject, bands, measured
from gentrain.certificates.adversarial import ConditionedTerms
from gentrain.certificates.base import ENROLLED, chosen, defaults, finding
from gentrain.certificates.gans import Information, LabelsAreSeen
from gentrain.certificates.tiny import tiny
from gentrain.cli.compose import composed
from gentrain.commands.verify import of_experiment
from gentrain.data import arrays
from gentrain.layers import causal
from gentrain.models.density import DensityModel
from gentrain.models.energy import rbm
from gentrain.models.flow.autoregressive import BatchNorm
from gentrain.models.gan import acgan, cyclegan
from gentrain.models.gan.base import AdversarialModel
from gentrain.models.gan.infogan import InfoGAN
from gentrain.models.vae import vae
from gentrain.models.vae.vae import VAE
from tests.support.paths import CONF
from tests.support.presets import NAMES
from tests.support.program import Program, refused

QUICK = ("gan", "rbm")  # one of each kind of training; the others are slow
STARTS = ("hopfield", "planar", "rbm")  # the same of the first steps


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*vmap.*")
        yield


def values(preset: str) -> dict[str, Any]:
    return composed("train", [f"model={preset}"]).values


def broken(preset: str) -> dict[str, float]:
    """The certificates of a preset that do not hold, with what was measured."""
    found = measured(Subject(tiny(values(preset))))
    return {type(f.certificate).__name__: f.measured for f in found if not f.holds}


@pytest.mark.parametrize(
    "preset", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_every_property_holds(preset: str) -> None:
    found = measured(Subject(tiny(values(preset))))
    assert len({type(each.certificate) for each in found}) >= 3  # one is of the optimizers
    assert not [(each.certificate.property, each) for each in found if not each.holds]


# a trick, a preset that takes it, and the certificate of the trick itself, if it has one
OF_TRICKS = {
    "top_k": (["model=gan"], "BestFakes"),
    # of which the weight was not that of the loss in whose place it is
    "unrolled": (["model=cyclegan", "model.adversarial=3"], "ForeseenCritic"),
    "replay": (["model=gan"], "OldFakes"),
    "pulling_away": (["model=gan"], "Cosines"),  # whose critic has dropout
    "diff_augment": (["model=dcgan"], ""),
}


@pytest.mark.parametrize(
    "trick",
    [
        trick if trick in ("top_k", "unrolled") else pytest.param(trick, marks=pytest.mark.slow)
        for trick in sorted(file.stem for file in (CONF / "tricks").glob("*.yaml"))
    ],
)
def test_every_property_holds_with_a_trick(trick: str) -> None:
    words, own = OF_TRICKS.get(trick, (["model=gan"], ""))
    words = [*words, f"tricks=[{trick}]"]
    found = measured(Subject(tiny(composed("train", words).values)))
    assert not [(each.certificate.property, each) for each in found if not each.holds]
    assert not own or own in {type(each.certificate).__name__ for each in found}


@pytest.mark.parametrize(
    "preset", [n if n in STARTS else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_the_first_steps_lie_where_they_lay(preset: str) -> None:
    band = bands.stored()[preset]
    assert not bands.compared(tiny(values(preset), band.steps), band)


def test_every_certificate_says_what_it_is_of() -> None:
    kinds = {kind for each in ENROLLED.values() for kind in each}
    for kind in kinds:
        assert kind.property and kind.source and kind.of, kind
    assert len(kinds) > 50 and len(FAMILIES) == 11


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param(ConditionedTerms, ["model=gan_cls"], marks=pytest.mark.slow),
        (ConditionedTerms, ["model=cgan", "model.matching_aware=true"]),
        (LabelsAreSeen, ["model=cgan", "model.matching_aware=true"]),
    ],
)
def test_critics_that_are_shown_wrong_labels(kind: type[Certificate], words: list[str]) -> None:
    """Their loss is the mean of two, and only the pairs that shall be wrong are so."""
    subject = Subject(tiny(composed("train", words).values))
    assert kind(subject, subject.config["model"]).measure() == 0.0


@pytest.mark.parametrize(
    "words", [["experiment=categories"], ["model.augment=[affine]", "model.consistency=1"]]
)
def test_the_codes_are_those_of_the_fakes(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Q reads real images as well."""
    subject = Subject(tiny(composed("train", ["model=infogan", *words]).values))
    certificate = Information(subject, defaults(InfoGAN) | subject.config["model"])
    before = finding(certificate)
    assert before and before.holds
    add = InfoGAN.add_information

    def of_real(self: InfoGAN, objective: Any, h: Tensor, z: Tensor) -> None:
        add(self, objective, self.critic.features(subject.batch[0]), z)

    monkeypatch.setattr(InfoGAN, "add_information", of_real)
    after = finding(certificate)
    assert after and not after.holds


def test_a_certificate_of_a_subclass_takes_the_place_of_one_of_its_base() -> None:
    class Base(DensityModel):  # type: ignore[misc]
        pass

    class Derived(Base):  # type: ignore[misc]
        pass

    class One(Certificate):
        of, name = (Base,), "objective"

        def measure(self) -> float:
            return 0.0

    class Two(One):
        of = (Derived,)

    try:
        assert chosen(Base)["objective"] is One
        assert chosen(Derived)["objective"] is Two
    finally:
        del ENROLLED[Base], ENROLLED[Derived]


# --- the command ----------------------------------------------------------------------------------


def test_what_departs_is_listed(program: Program) -> None:
    """A changed option, a chosen method, batch norm put back, and the preset's own rows."""
    words = ("lr=1e-3", "lipschitz=clip", "loss=ls", "model.critic.norm=batch")
    done = program("verify", "gan", *words, "bands=false")
    assert done.status == 0, done
    for line in (
        "departs: scheme.optimizers.critic.lr = 0.001 (preset: 0.0005)",
        "departs: lipschitz = clip (preset: none)",
        "departs: loss = ls (preset: js)",
        "departs: model.critic.norm = batch (preset: none)",
        "the preset departs: scheme.optimizers.critic.lr = 0.0005; paper: 0.1, SGD",
    ):
        assert line in done.stdout, done.stdout
    assert "properties hold" in done.stdout and "FAIL" not in done.stdout


@pytest.mark.slow
def test_what_does_not_hold_is_status_1(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rbm, "contrast", lambda data, model: contrast(model, data))
    done = program("verify", "model=rbm", "bands=false")
    assert done.status == 1 and "FAIL" in done.stdout
    assert "the gradient is <v h>" in done.stdout


def test_an_experiment_may_choose_the_preset() -> None:
    for experiment, preset in (("categories", "infogan"), ("[captions]", "gan_cls")):
        assert of_experiment([f"experiment={experiment}"], composed) == preset
    assert of_experiment(["experiment=[quick,plane]"], composed) == "ebm"
    for word in ("experiment=quick", "experiment=null", "steps=1"):
        assert of_experiment([word], composed) is None


def test_words_that_change_nothing_are_refused(program: Program) -> None:
    refused(program("verify", "model=gan", "steps=3"), "steps changes nothing")
    refused(program("verify", "model=nothing"), "nothing")
    refused(program("verify", "modle=gan"), "modle", "did you mean model?")
    refused(program("verify"), "give model=NAME, or all")
    refused(program("verify", "experiment=quick"), "give model=NAME, or all")
    wrong = program("verify", "model=dcgan", "model.generator.widht=3")
    refused(wrong, "did you mean model.generator.width?")


# --- bugs on purpose ------------------------------------------------------------------------------

contrast = rbm.contrast


class Bug(NamedTuple):
    """A bug, and what must see it: a certificate, or "band"."""

    what: str
    seen_by: str
    patch: Callable[[pytest.MonkeyPatch], None]


def halved_penalty(patch: pytest.MonkeyPatch) -> None:
    term = GradientPenalty.critic_term
    patch.setattr(GradientPenalty, "critic_term", lambda *args: term(*args) / 2)


def swapped_scores(patch: pytest.MonkeyPatch) -> None:
    scores = AdversarialModel.scores
    patch.setattr(AdversarialModel, "scores", lambda *args: scores(*args)[::-1])


def wrong_sign(patch: pytest.MonkeyPatch) -> None:
    made = AdversarialLoss.__init__

    def init(
        self: AdversarialLoss, critic: Any, generator: Any, *args: Any, **options: Any
    ) -> None:
        made(self, critic, lambda real, fake: -generator(real, fake), *args, **options)

    patch.setattr(AdversarialLoss, "__init__", init)


def forgotten_clip(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WeightClip, "after_critic_step", lambda self, model: None)


def wrong_divergence(patch: pytest.MonkeyPatch) -> None:
    def without_entropy(mean: Tensor, log_variance: Tensor) -> Tensor:
        return 0.5 * (mean.square() + log_variance.exp() - 1).sum(1)

    patch.setattr(vae, "gaussian_kl", without_entropy)


def missing_determinant(patch: pytest.MonkeyPatch) -> None:
    forward = BatchNorm.forward

    def without(self: BatchNorm, z: Tensor, context: Tensor | None = None) -> Any:
        y, log_det = forward(self, z, context)
        return y, 0 * log_det

    patch.setattr(BatchNorm, "forward", without)


def stale_mask(patch: pytest.MonkeyPatch) -> None:
    made = causal.CausalConv2d.__init__

    def init(self: Any, *args: Any, strict: bool = False, **options: Any) -> None:
        made(self, *args, strict=False, **options)

    patch.setattr(causal.CausalConv2d, "__init__", init)


def exchanged_phases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rbm, "contrast", lambda data, model: contrast(model, data))


def detached_cycle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cyclegan, "l1", lambda made, target: (made - target).abs().mean().detach())


def swapped_labels(patch: pytest.MonkeyPatch) -> None:
    entropy = acgan.F.cross_entropy

    class Swapped:
        cross_entropy = staticmethod(lambda logits, y: entropy(logits, y.flip(0)))

    patch.setattr(acgan, "F", Swapped)


def dark_pictures(patch: pytest.MonkeyPatch) -> None:
    """Pixels in [0, 1] where [-1, 1] is promised: no formula of a model is wrong."""
    from gentrain.data import batches

    for module in (arrays, batches):
        if "to_float" in vars(module):
            patch.setattr(module, "to_float", lambda x: x.float() / 255)


def sleeping_critic(patch: pytest.MonkeyPatch) -> None:
    """The critic's optimizer makes no step."""
    from gentrain.training.adversarial import AdversarialModule

    update = AdversarialModule.update_player

    def asleep(self: Any, player: str, optimizer: Any, part: Any) -> Any:
        before = [p.detach().clone() for p in self.players[player]]
        scalars = update(self, player, optimizer, part)
        with torch.no_grad():
            for p, old in zip(self.players[player], before, strict=True):
                p.copy_(old if player == "critic" else p)
        return scalars

    patch.setattr(AdversarialModule, "update_player", asleep)


BUGS = {
    "wgan_gp": Bug("halved penalty", "LinearCritic", halved_penalty),
    "dcgan": Bug("real and fake scores swapped", "RealIsReal", swapped_scores),
    "lsgan": Bug("wrong sign of the generator's loss", "LeastSquares", wrong_sign),
    "wgan": Bug("weights are not clipped", "Clipped", forgotten_clip),
    "vae": Bug("divergence without the entropy of q", "Bound", wrong_divergence),
    "maf": Bug("batch norm without its log-determinant", "ChangeOfVariables", missing_determinant),
    "pixelcnn": Bug("mask B in the first layer", "Causal", stale_mask),
    "rbm": Bug("phases exchanged", "Contrast", exchanged_phases),
    "cyclegan": Bug("cycle term without a gradient", "GeneratorDescends", detached_cycle),
    "acgan": Bug("labels of other images", "Classification", swapped_labels),
    "beta_vae": Bug("pixels in [0, 1]", "band", dark_pictures),
    "gan": Bug("the critic is never updated", "band", sleeping_critic),
}


@pytest.mark.slow
@pytest.mark.parametrize("preset", BUGS)
def test_a_bug_is_seen(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug, band = BUGS[preset], bands.stored().get(preset)
    bug.patch(monkeypatch)
    if bug.seen_by == "band":
        assert band is not None
        assert bands.compared(tiny(values(preset), band.steps), band)
        assert not broken(preset)  # so that the band is needed
    else:
        found = broken(preset)
        assert bug.seen_by in found, found


def test_the_file_of_bands_is_small_and_says_its_rules() -> None:
    assert bands.FILE.stat().st_size < 200_000
    head = json.loads(bands.FILE.read_text("utf-8"))
    assert head["seeds"] == list(bands.SEEDS) and not set(bands.NEW) & set(bands.SEEDS)
    assert (head["factor"], head["floor"]) == (bands.FACTOR, bands.FLOOR)
    assert bands.as_json(bands.stored()) == bands.FILE.read_text("utf-8")


def test_each_preset_has_a_band() -> None:
    """`python scripts/bands.py NAME` makes that of a new one, and of one that was changed."""
    assert bands.stored().keys() == set(NAMES)
    for name, band in bands.stored().items():
        assert band.terms, name
        # a term is measured in each window, or it has no value there in any seed
        assert all(len(found) == len(band.windows) for found in band.terms.values()), name


def test_a_curve_inside_and_outside_of_a_band() -> None:
    """The band of constants that a normal seed draws; a new name and a missing one are outside."""
    torch.manual_seed(0)
    curves = [[{"loss": float(x)} for _ in range(12)] for x in 5 + torch.randn(5)]
    band = bands.band(curves)
    assert not band.outside([{"loss": 5.0}] * 12)
    assert [*band.outside([{"loss": 50.0}] * 12)] == [("loss", 0)]
    assert {name for name, _ in band.outside([{"other": 5.0}] * 12)} == {"loss", "other"}
    assert band.outside([{"loss": float("nan")}] * 12)


def test_nothing_of_it_needs_pytest() -> None:
    """`gentrain verify` runs where the tests' packages are not installed."""
    assert VAE in ENROLLED
    places = [bands.FILE.parent, bands.FILE.parents[1] / "commands"]
    texts = [file.read_text("utf-8") for place in places for file in place.rglob("*.py")]
    assert texts and not [text for text in texts if "import pytest" in text]
