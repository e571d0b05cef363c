"""How good sounds are: features of their mel spectrograms, and exact rules of pitch and timbre."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from gentrain.capability import supports
from gentrain.data.arrays import ArrayDataset, to_bytes, to_float
from gentrain.data.base import Data
from gentrain.data.capabilities import HasSound, HasTones
from gentrain.errors import UserError
from gentrain.models.base import GenerativeModel
from gentrain.quality.base import BINOMIAL, COUNT, Score
from gentrain.quality.classifier import Classifier
from gentrain.quality.features import Features
from gentrain.quality.image_quality import ImageQuality

CHUNK = 1024  # sounds that are floats at a time


class Spectral(Classifier):
    """A `Classifier` of mel spectrograms."""

    name = "spectral"
    suffix = "_spectral"

    def check(self, data: Data) -> None:
        if data.classes is None or data.classes < 2:
            raise UserError(
                "quality=spectral learns to tell classes apart, and "
                f"data={data.name} has {data.classes or 'none'} (data.classes); choose quality=none"
            )


class Spectra:
    """A data set of sounds as one of images: their mel spectrograms, uint8 (N, 1, H, W).

    Args:
        data: the sounds.
    """

    source_shape = None
    aligned = True

    def __init__(self, data: Data) -> None:
        self.data, self.name, self.classes = data, data.name, data.classes
        self.label_kind, self.one_set = data.label_kind, data.one_set
        blank = torch.zeros(1, *data.shape)
        self.shape = tuple(data.as_images(blank).shape[1:])
        self._samples: dict[str, ArrayDataset] = {}

    def load(self, split: str) -> ArrayDataset:
        """The spectrograms and labels of a split, made at the first call."""
        if split not in self._samples:
            sounds, labels, _ = self.data.load(split)
            parts = [
                to_bytes(self.data.as_images(to_float(part.cpu()))) for part in sounds.split(CHUNK)
            ]
            self._samples[split] = ArrayDataset(torch.cat(parts), labels)
        return self._samples[split]

    def digest(self, split: str = "train") -> str:
        """See `Data.digest`."""
        of_sounds = self.data.digest(split)
        return hashlib.sha256(f"{of_sounds} as spectra {self.shape}".encode()).hexdigest()


class SoundQuality(ImageQuality):
    """The scores of `ImageQuality`, of the mel spectrograms of sounds: `fid_spectral` and others.

    The features are those of a small classifier, which is trained once on the spectrograms of the
    training split. The arguments are those of `ImageQuality`.
    """

    key = "quality=spectral"
    seen: Spectra | None = None

    def key_of(self, features: Features) -> str:
        return type(self).key

    def spectra(self, data: Data) -> Any:
        """The spectrograms of a data set, made once."""
        if self.seen is None or self.seen.data is not data:
            self.seen = Spectra(data)
        return self.seen

    def check(self, data: Data, model: GenerativeModel) -> None:
        if not supports(data, HasSound):
            raise UserError(
                f"{self.key} is of sounds, and data={data.name} gives {data.things} (quality); "
                f"choose {HasSound.examples}, or quality=none"
            )
        self.features.check(data)
        super().check(self.spectra(data), model)

    def prepare(self, data: Data, model: GenerativeModel, device: torch.device) -> None:
        super().prepare(self.spectra(data), model, device)

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        _, bands, frames = self.spectra(data).shape
        spectrogram = f"{bands} mel bands, {frames} moments, -80 to 0 dB"
        return super().protocol(self.spectra(data), model) | {"spectrogram": spectrogram}

    def compute(self, data: Data, model: GenerativeModel, device: torch.device) -> dict[str, float]:
        return super().compute(self.spectra(data), model, device)

    def draw(
        self, model: GenerativeModel, source: ArrayDataset, device: torch.device
    ) -> Iterator[Tensor]:
        """The spectrograms of samples in batches, (B, 1, H, W) in [-1, 1] on the CPU."""
        assert self.seen is not None
        show = self.seen.data.as_images
        return (show(sounds) for sounds in self.sounds(model, source, device))

    def sounds(
        self, model: GenerativeModel, source: ArrayDataset, device: torch.device
    ) -> Iterator[Tensor]:
        """The samples themselves, (B, C, L) in [-1, 1] on the CPU."""
        drawn = super().draw(model, source, device)
        return (sounds.cpu() for sounds in drawn)


class ToneQuality(SoundQuality):
    """Besides the scores of `SoundQuality`, what exact rules hear of pitch and timbre.

    `in_tune` is the share of samples with a pitch within a quarter tone of a note, and
    `of_a_timbre` that of samples with the harmonics of a timbre. `tones_covered` counts the pairs
    of both among the samples. Of a model with labels, `tone_agreement` is the share of samples
    with the note and the timbre that they were made for.
    """

    key = "quality=tones"
    scores: ClassVar = {
        **ImageQuality.scores,
        "in_tune": Score("share of samples", True, error=BINOMIAL),
        "of_a_timbre": Score("share of samples", True, error=BINOMIAL),
        "tones_covered": Score("tones", True, error=COUNT),
        "tone_agreement": Score("share of samples", True, error=BINOMIAL),
    }

    def check(self, data: Data, model: GenerativeModel) -> None:
        if not supports(data, HasTones):
            raise UserError(
                f"quality=tones needs data that {HasTones.what}, and data={data.name} are not "
                f"such (quality); choose {HasTones.examples}, or quality=spectral or none"
            )
        super().check(data, model)

    def protocol(self, data: Data, model: GenerativeModel) -> dict[str, Any]:
        rules = "pitch by YIN below 0.2, within 50 cents; timbre by harmonics, cosine >= 0.9"
        return super().protocol(data, model) | {"rules": rules}

    def compute(self, data: Any, model: GenerativeModel, device: torch.device) -> dict[str, float]:
        source = data.load(self.reference)
        sounds = torch.cat(list(self.sounds(model, source, device)))
        heard, (notes, timbres) = data.listen(sounds), data.counts
        in_tune, of_a_timbre = heard.note < notes, heard.timbre < timbres
        tone = heard.timbre * notes + heard.note
        right = in_tune & of_a_timbre
        scores = super().compute(data, model, device) | {
            "in_tune": in_tune.double().mean().item(),
            "of_a_timbre": of_a_timbre.double().mean().item(),
            "tones_covered": float(len(tone[right].unique())),
        }
        if model.labelled:
            wanted = source.labels[self.rows(source)]
            scores["tone_agreement"] = (right & (tone == wanted)).double().mean().item()
        return scores
