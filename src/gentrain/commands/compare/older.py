"""Which metric computed a score of a run that does not say so: its summary is older than that.

The metrics of a run are named in its configuration, and the names of the scores of each class are
listed here, since `compare` imports no torch. A score that no metric of the run computes, or more
than one, has no known protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from gentrain.protocols import TEST

IMAGES = (
    "fid*", "is*_std", "is*_mean", "kid*", "precision*", "recall*", "density*", "coverage*",
    "confident", "classes_covered", "class_entropy", "class_kept", "label_agreement",
    "label_agreement_permuted", "n",
)  # fmt: skip
# the scores of each class of metrics, by the end of its path, which has stayed as it was
SCORES = {
    "Annealed": ("nats", "nats_error", "nats_images_error", "log_z*", "pseudo_nats*"),
    "CaptionAgreement": tuple(
        f"{fact}_agreement{kind}"
        for fact in ("digit", "colour", "size", "place", "ground", "caption")
        for kind in ("", "_permuted", "_held_out", "_held_out_permuted")
    ),
    "ChainMixing": ("acceptance", "ess", "r_hat"),
    "DecoderLikelihood": ("nats_gaussian*", "nats_gap", "deviation", "ais_acceptance"),
    "ImageQuality": IMAGES,
    "LinearProbe": ("probe_*",),
    "LogLikelihood": (
        "nats", "nats_error", "nats_given_label", "nats_given_label_error", "nats_of_values",
        "bits_per_dim",
    ),
    "MatchedAccuracy": ("matched_accuracy",),
    "ModeCoverage": ("modes_found", "high_quality", "n"),
    "PairedScores": ("l1*", "psnr*", "ssim*"),
    "PlaneLikelihood": (
        "nats", "nats_error", "log_z", "log_z_border", "least_weight", "most_weight", "near_modes",
    ),
    "RoundTrip": ("cycle_error*", "domain_accuracy", "class_there", "class_kept", "n"),
    "SoundQuality": IMAGES,
    "StackedCoverage": ("modes_found", "kl_to_uniform", "n"),
    "TestError": ("error_rate",),
    "inception_quality": IMAGES,
    "ToneQuality": (*IMAGES, "in_tune", "of_a_timbre", "tones_covered", "tone_agreement"),
}  # fmt: skip


def measured_by(
    protocols: Mapping[str, Any], end: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, str]:
    """For each score of a run the key of the metric that computed it, where one alone can have.

    Args:
        protocols: of the run's metrics, by their keys, such as "paired" or "test/quality".
        end: the run's summary.
        config: its configuration, flat.
    """
    found = {}
    for score in (*(end.get("metrics") or {}), (end.get("best") or {}).get("metric", "")):
        split, _, name = score.partition("/")
        keys = [
            key
            for key in protocols
            if split == (TEST.rstrip("/") if key.startswith(TEST) else "quality")
            and computes(key.removeprefix(TEST), name, config)
        ]
        if len(keys) == 1:
            found[score] = keys[0]
    return found


def computes(metric: str, name: str, config: Mapping[str, Any]) -> bool:
    """Whether a metric of a run computes a score.

    Args:
        metric: its key: "quality", or the name of a callback.
        name: of the score, without its split.
        config: of the run, flat.
    """
    node = metric if metric == "quality" else f"callbacks.{metric}"
    kind = str(config.get(f"{node}._target_", "")).rpartition(".")[2]
    return metric == name or any(fnmatchcase(name, known) for known in SCORES.get(kind, ()))
