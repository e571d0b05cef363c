"""The rows of `gentrain eval`: what is said of a score is of the protocol of its own metric."""

from __future__ import annotations

from gentrain.commands.evaluate import table

DIGITS = {"data": "mnist", "split": "test of 500"}
LABELS = DIGITS | {"labelled": 100}
NATS = DIGITS | {"likelihood": "importance", "pixels": "binary", "images": 500}
DECODER = {"data": "mnist", "split": "test of 9", "images": 9, "given_labels": False}


def test_the_error_rate_of_any_metric() -> None:
    """It is `callbacks.error_rate` of a preset, or a metric that was asked for by another key."""
    for key in ("error_rate", "quality"):
        (row,) = table({"quality/error_rate": 0.25}, {key: LABELS}, {"quality/error_rate": key})
        assert row == "error rate  25.00% of mnist, test of 500, after 100 labels"


def test_nats_beside_other_likelihoods() -> None:
    scores = {"quality/nats": 90.0, "quality/nats_error": 1.0, "quality/l1": 0.5}
    protocols = {"other": NATS | {"likelihood": "of another score"}, "quality": NATS}
    measured_by = {
        "quality/nats": "quality",
        "quality/nats_error": "quality",
        "quality/l1": "other",
    }
    first, *_ = table(scores, protocols, measured_by)
    about = "importance; 500 images of mnist, test of 500, binary"
    assert first == f"-log p(x)   90.00 +- 1.00 nats; {about}"


def test_a_decoder_beside_labels() -> None:
    names = ("nats_gaussian", "nats_gaussian_error", "nats_gap", "deviation", "ais_acceptance")
    scores = {f"quality/{name}": 1.0 for name in names}
    measured_by = dict.fromkeys(scores, "quality") | {"quality/error_rate": "error_rate"}
    rows = table(
        scores | {"quality/error_rate": 0.5},
        {"quality": DECODER, "error_rate": LABELS},
        measured_by,
    )
    assert any("9 images of mnist, test of 9" in row for row in rows)
