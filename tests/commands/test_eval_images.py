"""`gentrain eval images=PATH against=PATH`: the scores of images that any program made."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg

from gentrain.commands.evaluate_images import GivenImages
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.data.arrays import to_bytes
from gentrain.data.loose_images import LooseImages, read_images
from gentrain.models.base import fork_rng
from gentrain.quality.base import metrics_of
from gentrain.quality.rotation import Rotation
from gentrain.runs.reopen import reopen
from tests.support.program import Program, refused
from tests.support.zoo import Zoo

CPU = torch.device("cpu")
QUICK = ("quality=rotation", "quality.features.updates=5", "quality.kid_subsets=3")


def made(count: int = 24, channels: int = 1, seed: int = 0, size: int = 12) -> np.ndarray:
    """uint8 (N, H, W, C): a gradient and noise."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 120, (count, size, size, channels))
    return (noise + np.linspace(0, 130, size).astype(int)[:, None, None]).astype(np.uint8)


def folder(path: Path, images: np.ndarray, mode: str | None = None) -> Path:
    path.mkdir()
    for i, image in enumerate(images):
        picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
        picture.convert(mode or picture.mode).save(path / f"{i:04d}.png")
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for file in sorted(path.iterdir()):
            archive.write(file, f"pictures/{file.name}")
    return path.with_suffix(".zip")


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return saved(tmp_path / "real.npz", arr_0=made(40, seed=1))


def scored(gentrain: Program, *words: str) -> dict[str, Any]:
    done = gentrain("eval", *words)
    assert done.status == 0, done
    file = Path(done.stdout.splitlines()[0].partition("all of it in ")[2])
    return json.loads(file.read_text("utf-8"))


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_a_zip_and_arrays_are_the_same_images(channels: int, tmp_path: Path) -> None:
    images = made(5, channels)
    place = folder(tmp_path / "a", images)
    expected = torch.from_numpy(images).permute(0, 3, 1, 2)
    np.save(tmp_path / "d.npy", images)
    for path in (
        place,
        zipped(place),
        saved(tmp_path / "b.npz", images=images, labels=np.arange(5)),
        saved(tmp_path / "c.npz", arr_0=images),
        tmp_path / "d.npy",
    ):
        assert read_images(path, "images").equal(expected), path


def test_samples_are_the_images_in_order_and_exact() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    model = GivenImages(images, {})
    parts = [model.sample((torch.zeros(count, 1, 1, 1),)) for count in (100, 100, 56, 3)]
    assert to_bytes(torch.cat(parts)).equal(torch.cat([images, images[:3]]))


# --- scores ---------------------------------------------------------------------------------------


def test_a_run_and_its_own_images_have_the_same_scores(
    zoo: Zoo, tmp_path: Path, gentrain: Program
) -> None:
    words = ("quality=classifier", "quality.features.updates=20", "quality.kid_subsets=3")
    run_dir, n = zoo("gan"), 30
    of_run = scored(gentrain, f"run={run_dir}", *words, f"n={n}", "out=run.json")
    assert of_run["scores"]["quality/n"] == n

    run = reopen(run_dir)
    SampleSession(run)  # sets the model to eval mode
    metric = metrics_of(run.config)["quality"]
    metric.samples = n  # type: ignore[attr-defined]
    with fork_rng(metric.seed, CPU):
        source: Any = metric
        drawn = list(source.draw(run.model, run.data.load("test"), CPU))
    batches = [(images, None) for images in drawn]
    for save, path in (("npz", "npz/images.npz"), ("folder", "folder/images")):
        Output(tmp_path / save, save).images(iter(batches), n)
        mine = scored(gentrain, f"images={tmp_path / path}", "against=mnist_5k", *words)
        assert mine["scores"] == pytest.approx(of_run["scores"], abs=1e-6), save
        ours, theirs = (each["protocols"]["quality"] for each in (mine, of_run))
        differ = {key for key in theirs if ours[key] != theirs[key]}
        assert differ == {"rounding", "ema", "batch_norm"}  # which are of a model's samples
        assert ours["images"]["found"] == n


def test_equal_images_have_no_distance(tmp_path: Path, real: Path, gentrain: Program) -> None:
    same = folder(tmp_path / "same", made(40, seed=1))
    record = scored(gentrain, f"images={same}", f"against={real}", *QUICK)
    scores = record["scores"]
    assert scores["quality/fid_rotation"] == pytest.approx(0, abs=1e-8)
    assert scores["quality/precision_rotation"] == scores["quality/recall_rotation"] == 1
    assert scores["quality/fid_rotation_floor_of_20"] > 0.0
    assert record["protocols"]["quality"]["reference"]["split"] == "all of 40"


