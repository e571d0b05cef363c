"""The Python API: train, load, and what can be asked of a run."""

from __future__ import annotations

import inspect
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gentrain
from tests.support.paths import LIGHT
from tests.support.shell import SMALL
from tests.support.zoo import Zoo

WORDS = (
    "model=dcgan", "model.generator.prior=normal", "model.generator.width=4",
    "model.critic.width=4", "steps=2", "data.batch_size=8", "samples.n=4", *SMALL,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENTRAIN_CACHE", env["GENTRAIN_CACHE"])


def test_train_and_use() -> None:
    before = logging.getLogger().handlers[:], sys.argv[:], torch.get_rng_state()
    run = gentrain.train(*WORDS)
    assert (logging.getLogger().handlers, sys.argv) == before[:2]
    assert run.step == 2 and run.summary["status"] == "completed"
    assert run.metrics["step"] == [2.0] and "critic/adversarial" in run.metrics
    images = run.sample(5, seed=1)
    assert images.shape == (5, 1, 28, 28) and images.abs().max() <= 1
    assert torch.equal(run.sample(3, seed=1), images[:3])
    assert not torch.equal(run.sample(5, seed=2), images)
    assert not torch.equal(run.sample(5, seed=1, truncation=0.5), images)
    again = gentrain.load(run.path)
    assert torch.equal(again.sample(5, seed=1), images)
    with pytest.raises(gentrain.UserError, match="encodes images"):
        run.encode(images)
    with pytest.raises(gentrain.UserError, match=r"no labels.*\(labels\)"):
        run.sample(2, labels=[3])


def test_a_mistake_raises_the_line_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(gentrain.UserError, match=r"no run in .*\(path\)"):
        gentrain.load("nowhere")
    with pytest.raises(gentrain.UserError, match=r"\(steps\)"):
        gentrain.train(*WORDS, "steps=0")
    with pytest.raises(gentrain.UserError, match="did you mean gan"):
        gentrain.train("model=gann")
    with pytest.raises(gentrain.UserError, match="one model"):
        gentrain.train(*WORDS, "seeds=2")
    assert not (tmp_path / "outputs").exists()


def test_what_models_do(zoo: Zoo) -> None:
    x = torch.rand(3, 1, 28, 28) * 2 - 1
    vae = gentrain.load(zoo("vae"))
    assert vae.encode(x).shape == (3, 4) and vae.reconstruct(x).shape == x.shape
    assert vae.log_prob(x, samples=2).shape == (3,)
    assert torch.equal(vae.sample(2, mean=True), vae.sample(2, mean=True))
    assert not torch.equal(vae.sample(2, mean=True), vae.sample(2))
    completed = gentrain.load(zoo("inpainting")).complete(x, torch.ones(28).bool())
    assert torch.allclose(completed, x)
    classes = gentrain.load(zoo("cgan")).sample(4, labels=[3])
    assert classes.shape == (4, 1, 28, 28)
    cgan = gentrain.load(zoo("cgan"))
    assert torch.equal(cgan.sample(4, labels=torch.tensor([3])), classes)
    with pytest.raises(gentrain.UserError, match=r"\(n\)"):
        cgan.sample(0)
    edges = gentrain.load(zoo("edges"))
    shape = edges.data.source_shape
    assert edges.translate(torch.zeros(2, *shape)).shape == (2, *edges.data.shape)
    stargan = gentrain.load(zoo("stargan"))
    sources = torch.zeros(2, *stargan.data.shape)
    assert not torch.equal(stargan.translate(sources, 0), stargan.translate(sources, 1))
    with pytest.raises(gentrain.UserError, match=r"\(x\)"):
        vae.encode(torch.zeros(3, 1, 32, 32))


def test_a_mistake_in_the_words_is_the_line_of_the_command() -> None:
    for word in ("quality=null", "quality=false", "checkpoint=null"):
        with pytest.raises(gentrain.UserError, match="is no choice"):
            gentrain.train("model=gan", word)
    with pytest.raises(gentrain.UserError, match="comes from the data"):
        gentrain.train("model=gan", "model.generator.shape=[3]")
    with pytest.raises(gentrain.UserError, match=r"\(model.classes\).* give data.classes=N"):
        gentrain.train("model=cgan", "data=image_folder", "data.root=pictures")


def test_a_question_is_refused_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("--version", "--help", "--cfg=job"):
        with pytest.raises(gentrain.UserError, match=r"\(words\); ask them in a shell"):
            gentrain.train(word)
    assert capsys.readouterr() == ("", "")


def test_the_table_of_curves(zoo: Zoo, tmp_path: Path) -> None:
    """Columns of equal length, which pandas takes; None for what was not logged, no half row."""
    run = gentrain.load(zoo("gan"))
    file = run.path / "metrics.csv"
    head, *rows = file.read_text().splitlines()
    table = run.metrics
    assert list(table) == head.split(",") and next(iter(table)) == "step"
    assert {len(column) for column in table.values()} == {len(rows)}
    for i, row in enumerate(rows):
        words = [None if not word else float(word) for word in row.split(",")]
        assert [column[i] for column in table.values()] == words
    shutil.copytree(run.path, tmp_path / "going")
    going = gentrain.load(tmp_path / "going")
    with (going.path / "metrics.csv").open("a") as more:
        more.write("123,4.")  # of a run that is going
    assert going.metrics == table
    (going.path / "metrics.csv").write_text("step,a\n")
    assert going.metrics == {"step": [], "a": []}
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table)
    assert list(frame.columns) == list(table) and len(frame) == len(rows)


