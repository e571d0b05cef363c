"""WaveGAN (Donahue, McAuley & Puckette, 2019): phase shuffle, the table of layers, tones that are
heard by exact rules, mel spectrograms and .wav files.
"""

from __future__ import annotations

import math
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gentrain.data.arrays import to_float
from gentrain.data.spectra import (
    BANDS,
    FRAMES,
    mel_filters,
    mel_pictures,
    mel_spectrogram,
    to_pcm,
    write_wav,
)
from gentrain.data.tones import TIMBRES, Tones, differences, harmonics_of, pitch_of, templates
from gentrain.errors import UserError
from gentrain.layers.lipschitz_bound import WeightLimits
from gentrain.networks.wavegan import Critic, Generator, PhaseShuffle, shifted
from tests.contracts.test_backbones import assert_trains, batch, built

RATE = 16000


# --- phase shuffle --------------------------------------------------------------------------------


def by_hand(row: list[float], shift: int) -> list[float]:
    """The row moved by `shift`, between its mirror images without the outermost values."""
    last = len(row) - 1
    mirrored = row[:0:-1] + row + row[-2::-1]  # places -last to 2 last
    return [mirrored[last + t - shift] for t in range(len(row))]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_phase_shuffle_is_a_shift_with_reflection(n: int) -> None:
    x = torch.randn(3, 2, 6)
    for shift in range(-n, n + 1):
        moved = shifted(x, torch.full((3,), shift))
        expected = [[by_hand(row, shift) for row in sample] for sample in x.tolist()]
        assert torch.equal(moved, torch.tensor(expected))
    mixed = shifted(x, torch.tensor([n, -n, 0]))
    assert torch.equal(mixed[2], x[2])
    assert mixed[0].tolist() == [by_hand(row, n) for row in x[0].tolist()]
    assert mixed[1].tolist() == [by_hand(row, -n) for row in x[1].tolist()]


def test_shifts_are_uniform_and_one_for_all_channels_of_a_sample() -> None:
    torch.manual_seed(0)
    n, count = 2, 5000
    x = torch.arange(12.0).expand(count, 3, 12) + 100 * torch.arange(3.0)[:, None]
    y = PhaseShuffle(n)(x)
    shifts = x[:, :, 6] - y[:, :, 6]
    assert (shifts == shifts[:, :1]).all() and shifts.abs().max() == n
    counts = (shifts[:, 0] + n).long().bincount(minlength=2 * n + 1)
    chi_squared = ((counts - count / 5).square() / (count / 5)).sum()
    assert chi_squared < 18.5  # exceeded once in a thousand draws, of 4 degrees of freedom


def test_phase_shuffle_rests_in_evaluation_and_is_bounded() -> None:
    x, layer = torch.randn(4, 2, 9), PhaseShuffle(2)
    assert torch.equal(layer.eval()(x), x) and torch.equal(PhaseShuffle(0)(x), x)
    assert layer.lipschitz_bound(WeightLimits()) == pytest.approx(math.sqrt(2))
    as_matrix = shifted(torch.eye(9)[None], torch.tensor([2]))[0]
    assert torch.linalg.matrix_norm(as_matrix, 2) <= math.sqrt(2) + 1e-6


# --- the table of layers --------------------------------------------------------------------------


def sizes(network: nn.Module, x: torch.Tensor, kinds: Any) -> list[tuple[int, ...]]:
    found = []
    for layer in network:
        x = layer(x)
        if isinstance(layer, kinds):
            found.append(tuple(x.shape[1:]))
    return found


def test_maps_and_weights_are_the_paper_s() -> None:
    """Those of the authors' code (read): 16 x 1024 to 16384 x 1 and back. A kernel of 25 has
    25 * inputs * outputs weights, and each output has a bias.
    """
    with torch.device("meta"):
        generator, critic = Generator([1, 16384]), Critic([1, 16384])
    lengths = [16, 64, 256, 1024, 4096, 16384]
    channels = [1024, 512, 256, 128, 64, 1]
    with torch.no_grad(), torch.device("meta"):
        ups = sizes(generator.body, torch.randn(1, 100), (nn.Unflatten, nn.ConvTranspose1d))
        downs = sizes(critic.body, torch.randn(1, 1, 16384), nn.Conv1d)
    table = list(zip(channels, lengths, strict=True))
    assert ups == table
    assert downs == table[-2::-1]
    convolutions = sum(25 * a * b for a, b in pairwise(channels))
    assert count(generator) == 100 * 16384 + 16384 + convolutions + sum(channels[1:]) == 19_065_345
    assert count(critic) == convolutions + sum(channels[:-1]) + 16384 + 1 == 17_427_969


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_one_value_of_the_last_map_sees_a_stretch_of_the_sound() -> None:
    """r <- 4 (r - 1) + 25 from the last map outwards: 25, 121, 505 and 2,041 of 4,096 values."""
    critic = Critic([1, 4096], width=2).double().eval()
    for layer in critic.modules():
        match layer:
            case nn.Conv1d():
                nn.init.constant_(layer.weight, 1.0)
    x = torch.ones(1, 1, 4096, dtype=torch.float64, requires_grad=True)
    last = critic.body[:-1](x)
    assert last.shape == (1, 16, 16)
    (grad,) = torch.autograd.grad(last[0, 0, 8], x)
    seen = grad[0, 0].nonzero().flatten()
    assert len(seen) == int(seen[-1] - seen[0]) + 1 == 2041


