"""data=points: tables of any dimension, standardised, and given back in the units of their file."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.stats import multivariate_normal

from gentrain.api import Run
from gentrain.commands.sample.latent_modes import Grid
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.data.base import Data
from gentrain.data.grids import scatter
from gentrain.data.points import Points, read_table
from gentrain.errors import UserError
from gentrain.quality.likelihood import LogLikelihood
from gentrain.runs.reopen import OpenedRun
from tests.support.compose import composed
from tests.support.paths import CONF
from tests.support.presets import small

CPU = torch.device("cpu")
COVARIANCE = np.array([[4.0, 1.0, 0.0], [1.0, 900.0, 3.0], [0.0, 3.0, 0.01]])
COVARIANCE[1, 2] = COVARIANCE[2, 1] = 0.5
MEAN = np.array([-3.0, 250.0, 0.5])


def rows(n: int = 400) -> np.ndarray:
    return np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, n)


def points(path: Path, **options: Any) -> Points:
    shape = read_table(path, options.get("key")).values.shape[1:]
    return Points(name="points", shape=shape, file=str(path), **options)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    np.savetxt(tmp_path / "t.csv", rows(), delimiter=",", header="a,b,c", comments="")
    return tmp_path / "t.csv"


def test_splits_share_the_rows_and_training_rows_are_standard(table: Path) -> None:
    data = points(table, seed=1)
    parts = {split: data.load(split).images for split in ("train", "validation", "test")}
    assert [len(part) for part in parts.values()] == [324, 36, 40]
    assert torch.allclose(parts["train"].mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(parts["train"].std(0, correction=0), torch.ones(3), atol=1e-5)
    whole = data.in_units(torch.cat(list(parts.values()))).double().numpy()
    assert np.allclose(np.sort(whole, 0), np.sort(rows(), 0), atol=1e-4)
    assert torch.allclose(data.from_units(data.in_units(parts["test"])), parts["test"], atol=1e-4)
    again, other = points(table, seed=2), points(table, draw_seed=1)
    assert torch.equal(again.load("test").images, parts["test"])
    assert not torch.equal(other.load("test").images, parts["test"])
    plain = points(table, standardise=False)
    assert plain.log_det == 0
    assert plain.load("train").images.mean(0)[1] > 200


class Normal(torch.nn.Module):
    """The exact density of the standardised rows, as a flow would have it."""

    given_labels = False

    def __init__(self, data: Points) -> None:
        super().__init__()
        mean, sd = data.units
        covariance = COVARIANCE / np.outer(sd, sd)
        self.law = multivariate_normal((MEAN - mean) / sd, covariance)

    @property
    def pixels(self) -> Any:
        from gentrain.models.pixels import Real

        return Real()

    def log_likelihood_of_values(self, v: torch.Tensor, y: None, samples: int) -> torch.Tensor:
        return torch.from_numpy(np.atleast_1d(self.law.logpdf(v.double().numpy())))


def test_nats_are_those_of_the_file(table: Path) -> None:
    """A Gaussian of known parameters: -log p of held-out rows in the units of the file."""
    data = points(table)
    metric = LogLikelihood(images=None)
    found = metric.compute(data, Normal(data), CPU)
    scored = torch.cat([batch[0] for batch in metric.batches(data, CPU)])
    assert len(scored) == len(data.load(metric.split).images)
    held_out = data.in_units(scored).double().numpy()
    exact = -multivariate_normal(MEAN, COVARIANCE).logpdf(held_out).mean()
    assert abs(found["nats"] - exact) < 1e-3
    assert abs(found["nats_of_values"] - exact - data.log_det) < 1e-3
    assert abs(data.log_det) > 0.5
    assert "bits_per_dim" not in found


def test_nats_of_an_energy_are_those_of_the_file(tmp_path: Path) -> None:
    """E = |x|^2 / 2 of independent columns, by quality=plane as the preset has it."""
    x = np.random.default_rng(0).normal([7.0, -200.0], [0.1, 30.0], (300, 2))
    np.save(tmp_path / "x.npy", x)
    run = opened("ebm", tmp_path / "x.npy", *MODELS["ebm"])
    run.model.energy = lambda x: x.square().sum(1) / 2
    preset = OmegaConf.to_container(OmegaConf.load(CONF / "quality" / "plane.yaml"))
    metric = build(preset | {"box": 6.0}, "quality")
    metric.check(run.data, run.model)
    found = metric.compute(run.data, run.model, CPU)
    mean, sd = run.data.units
    rows = run.data.in_units(run.data.load(metric.split).images).double().numpy()
    exact = -multivariate_normal(mean, np.diag(sd**2)).logpdf(rows).mean()
    assert abs(found["nats"] - exact) < 1e-3


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "tsv.csv", "plain.csv"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    path, x = tmp_path / f"x.{ending}", rows(30)
    match ending:
        case "npy":
            np.save(path, x)
        case "npz":
            np.savez(path, points=x, labels=np.arange(30), columns=["a", "b", "c"])
        case "plain.csv":
            np.savetxt(path, x, delimiter=";")
        case _:
            separator = "\t" if ending == "tsv.csv" else ","
            names = separator.join(['"a"', "b", "c"])
            np.savetxt(
                path, x, delimiter=separator, header=names, comments="", encoding="utf-8-sig"
            )
    found = read_table(path, None)
    assert np.allclose(found.values, x)
    assert found.names == (() if ending in ("npy", "plain.csv") else ("a", "b", "c"))


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    x = rows(30)
    parquet.write_table(pyarrow.table(dict(zip("abc", x.T, strict=True))), tmp_path / "x.parquet")
    found = read_table(tmp_path / "x.parquet", None)
    assert np.array_equal(found.values, x) and found.names == ("a", "b", "c")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").touch()
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install pyarrow"):
        read_table(tmp_path / "x.parquet", None)


BAD = {
    "nan": (np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, 5.0]]), r"row 2 .* nan in column 1"),
    "infinite": (np.array([[1.0, np.inf]]), r"row 1 .* inf in column 2"),
    "strings": (np.array([["a", "b"]]), r"type <U1, not numbers"),
    "objects": (np.array([[None, 1]]), r"cannot be read"),
    "one row": (np.ones((1, 3)), r"1 row of .* cannot be shared"),
    "constant": (np.stack([np.arange(40.0), np.ones(40)], 1), r"column 2 .* is constant"),
    "flat": (np.arange(4.0), r"shape \(4,\), not \(rows, columns\)"),
    "images": (np.zeros((4, 8, 8), np.uint8), r"shape \(4, 8, 8\)"),
    "empty": (np.zeros((0, 3)), r"shape \(0, 3\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_refusals_of_arrays(tmp_path: Path, name: str) -> None:
    array, message = BAD[name]
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=message) as refusal:
        points(tmp_path / "x.npy").load("train")
    assert "\n" not in str(refusal.value) and "(data." in str(refusal.value)


LINES = {
    "strings": ("a,b\n1,2\nfoo,3\n", r"'foo'"),
    "holes": ("a,b\n1,2\n,3\n", r"cannot be read"),
    "ragged": ("a,b\n1,2\n3\n", r"columns changed from 2 to 1"),
    "names alone": ("a,b\n", r"shape \(0, "),
    "empty": ("", r"x\.csv"),
    "constant": ("a,b\n" + "1,7\n2,7\n3,7\n" * 9, r"column 'b' .* is constant"),
    "names too many": ("a,b,c\n1,2\n3,4\n", r"3 names and 2 columns"),
}


@pytest.mark.filterwarnings("ignore:loadtxt")
@pytest.mark.parametrize("name", LINES)
def test_refusals_of_lines(tmp_path: Path, name: str) -> None:
    text, message = LINES[name]
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as refusal:
        points(tmp_path / "x.csv").load("train")
    assert "\n" not in str(refusal.value)


def test_refusals_of_options(tmp_path: Path, table: Path) -> None:
    np.savez(tmp_path / "x.npz", a=rows(9), b=rows(9))
    for path, options, message in (
        (None, {}, r"needs a file"),
        (tmp_path / "nowhere.csv", {}, r"no such file"),
        (tmp_path, {}, r"no such file"),
        (tmp_path / "x.npz", {}, r"several arrays .* a, b"),
        (tmp_path / "x.npz", {"key": "c"}, r"no array 'c' among a, b"),
        (table, {"key": "a"}, r"no arrays by names"),
    ):
        with pytest.raises(UserError, match=message):
            read_table(path, options.get("key"))
    for options, message in (
        ({"test": 0.0}, r"data\.test"),
        ({"flip": True}, r"data\.flip"),
        ({"classes": 3}, r"data\.classes"),
        ({"bounded": True}, r"data\.bounded"),
    ):
        with pytest.raises(UserError, match=message):
            points(table, **options).load("train")
    with pytest.raises(UserError, match=r"^no such file .*nowhere\.csv \(data\.file\)"):
        composed("data=points", f"data.file={tmp_path}/nowhere.csv")


MODELS = {
    "realnvp_points": (),
    "maf": ("pixels=real",),
    "planar": ("pixels=real",),
    "vae": ("likelihood=gaussian",),
    "gan": ("network=mlp",),
    "wgan_gp": ("network=mlp_1024",),
    "ebgan": ("network=autoencoder_mlp",),
    "ebm": ("experiment=plane", "model.buffer=9", "model.k=2"),
}


def opened(preset: str, path: Path, *more: str) -> OpenedRun:
    words = (f"model={preset}", *more, "data=points", f"data.file={path}")
    config = composed(*words) | {"seed": 0}
    config["model"] = small(config["model"]) | ({"steps": 2} if preset == "ebm" else {})
    config |= {key: validate.checked(config[key], key) for key in ("data", "model")}
    torch.manual_seed(0)
    data, model = build(config["data"], "data", Data), build(config["model"], "model")
    model.check_data(data)
    return OpenedRun(path, config, {}, model, data, CPU, 0, "", {}, {})


@pytest.mark.parametrize("preset", MODELS)
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_models_of_any_dimension(tmp_path: Path, preset: str, dimension: int) -> None:
    """Samples are as far apart as their file says, and beyond [-1, 1]."""
    if preset in ("planar", "maf") and dimension == 1:
        pytest.skip("nothing that is particular to one dimension")
    np.save(tmp_path / "x.npy", 100 + 50 * rows()[:, :dimension])
    run = opened(preset, tmp_path / "x.npy", *MODELS[preset])
    session = SampleSession(run)
    out = Output(tmp_path / "out", "npz", run.data)
    Grid(64).draw(session, out)
    drawn = np.load(tmp_path / "out" / "images.npz")["points"]
    assert drawn.shape == (64, dimension)
    plain = torch.cat([x for x, _ in SampleSession(run).stream(64)])
    assert np.allclose(drawn, run.data.in_units(plain).numpy())
    assert (tmp_path / "out" / "grid.png").stat().st_size > 200


def test_a_gan_reaches_all_points(table: Path) -> None:
    generator = opened("gan", table, "network=mlp").model.generator
    far = generator(100 * torch.randn(99, 100))
    assert far.abs().max() > 2
    bounded = opened("gan", table, "network=mlp", "data.standardise=false", "data.bounded=false")
    assert not any(type(layer) is torch.nn.Tanh for layer in bounded.model.generator.modules())
    ring = build(composed("model=gan", "network=mlp", "data=gaussian_ring")["model"], "model")
    assert any(type(layer) is torch.nn.Tanh for layer in ring.generator.modules())


def test_chains_in_a_box_are_refused(table: Path) -> None:
    words = ("experiment=plane", "sampler=langevin", "model.buffer=9")
    with pytest.raises(UserError, match=r"chains of this sampler stay in \[-1, 1\]"):
        opened("ebm", table, *words)
    opened("ebm", table, *words, "model.sampler.bounds=[-9,9]")


def test_a_table_of_samples_is_data_again(table: Path, tmp_path: Path) -> None:
    run = opened("realnvp_points", table)
    for save, file in (("npz", "images.npz"), ("folder", "points.csv")):
        Grid(30).draw(SampleSession(run), Output(tmp_path / save, save, run.data))
        again = read_table(tmp_path / save / file, None)
        assert again.names == ("a", "b", "c") and again.values.shape == (30, 3)
    api = Run(run)
    assert np.allclose(api.sample(30).numpy(), again.values, rtol=1e-5)
    x = run.data.load("test").images
    own = run.model.log_likelihood((x,), 1)
    assert torch.allclose(api.log_prob(run.data.in_units(x)), own + run.data.log_det, atol=1e-2)


def test_the_picture_of_three_columns_shows_all_pairs() -> None:
    x = torch.stack([torch.linspace(-0.9, 0.9, 500), torch.zeros(500), torch.zeros(500)], 1)
    picture = scatter(x)
    assert picture.shape == (3, 3 * 130 + 2, 3 * 130 + 2)
    panel = picture[0, 2 + 130 : 130 + 130, 2:130]  # row 1, column 0: a line to the right
    assert (panel.min(0).values < 1).float().mean() > 0.85
    assert (panel.min(1).values < 1).float().mean() < 0.1


def test_records_say_the_units(table: Path) -> None:
    data = points(table)
    said = json.loads(json.dumps(data.units_protocol()))
    assert said["columns"] == ["a", "b", "c"] and said["mean"] == data.units[0].tolist()
