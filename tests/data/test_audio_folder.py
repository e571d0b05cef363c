"""A user's own sounds: decoded once, resampled, labelled by their folders; the rest refused."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gentrain.commands.check.datasets import batches, digest, ranks, samples
from gentrain.errors import UserError

soundfile = pytest.importorskip("soundfile")  # the extra `audio`

Make = Callable[..., Any]
SHORT = ("length=256", "rate=8000")


def sine(hertz: float, seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return np.repeat(0.5 * np.sin(2 * math.pi * hertz * t)[:, None], channels, 1)


def write(path: Path, values: np.ndarray, rate: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, values, rate)
    return path


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """12 files for each of two classes, of three formats and as many rates."""
    for label, hertz in (("high", 1000), ("low", 250)):
        for i in range(12):
            ending, rate = [("wav", 8000), ("flac", 16000), ("ogg", 44100)][i % 3]
            write(tmp_path / "set" / label / f"{i}.{ending}", sine(hertz + i, 0.1, rate), rate)
    (tmp_path / "set" / "readme.txt").write_text("not a sound")
    return tmp_path / "set"


def test_sounds_of_every_format_become_one_rate_and_length(make: Make, two_classes: Path) -> None:
    data = make("audio_folder", f"root={two_classes}", "classes=2", *SHORT)
    sounds, labels, _ = data.load("train")
    assert sounds.shape == (22, 1, 256) and sounds.dtype == torch.int16
    assert len(data.load("test").images) == 2 and data.class_names == ["high", "low"]
    spectrum = torch.fft.rfft(sounds[:, 0].double() * torch.hann_window(256), 8192).abs()
    hertz = spectrum.argmax(1) * 8000 / 8192
    assert torch.equal((hertz < 500).long(), labels)
    near = torch.where(labels == 1, 250, 1000)
    assert ((hertz - near) > -4).all() and ((hertz - near) < 16).all()
    assert ((sounds.double() / 32768).abs().amax((1, 2)) - 0.5).abs().max() < 0.1


def test_a_wav_at_its_own_rate_is_kept_to_the_bit(make: Make, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-32768, 32768, (20, 300), dtype=np.int16)
    for i, row in enumerate(values):
        write(tmp_path / "set" / f"{i:02d}.wav", row, 8000)
    write(tmp_path / "set" / "short.wav", values[0, :100], 8000)
    data = make("audio_folder", f"root={tmp_path / 'set'}", *SHORT)
    found = torch.cat([data.load(split).images for split in ("train", "test")])[:, 0].numpy()
    rows = {row.tobytes() for row in found}
    assert {row[:256].tobytes() for row in values} < rows
    assert np.concatenate([values[0, :100], np.zeros(156, np.int16)]).tobytes() in rows


def test_channels_are_mixed_or_repeated(make: Make, tmp_path: Path) -> None:
    stereo = sine(500, 0.05, 8000, 2) * np.array([1.0, 0.5])
    for i in range(10):
        write(tmp_path / "set" / f"{i}.wav", stereo, 8000)
    mono = make("audio_folder", f"root={tmp_path / 'set'}", *SHORT).load("train").images
    both = make("audio_folder", f"root={tmp_path / 'set'}", *SHORT, "channels=2")
    both = both.load("train").images
    assert both.shape == (9, 2, 256)
    assert (both.double().mean(1) - mono[:, 0]).abs().max() <= 1
    write(tmp_path / "mono" / "0.wav", stereo[:, :1], 8000)
    for i in range(1, 10):
        write(tmp_path / "mono" / f"{i}.wav", stereo[:, :1], 8000)
    twice = make("audio_folder", f"root={tmp_path / 'mono'}", *SHORT, "channels=2").load("train")
    assert torch.equal(twice.images[:, 0], twice.images[:, 1])


def test_sounds_are_decoded_once_and_read_from_a_zip_too(
    make: Make, two_classes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = make("audio_folder", f"root={two_classes}", "classes=2", *SHORT).load("train")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for path in sorted(two_classes.rglob("*.*")):
            file.write(path, path.relative_to(two_classes))
    zipped = make("audio_folder", f"root={tmp_path / 'set.zip'}", "classes=2", *SHORT)
    assert torch.equal(zipped.load("train").images, one.images)
    monkeypatch.setattr(soundfile, "read", None)
    again = make("audio_folder", f"root={two_classes}", "classes=2", *SHORT).load("train")
    assert torch.equal(again.images, one.images) and torch.equal(again.labels, one.labels)


@pytest.mark.parametrize("check", [samples, digest, batches, ranks])
def test_contract(check: Callable[..., str], make: Make, two_classes: Path) -> None:
    def of(**options: Any) -> Any:
        words = (f"root={two_classes}", "classes=2", "batch_size=8", *SHORT)
        return make("audio_folder", *words, *(f"{key}={value}" for key, value in options.items()))

    assert check(of() if check is samples else of)


def test_broken_files_stop_or_are_skipped(
    make: Make, two_classes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (two_classes / "low" / "broken.wav").write_bytes(b"RIFF, and then nothing")
    write(two_classes / "low" / "one.wav", np.zeros((1, 1)), 8000)
    (two_classes / "low" / "empty.flac").write_bytes(b"")
    words = ("audio_folder", f"root={two_classes}", "classes=2", *SHORT)
    with pytest.raises(UserError, match=r"sounds of .* are unreadable: .*data\.on_bad") as refused:
        make(*words).load("train")
    assert "\n" not in str(refused.value)
    data = make(*words, "on_bad=skip")
    found = sum(len(data.load(split).images) for split in ("train", "test"))
    assert found == 24 and "1 value is no sound" in caplog.text


def test_what_is_no_set_of_sounds_is_refused(make: Make, two_classes: Path) -> None:
    for words, message in (
        ((), "data.root"),
        ((f"root={two_classes / 'nowhere'}",), "no such folder"),
        ((f"root={two_classes}", "classes=3"), "2 class folders, not 3"),
        ((f"root={two_classes}", "channels=3"), "data.channels"),
        ((f"root={two_classes}", "length=10"), "data.length"),
        ((f"root={two_classes}", "rate=0"), "data.rate"),
        ((f"root={two_classes}", "flip=true"), "data.flip"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            make("audio_folder", *words).load("train")
        assert "\n" not in str(refused.value)
    (two_classes / "empty").mkdir()
    with pytest.raises(UserError, match="0 sounds in the class folders empty"):
        make("audio_folder", f"root={two_classes}", "classes=3", *SHORT).load("train")
    with pytest.raises(UserError, match=r"0 sounds in .*\.wav \.flac \.ogg"):
        make("audio_folder", f"root={two_classes / 'empty'}", *SHORT).load("train")


def test_silence_is_told(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(10):
        write(tmp_path / "set" / f"{i}.wav", sine(500, 0.05, 8000) * (i > 2), 8000)
    caplog.set_level("INFO", "gentrain")
    make("audio_folder", f"root={tmp_path / 'set'}", *SHORT).load("train")
    assert "of 9 sounds are silent" in caplog.text
