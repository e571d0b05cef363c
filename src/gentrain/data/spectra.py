"""Mel spectrograms of sounds, and .wav files.

The short-time Fourier transform X of a waveform x, with a Hann window w of `WINDOW` seconds, has
the power |X|^2 / (sum w / 2)^2: 1 for a sine of amplitude 1. Triangular filters, evenly spaced on
the mel scale of O'Shaughnessy ("Speech communication", 1987),

    m = 2595 log10(1 + f / 700),

sum it up to `BANDS` bands, which are shown in decibels from `FLOOR` to 0.
"""

from __future__ import annotations

import math
import wave
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from gentrain.data.arrays import FULL_SCALE
from gentrain.files import atomic_write

WINDOW = 0.064  # seconds
BANDS, FRAMES = 64, 64  # the sides of a picture
FLOOR = -80.0  # decibels
CHUNK = 256  # sounds that are transformed at a time


def to_mel(hertz: float) -> float:
    """Hertz to mel.

    >>> round(to_mel(1000))
    1000
    """
    return 2595 * math.log10(1 + hertz / 700)


def to_hertz(mel: Tensor) -> Tensor:
    """The inverse of `to_mel`."""
    return 700 * (10 ** (mel / 2595) - 1)


@lru_cache(maxsize=4)
def mel_filters(rate: int, window: int, bands: int = BANDS) -> Tensor:
    """Triangular filters with peaks of 1, which reach to the peaks of their neighbours.

    Args:
        rate: samples a second.
        window: values of the Fourier transform.
        bands: their number.

    Returns:
        (bands, window // 2 + 1).
    """
    edges = to_hertz(torch.linspace(0, to_mel(rate / 2), bands + 2, dtype=torch.float64))
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    f = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64)
    return torch.minimum((f - low) / (peak - low), (high - f) / (high - peak)).clamp(min=0).float()


def mel_spectrogram(waves: Tensor, rate: int, frames: int = FRAMES) -> Tensor:
    """The power of waveforms in mel bands over time.

    Args:
        waves: (B, L).
        rate: samples a second.
        frames: at most so many moments, evenly spaced.

    Returns:
        (B, BANDS, frames).
    """
    size = 2 * round(WINDOW * rate / 2)
    hop = max(1, -(-waves.shape[1] // frames))
    window = torch.hann_window(size, dtype=waves.dtype, device=waves.device)
    found = torch.stft(
        waves, size, hop, window=window, center=True, pad_mode="constant", return_complex=True
    )
    power = found.abs().square() / (window.sum() / 2).square()
    return mel_filters(rate, size).to(power) @ power[..., :frames]


@torch.no_grad()
def mel_pictures(sounds: Tensor, rate: int) -> Tensor:
    """Sounds (B, C, L) as pictures (B, 1, BANDS, FRAMES) in [-1, 1]: time to the right, pitch up.

    Channels are mixed. -1 is the floor, and 1 a band that holds a sine of amplitude 1.
    """
    parts = [mel_spectrogram(part.float().mean(1), rate) for part in sounds.split(CHUNK)]
    decibels = 10 * torch.cat(parts).clamp(min=10 ** (FLOOR / 10)).log10()
    return (1 - 2 * decibels / FLOOR).clamp(-1, 1).flip(1)[:, None]


# --- files ----------------------------------------------------------------------------------------


def to_pcm(sounds: Tensor) -> Tensor:
    """Floats in [-1, 1] to 16 bits, rounded; what is beyond is clipped.

    >>> to_pcm(torch.tensor([-1.0, 0.0, 0.5, 1.0])).tolist()
    [-32768, 0, 16384, 32767]
    """
    scaled = (sounds.detach().float().cpu() * FULL_SCALE).round()
    return scaled.clamp(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16)


def write_wav(sound: Tensor, rate: int, path: Path) -> None:
    """Write a sound (C, L) in [-1, 1] as 16-bit PCM; the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part, wave.open(str(part), "wb") as file:
        file.setnchannels(len(sound))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(to_pcm(sound).T.contiguous().numpy().astype("<i2").tobytes())
