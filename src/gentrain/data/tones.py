"""Notes that are synthesised additively, each with a pitch and a timbre as its label.

With the amplitudes a_k of a timbre, the frequency f of a note and u ~ U(0, `phase`), a note is

    x(t) = c e(t) sum over k of a_k sin(2 pi k (f t + u)),    e(t) = min(1, t / T) exp(-d t),

of an attack T ~ U(5, 20) ms, a decay d ~ U(2, 8) / s, and c such that the peak is U(0.5, 0.95).
Pitch and timbre of any sound follow from it by exact rules; see `Tones.listen`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset
from gentrain.data.batches import generator
from gentrain.data.capabilities import HasTones, Heard
from gentrain.data.checks import ensure, is_count
from gentrain.data.sounds import Sounds
from gentrain.data.spectra import to_pcm
from gentrain.data.validation import samples_of

TIMBRES = {  # amplitudes of the harmonics
    "sine": (1.0,),
    "reed": (1.0, 0.0, 0.7, 0.0, 0.5, 0.0, 0.35, 0.0),  # odd ones alone
    "string": (1.0, 0.8, 0.64, 0.51, 0.41, 0.33, 0.26, 0.21),
    "organ": (1.0, 0.9, 0.0, 0.7, 0.0, 0.0, 0.0, 0.5),  # octaves
}
HARMONICS = 8
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
QUARTER_TONE = 0.5  # of the semitones in which notes count
PERIODIC = 0.2  # the largest difference of a period from the next, of the mean, that has a pitch
ALIKE = 0.9  # the smallest cosine of the harmonics of a sound with those of its timbre
CHUNK = 256  # sounds that are looked at together


@dataclass(kw_only=True, eq=False, repr=False)
class Tones(Sounds, HasTones):
    """Notes of every pitch in every timbre; labels are timbre * len(notes) + note.

    Args:
        notes: pitches as numbers of MIDI, 69 for 440 Hz, in rising order. Neighbours are two
            semitones or more apart, so that a quarter tone around each leaves pitches out.
        phase: the part of a period within which notes begin; with 0 all begin alike, as struck
            strings do.
        n: notes for "train"; "test" has a tenth as many, and "validation" the share `validation`
            as many. All are fresh draws.
        draw_seed: which notes are drawn. It is not the run's seed, so that runs with other seeds
            share the data.
        The other arguments are those of `Sounds`.
    """

    from_seed = True

    notes: Sequence[int] = field(default_factory=lambda: [55, 58, 61, 64, 67, 70, 73, 76])
    phase: float = 1.0
    n: int = 4000
    draw_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.notes = list(self.notes)
        apart = [two - one for one, two in zip(self.notes, self.notes[1:], strict=False)]
        ensure(
            all(is_count(note, 1) for note in self.notes) and min(apart, default=2) >= 2,
            f"notes are rising numbers of MIDI, 2 or more apart, not {self.notes} (data.notes); "
            "e.g. [55,58,61,64]",
        )
        low, high = float(self.pitches[0]), float(self.pitches[-1])
        ensure(
            HARMONICS * high < self.rate / 2 and 6 * self.rate / low < self.length,
            f"notes from {low:.0f} to {high:.0f} Hz do not fit {self.length} values at "
            f"{self.rate} Hz (data.notes); they need {HARMONICS} harmonics and 6 periods",
        )
        count = len(self.notes) * len(TIMBRES)
        ensure(
            self.classes == count,
            f"{len(self.notes)} notes in {len(TIMBRES)} timbres are {count} classes, not "
            f"{self.classes!r} (data.classes); give {count}",
        )
        ensure(
            0 <= self.phase <= 1,
            f"phase is a share of a period, not {self.phase!r} (data.phase); give 0 to 1",
        )
        ensure(self.shape[0] == 1, f"tones have 1 channel, not {self.shape[0]} (data.shape)")
        ensure(
            is_count(self.n, 10),
            f"n must be a whole number >= 10, not {self.n!r} (data.n); e.g. 4000",
        )

    @property
    def pitches(self) -> Tensor:
        """float64 (P,): the frequencies of the notes in hertz."""
        return 440 * 2 ** ((torch.tensor(self.notes, dtype=torch.float64) - 69) / 12)

    @property
    def class_names(self) -> Sequence[str]:
        notes = [f"{NAMES[note % 12]}{note // 12 - 1}" for note in self.notes]
        return [f"{note} {timbre}" for timbre in TIMBRES for note in notes]

    @property
    def reads_validation(self) -> bool:
        return True

    def read(self, split: str) -> ArrayDataset:
        count = samples_of(split, self.n, self.validation, self.name)
        draws = generator(self.draw_seed, type(self).__name__, split)
        labels = torch.randint(self.classes or 0, (count,), generator=draws)
        numbers = torch.rand(count, 4, generator=draws)
        parts = zip(labels.split(CHUNK), numbers.split(CHUNK), strict=True)
        return ArrayDataset(torch.cat([to_pcm(self.play(*part)) for part in parts]), labels)

    def play(self, labels: Tensor, numbers: Tensor) -> Tensor:
        """Synthesise notes.

        Args:
            labels: int64 (B,).
            numbers: (B, 4) in [0, 1), which choose phase, attack, decay and peak.

        Returns:
            (B, 1, L) in [-1, 1].
        """
        phase, attack, decay, peak = numbers.double().T[..., None]
        f = self.pitches[labels % len(self.notes)][:, None]
        amplitudes = templates()[labels // len(self.notes)]
        t = torch.arange(self.length, dtype=torch.float64) / self.rate
        turns = 2 * math.pi * (f * t + self.phase * phase)
        x = torch.zeros_like(turns)
        for k in range(HARMONICS):
            x += amplitudes[:, k, None] * torch.sin((k + 1) * turns)
        x *= (t / (0.005 + 0.015 * attack)).clamp(max=1) * torch.exp(-(2 + 6 * decay) * t)
        return ((0.5 + 0.45 * peak) * x / x.abs().amax(1, keepdim=True)).float()[:, None]

    def listen(self, sounds: Tensor) -> Heard:
        parts = [self.listen_to(part) for part in sounds.cpu().double().mean(1).split(CHUNK)]
        hertz, note, timbre = (torch.cat(each) for each in zip(*parts, strict=True))
        return Heard(hertz, note, timbre)

    def listen_to(self, waves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `HasTones.listen`, of waveforms (B, L)."""
        low, high = float(self.pitches[0]), float(self.pitches[-1])
        hertz = pitch_of(waves, self.rate, low / 2, 2 * high)
        semitones = 12 * torch.log2(hertz[:, None] / self.pitches)
        near, note = semitones.abs().nan_to_num(math.inf).min(1)
        note[near > QUARTER_TONE] = len(self.notes)
        found = harmonics_of(waves, hertz, self.rate)
        likeness = (
            torch.nn.functional.normalize(found) @ torch.nn.functional.normalize(templates()).T
        )
        best, timbre = likeness.max(1)
        timbre[~(best >= ALIKE)] = len(TIMBRES)
        return hertz, note, timbre

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.notes), len(TIMBRES)


