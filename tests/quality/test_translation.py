"""Scores of translations whose right answer is known: perfect ones, lazy ones, forgetful ones."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gentrain.data.coloured_digits import ColouredDigits, DigitDomains
from gentrain.errors import Diverged, UserError
from gentrain.quality.classifier import Classifier
from gentrain.quality.translation import RoundTrip


class Two:
    """Between white and inverted digits: x -> -x is perfect."""

    labelled = False
    translate = staticmethod(lambda x, y: -x)
    back = staticmethod(lambda x, y: -x)


class Lazy(Two):
    translate = back = staticmethod(lambda x, y: x)


class Forgetful(Two):
    """Digits of the right domain, and not the right ones."""

    translate = back = staticmethod(lambda x, y: -x.roll(1, 0))


class Painter:
    """To red, green or blue, whatever the colour was."""

    labelled = True
    translate = staticmethod(
        lambda x, y: (
            torch.nn.functional.one_hot(y, 3)[:, :, None, None] * (x.amax(1, keepdim=True) + 1) - 1
        )
    )
    back = translate
    elsewhere = staticmethod(lambda y: (y + 1 + torch.arange(len(y)) % 2) % 3)


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


def scored(
    cache: Any, data: Any, game: Any, model: Any, trainer: Any
) -> tuple[dict[str, float], dict[str, Any]]:
    judged = model()
    judged.model = game
    callback = RoundTrip(
        Classifier(width=4, updates=150, batch_size=64), samples=200, cache=str(cache)
    )
    callback.setup(trainer(data), judged, "fit")
    callback.on_fit_start(trainer(data), judged)
    callback.on_train_start(trainer(data), judged)
    (scores,) = judged.records
    return {
        name.removeprefix("quality/"): value for name, value in scores.items()
    }, judged.protocols["quality"]


def test_a_perfect_translation_is_as_good_as_the_classifier(cache, two, model, trainer) -> None:
    scores, protocol = scored(cache, two, Two, model, trainer)
    accuracy = protocol["content_classifier_accuracy"]
    assert accuracy > 0.8 and protocol["domains"] == "rule of the data"
    assert scores["cycle_error"] == 0 and scores["domain_accuracy"] == 1 and scores["n"] == 200
    assert scores["class_kept"] == pytest.approx(accuracy, abs=0.08) and scores[
        "class_there"
    ] == pytest.approx(accuracy, abs=0.08)


def test_what_stays_where_it_is_and_what_forgets_is_seen(cache, two, model, trainer) -> None:
    lazy, _ = scored(cache, two, Lazy, model, trainer)
    assert lazy["cycle_error"] == 0 and lazy["domain_accuracy"] == 0 and lazy["class_kept"] > 0.8
    forgetful, _ = scored(cache, two, Forgetful, model, trainer)
    assert (
        forgetful["domain_accuracy"] == 1
        and forgetful["class_there"] < 0.3
        and forgetful["class_kept"] < 0.3
    )
    assert forgetful["cycle_error"] > 0.1


def test_each_is_asked_for_another_domain(cache, coloured, model, trainer) -> None:
    scores, _ = scored(cache, coloured, Painter, model, trainer)
    assert (
        scores["cycle_error"] == pytest.approx(0, abs=1e-6)
        and scores["domain_accuracy"] == 1
        and scores["class_kept"] > 0.8
    )
    stays = type("Stays", (Painter,), {"translate": staticmethod(lambda x, y: x)})
    assert scored(cache, coloured, stays, model, trainer)[0]["domain_accuracy"] == 0


def test_without_a_rule_a_classifier_names_the_domain(cache, bars, model, trainer) -> None:
    images, labels, _ = bars.load("train")
    of_class = torch.stack([images[labels == k][0] for k in range(3)]) / 127.5 - 1
    game = type(
        "Painter",
        (Painter,),
        {
            "translate": staticmethod(lambda x, y: of_class[y]),
            "back": staticmethod(lambda x, y: of_class[y]),
        },
    )
    bars.source_shape = None
    scores, protocol = scored(cache, bars, game, model, trainer)
    assert protocol["domains"] == "classifier" and protocol["domain_classifier_accuracy"] > 0.95
    assert scores["domain_accuracy"] > 0.95 and "class_kept" not in scores


def test_refusals(cache, bars, two, model, trainer) -> None:
    callback = RoundTrip(Classifier(), cache=str(cache))
    one_way = SimpleNamespace(model=SimpleNamespace(labelled=False))
    with pytest.raises(UserError, match="there and back"):
        callback.setup(trainer(bars), one_way, "fit")  # type: ignore[arg-type]
    none = SimpleNamespace(name="images", classes=None, source_shape=None)
    with pytest.raises(UserError, match="no domains"):
        callback.setup(trainer(none), SimpleNamespace(model=Two), "fit")  # type: ignore[arg-type]
    with pytest.raises(Diverged, match="not finite"):
        scored(
            cache,
            two,
            type("Nan", (Two,), {"translate": staticmethod(lambda x, y: x * float("nan"))}),
            model,
            trainer,
        )