@pytest.mark.parametrize("shape", [[1, 28, 28], [2], [1, 16000], [1, 16]])
def test_other_shapes_are_refused(shape: list[int]) -> None:
    for network in (Generator, Critic):
        with pytest.raises(UserError, match=r"sounds \(C, L\).*data=tones"):
            network(shape)
    with pytest.raises(UserError, match=r"model\.critic\.shuffle"):
        Critic([1, 64], shuffle=64)
    with pytest.raises(UserError, match="odd number"):
        Critic([1, 64], kernel=24)


@pytest.mark.parametrize(
    "words",
    [
        ("model=wavegan",),
        ("model=cgan", "network=wavegan", "data=tones"),
        ("model=gan", "network=mlp", "data=tones"),
        ("model=gan", "network=wavegan", "data=tones", "tricks=[packing]", "loss=hinge"),
    ],
)
def test_it_trains_with_the_parts_of_other_gans(words: tuple[str, ...]) -> None:
    model, data = built(*words, "data.length=256", "data.notes=[76,80]", "data.classes=8")
    if "tricks=[packing]" in words:
        real = batch(model, data)
        assert model.critic_scores(real).shape == (4,) and model.critic_loss(real).loss.isfinite()
        return
    assert_trains(model, data)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=wavegan", "tricks=[diff_augment]"), "sounds.*no colours"),
        (("model=wavegan", "data=mnist_5k", "quality=none"), "for sounds"),
        (("model=gan", "network=dcgan", "data=tones"), "network=mlp"),
        (("model=gan", "network=resnet", "data=tones"), "network=mlp"),
        (("model=wavegan", "tricks=[virtual_batch_norm]"), "virtual_batch_norm"),
    ],
)
def test_what_is_for_images_is_refused_in_one_line(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        built(*words)
    assert "\n" not in str(refused.value)


# --- tones ----------------------------------------------------------------------------------------


def tones(**options: Any) -> Tones:
    return Tones(**{"name": "tones", "shape": (1, 4096), "classes": 32, "n": 96} | options)


def test_every_tone_is_heard_as_what_it_is() -> None:
    """The pitch also through some noise; noise alone and silence have none."""
    data = tones()
    sounds, labels, _ = data.load("train")
    assert sounds.dtype == torch.int16 and sounds.abs().amax((1, 2)).min() > 0.49 * 32768
    heard = data.listen(to_float(sounds))
    assert torch.equal(heard.timbre * 8 + heard.note, labels)
    assert (1200 * torch.log2(heard.hertz / data.pitches[labels % 8])).abs().max() < 6
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(20, 1, 4096, generator=draw)
    for nothing in (noise, torch.zeros(2, 1, 4096)):
        heard = data.listen(nothing)
        assert (heard.note == 8).all() and (heard.timbre == 4).all() and heard.hertz.isnan().all()
    noisy = to_float(sounds)[:20] + 0.03 * noise
    assert torch.equal(data.listen(noisy).note, labels[:20] % 8)


def test_notes_are_the_sum_of_their_formula() -> None:
    """Of a reed's A, begun at a quarter of its period, by a loop; with phase=0 all begin alike."""
    numbers = torch.tensor([[0.25, 0.5, 0.5, 0.0], [0.75, 0.5, 0.5, 0.0]])
    data = tones(notes=[66, 69, 72], classes=12)
    note = data.play(torch.tensor([1 * 3 + 1, 0]), numbers)[0, 0]
    x = []
    for i in range(4096):
        t, amplitudes = i / RATE, {1: 1.0, 3: 0.7, 5: 0.5, 7: 0.35}
        envelope = min(1.0, t / 0.0125) * math.exp(-5 * t)
        harmonics = (
            a * math.sin(2 * math.pi * k * (440 * t + 0.25)) for k, a in amplitudes.items()
        )
        x.append(envelope * sum(harmonics))
    peak = max(map(abs, x))
    torch.testing.assert_close(note, torch.tensor([0.5 * value / peak for value in x]))
    alike = tones(phase=0.0).play(torch.tensor([9, 9]), numbers)
    torch.testing.assert_close(alike[0], alike[1])


def test_a_pitch_beyond_a_quarter_tone_is_no_note() -> None:
    """Around A of 440 Hz, a note at 69: 45 cents away are in tune, 55 are not."""
    data = tones(notes=[66, 69, 72], classes=12)
    t = torch.arange(4096, dtype=torch.float64) / RATE
    cents = torch.tensor([-55.0, -45, 0, 45, 55])
    waves = torch.sin(2 * math.pi * 440 * 2 ** (cents[:, None] / 1200) * t)
    heard = data.listen(waves[:, None])
    assert heard.note.tolist() == [3, 1, 1, 1, 3]
    assert (1200 * torch.log2(heard.hertz / 440) - cents).abs().max() < 3
    assert heard.timbre.tolist() == [0] * 5


def test_other_harmonics_are_no_timbre() -> None:
    data = tones()
    t = torch.arange(4096, dtype=torch.float64) / RATE
    odd = sum(torch.sin(2 * math.pi * k * 220 * t) for k in (1, 3, 5, 7))  # of equal amplitudes
    third = torch.sin(2 * math.pi * 220 * t) + 2 * torch.sin(2 * math.pi * 660 * t)
    heard = data.listen(torch.stack([odd / 4, third / 3])[:, None])
    assert heard.timbre[1] == len(TIMBRES) and (heard.hertz / 220 - 1).abs().max() < 0.01
    a, b = nn.functional.normalize(templates()), torch.tensor([1.0, 0, 1, 0, 1, 0, 1, 0]) / 2
    assert (heard.timbre[0] < 4) == bool((a @ b.double()).max() >= 0.9)
    cosines = a @ a.T - 2 * torch.eye(4)
    assert cosines.max() < 0.86  # timbres are farther apart than what counts as alike


def test_the_parts_of_the_rules_are_their_formulas() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 60, dtype=torch.float64)
    size = 60 - 13
    d = [[sum((r[t] - r[t + s]) ** 2 for t in range(size)) for s in range(1, 14)] for r in x]
    torch.testing.assert_close(differences(x, 13), torch.tensor(d, dtype=torch.float64))
    pitch = torch.tensor([250.0, math.nan])  # 4,000 values are whole periods
    wave_of = torch.cos(2 * math.pi * 250 * torch.arange(4000).double() / RATE)
    found = harmonics_of(torch.stack([wave_of, wave_of]), pitch, RATE)
    assert found[0, 0] > 1e5 * found[0, 1:].max() and found[1].eq(0).all()
    assert pitch_of(wave_of[None], RATE, 100, 1000) == pytest.approx(250, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"notes": [60, 61], "classes": 8}, "data.notes"),
        ({"notes": [60, 62]}, "give 8"),
        ({"notes": [10, 30], "classes": 8}, "periods"),
        ({"notes": [100], "classes": 4}, "harmonics"),
        ({"shape": (1, 1024)}, "data.length"),
        ({"shape": (2, 4096)}, "1 channel"),
        ({"flip": True}, "data.flip"),
        ({"n": 3}, "data.n"),
        ({"phase": 2.0}, "data.phase"),
    ],
)
def test_wrong_options_of_tones_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        tones(**options)
    assert "\n" not in str(refused.value)


