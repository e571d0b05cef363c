"""Scores of translations whose right answer is known: perfect ones, lazy ones, forgetful ones."""

from typing import Any

import pytest
import torch

from gentrain.data.coloured_digits import ColouredDigits, DigitDomains
from gentrain.errors import Diverged, UserError
from gentrain.models.base import TranslatesBack
from gentrain.quality.classifier import Classifier
from gentrain.quality.translation import RoundTrip
from tests.quality.conftest import Sampler, scores_of


class Two(TranslatesBack):
    """Between white and inverted digits: x -> -x is perfect."""

    labelled, ema_generator = False, None

    def sample_protocol(self):
        return {}

    def translate(self, x, domains=None):
        return -x

    def translate_back(self, x, domains=None):
        return self.translate(x, domains)


class Lazy(Two):
    def translate(self, x, domains=None):
        return x


class Forgetful(Two):
    """Digits of the right domain, and not the right ones."""

    def translate(self, x, domains=None):
        return -x.roll(1, 0)


class Broken(Two):
    def translate(self, x, domains=None):
        return x * float("nan")


class Painter(Two):
    """To red, green or blue, whatever the colour was."""

    labelled = True

    def translate(self, x, domains=None):
        colours = torch.nn.functional.one_hot(domains, 3)[:, :, None, None]
        return colours * (x.amax(1, keepdim=True) + 1) - 1

    def other_domains(self, y):
        return (y + 1 + torch.arange(len(y)) % 2) % 3


@pytest.fixture(scope="module")
def two() -> DigitDomains:
    return DigitDomains(
        name="digit_domains",
        shape=(3, 28, 28),
        source_shape=(3, 28, 28),
        digits="mnist_5k",
        target="inverted",
    )


@pytest.fixture(scope="module")
def coloured() -> ColouredDigits:
    return ColouredDigits(name="coloured_digits", shape=(3, 28, 28), classes=3, digits="mnist_5k")


def scored(cache: Any, data: Any, model: Any) -> tuple[dict[str, float], dict[str, Any]]:
    classifier = Classifier(width=4, updates=150, batch_size=64)
    return scores_of(RoundTrip(classifier, samples=200, cache=str(cache)), data, model)


def test_a_perfect_translation_is_as_good_as_the_classifier(cache, two) -> None:
    scores, protocol = scored(cache, two, Two())
    accuracy = protocol["content_classifier_accuracy"]
    assert accuracy > 0.8 and protocol["domains"] == "rule of the data"
    assert scores["cycle_error"] == 0 and scores["domain_accuracy"] == 1 and scores["n"] == 200
    assert scores["class_kept"] == pytest.approx(accuracy, abs=0.08) and scores[
        "class_there"
    ] == pytest.approx(accuracy, abs=0.08)


def test_what_stays_where_it_is_and_what_forgets_is_seen(cache, two) -> None:
    lazy, _ = scored(cache, two, Lazy())
    assert lazy["cycle_error"] == 0 and lazy["domain_accuracy"] == 0 and lazy["class_kept"] > 0.8
    forgetful, _ = scored(cache, two, Forgetful())
    assert (
        forgetful["domain_accuracy"] == 1
        and forgetful["class_there"] < 0.3
        and forgetful["class_kept"] < 0.3
    )
    assert forgetful["cycle_error"] > 0.1


def test_each_is_asked_for_another_domain(cache, coloured) -> None:
    scores, _ = scored(cache, coloured, Painter())
    assert (
        scores["cycle_error"] == pytest.approx(0, abs=1e-6)
        and scores["domain_accuracy"] == 1
        and scores["class_kept"] > 0.8
    )

    class Stays(Painter):
        def translate(self, x, domains=None):
            return x

    assert scored(cache, coloured, Stays())[0]["domain_accuracy"] == 0


def test_without_a_rule_a_classifier_names_the_domain(cache, bars) -> None:
    images, labels, _ = bars.load("train")
    of_class = torch.stack([images[labels == k][0] for k in range(3)]) / 127.5 - 1

    class OfClass(Painter):
        def translate(self, x, domains=None):
            return of_class[domains]

    scores, protocol = scored(cache, bars, OfClass())
    assert protocol["domains"] == "classifier" and protocol["domain_classifier_accuracy"] > 0.95
    assert scores["domain_accuracy"] > 0.95 and "class_kept" not in scores


def test_refusals(cache, bars, two) -> None:
    metric = RoundTrip(Classifier(), cache=str(cache))
    with pytest.raises(UserError, match="to another domain and back"):
        metric.check(bars, Sampler())
    with pytest.raises(UserError, match="no domains"):
        metric.check(type(bars)(classes=None), Two())
    with pytest.raises(Diverged, match="not finite"):
        scored(cache, two, Broken())