def templates() -> Tensor:
    """float64 (T, HARMONICS): the amplitudes of every timbre."""
    rows = [torch.tensor(row, dtype=torch.float64) for row in TIMBRES.values()]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def pitch_of(waves: Tensor, rate: int, low: float, high: float) -> Tensor:
    """The pitch of waveforms by YIN (de Cheveigne & Kawahara, 2002), without its last step.

    With d(s) = sum over t of (x_t - x_(t + s))^2, the period is the first s of a dip of

        d'(s) = s d(s) / (d(1) + ... + d(s))

    below `PERIODIC`, at the vertex of a parabola through it and its neighbours.

    Args:
        waves: float64 (B, L).
        rate: values a second.
        low: the lowest pitch in hertz.
        high: the highest pitch in hertz.

    Returns:
        (B,) hertz; nan where a waveform has no period.
    """
    longest = math.ceil(rate / low) + 1
    d = differences(waves, longest)
    steps = torch.arange(1, longest + 1, dtype=torch.float64)
    relative = d * steps / d.cumsum(1).clamp(min=1e-12)
    relative[d.sum(1) < 1e-9] = 1.0  # silence
    inner = relative[:, 1:-1]
    dips = (inner < PERIODIC) & (inner <= relative[:, :-2]) & (inner < relative[:, 2:])
    dips &= steps[1:-1] >= rate / high - 1
    row, first = torch.arange(len(waves)), dips.int().argmax(1)
    before, here, after = (relative[row, first + i] for i in range(3))
    vertex = 0.5 * (before - after) / (before - 2 * here + after).clamp(min=1e-12)
    period = first + 2 + vertex
    return torch.where(dips.any(1), rate / period, math.nan)


def differences(waves: Tensor, longest: int) -> Tensor:
    """d(s) for s = 1, ..., longest, over the same first values for every s: (B, longest)."""
    size = waves.shape[1] - longest
    padded = 2 ** math.ceil(math.log2(waves.shape[1] + size))
    spectrum = torch.fft.rfft(waves, padded)
    products = torch.fft.irfft(torch.fft.rfft(waves[:, :size], padded).conj() * spectrum, padded)
    sums = torch.nn.functional.pad(waves.square().cumsum(1), (1, 0))
    energies = sums[:, size : size + longest + 1] - sums[:, : longest + 1]
    return (energies[:, :1] + energies - 2 * products[:, : longest + 1])[:, 1:].clamp(min=0)


def harmonics_of(waves: Tensor, hertz: Tensor, rate: int) -> Tensor:
    """The root of the power within a quarter of f around each harmonic k f, k = 1, ..., HARMONICS.

    Args:
        waves: float64 (B, L).
        hertz: (B,) f; of nan all are 0.
        rate: values a second.

    Returns:
        (B, HARMONICS), of the Fourier transform with a Hann window.
    """
    length = waves.shape[1]
    spectrum = torch.fft.rfft(waves * torch.hann_window(length, dtype=torch.float64))
    frequencies = torch.fft.rfftfreq(length, 1 / rate, dtype=torch.float64)
    number = (frequencies / hertz[:, None]).round()
    near = (frequencies - number * hertz[:, None]).abs() < hertz[:, None] / 4
    power = torch.where(near, spectrum.abs().square(), 0.0)
    number = torch.where(near & (number <= HARMONICS), number, 0.0).long()
    return waves.new_zeros(len(waves), HARMONICS + 1).scatter_add(1, number, power)[:, 1:].sqrt()
