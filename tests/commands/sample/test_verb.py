"""gentrain sample and gentrain export, called as the console script calls them, on small runs that
are trained once.

tests/cli/test_sample.py runs the program itself.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf.basecontainer import BaseContainer
from PIL import Image

from gentrain.commands.export import open_exported
from gentrain.commands.sample.writer import Output
from gentrain.data.labels import Exclusive
from gentrain.runs.reopen import reopen
from tests.support.paths import ROOT
from tests.support.program import Program, fine, refused
from tests.support.zoo import Zoo


class Plane:
    """Points as `Output` looks at them."""

    shape = (2,)
    columns = ("x", "y")
    things = "points"

    @staticmethod
    def in_units(points: torch.Tensor) -> torch.Tensor:
        return points


@pytest.mark.parametrize(
    ("save", "data", "said", "name"),
    [
        ("npz", None, "3 images as an array of numpy in {}", "images.npz"),
        ("folder", None, "3 images as PNG in {}", "images"),
        ("npz", Plane(), "3 points as an array of numpy in {}", "images.npz"),
        ("folder", Plane(), "3 points as a table in {}", "points.csv"),
        ("none", None, "", ""),
    ],
)
def test_what_was_made_and_where(
    tmp_path: Path, save: str, data: Any, said: str, name: str
) -> None:
    out = Output(tmp_path / "out", save, data)
    images = torch.zeros(3, 2) if data else torch.zeros(3, 1, 4, 4)
    out.images(iter([(images, None)]), 3)
    place = tmp_path / "out" / name
    assert out.said() == said.format(place) and place.exists()
    out.picture("grid", torch.zeros(3, 4, 4))
    out.picture("more", torch.zeros(3, 4, 4))
    see = f"see {tmp_path / 'out' / 'grid.png'} and 1 more"
    assert out.said() == (f"{said.format(place)}; {see}" if said else see)


def test_the_command_says_where_the_images_are(sample: Program, tmp_path: Path) -> None:
    done = sample("gan", "n=2", "save=folder")
    first, second = done.stdout.splitlines()
    assert first.endswith(f"grid in {tmp_path / 'out'}")
    place = tmp_path / "out" / "images"
    assert second == f"2 images as PNG in {place}; see {tmp_path / 'out' / 'grid.png'}"
    assert len(list(place.glob("*.png"))) == 2


@pytest.fixture
def trained(zoo: Zoo) -> Path:
    """The folder of the runs `gan` (normal noise, an average, scores) and `cgan`."""
    return zoo.with_runs("gan", "cgan")


@pytest.fixture
def sample(trained: Path, tmp_path: Path, gentrain: Program) -> Program:
    """`sample('gan', ...)` into tmp_path/out."""
    return lambda name, *words: gentrain(
        "sample", f"run={trained / name}", f"out={tmp_path / 'out'}", *words
    )


def test_a_program_that_only_reads_runs_may_open_one(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Hydra's resolvers, which a command has and a notebook has not."""
    bare = {
        name: resolver
        for name, resolver in BaseContainer._resolvers.items()
        if name.startswith("oc.")
    }
    monkeypatch.setattr(BaseContainer, "_resolvers", bare)
    run = reopen(trained / "gan")
    assert run.step > 0
    assert run.model.sample((torch.zeros(3, 1, 28, 28),)).shape == (3, 1, 28, 28)


def record(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "out" / "sample.json").read_text())


