"""gentrain eval, and what gentrain sample and gentrain doctor make of densities, on small runs that
are trained once.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.program import Program, fine, refused
from tests.support.zoo import Zoo


@pytest.fixture
def trained(zoo: Zoo) -> Path:
    """The folder of the runs."""
    return zoo.with_runs("vae", "inpainting", "m2", "maf", "gan", "noise")


@pytest.fixture
def sample(trained: Path, tmp_path: Path, gentrain: Program) -> Program:
    return lambda name, *words: gentrain(
        "sample", f"run={trained / name}", f"out={tmp_path / 'out'}", *words
    )


@pytest.fixture
def scored(trained: Path, tmp_path: Path, gentrain: Program) -> Program:
    return lambda name, *words: gentrain(
        "eval", f"run={trained / name}", f"out={tmp_path / 'eval.json'}", *words
    )


def kept(tmp_path: Path, name: str = "out/sample.json") -> dict[str, Any]:
    return json.loads((tmp_path / name).read_text())


# --- eval -----------------------------------------------------------------------------------------


def test_eval_of_a_bound(scored: Program, tmp_path: Path, trained: Path) -> None:
    fine(done := scored("vae", "n=40", "importance=3"))
    found = kept(tmp_path, "eval.json")
    nats, about = found["scores"]["quality/nats"], found["protocols"]["quality"]
    assert (
        f"{nats:.2f} +-" in done.stdout
        and "3 samples; 40 test images of mnist_5k, dynamically binarised" in done.stdout
    )
    assert found["scores"]["quality/bits_per_dim"] == pytest.approx(nats / 784 / math.log(2))
    assert (about["images"], about["split"], found["step"], found["averaged"]) == (
        40,
        "test",
        3,
        False,
    )
    fine(scored("vae", "n=40", "importance=3", "batch_size=7"))
    # the same images, other noise
    assert kept(tmp_path, "eval.json")["scores"]["quality/nats"] == pytest.approx(nats, rel=0.01)
    fine(scored("vae", "n=40", "importance=100", "split=train"))
    assert kept(tmp_path, "eval.json")["protocols"]["quality"]["split"] == "train"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["eval.json"]


def test_eval_as_the_run_measured_itself(gentrain: Program, zoo: Zoo, tmp_path: Path) -> None:
    """The same protocol gives the same number, bit for bit; without `out` it goes into the run."""
    trained = zoo.copy("vae", tmp_path / "vae").parent
    fine(gentrain("eval", f"run={trained / 'vae'}", "n=20", "importance=2"))
    end, found = (
        json.loads((trained / "vae" / file).read_text()) for file in ("summary.json", "eval.json")
    )
    assert found["scores"] == {
        name: value for name, value in end["metrics"].items() if name.startswith("quality/")
    }
    assert found["protocols"] == end["protocols"]


def test_eval_of_what_names_classes_and_of_what_is_exact(scored: Program, tmp_path: Path) -> None:
    fine(done := scored("m2", "n=20", "importance=1"))
    assert (
        "test error" in done.stdout
        and "after 20 labels" in done.stdout
        and "summed over the labels" in done.stdout
    )
    assert 0 < kept(tmp_path, "eval.json")["scores"]["quality/test_error"] <= 1
    fine(done := scored("maf", "n=20"))
    assert "nats; exact" in done.stdout and "64 dimensions" in done.stdout


def test_eval_of_an_energy(zoo: Zoo, gentrain: Program, tmp_path: Path) -> None:
    """By the run's own annealing, on as many images as are asked for, of the split that is asked
    for.
    """
    zoo.copy("rbm", tmp_path / "rbm")
    fine(done := gentrain("eval", f"run={tmp_path / 'rbm'}", "n=20", "split=train"))
    about = kept(tmp_path, "rbm/eval.json")["protocols"]["quality"]
    assert (
        "20 train images" in done.stdout
        and "fakes" not in done.stdout
        and (about["images"], about["split"]) == (20, "train")
    )


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("noise", (), ["nothing to score", "(quality)", "quality=classifier"]),
        ("vae", ("n=0",), ["(n)", "greater than or equal to 1"]),
        ("vae", ("importance=0",), ["(importance)"]),
        ("vae", ("split=tset",), ["(split)"]),
        ("vae", ("imprtance=3",), ["imprtance", "did you mean importance"]),
        ("vae", ("checkpoint=worst",), ["(checkpoint)"]),
        ("nothing", (), ["no run in", "(run)"]),
    ],
)
def test_what_eval_refuses(
    scored: Program, tmp_path: Path, name: str, words: tuple[str, ...], said: list[str]
) -> None:
    refused(scored(name, *words), *said)
    assert list(tmp_path.iterdir()) == []


# --- sample ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words", "files", "shape"),
    [
        ("vae", ("n=5",), {"grid.png"}, (5, 28, 28, 1)),
        ("vae", ("mode=reconstruct", "n=3"), {"reconstruct.png"}, (3, 28, 28, 1)),
        ("m2", ("mode=invert", "n=3"), {"reconstruct.png"}, (3, 28, 28, 1)),
        ("m2", ("mode=class_grid", "n=2"), {"class_grid.png"}, (20, 28, 28, 1)),
        ("vae", ("mode=interpolate", "n=2", "mode.steps=3"), {"interpolate.png"}, (6, 28, 28, 1)),
        ("maf", ("mode=interpolate", "n=2", "mode.steps=3"), {"interpolate.png"}, (6, 8, 8, 1)),
        ("vae", ("mode=traverse", "n=3"), {"traverse.png"}, (21, 28, 28, 1)),
        ("gan", ("mode=traverse", "n=2", "mode.steps=3"), {"traverse.png"}, (6, 28, 28, 1)),
        (
            "inpainting",
            ("mode=complete", "n=3", "mode.times=2", "mode.known=left"),
            {"complete.png"},
            (6, 28, 28, 1),
        ),
    ],
)
def test_modes(
    sample: Program,
    tmp_path: Path,
    name: str,
    words: tuple[str, ...],
    files: set[str],
    shape: tuple[int, ...],
) -> None:
    fine(sample(name, *words))
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == files | {"images.npz", "sample.json"}
    with np.load(out / "images.npz") as images:
        assert images["images"].shape == shape
    assert all(Image.open(out / file).size[0] > 16 for file in files)


def test_a_traverse_moves_one_latent_a_row(sample: Program, tmp_path: Path) -> None:
    fine(sample("vae", "mode=traverse", "mode.latents=[2,0]", "mode.steps=3", "mode.reach=2"))
    with np.load(tmp_path / "out" / "images.npz") as images:
        rows = images["images"].astype(int)
    assert kept(tmp_path)["results"]["latents"] == [2, 0] and len(rows) == 6
    assert not np.array_equal(rows[0], rows[2]) and not np.array_equal(rows[0], rows[3])
    refused(sample("vae", "mode=traverse", "mode.latents=[4]"), "0 to 3", "(mode.latents)")


@pytest.mark.parametrize("known", ["upper", "lower", "left", "right", "centre", "border"])
def test_the_parts_that_are_known(known: str) -> None:
    from gentrain.commands.sample.data_modes import Complete

    mask, other = (Complete(known=part).mask(8, 8)[0, 0] for part in (known, OPPOSITE[known]))
    assert mask.sum() in (32, 16, 48) and torch.equal(mask, ~other)


OPPOSITE = {
    "upper": "lower",
    "lower": "upper",
    "left": "right",
    "right": "left",
    "centre": "border",
    "border": "centre",
}


def test_what_is_known_of_an_image_stays(sample: Program, tmp_path: Path) -> None:
    from gentrain.data.mnist_5k import MNIST5k

    fine(sample("inpainting", "mode=complete", "n=2", "mode.times=3"))
    with np.load(tmp_path / "out" / "images.npz") as images:
        done = images["images"][..., 0].reshape(3, 2, 28, 28)
    digits = MNIST5k(name="mnist_5k", shape=(1, 28, 28), classes=10)
    real = digits.load("test").images[:2, 0].numpy()
    assert (done[:, :, :14] == real[:, :14]).all() and (done[:, :, 14:] != real[:, 14:]).any()
    assert (done[0] != done[1]).any()
    said, mean = (
        kept(tmp_path)["results"],
        digits.load("train").images[:, 0].double().mean(0).numpy(),
    )
    for name, guess in (("rms", done.mean(0)), ("rms_of_mean_image", mean[None])):
        assert said[name] == pytest.approx(
            np.sqrt(np.square(real - guess)[:, 14:].mean()), rel=0.01
        )


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("vae", ("mode=complete",), ["completes images", "(mode=complete)"]),
        ("gan", ("mode=complete",), ["completes images", "(mode=complete)"]),
        ("inpainting", ("mode=complete", "mode.known=middle"), ["mode.known"]),
        ("maf", ("mode=reconstruct",), ["reconstructs images", "(mode="]),
        ("gan", ("mode=reconstruct",), ["reconstructs images", "(mode="]),
        ("vae", ("mode=truncation",), ["mode.fid=false"]),
        ("vae", ("mode=class_grid",), ["no labels"]),
    ],
)
def test_what_does_not_fit(
    sample: Program, tmp_path: Path, name: str, words: tuple[str, ...], said: list[str]
) -> None:
    refused(sample(name, *words), *said)
    assert list(tmp_path.iterdir()) == []


def test_a_flow_whose_way_back_is_no_single_pass_has_no_onnx_file(
    gentrain: Program, trained: Path
) -> None:
    refused(gentrain("export", f"run={trained / 'maf'}"), "(onnx)", "onnx=false")


# --- doctor ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "maf", "m2"])
def test_the_doctor_looks_at_a_density(gentrain: Program, trained: Path, name: str) -> None:
    done = gentrain("doctor", f"run={trained / name}", "samples=20")
    assert done.status == 0 and "at step 3" in done.stdout, done