# --- pictures and files ---------------------------------------------------------------------------


def test_mel_filters_are_triangles_of_the_formula() -> None:
    """By a loop; each frequency between the outermost peaks is shared by two filters."""
    size, f_max = 512, RATE / 2
    mel = [i * 2595 * math.log10(1 + f_max / 700) / (BANDS + 1) for i in range(BANDS + 2)]
    edges = [700 * (10 ** (m / 2595) - 1) for m in mel]
    found = mel_filters(RATE, size)
    for band in (0, 7, BANDS - 1):
        low, peak, high = edges[band : band + 3]
        for k in range(size // 2 + 1):
            f = k * RATE / size
            rising, falling = (f - low) / (peak - low), (high - f) / (high - peak)
            assert found[band, k] == pytest.approx(max(0.0, min(rising, falling)), abs=1e-5)


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 4321.0])
def test_a_sine_is_a_line_at_its_pitch(hertz: float) -> None:
    """In the band whose peak is nearest on the mel scale, near 0 dB, and nowhere else."""
    t = torch.arange(4096) / RATE
    sound = torch.sin(2 * math.pi * hertz * t)
    power = mel_spectrogram(sound[None], RATE)[0]
    assert power.shape == (BANDS, FRAMES)
    step = 2595 * math.log10(1 + RATE / 2 / 700) / (BANDS + 1)
    nearest = round(2595 * math.log10(1 + hertz / 700) / step) - 1
    middle = power[:, 16:48]
    assert (middle.argmax(0) == nearest).all()
    assert 0.4 < middle[nearest].min() <= middle[nearest].max() < 1.6
    picture = mel_pictures(torch.stack([sound[None], 0 * sound[None]]), RATE)
    assert picture.shape == (2, 1, BANDS, FRAMES) and (picture[1] == -1).all()
    assert (picture[0, 0, :, 30].argmax() == BANDS - 1 - nearest) and picture.max() <= 1


def test_a_wav_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    sound = torch.rand(2, 50) * 2.2 - 1.1
    write_wav(sound, RATE, tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as file:
        about = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        values = np.frombuffer(file.readframes(50), "<i2").reshape(50, 2).T
    assert about == (2, 2, RATE)
    expected = (sound.numpy() * 32768).round().clip(-32768, 32767)
    assert np.array_equal(values, expected)
    assert torch.equal(to_pcm(to_float(torch.from_numpy(values.copy()))), to_pcm(sound))
