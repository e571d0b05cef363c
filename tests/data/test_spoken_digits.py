"""scripts/spoken_digits.py, which writes spoken digits for data=audio_folder."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import wave
from array import array
from pathlib import Path
from typing import Any

import pytest

from gentrain.data.audio_folder import AudioFolder
from tests.support.paths import ROOT


def script() -> Any:
    spec = importlib.util.spec_from_file_location("spoken", ROOT / "scripts/spoken_digits.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["spoken"] = module
    spec.loader.exec_module(module)
    return module


spoken = script()
# stands for espeak-ng: writes a short sound, as loud as the word is long, with silence around it
PROGRAM = """#!{python}
import sys, wave
with wave.open(sys.argv[2], "wb") as f:
    f.setnchannels(1), f.setsampwidth(2), f.setframerate(22050)
    value = (1000 * len(sys.argv[-1])).to_bytes(2, "little")
    f.writeframes(bytes(200) + value * 2205 + bytes(400))
"""


def test_no_voice_of_the_test_split_is_heard_in_training() -> None:
    files = spoken.plan()
    assert len(files) == len({file.file for file in files}) == 10 * 4 * 13 * 9
    voices = {
        split: {file.variant for file in files if file.split == split}
        for split in ("train", "test")
    }
    assert not voices["train"] & voices["test"]
    for split in voices:
        counts = [
            sum(file.split == split and file.digit == word for file in files)
            for word in spoken.DIGITS
        ]
        assert len(set(counts)) == 1


def test_the_files_are_read_as_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a program in espeak-ng's place: its sounds without their silence, by digit."""
    program = tmp_path / "bin" / "espeak-ng"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    kept = [file for file in spoken.plan() if file.accent == "en-us" and file.speed == 175]
    kept = [f for f in kept if f.variant in ("m1", "m8") and f.pitch == 50 and len(f.digit) == 4]
    monkeypatch.setattr(spoken, "plan", lambda: kept)
    place = tmp_path / "digits"
    spoken.main([str(place)])
    names = ["five", "four", "nine", "zero"]
    data = AudioFolder(
        name="spoken", root=place, shape=(1, 4096), rate=22050, classes=4, batch_size=2,
        cache=str(tmp_path / "cache"), validation=0,
    )  # fmt: skip
    train = data.load("train")
    assert list(data.class_names) == names and len(train.images) == 4
    assert (train.images[0, 0, :2205] == 4000).all() and not train.images[0, 0, 2205:].any()
    with pytest.raises(SystemExit, match="not an empty folder"):
        spoken.main([str(place)])


def test_without_the_program_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="install Debian's package espeak-ng"):
        spoken.main([str(tmp_path / "digits")])
    assert not (tmp_path / "digits").exists()


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_a_digit_is_spoken(tmp_path: Path) -> None:
    seven = next(file for file in spoken.plan() if file.digit == "seven")
    seconds = spoken.speak(seven, "espeak-ng", tmp_path)
    with wave.open(str(tmp_path / seven.file)) as sound:
        values = array("h", sound.readframes(sound.getnframes()))
    assert 0.2 < seconds < 1.5 and len(values) == round(seconds * sound.getframerate())
    assert min(abs(values[0]), abs(values[-1])) >= spoken.SILENCE and max(values) > 3000