@pytest.mark.parametrize(
    ("name", "words", "files", "shape"),
    [
        ("gan", ("n=7",), {"grid.png"}, (7, 28, 28, 1)),
        ("cgan", ("mode=class_grid", "n=2", "labels=[3,8]"), {"class_grid.png"}, (4, 28, 28, 1)),
        ("gan", ("mode=interpolate", "n=2", "mode.steps=3"), {"interpolate.png"}, (6, 28, 28, 1)),
        (
            "cgan",
            ("mode=sphere", "n=2", "mode.steps=3"),
            {"sphere-0.png", "sphere-1.png"},
            (18, 28, 28, 1),
        ),
        ("gan", ("mode=arithmetic", "mode.pick=[[0,4],2,5]"), {"arithmetic.png"}, (4, 28, 28, 1)),
        ("gan", ("mode=nearest", "n=3", "mode.neighbours=2"), {"nearest.png"}, (3, 28, 28, 1)),
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
    done = sample(name, *words)
    fine(done)
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == files | {"images.npz", "sample.json"}
    with np.load(out / "images.npz") as kept:
        assert kept["images"].shape == shape and ("labels" in kept) == (name == "cgan")
    assert all(Image.open(out / file).size[0] > 28 for file in files)
    assert record(tmp_path)["step"] == 3 and record(tmp_path)["averaged"] == (name == "gan")
    assert f"in {out}" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_seeds(sample: Program, tmp_path: Path) -> None:
    """The same images again, bit for bit, more of them, other ones by another seed, others without
    the average.
    """

    def drawn(*words: str) -> np.ndarray:
        fine(sample("gan", *words))
        with np.load(tmp_path / "out" / "images.npz") as kept:
            return kept["images"].astype(int)

    first = drawn("n=5")
    file = (tmp_path / "out" / "images.npz").read_bytes()
    assert (
        np.array_equal(drawn("n=5"), first)
        and (tmp_path / "out" / "images.npz").read_bytes() == file
    )
    assert np.abs(drawn("n=8")[:5] - first).max() <= 1
    assert not np.array_equal(drawn("n=5", "seed=1"), first)
    assert not np.array_equal(drawn("n=5", "averaged=false"), first)
    fine(sample("gan", "n=5", "checkpoint=best"))
    assert record(tmp_path)["checkpoint"] == "best"


def test_a_folder_inside_the_run(trained: Path, tmp_path: Path, gentrain: Program) -> None:
    """By default the pictures go into the run; the images may be a folder that data=image_folder
    reads.
    """
    shutil.copytree(trained / "cgan", tmp_path / "run")
    fine(gentrain("sample", "run=run", "n=12", "save=folder"))
    out = tmp_path / "run" / "samples-grid"
    assert {p.name for p in out.iterdir()} == {"grid.png", "images", "sample.json"}
    assert sorted(p.name for p in (out / "images").iterdir()) == [str(i) for i in range(10)]
    assert len(list(out.glob("images/*/*.png"))) == 12
    assert {p.name for p in tmp_path.iterdir()} == {"run"}


def test_truncation_measures_as_the_run_did(sample: Program, trained: Path, tmp_path: Path) -> None:
    done = sample("gan", "mode=truncation", "mode.taus=[1,0.5]", "n=4", "mode.standing=100")
    fine(done)
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {
        "whole.png",
        "tau-1.png",
        "tau-0.5.png",
    }
    head, whole, *rows = done.stdout.splitlines()[:4]
    assert head.split()[:2] == ["tau", "fid_classifier"] and [
        line.split()[0] for line in (whole, *rows)
    ] == ["whole", "1", "0.5"]
    scores = record(tmp_path)["results"]["scores"]
    end = json.loads((trained / "gan" / "summary.json").read_text())
    measured = {key: value for key, value in end["metrics"].items() if key.startswith("quality/")}
    assert measured and measured == {key: scores[0][key] for key in measured}
    assert all(np.isfinite(row["quality/fid_classifier"]) for row in scores)
    protocol = record(tmp_path)["results"]["protocol"]
    assert (
        protocol["features_hash"] == end["protocols"]["quality"]["features_hash"]
        and "standing" in protocol["batch_norm"]
    )


def test_eval_of_a_game_measures_as_the_run_did(
    trained: Path, tmp_path: Path, gentrain: Program
) -> None:
    fine(done := gentrain("eval", f"run={trained / 'gan'}", f"out={tmp_path / 'eval.json'}"))
    found, end = (
        json.loads((tmp_path / "eval.json").read_text()),
        json.loads((trained / "gan" / "summary.json").read_text()),
    )
    assert found["averaged"] and found["protocols"]["quality"] == end["protocols"]["test/quality"]
    assert {key.removeprefix("quality/"): value for key, value in found["scores"].items()} == {
        key.removeprefix("test/"): value
        for key, value in end["metrics"].items()
        if key.startswith("test/")
    }
    assert "fid_classifier_floor" in done.stdout and "200 fakes" in done.stdout
    done = gentrain("eval", f"run={trained / 'gan'}", "n=100", f"out={tmp_path / 'eval.json'}")
    assert done.status == 0 and "quality=classifier: 100 samples" in done.stderr, done
    assert json.loads((tmp_path / "eval.json").read_text())["scores"]["quality/n"] == 100
    refused(gentrain("eval", f"run={trained / 'cgan'}"), "nothing to score", "(quality)")


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("gan", ("mode=class_grid",), ["no labels", "(mode)"]),
        ("gan", ("mode=invert",), ["reconstructs images", "(mode="]),
        ("cgan", ("mode=truncation",), ["mode.fid=false"]),
        ("gan", ("labels=[1]",), ["no labels", "(labels)"]),
        ("cgan", ("labels=[10]",), ["0 to 9", "(labels)"]),
        ("cgan", ("checkpoint=best",), ["best.ckpt", "checkpoint=last"]),
        ("nothing", (), ["no run in", "(run)"]),
    ],
)
def test_what_does_not_fit(
    sample: Program, tmp_path: Path, name: str, words: tuple[str, ...], said: list[str]
) -> None:
    refused(sample(name, *words), *said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mode=gird",), ["gird", "did you mean grid"]),
        (("mode=arithmetic", "n=4"), ["(n)"]),
        (("n=0",), ["(n)", "greater than or equal to 1"]),
        (("seed=-1",), ["(seed)"]),
        (("mode.shwon=3",), ["mode.shwon", "mode.shown"]),
        (("mode=truncation", "mode.taus=[0]"), ["mode.taus"]),
        (("mode=arithmetic", "mode.pick=[1,2]"), ["mode.pick"]),
        (("mode=interpolate", "mode.steps=1"), ["mode.steps"]),
        (("checkpoint=worst",), ["(checkpoint)"]),
        (("save=zip",), ["(save)"]),
        (("sede=3",), ["sede", "did you mean", "seed"]),
        (("device=cuda",), ["(device)"]),
    ],
)
def test_mistakes(sample: Program, words: tuple[str, ...], said: list[str]) -> None:
    refused(sample("gan", *words), *said)


