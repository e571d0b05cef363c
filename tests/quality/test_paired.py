"""L1, PSNR and SSIM of pairs against closed forms, the baselines beside them, and which images a
translation is judged by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset, to_float
from gentrain.data.degrade import DEGRADATIONS
from gentrain.data.images import Images
from gentrain.errors import UserError
from gentrain.quality.base import Metric
from gentrain.quality.image_quality import ImageQuality
from gentrain.quality.paired import PairedScores, decibels, distances
from gentrain.quality.rotation import Rotation
from tests.quality.conftest import Sampler, scores_of


def images(n: int, seed: int, side: int = 16) -> Tensor:
    """Random colours, brighter to the bottom: smooth enough to be enlarged, and not the same upside
    down.
    """
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=draw) * 160
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return (smooth + torch.linspace(0, 80, side)[:, None]).clamp(0, 255).to(torch.uint8)


class Coloured(Images):
    """60 + 24 pictures."""

    def read(self, split: str) -> ArrayDataset:
        return ArrayDataset(images(60 if split == "train" else 24, seed=len(split)), None)


def data(degrade: str = "downsample_x4") -> Coloured:
    return Coloured(
        name="coloured",
        shape=(3, 16, 16),
        size=16,
        degrade=degrade,
        source_shape=DEGRADATIONS[degrade].shape(3, 16, 16),
    )


def scored(metric: Metric, set_: Any, translate: Any) -> dict[str, float]:
    return scores_of(metric, set_, Sampler(translate))[0]


def test_distances_of_known_images() -> None:
    x = images(3, seed=0)
    y = x.clone()
    y[1], y[2] = (x[1].int() + 10).clamp(0, 255).to(torch.uint8), 255 - x[2]
    found = distances(x, y)
    assert (
        found["l1"][0] == 0
        and found["psnr"][0] == 100
        and found["ssim"][0] == pytest.approx(1, abs=1e-5)
    )
    assert float(found["l1"][1]) == pytest.approx(10 / 127.5, rel=0.02)
    assert float(found["psnr"][1]) == pytest.approx(
        20 * torch.tensor(255 / 10).log10().item(), abs=0.1
    )
    assert found["ssim"][2] < 0.2 < found["ssim"][1]


def test_psnr_and_ssim_are_those_of_torchmetrics() -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio as psnr
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    x, y = images(4, seed=1, side=32), images(4, seed=2, side=32)
    found = distances(x, y)
    assert float(found["psnr"].mean()) == pytest.approx(
        float(psnr(x.float(), y.float(), data_range=255.0, dim=(1, 2, 3))), rel=1e-5
    )
    pooled = decibels(found["squared_error"].mean())
    assert float(pooled) == pytest.approx(
        float(psnr(x.float(), y.float(), data_range=255.0)), rel=1e-5
    )
    assert float(found["ssim"].mean()) == pytest.approx(
        float(ssim(x.float(), y.float(), data_range=255.0)), rel=1e-5
    )


@pytest.mark.parametrize(
    ("degrade", "name"),
    [("downsample_x4", "bicubic"), ("grayscale", "grey"), ("mask", "mean_fill")],
)
def test_a_model_that_knows_and_one_that_knows_nothing(degrade: str, name: str) -> None:
    """The truth scores best; what the baseline gives scores as the baseline, of the held-out images
    and no others.
    """
    set_, how = data(degrade), DEGRADATIONS[degrade]
    truth = scored(PairedScores(), set_, lambda batch: batch[0])
    assert truth["psnr"] == 100 and truth["l1"] == 0 and truth["ssim"] == pytest.approx(1, abs=1e-5)
    naive = scored(
        PairedScores(batch_size=7), set_, lambda batch: how.restore(batch[1], set_.shape)
    )  # type: ignore[misc]
    for score in ("l1", "psnr", "psnr_pooled", "ssim"):
        assert naive[f"{score}"] == pytest.approx(naive[f"{score}_{name}"], rel=1e-5)
        assert naive[f"{score}_{name}"] == pytest.approx(truth[f"{score}_{name}"], rel=1e-5)
    test, mean = (
        set_.load("test").images,
        to_float(set_.load("train").images.float().mean(0).round().to(torch.uint8)),
    )
    error = ((to_float(test) - mean) * 127.5).square().flatten(1).mean(1)
    assert truth["psnr_mean_image"] == pytest.approx(
        float((10 * (255**2 / error).log10()).mean()), rel=1e-4
    )
    assert truth["psnr_pooled_mean_image"] == pytest.approx(
        float(10 * (255**2 / error.mean()).log10()), rel=1e-4
    )
    assert truth[f"psnr_{name}"] > truth["psnr_mean_image"]


def test_the_fid_of_translations_is_of_held_out_sources(tmp_path: Path) -> None:
    """A model that gives every source its true image is no way from these images, and as far from
    the training images as the held-out images are: at the floor.
    """
    by_pairs = ImageQuality(Rotation(updates=5), samples=5000, cache=str(tmp_path))
    assert scored(by_pairs, data(), lambda batch: batch[0])["fid_rotation"] < 1e-6
    judge = ImageQuality(Rotation(updates=5), samples=5000, cache=str(tmp_path), reference="train")
    scores = scored(judge, data(), lambda batch: batch[0])
    assert scores["n"] == 24 and scores["fid_rotation"] == pytest.approx(
        scores["fid_rotation_floor"], rel=1e-6
    )
    blurred = scored(
        judge, data(), lambda batch: batch[0].mean((2, 3), keepdim=True).expand_as(batch[0])
    )
    assert blurred["fid_rotation"] > 2 * scores["fid_rotation"]


def test_turned_images_are_told_apart(tmp_path: Path) -> None:
    features = Rotation(updates=60)
    features.check(data())
    features.prepare(data(), tmp_path)
    assert features.accuracy > 0.8 and features.protocol()["task"] == "quarter turns"


def test_what_gives_no_pairs_is_refused(tmp_path: Path) -> None:
    class Apart(Coloured):
        aligned = False  # type: ignore[assignment]

    for set_ in (Coloured(name="plain", shape=(3, 16, 16), size=16), Apart(**vars_of(data()))):
        with pytest.raises(
            UserError, match=r"gives no pairs of a source and its image \(data, callbacks.paired\)"
        ):
            PairedScores().check(set_, Sampler())


def vars_of(set_: Coloured) -> dict[str, Any]:
    return {
        name: getattr(set_, name) for name in ("name", "shape", "size", "degrade", "source_shape")
    }