def test_fid_floor_and_kid_are_those_of_the_features(
    tmp_path: Path, real: Path, gentrain: Program, env: dict[str, str]
) -> None:
    path = saved(tmp_path / "fake.npz", images=made(45, seed=2))
    words = (*QUICK, "quality.kid_subset_size=40", "n=40", "seed=3")
    record = scored(gentrain, f"images={path}", f"against={real}", *words)
    protocol, scores = record["protocols"]["quality"], record["scores"]

    images = read_images(real, "against")
    data = LooseImages(name="real", shape=(1, 12, 12), images=images)
    features = Rotation(updates=5)
    features.prepare(data, Path(env["GENTRAIN_CACHE"]))
    assert protocol["features_hash"] == features.hash
    kept = torch.randperm(45, generator=torch.Generator().manual_seed(3))[:40].sort().values
    fake = features.of(read_images(path, "images")[kept], 9, CPU)[0].double().numpy()
    true = features.of(images, 9, CPU)[0].double().numpy()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3)).numpy()
    assert scores["quality/fid_rotation"] == pytest.approx(fid(fake, true), abs=1e-4)
    floor = fid(true[order[:20]], true[order[20:]])
    assert scores["quality/fid_rotation_floor_of_20"] == pytest.approx(floor, abs=1e-4)
    # the subsets have all of the 40 images of both
    assert scores["quality/kid_rotation"] == pytest.approx(kid(fake, true), abs=1e-6)
    assert protocol["images"]["drawn"] == "40 by seed 3"
    assert protocol["samples"] == 40 and protocol["reference"]["samples"] == 40