def test_no_run_given(gentrain: Program) -> None:
    refused(gentrain("sample"), "no value for run", "run=")
    refused(gentrain("export"), "no value for run", "run=")


def test_damaged_runs(trained: Path, tmp_path: Path, gentrain: Program) -> None:
    """A checkpoint that is not what was saved, one that is gone, a configuration that is none: one
    line each.
    """
    run = tmp_path / "run"
    shutil.copytree(trained / "gan", run)
    for file in run.glob("checkpoints/*.ckpt"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    words = ("sample", "run=run", "n=1")
    refused(gentrain(*words), "checksum", "(run, checkpoint)", status=4)
    shutil.rmtree(run / "checkpoints")
    refused(gentrain(*words), "no checkpoints/last.ckpt", "(run, checkpoint)")
    (run / ".hydra" / "config.yaml").write_text("a: [1")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").write_bytes(
        (trained / "gan" / "checkpoints" / "last.ckpt").read_bytes()
    )
    refused(gentrain(*words), "config.yaml cannot be read")
    shutil.copy(trained / "cgan" / ".hydra" / "config.yaml", run / ".hydra" / "config.yaml")
    refused(gentrain(*words), "is not of the model", "differ")


def test_a_place_that_is_a_file(sample: Program, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    refused(sample("gan", "n=2"), "cannot write in", "(out)", status=4)
    assert (tmp_path / "out").read_text() == "mine"


# --- export ---------------------------------------------------------------------------------------


def test_the_exported_files_give_the_generator_back(
    trained: Path, tmp_path: Path, gentrain: Program
) -> None:
    """The average or the last weights, as the run has them; ONNX agrees at batch sizes that the
    export did not try.
    """
    import onnxruntime

    saved = torch.load(trained / "gan" / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    for word, part in {"true": "ema_generator", "false": "generator"}.items():
        fine(
            done := gentrain(
                "export", f"run={trained / 'gan'}", f"averaged={word}", f"out={tmp_path / word}"
            )
        )
        assert "ONNX within" in done.stdout
        game, generator = open_exported(tmp_path / word)
        assert all(
            torch.equal(value, saved[f"model.{part}.{name}"])
            for name, value in generator.state_dict().items()
        )
        session = onnxruntime.InferenceSession(
            str(tmp_path / word / "generator.onnx"), providers=["CPUExecutionProvider"]
        )
        for n in (1, 5, 33):
            z = torch.randn(n, 100)
            (images,) = session.run(None, {"z": z.numpy()})
            with torch.no_grad():
                assert torch.allclose(
                    torch.from_numpy(images), game.generate(generator, (z,), z), atol=1e-4
                )
            assert images.std() > 0


def test_export_without_onnx(trained: Path, tmp_path: Path, gentrain: Program) -> None:
    fine(gentrain("export", f"run={trained / 'cgan'}", "onnx=false", f"out={tmp_path / 'out'}"))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "generator.safetensors",
        "config.json",
    }
    about = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (about["latent"], about["prior"], about["classes"], about["step"]) == (
        100,
        "normal",
        10,
        3,
    )


def test_an_onnx_file_that_differs_is_not_handed_out(
    trained: Path, tmp_path: Path, gentrain: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gentrain.commands.export.TOLERANCE", 0.0)
    refused(
        gentrain("export", f"run={trained / 'gan'}", f"out={tmp_path / 'out'}"),
        "differs",
        "(onnx)",
        status=4,
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "safetensors"])
def test_without_the_extra(
    trained: Path, tmp_path: Path, gentrain: Program, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """One line names it, and nothing is written."""
    for module in ("gentrain.commands.export", "gentrain.runs.tensors"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None if name == package else name)
    refused(
        gentrain("export", f"run={trained / 'gan'}", f"out={tmp_path / 'out'}"),
        package,
        "gentrain[export]",
    )
    assert not (tmp_path / "out").exists()


def test_every_generator_goes_into_onnx(tmp_path: Path) -> None:
    """Virtual batch norm, too, whose reference joins every batch."""
    from types import SimpleNamespace

    import onnxruntime

    from gentrain.commands.export import (
        ExportedGenerator,
        largest_difference,
        noise_parts,
        with_plain_weights,
        write_onnx,
    )
    from gentrain.commands.sample.session import SampleSession
    from tests.support.compose import batch, build_model

    for words in (
        ["model=r3gan"],
        ["model=sngan", "network=resnet"],
        ["model=dcgan", "tricks=[virtual_batch_norm]"],
        ["model=cgan"],
        ["model=bigan"],
        ["model=biggan", "model.critic.width=4", "model.generator.width=4"],
        ["model=bigbigan", "model.critic.width=4", "model.generator.width=4"],
        ["model=progan"],  # whose generator has a level, which is no tensor
        ["model=infogan", "network=mlp"],
    ):
        small = (
            []
            if words[0] in ("model=cgan", "model=bigan") or len(words) > 2
            else ["model.generator.width=8", "model.critic.width=8"]
        )
        made = build_model(*words, *small)
        made.init_from_batch(batch(made))
        about = {"classes": 10, "class_names": [], "label_kind": Exclusive()}
        data = SimpleNamespace(shape=(1, 28, 28), **about)
        run = SimpleNamespace(model=made, data=data, device=torch.device("cpu"), class_names=[])
        here = SampleSession(run)  # type: ignore[arg-type]
        exported, path = ExportedGenerator(made, made.generator).eval(), tmp_path / "generator.onnx"
        about = {"prior": here.prior, "classes": None, "noise": noise_parts(here)}
        traced = ExportedGenerator(made, with_plain_weights(made.generator)).eval()
        write_onnx(traced, here, about, path)
        assert largest_difference(exported, here, path) < 1e-5, words
    script = ROOT / "scripts" / "sample_onnx.py"
    subprocess.run(
        [sys.executable, str(script), str(path), "--n", "4", "--out", str(tmp_path / "grid.png")],
        check=True,
        timeout=100,
    )
    assert Image.open(tmp_path / "grid.png").size == (56, 56)
    found = importlib.util.spec_from_file_location("sample_onnx", script)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    z = module.inputs(onnxruntime.InferenceSession(path), 500, 0, None)["z"]  # of infogan
    assert z.shape == (500, 74) and np.abs(z).max() <= 1
    hot, numbers = z[:, 62:72], np.delete(z, np.s_[62:72], 1)
    assert set(np.unique(hot)) == {0, 1} and (hot.sum(1) == 1).all() and hot.any(0).all()
    assert np.abs(numbers.std(0) - 3**-0.5).max() < 0.06


def test_a_model_that_draws_value_by_value(zoo: Zoo, tmp_path: Path, gentrain: Program) -> None:
    """Images and rows of classes, equal however they are asked for; no ONNX file of 784 passes."""
    run = f"run={zoo('pixelcnn')}"
    fine(gentrain("sample", run, "n=5", f"out={tmp_path / 'out'}"))
    five = np.load(tmp_path / "out" / "images.npz")["images"]
    fine(gentrain("sample", run, "n=3", f"out={tmp_path / 'three'}"))
    assert (
        five.shape[0] == 5
        and (np.load(tmp_path / "three" / "images.npz")["images"] == five[:3]).all()
    )
    fine(gentrain("sample", run, "mode=class_grid", "mode.n=2", f"out={tmp_path / 'rows'}"))
    refused(gentrain("export", run), "(onnx)", "onnx=false")
