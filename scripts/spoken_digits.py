"""Write spoken digits, zero to nine, as .wav files in class folders, with espeak-ng's voices.

    python scripts/spoken_digits.py DIR
    gentrain model=wavegan data=audio_folder data.root=DIR data.classes=10 data.rate=8000 \
      data.length=4096 quality=spectral

Each digit is spoken by each accent with each variant of the voice (man, woman, ...), at some speeds
and pitches. Silence around it is cut off. The variants of `test/` are not in `train/`, so a score
of the test split is one of unheard voices. Sounds have 22,050 values a second, espeak-ng's own
rate.

It needs the program espeak-ng, which is Debian's package of this name.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
import wave
from array import array
from pathlib import Path
from typing import NamedTuple

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")
VARIANTS = {
    "train": ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4"),
    "test": ("m8", "f5"),
}
SPEEDS = (150, 175, 200)  # words a minute
PITCHES = (35, 50, 65)  # of espeak-ng's 0 to 99
SILENCE = 328  # of 32768, -40 dB: quieter values at either end are cut off


class Spoken(NamedTuple):
    """One file."""

    split: str
    digit: str
    accent: str
    variant: str
    speed: int
    pitch: int

    @property
    def file(self) -> Path:
        """Its path in the folder."""
        name = f"{self.accent}_{self.variant}_{self.speed}_{self.pitch}.wav"
        return Path(self.split, self.digit, name)

    @property
    def words(self) -> list[str]:
        """espeak-ng's arguments, but for the program and the file."""
        voice = f"{self.accent}+{self.variant}"
        return ["-v", voice, "-s", str(self.speed), "-p", str(self.pitch), self.digit]


def plan() -> list[Spoken]:
    """Every file, in order."""
    return [
        Spoken(split, *which)
        for split, variants in VARIANTS.items()
        for which in itertools.product(DIGITS, ACCENTS, variants, SPEEDS, PITCHES)
    ]


def trimmed(values: array[int], silence: int = SILENCE) -> array[int]:
    """16-bit values without the quiet ones at either end.

    >>> trimmed(array("h", [0, 5, 900, 0, -700, 3])).tolist()
    [900, 0, -700]
    """
    loud = [i for i, value in enumerate(values) if abs(value) >= silence]
    return values[loud[0] : loud[-1] + 1] if loud else values[:0]


def speak(spoken: Spoken, program: str, place: Path) -> float:
    """Write one file, and return its seconds.

    Raises:
        SystemExit: where espeak-ng fails or says nothing.
    """
    file = place / spoken.file
    file.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [program, "-w", str(file), *spoken.words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"espeak-ng: {done.stderr.strip()} ({' '.join(spoken.words)}); update espeak-ng")
    with wave.open(str(file)) as sound:
        form, values = sound.getparams(), array("h", sound.readframes(sound.getnframes()))
    values = trimmed(values)
    if not values:
        sys.exit(f"espeak-ng said nothing ({' '.join(spoken.words)}); see whether it has the voice")
    with wave.open(str(file), "wb") as sound:
        sound.setparams(form)
        sound.writeframes(values.tobytes())
    return len(values) / form.framerate


def main(arguments: list[str] | None = None) -> None:
    """Write all files into an empty or a new folder."""
    parser = argparse.ArgumentParser(description="Write spoken digits as .wav files.")
    parser.add_argument("folder", type=Path)
    place = parser.parse_args(arguments).folder
    program = shutil.which("espeak-ng")
    if program is None:
        sys.exit("espeak-ng is not installed; install Debian's package espeak-ng")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        sys.exit(f"{place} is not an empty folder; name a new one")
    lengths = sorted(speak(spoken, program, place) for spoken in plan())
    late = lengths[int(0.95 * len(lengths))]
    print(
        f"{len(lengths)} sounds in {place}: {lengths[0]:.2f} to {lengths[-1]:.2f} s, 95 % of them"
    )
    print(f"shorter than {late:.2f} s; {round(late * 8000)} values at data.rate=8000")


if __name__ == "__main__":
    main()
