"""Which way a score is better, by its name.

`compare` reads names from files and imports no torch, so it cannot ask the metrics. A run's summary
has the directions that its metrics declare (`declare`). For runs without them there is a table,
and a test holds it to what the metrics of this package declare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

# parts of the names of scores of which more is better; of any other score, less is
HIGHER_IS_BETTER = (
    "/is_",
    "precision",
    "recall",
    "density",
    "coverage",
    "covered",
    "entropy",
    "confident",
    "agreement",
    "kept",
    "class_there",
    "accuracy",
    "psnr",
    "ssim",
    "modes_found",
    "high_quality",
    "least_weight",
    "near_modes",
    "in_tune",
    "of_a_timbre",
)
# by the name of a score: what the summaries of the compared runs say
declared: dict[str, bool] = {}

# they describe a score, and rank nothing
NO_SCORES = (
    "n",
    "log_z",
    "log_z_error",
    "log_z_border",
    "nats_images_error",
    "acceptance",
    "ess",
    "r_hat",
    "ais_acceptance",
    "deviation",
    "nats_gap",
)
NO_SCORE_ENDS = (
    "_std",
    "_sd",
    "_permuted",
    "/nats_error",
    "nats_given_label_error",
    "pseudo_nats_error",
    "nats_gaussian_error",
    "/l1_error",
    "/psnr_error",
    "/ssim_error",
    "cycle_error_error",
)
FLOOR = "_floor"  # fid_floor, or fid_floor_of_450 of fewer images than there are samples
# "quality/" is of the split by which models are chosen, "test/" of the test split at the end
PREFIXES = ("quality/", "test/")


def higher_is_better(name: str) -> bool:
    """Whether more of a logged value is better.

    >>> higher_is_better("quality/recall_classifier"), higher_is_better("quality/fid_classifier")
    (True, False)
    """
    if name in declared:
        return declared[name]
    return name == "images_per_second" or any(part in name for part in HIGHER_IS_BETTER)


def declare(summary: dict[str, Any]) -> None:
    """Take the directions that a run's summary has."""
    match summary.get("directions"):
        case dict() as directions:
            declared.update(directions)


def best(name: str) -> Callable[[Iterable[float]], float]:
    """`max` or `min`, which takes the best of several values."""
    return max if higher_is_better(name) else min


def is_score(name: str) -> bool:
    """Whether a logged value is a score to rank by.

    >>> is_score("quality/fid_classifier"), is_score("quality/fid_classifier_floor")
    (True, False)
    """
    prefix, _, score = name.partition("/")
    return (
        f"{prefix}/" in PREFIXES
        and score not in NO_SCORES
        and not name.endswith(NO_SCORE_ENDS)
        and FLOOR not in score
    )
