"""Sounds in a training and in `gentrain sample`: pictures, .wav files, dashboards, refusals."""

from __future__ import annotations

import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gentrain.commands.sample import with_defaults
from gentrain.commands.sample.data_modes import Nearest
from gentrain.commands.sample.latent_modes import Grid, Interpolate
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.schema import Keep
from gentrain.data.arrays import to_float
from gentrain.data.spectra import to_pcm
from gentrain.data.tones import Tones
from gentrain.errors import UserError
from gentrain.models.pixels import Real, check_values, shown
from gentrain.quality.classifier import Classifier
from gentrain.quality.image_quality import ImageQuality
from gentrain.quality.rotation import Rotation
from gentrain.quality.sounds import SoundQuality, Spectral, ToneQuality
from gentrain.runs.reopen import OpenedRun
from gentrain.training.callbacks.samples import SampleGrids
from gentrain.training.loggers.base import Dashboard
from tests.contracts.test_backbones import built

LENGTH = 1024


def tones() -> Tones:
    options: dict[str, Any] = {"notes": [67, 76], "classes": 8, "length": LENGTH, "n": 20}
    return Tones(name="tones", shape=(1, LENGTH), validation=0, **options)


@pytest.fixture(scope="module")
def opened() -> OpenedRun:
    torch.manual_seed(0)
    words = (f"data.length={LENGTH}", "data.notes=[67,76]", "data.classes=8")
    model, _ = built("model=wavegan", *words)
    return OpenedRun(Path("run"), {}, {}, model, tones(), torch.device("cpu"), 1, "0", {}, {})


def values(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert file.getframerate() == 16000
        return np.frombuffer(file.readframes(10**6), "<i2")


def test_samples_are_wav_files_and_one_picture(opened: OpenedRun, tmp_path: Path) -> None:
    keep = with_defaults({"seed": None, "save": None}, opened.data.kept_as)["save"]
    assert keep is Keep.folder
    session, out = SampleSession(opened), Output(tmp_path, keep.name, opened.data)
    Grid(6).draw(session, out)
    expected = to_pcm(torch.cat([sounds for sounds, _ in session.stream(6)]))
    found = sorted((tmp_path / "sounds").iterdir())
    assert [file.name for file in found] == [f"{i:06d}.wav" for i in range(6)]
    assert all((values(f) == e.numpy()).all() for f, e in zip(found, expected[:, 0], strict=True))
    assert Image.open(tmp_path / "grid.png").size == (3 * 66 + 2, 2 * 66 + 2)
    assert out.said().startswith(f"6 sounds as WAV in {tmp_path / 'sounds'}")
    Grid(6).draw(session, Output(tmp_path / "npz", "npz", opened.data))
    with np.load(tmp_path / "npz" / "images.npz") as archive:
        assert np.array_equal(archive["sounds"][..., 0], expected[:, 0].numpy())
    Interpolate(1, 3, "linear").draw(session, Output(tmp_path / "path", "folder", opened.data))
    assert len(list((tmp_path / "path" / "sounds").iterdir())) == 3


def test_modes_of_images_are_refused(opened: OpenedRun) -> None:
    with pytest.raises(UserError, match="mode=nearest shows images, and data=tones gives sounds"):
        Nearest(2).check(SampleSession(opened))


class Heard(Dashboard):
    def __init__(self) -> None:
        self.shown: list[tuple[str, str, str]] = []

    def show(self, name: str, path: Path, step: int, caption: str) -> None:
        self.shown.append(("show", name, path.name))

    def play_sound(self, name: str, path: Path, step: int, caption: str) -> None:
        assert path.exists()
        self.shown.append(("play", name, path.name))

    def close(self, summary: Any, exit_status: int) -> None:
        pass


def test_a_training_shows_and_plays_its_samples(opened: OpenedRun, tmp_path: Path) -> None:
    dashboard, data = Heard(), tones()
    trainer: Any = SimpleNamespace(
        is_global_zero=True,
        datamodule=SimpleNamespace(data=data),
        global_step=0,
        default_root_dir=str(tmp_path),
        loggers=[dashboard],
    )
    model = opened.model
    module = SimpleNamespace(model=model, device=torch.device("cpu"), sample=model.sample)
    SampleGrids(every=1, n=3).on_train_start(trainer, module)
    names = [("real", "real"), ("samples", "step-000000")]
    assert dashboard.shown == [
        (how, name, f"{stem}.{ending}")
        for name, stem in names
        for how, ending in (("show", "png"), ("play", "wav"))
    ]
    real = values(tmp_path / "samples" / "real.wav")
    pause = 1600
    assert len(real) == 3 * LENGTH + 2 * pause and not real[LENGTH : LENGTH + pause].any()


def test_scores_of_images_and_of_sounds_refuse_each_other(opened: OpenedRun) -> None:
    images = SimpleNamespace(name="digits", shape=(1, 8, 8), things="images", classes=10)
    cases: list[tuple[Any, Any, str]] = [
        (ImageQuality(Classifier()), opened.data, "choose quality=spectral"),
        (ImageQuality(Rotation()), opened.data, "gives sounds"),
        (SoundQuality(Spectral()), images, "quality=spectral is of sounds"),
        (ToneQuality(Spectral()), images, "quality=tones needs data that have notes"),
    ]
    for metric, data, message in cases:
        with pytest.raises(UserError, match=message) as refused:
            metric.check(data, opened.model)
        assert "\n" not in str(refused.value)
    assert ToneQuality(Spectral()).key == "quality=tones"
    unlabelled = tones()
    unlabelled.classes = None
    with pytest.raises(UserError, match=r"has none \(data\.classes\)"):
        SoundQuality(Spectral()).check(unlabelled, opened.model)


def test_densities_of_pixels_refuse_sounds() -> None:
    assert [shown(shape) for shape in ([2], [1, 64], [1, 8, 8])] == ["points", "sounds", "images"]
    with pytest.raises(UserError, match="the data are sounds"):
        check_values(Real(), [1, 64], {"density"})


def test_sixteen_bits_become_floats_and_back() -> None:
    pcm = torch.tensor([-32768, -1, 0, 1, 32767], dtype=torch.int16)
    floats = to_float(pcm)
    assert floats.min() == -1 and floats.max() < 1 and torch.equal(to_pcm(floats), pcm)
