"""Sounds: waveforms (C, L) of 16 bits, their mel pictures and their .wav files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from gentrain.data.base import Data
from gentrain.data.capabilities import HasSound
from gentrain.data.checks import ensure, is_count
from gentrain.data.spectra import mel_pictures, write_wav

HEARD = 16  # sounds in a file to listen to, and
PAUSE = 0.1  # seconds of silence between them


@dataclass(kw_only=True, eq=False, repr=False)
class Sounds(Data, HasSound):
    """Sounds of one length. Splits are int16 (N, C, L), batches float (B, C, L) in [-1, 1].

    Args:
        length: values of a sound, L.
        rate: values a second.
        The other arguments are those of `Data`; `shape` is (C, L).
    """

    kept_as: ClassVar[str] = "folder"

    length: int = 4096
    rate: int = 16000

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            is_count(self.length, 64),
            f"length must be a whole number >= 64, not {self.length!r} (data.length); e.g. 4096",
        )
        ensure(
            is_count(self.rate, 1000),
            f"rate must be a whole number >= 1000, not {self.rate!r} (data.rate); e.g. 16000",
        )
        ensure(
            len(self.shape) == 2 and self.shape[1] == self.length,
            f"shape {self.shape} is not that of sounds of {self.length} values (data.shape); set "
            "data.length instead",
        )
        ensure(not self.flip, "sounds have no left and right (data.flip); write false")

    @property
    def things(self) -> str:
        return "sounds"

    def as_images(self, samples: Tensor) -> Tensor:
        return mel_pictures(samples, self.rate)

    def write_file(self, sample: Tensor, stem: Path) -> None:
        write_wav(sample, self.rate, stem.with_name(f"{stem.name}.wav"))

    def write_to_hear(self, samples: Tensor, stem: Path) -> Sequence[Path]:
        silence = samples.new_zeros(self.shape[0], math.ceil(PAUSE * self.rate))
        parts = [part for sound in samples[:HEARD] for part in (sound, silence)]
        self.write_file(torch.cat(parts[:-1], 1), stem)
        return [stem.with_name(f"{stem.name}.wav")]
