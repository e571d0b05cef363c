"""Any folder or zip of sounds, decoded and resampled once into an int16 file of the cache.

file_folder.py says where splits and classes are. What happens to a file, in this order:

- soundfile reads it (.wav, .flac, .ogg and others);
- channels are mixed into one, or one is repeated, where the data have another number;
- it is resampled to `rate` by SciPy's polyphase filter;
- its first `length` values are taken, and silence fills what is missing.
"""

import io
import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gentrain.data.arrays import looked_at
from gentrain.data.checks import ensure
from gentrain.data.file_folder import FileFolder
from gentrain.data.sounds import Sounds
from gentrain.data.spectra import to_pcm

ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64")
PACKAGES = ("soundfile", "scipy")
QUIET = 328  # of 32768, -40 dB; sounds that stay below are counted in a warning
LOOKED_AT = 4096  # sounds


class SoundForm(NamedTuple):
    """What every file becomes: int16 (channels, length).

    Args:
        channels: of the data.
        length: values of a sound.
        rate: values a second.
    """

    channels: int
    length: int
    rate: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what a file becomes."""
        return self.channels, self.length

    @property
    def dtype(self) -> type[np.generic]:
        """Of what a file becomes."""
        return np.int16

    @property
    def things(self) -> str:
        """What files hold, in messages."""
        return "sounds"

    def decode(self, content: bytes) -> np.ndarray:
        """The bytes of a file as int16 (channels, length); raises what soundfile raises."""
        import soundfile

        values, rate = soundfile.read(io.BytesIO(content), dtype="float64", always_2d=True)
        if len(values) < 2:
            raise ValueError(f"{len(values)} value{'s' * (len(values) != 1)} is no sound")
        if not np.isfinite(values).all():
            raise ValueError("values that are not finite numbers")
        sound = resampled(with_channels(values.T, self.channels), rate, self.rate)
        out = torch.zeros(self.channels, self.length, dtype=torch.float64)
        count = min(self.length, sound.shape[1])
        out[:, :count] = torch.from_numpy(sound[:, :count].copy())
        return to_pcm(out).numpy()


def with_channels(sound: np.ndarray, channels: int) -> np.ndarray:
    """A sound (C, L) in another number of channels: mixed, or one channel repeated."""
    if len(sound) == channels:
        return sound
    return np.repeat(sound.mean(0, keepdims=True), channels, 0)


def resampled(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A sound (C, L) of so many values a second at another rate."""
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly  # here, since its import takes a second

    shared = math.gcd(rate, wanted)
    return resample_poly(sound, wanted // shared, rate // shared, axis=1)


@dataclass(kw_only=True, eq=False, repr=False)
class AudioFolder(FileFolder, Sounds):
    """Sounds of a folder or zip in a memory-mapped tensor; class folders are labels.

    Args:
        channels: 1 mixes all into one, 2 repeats one.
        The other arguments are those of `FileFolder` and `Sounds`.
    """

    cached_in: ClassVar[str] = "audio_folder"
    file_kind: ClassVar[str] = "sound"
    format: ClassVar[int] = 1
    channels: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            self.channels in (1, 2) and self.shape[0] == self.channels,
            f"channels must be 1 or 2, and the same in the shape {self.shape}, not "
            f"{self.channels!r} (data.channels); e.g. 1",
        )
        for package in PACKAGES:
            ensure(
                find_spec(package) is not None,
                f"{package} is not installed (data={self.name}); pip install 'gentrain[audio]'",
            )

    @property
    def form(self) -> SoundForm:
        return SoundForm(self.channels, self.length, self.rate)

    @property
    def endings(self) -> tuple[str, ...]:
        return ENDINGS

    def warn_of_contents(self, samples: Tensor) -> None:
        parts = [part.abs().amax((1, 2)) < QUIET for part in looked_at(samples, LOOKED_AT)]
        quiet, count = int(torch.cat(parts).sum()), min(LOOKED_AT, len(samples))
        self.say_once(
            f"{self.path}: {quiet} of {count} sounds are silent, or their first {self.length} "
            "values are (data.root); cut their beginnings, or leave them out",
            quiet > 0,
        )