def test_a_saved_model_has_no_curves(zoo: Zoo, tmp_path: Path) -> None:
    saved = gentrain.load(zoo("gan")).save_pretrained(tmp_path / "saved")
    for name, file in (("metrics", "metrics.csv"), ("summary", "summary.json")):
        with pytest.raises(gentrain.UserError, match=rf"no {file} in .*\(path\); load"):
            getattr(gentrain.from_pretrained(saved), name)


def test_save_pretrained(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = gentrain.load(zoo("gan"))
    folder = run.save_pretrained(tmp_path / "saved")
    assert {file.name for file in folder.iterdir()} == {
        "model.safetensors", "config.json", "README.md",
    }  # fmt: skip
    again = gentrain.from_pretrained(folder)
    assert torch.equal(again.sample(3), run.sample(3))
    assert "dcgan on mnist_5k" in (folder / "README.md").read_text()
    with pytest.raises(gentrain.UserError, match="no directory"):
        gentrain.from_pretrained(tmp_path / "none")
    monkeypatch.setattr("gentrain.runs.tensors.find_spec", lambda name: None)
    for use in (gentrain.from_pretrained, run.save_pretrained):
        with pytest.raises(gentrain.UserError, match=r"safetensors .*gentrain\[export\]"):
            use(folder)


def test_import_is_light() -> None:
    code = "import gentrain; gentrain.__version__; gentrain.UserError; gentrain.train"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(LIGHT)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr


# a value of each type that is none of it, and one that is out of range
WRONG: dict[str, tuple[object, ...]] = {
    "n": ("3", 0, True, 1.5, None, 2**70, [3]),
    "seed": ("3", -1, 2**70, True, None),
    "steps": ("3", 0), "draws": (0,), "samples": (0, "3"), "chains": (0, 1), "temperatures": (0,),
    "columns": (0, -1, "3", 1.5), "zoom": (0, None, "2"),
    "labels": (1.5, [None], [1.5], True, object()), "domain": (1.5, []),
    "truncation": (0, -1, float("nan"), "1"), "temperature": (-1, "1", float("inf")),
    "mean": (1, "yes"), "transitions": ((), -1, ("1",), (1.5,), None),
    "x": ("3", None, {}, torch.tensor([float("nan")])), "z": (None, "z", [None]),
    "images": (None, "x", 1.0), "known": (None, [1.5], torch.zeros(28)), "log_z": ("1", [], True),
    "name": (None, 3, "loss"), "split": (3, "val"), "folder": (None, 3), "path": (None, 3, ""),
    "checkpoint": ("first", 3), "averaged": ("yes", 1), "device": ("tpu", 3),
    "plugins": ("my_module", [3]),
}  # fmt: skip
HELPERS = {
    "as_names", "ask", "batch", "image", "log_prob_of_energy", "numbers", "session", "text_of",
    "with_prior",
}  # fmt: skip
METHODS = sorted(
    name
    for name, method in inspect.getmembers(gentrain.Run, inspect.isfunction)
    if name[0] != "_" and name not in HELPERS and len(inspect.signature(method).parameters) > 1
)


@pytest.mark.parametrize("name", METHODS)
def test_a_wrong_argument_is_refused_in_one_line(zoo: Zoo, name: str) -> None:
    method = getattr(gentrain.load(zoo("gan")), name)
    right = {"x": torch.zeros(1, 1, 28, 28), "z": torch.zeros(1, 100), "known": torch.ones(28) > 0}
    right |= {"images": right["x"]}
    parameters = inspect.signature(method).parameters
    given = {key: right[key] for key in parameters.keys() & right.keys()}
    for key in parameters:
        for value in WRONG[key]:
            with pytest.raises(gentrain.UserError, match=rf"\({key}\); ") as error:
                method(**given | {key: value})
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["path", "checkpoint", "averaged", "device", "plugins"])
def test_a_wrong_argument_opens_nothing(zoo: Zoo, key: str) -> None:
    for value in WRONG[key]:
        with pytest.raises(gentrain.UserError, match=rf"\({key}"):
            gentrain.load(**{"path": zoo("gan"), key: value})
        if key in inspect.signature(gentrain.from_pretrained).parameters:
            with pytest.raises(gentrain.UserError, match=rf"\({key}"):
                gentrain.from_pretrained(**{"path": zoo("gan"), key: value})