def fid(a: np.ndarray, b: np.ndarray) -> float:
    """Heusel et al. (2017), equation 6, by the eigenvalues of the product."""
    sigma_a, sigma_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(np.asarray(linalg.eigvals(sigma_a @ sigma_b)).real.clip(0)).sum()
    means = np.square(a.mean(0) - b.mean(0)).sum()
    return float(means + np.trace(sigma_a + sigma_b) - 2 * root)


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """Binkowski et al. (2018): the unbiased MMD^2 with the cubic kernel, of all features."""
    n, m, f = len(a), len(b), a.shape[1]
    aa, bb, ab = ((x @ y.T / f + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * ab.mean())


# --- options --------------------------------------------------------------------------------------


def test_labels_choose_the_classifier_and_colour_is_grey_again(
    tmp_path: Path, gentrain: Program
) -> None:
    digits = folder(tmp_path / "rgb", made(6, size=8), "RGB")
    record = scored(
        gentrain, f"images={digits}", "against=mnist_5k data.size=8", "out=there/scores.json"
    )
    protocol = record["protocols"]["quality"]
    assert protocol["features"] == "classifier"
    assert protocol["images"]["colour"] == "red, green and blue were equal: grey"
    assert protocol["reference"]["split"] == "test of 500"
    assert (tmp_path / "there" / "scores.json").is_file()


def test_the_record_lies_beside_the_images(tmp_path: Path, real: Path, gentrain: Program) -> None:
    path = folder(tmp_path / "v1.2", made(20))
    first = scored(gentrain, f"images={path}", f"against={real}", *QUICK)
    assert json.loads((tmp_path / "v1.2-eval.json").read_text("utf-8")) == first
    other = scored(gentrain, f"images={path}", f"against={real}", *QUICK, "n=10", "seed=1")
    assert other["protocols"]["quality"]["images"]["digest"] != digest_of(first)
    assert set(tmp_path.iterdir()) == {path, real, tmp_path / "v1.2-eval.json"}


def digest_of(record: dict[str, Any]) -> str:
    digest: str = record["protocols"]["quality"]["images"]["digest"]
    return digest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), ("run=DIR", "images=")),
        (("images=20",), ("give n=20",)),
        (("images=IMAGES", "run=x"), ("(run, images)",)),
        (("run=IMAGES",), ("give images=",)),
        (("run=x", "against=mnist"), ("(against)",)),
        (("images=IMAGES",), ("(against)", "against=cifar10")),
        (("images=none", "against=mnist"), ("no such folder or file none (images)",)),
        (("images=IMAGES", "against=mnist_5kk"), ("did you mean mnist_5k",)),
        (("images=IMAGES", "against=none.npz"), ("no data set and no file", "(against)")),
        (("images=IMAGES", "against=REAL", "checkpoint=last"), ("(checkpoint)",)),
        (("images=IMAGES", "against=REAL", "averaged=true"), ("(averaged)",)),
        (("images=IMAGES", "against=REAL", "importance=3"), ("(importance)",)),
        (("images=IMAGES", "against=REAL", "mean=true"), ("(mean)",)),
        (("images=IMAGES", "against=REAL", "split=train"), ("no splits (split)",)),
        (("images=IMAGES", "against=REAL", "n=25"), ("24 images (n)",)),
        (("images=IMAGES", "against=REAL", "n=1"), ("(n); give 2 to 24",)),
        (("images=IMAGES", "against=REAL", *QUICK, "quality.samples=9"), ("give n=N",)),
        (("images=IMAGES", "against=REAL", "quality=nats"), ("quality=nats is of a model",)),
        (("images=IMAGES", "against=REAL", "quality=translation"), ("(quality)", "run=DIR")),
        (("images=IMAGES", "against=REAL", "quality=none"), ("scores nothing",)),
        (("images=IMAGES", "against=REAL", "quality=classifier"), ("learns from labels",)),
        (("images=IMAGES", "against=digit_edges"), ("have no sources",)),
        (("images=IMAGES", "against=image_folder"), ("data.root=DIR", "against=")),
        (("images=IMAGES", "against=mnist_5k data.sise=12"), ("data.sise", "did you mean size")),
        (("images=IMAGES", "against=mnist_5k"), ("(1, 12, 12)", "data.size=12")),
        (("images=WIDE", "against=mnist_5k"), ("(1, 12, 16)", "data.size=[12,16]")),
        (("images=COLOUR", "against=REAL"), ("3 channels (RGB)", "as grey pictures,")),
        (("images=COLOUR", "against=mnist_5k"), ("(grey) at 28 x 28", "of that size, or")),
        (("images=ONE", "against=REAL"), ("1 image, and", "(images)")),
        (("images=IMAGES", "against=ONE"), ("1 image, and", "(against)")),
        (("images=MIXED", "against=REAL"), ("12 x 10", "12 x 12", "one size")),
        (("images=BROKEN", "against=REAL"), ("0009.png", "cannot be read")),
        (("images=EMPTY", "against=REAL"), ("no pictures in", "(images)")),
        (("images=EMPTYZIP", "against=REAL"), ("no pictures in", "(images)")),
        (("images=FLOATS", "against=REAL"), ("float32, not uint8",)),
        (("images=CHW", "against=REAL"), ("(4, 3, 12, 12)", "(N, H, W, C)")),
        (("images=NAMELESS", "against=REAL"), ("holds x", "images or arr_0")),
        (("images=CUT", "against=REAL"), ("no whole .npz",)),
        (("images=HALF", "against=REAL"), ("no whole .npy",)),
        (("images=TEXT", "against=REAL"), ("no folder, no zip and no .npz",)),
        (("images=RUN", "against=REAL"), ("is a run", "give run=DIR")),
        (("images=SAMPLED", "against=REAL"), ("gentrain sample wrote",)),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    words: tuple[str, ...], said: tuple[str, ...], tmp_path: Path, gentrain: Program
) -> None:
    places = mistakes(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for name, path in sorted(places.items(), key=lambda item: -len(item[0])):
        words = tuple(f"{word.partition('=')[0]}={path}" if word.endswith(f"={name}") else word
                      for word in words)  # fmt: skip
    done = gentrain("eval", *words)
    lines = done.stderr.splitlines()
    refused(done._replace(stderr=f"{lines[-1]}\n"), *said)
    assert all(line.startswith("reading ") for line in lines[:-1]), lines
    assert sorted(tmp_path.rglob("*")) == before


def mistakes(place: Path) -> dict[str, Path]:
    """Paths of images, most of which cannot be scored."""
    mixed = folder(place / "mixed", made(3))
    Image.new("L", (12, 10)).save(mixed / "9.png")
    broken = folder(place / "broken", made(3))
    (broken / "0009.png").write_bytes((broken / "0001.png").read_bytes()[:80])
    for name in ("empty", "run/.hydra", "sampled"):
        (place / name).mkdir(parents=True)
    (place / "sampled" / "sample.json").write_text("{}")
    (place / "text.txt").write_text("text")
    with zipfile.ZipFile(place / "empty.zip", "w") as archive:
        archive.writestr("read.me", "text")
    whole = saved(place / "images.npz", images=made())
    (place / "cut.npz").write_bytes(whole.read_bytes()[:1000])
    np.save(place / "half.npy", made())
    (place / "half.npy").write_bytes((place / "half.npy").read_bytes()[:1000])
    return {
        "IMAGES": whole,
        "REAL": saved(place / "real.npz", arr_0=made(seed=1)),
        "COLOUR": saved(place / "colour.npz", arr_0=made(channels=3)),
        "WIDE": saved(place / "wide.npz", images=np.repeat(made(), 2, 2)[:, :, 4:20]),
        "ONE": folder(place / "one", made(1)),
        "MIXED": mixed,
        "BROKEN": broken,
        "EMPTY": place / "empty",
        "EMPTYZIP": place / "empty.zip",
        "FLOATS": saved(place / "floats.npz", images=made().astype(np.float32)),
        "CHW": saved(place / "chw.npz", images=made(4, 3).transpose(0, 3, 1, 2)),
        "NAMELESS": saved(place / "nameless.npz", x=made()),
        "CUT": place / "cut.npz",
        "HALF": place / "half.npy",
        "TEXT": place / "text.txt",
        "RUN": place / "run",
        "SAMPLED": place / "sampled",
    }


def test_arguments_are_refused_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from gentrain.cli.main import run; "
        "status = run(['eval', 'images=none', 'against=mnist']); "
        "sys.exit(status if 'torch' not in sys.modules else 99)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert done.returncode == 2, done.stderr