def test_devices_of_torch(zoo: Zoo) -> None:
    assert gentrain.load(zoo("gan"), device=torch.device("cpu")).path == zoo("gan")
    with pytest.raises(gentrain.UserError, match=r"no device 'meta' \(device\); give cpu"):
        gentrain.load(zoo("gan"), device=torch.device("meta"))


def test_numbers_of_numpy_and_single_classes_are_arguments(zoo: Zoo) -> None:
    run = gentrain.load(zoo("cgan"))
    wanted = run.sample(3, seed=1, labels=[3])
    for labels in (3, "3", np.int64(3), (3,), np.array([3]), torch.tensor(3)):
        assert torch.equal(run.sample(np.int64(3), seed=np.uint8(1), labels=labels), wanted)


def test_names_that_are_numbers(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number in a list is a name then; those of a tensor count the classes, as in examples."""
    run = gentrain.load(zoo("cgan"))
    wanted = run.sample(2, labels=[3])
    monkeypatch.setattr(run.opened, "class_names", [str(10 * k) for k in range(10)])
    for labels in ("30", 30, torch.tensor(3), np.array([3])):
        assert torch.equal(run.sample(2, labels=labels), wanted)
        assert run.numbers(gentrain.api.types.to_list(labels)) == [3]
    for bad in ([3], torch.tensor([10])):
        with pytest.raises(gentrain.UserError, match=r"\(labels\); give one of 0, 10, 20, "):
            run.sample(2, labels=bad)


def test_bytes_are_no_images(zoo: Zoo) -> None:
    run = gentrain.load(zoo("vae"))
    for images in (torch.full((1, 1, 28, 28), 255.0), torch.full((1, 1, 28, 28), 255)):
        with pytest.raises(gentrain.UserError, match=r"\(x\); give floats in \[-1, 1\]"):
            run.encode(images)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", None, r"no model.safetensors in .*\(path\)"),
        ("model.safetensors", b"", r"model.safetensors is damaged: .*\(path\)"),
        ("model.safetensors", 0.5, r"model.safetensors is damaged: .*\(path\)"),
        ("config.json", b"{", r"config.json cannot be read: .*\(path\)"),
        ("config.json", b"[]", r"config.json is not of the format .*\(path\)"),
        ("config.json", b'{"format": "gentrain model 1"}', r"is not of the format .*\(path\)"),
    ],
)
def test_a_damaged_saved_model(
    zoo: Zoo, tmp_path: Path, name: str, content: bytes | float | None, message: str
) -> None:
    folder = gentrain.load(zoo("gan")).save_pretrained(tmp_path / "saved")
    file = folder / name
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(whole[: len(whole) // 2] if content == 0.5 else content)
    with pytest.raises(gentrain.UserError, match=message) as error:
        gentrain.from_pretrained(folder)
    assert "\n" not in str(error.value)


def test_weights_of_another_model_are_refused(zoo: Zoo, tmp_path: Path) -> None:
    one = gentrain.load(zoo("gan")).save_pretrained(tmp_path / "one")
    other = gentrain.load(zoo("vae")).save_pretrained(tmp_path / "other")
    shutil.copy(other / "model.safetensors", one)
    with pytest.raises(gentrain.UserError, match=r"another model: .* differ \(path\)"):
        gentrain.from_pretrained(one)


def test_a_training_leaves_no_names_of_its_config_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later mistake is not compared with options that are no longer there."""
    from gentrain.cli import main
    from gentrain.config import paths

    (tmp_path / "mine" / "loss").mkdir(parents=True)
    (tmp_path / "mine" / "loss" / "hingest.yaml").write_text("# @package loss\n")
    (tmp_path / "mine" / "data").mkdir()
    (tmp_path / "mine" / "data" / "mine.yaml").touch()  # and no path, though there is a folder
    seen = []

    def stopped(args: object) -> Path:
        seen.append(list(paths.option_files("loss")))
        raise gentrain.UserError("stopped (test); go on")

    monkeypatch.setattr(main, "train", stopped)
    for words in (["--config-dir", "mine", "data=mine"], []):
        with pytest.raises(gentrain.UserError, match="stopped"):
            gentrain.train("model=gan", *words)
    assert "hingest" in seen[0] and "hingest" not in seen[1] and not paths.overlays
