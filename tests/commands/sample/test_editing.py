"""mode=project and mode=edit: closed forms of linear generators, scikit-learn's classifier, and
every preset whose images are made of noise.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from gentrain.capability import supports
from gentrain.commands.sample.edit_mode import (
    Edit,
    PixelProbe,
    difference_of_means,
    probe_direction,
)
from gentrain.commands.sample.mode import Mode
from gentrain.commands.sample.projection import (
    Project,
    Search,
    enough_starts,
    images_of,
    project,
)
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config import validate
from gentrain.config.build import build
from gentrain.data.arrays import ArrayDataset, random_rows, to_float
from gentrain.data.base import Data
from gentrain.errors import UserError
from gentrain.models.base import Batch, Encodes, GenerativeModel, MakesImagesOfNoise
from gentrain.models.gan.infogan import InfoGAN
from gentrain.networks import mlp
from tests.support.backbones import criterion
from tests.support.compose import composed
from tests.support.presets import DENSITIES, PRESETS, small
from tests.support.toy import Noise

SHAPE, L = (1, 4, 4), 3


class Linear(GenerativeModel, MakesImagesOfNoise):
    """G(z) = A z, with orthonormal columns times 1, 1/2, 1/4."""

    ema_generator: Any = None

    def __init__(self, prior: str = "normal", labelled: bool = False) -> None:
        super().__init__()
        columns = torch.linalg.qr(torch.randn(16, L, generator=torch.Generator().manual_seed(3)))[0]
        self.register_buffer("A", columns * 0.5 ** torch.arange(L))
        self.shift, self.kind, self.labelled = 0.1, prior, labelled

    @property
    def prior(self) -> str:
        return self.kind

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        return torch.rand(n, L) * 2 - 1 if self.kind == "uniform" else torch.randn(n, L)

    def nearest_noise(self, z: Tensor) -> Tensor:
        return z.clamp(-1, 1) if self.kind == "uniform" else z

    def images_of(self, z: Tensor, batch: Batch) -> Tensor:
        x = z @ self.A.T  # type: ignore[operator]
        if self.labelled:
            x = x + self.shift * batch[1][:, None]
        return x.unflatten(1, SHAPE)

    def sample(self, batch: Batch, noise: Tensor | None = None) -> Tensor:
        z = self.noise(len(batch[0]), "cpu") if noise is None else noise
        with torch.no_grad():
            return self.images_of(z, batch)


class LinearWithEncoder(Linear, Encodes):
    """Its codes are those of the pseudo-inverse, plus `off`."""

    off = 0.0

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ torch.linalg.pinv(self.A).T + self.off  # type: ignore[arg-type]


class Halves(Noise):
    """Images of three classes: dark, bright above, bright below; noise around."""

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(len(split))
        y = torch.arange(600) % 3
        images = torch.rand(600, *self.shape, generator=draw) * 60
        images[y == 1, :, : self.shape[1] // 2] += 150
        images[y == 2, :, self.shape[1] // 2 :] += 150
        return ArrayDataset(images.byte(), y)


def session(model: Any, data: Data | None = None, **options: Any) -> SampleSession:
    data = data or Halves(name="halves", shape=SHAPE, classes=3, batch_size=8)
    run = SimpleNamespace(
        model=model, data=data, device=torch.device("cpu"), config={}, class_names=[]
    )
    return SampleSession(run, **options)  # type: ignore[arg-type]


def drawn(mode: Mode, opened: SampleSession, place: Path) -> dict[str, Any]:
    mode.check(opened)
    return mode.draw(opened, Output(place, "npz", opened.data))


# --- projection -----------------------------------------------------------------------------------


def test_the_noise_of_a_linear_generator_is_that_of_least_squares() -> None:
    """For any picture, also one that no noise makes."""
    model = Linear()
    x = torch.rand(5, *SHAPE) * 2 - 1
    found = project(session(model), x, None, Search(starts=2, steps=300))
    wanted = torch.linalg.lstsq(model.A, x.flatten(1).T).solution.T  # type: ignore[arg-type]
    torch.testing.assert_close(found.z, wanted, atol=2e-3, rtol=1e-3)
    rest = (x.flatten(1) - wanted @ model.A.T).square().mean(1).sqrt()  # type: ignore[operator]
    torch.testing.assert_close(found.rms, rest, atol=1e-4, rtol=1e-3)


def test_uniform_noise_stays_in_its_cube() -> None:
    """Orthogonal columns: the best point of the cube is the least squares', clamped."""
    model = Linear("uniform")
    z = torch.tensor([[0.5, -0.2, 3.0], [-2.0, 0.0, 0.3]])
    x = images_of(session(model), z, None)
    found = project(session(model), x, None, Search(starts=1, steps=300))
    torch.testing.assert_close(found.z, z.clamp(-1, 1), atol=2e-3, rtol=1e-3)


def test_the_label_of_a_picture_is_found_with_its_noise() -> None:
    model = Linear(labelled=True)
    model.shift = 1.0
    opened, y = session(model), torch.tensor([2, 0, 1, 2])
    z = session(model, seed=1).noise(4)  # no noise that a search starts from
    x = images_of(opened, z, y)
    found = project(opened, x, None, Search(starts=1, steps=300))
    assert found.labels is not None and found.labels.tolist() == y.tolist()
    torch.testing.assert_close(found.z, z, atol=2e-3, rtol=1e-3)
    only = project(session(model, labels=["1"]), x, None, Search(starts=1, steps=50))
    assert only.labels is not None and set(only.labels.tolist()) == {1}


def test_an_encoder_is_one_more_start(tmp_path: Path) -> None:
    """Its codes count as they are, and the search from them; the smallest error is the result."""
    model = LinearWithEncoder()
    model.off = 0.5
    x = torch.rand(3, *SHAPE) * 2 - 1
    found = project(session(model), x, None, Search(starts=1, steps=300))
    z = model.encode(x)
    code = (images_of(session(model), z, None) - x).square().flatten(1).mean(1).sqrt()
    torch.testing.assert_close(found.ends["code"], code)
    assert (found.ends["encoder"] < code).all() and set(found.ends) == {"code", "encoder", "draws"}
    assert torch.equal(found.rms, torch.minimum(found.ends["encoder"], found.ends["draws"]))
    still = project(session(model), x, None, Search(starts=0, steps=0))
    torch.testing.assert_close(still.z, z)
    model.exact = True  # type: ignore[misc]
    torch.testing.assert_close(project(session(model), x, None, Search()).z, z)
    with pytest.raises(UserError, match=r"exact.*\(mode\.steps\)"):
        drawn(Project(steps=5), session(model), tmp_path)


def test_a_draw_does_not_depend_on_the_number_of_pictures() -> None:
    x = torch.rand(4, *SHAPE) * 2 - 1
    many, few = (
        project(session(Linear()), part, None, Search(starts=2, steps=3)) for part in (x, x[:2])
    )
    torch.testing.assert_close(many.z[:2], few.z)


def test_every_category_of_a_code_is_tried() -> None:
    """A search stays in its category, so each has a start of its own."""
    torch.manual_seed(0)
    model = InfoGAN(
        partial(mlp.Generator, shape=list(SHAPE), latent=2, width=16, prior="uniform"),
        partial(mlp.Critic, shape=list(SHAPE), width=16),
        criterion(),
        categories=[6],
    )
    opened, others = session(model), session(model, seed=1)
    z = torch.cat([model.with_codes(z, k, {}) for k, z in enumerate(others.noise(6).split(1))])
    x = images_of(opened, z, None)
    found = project(opened, x, None, Search(enough_starts(opened), steps=150))
    assert found.z[:, 2:8].argmax(1).tolist() == list(range(6)) and (found.rms < 0.01).all()
    assert torch.equal(found.z[:, 2:8], z[:, 2:8]) and enough_starts(session(Linear())) == 4


def test_pictures_become_files(tmp_path: Path) -> None:
    opened = session(Linear())
    x = images_of(opened, session(opened.model, seed=1).noise(1), None)[0, 0]
    pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    result = drawn(Project(str(tmp_path / "mine.png")), opened, tmp_path / "out")
    assert result["pictures"] == ["mine.png"] and result["rms"][0] < 3
    assert np.load(tmp_path / "out" / "images.npz")["images"].shape == (1, 4, 4, 1)
    assert (tmp_path / "out" / "project.png").exists() and json.dumps(result)
    with pytest.raises(UserError, match=r"\(n\)"):
        Project(str(tmp_path / "mine.png"), n=3)
    with pytest.raises(UserError, match=r"\(mode\.starts\)"):
        drawn(Project(starts=0), opened, tmp_path / "none")


# --- directions -----------------------------------------------------------------------------------


def groups() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    spread = torch.randn(4, 4) * 0.5
    return torch.randn(80, 4) @ spread, torch.randn(120, 4) @ spread + torch.tensor([1.0, 0, -1, 2])


def test_the_difference_of_means_is_numpys() -> None:
    a, b = groups()
    found = difference_of_means(a, b).numpy()
    np.testing.assert_allclose(found, b.numpy().mean(0) - a.numpy().mean(0), atol=1e-6)


def test_the_probe_is_scikit_learns() -> None:
    """The same normal; as long as the way between the means along it."""
    a, b = groups()
    y = np.repeat([0, 1], [len(a), len(b)])
    w = LogisticRegression(tol=1e-10, max_iter=5000).fit(torch.cat([a, b]).double().numpy(), y)
    normal = w.coef_[0]
    wanted = normal * (normal @ difference_of_means(a, b).double().numpy()) / (normal @ normal)
    np.testing.assert_allclose(probe_direction(a, b).numpy(), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("by", ["means", "probe"])
def test_an_edit_of_a_linear_model_moves_by_the_difference_of_the_codes(
    by: Any, tmp_path: Path
) -> None:
    opened = session(LinearWithEncoder())
    result = drawn(Edit([1, "2"], n=2, by=by, steps=3, reach=2.0, codes=300), opened, tmp_path)
    train = opened.data.load("train")
    assert train.labels is not None
    order, codes = (
        random_rows(len(train.images), seed=0),
        opened.model.encode(to_float(train.images)),
    )
    a, b = (codes[order[train.labels[order] == k][:150]].double().numpy() for k in (1, 2))
    wanted = b.mean(0) - a.mean(0)
    if by == "probe":
        labels = np.repeat([0, 1], [len(a), len(b)])
        fit = LogisticRegression(tol=1e-10, max_iter=5000).fit(np.concatenate([a, b]), labels)
        normal = fit.coef_[0]
        wanted = normal * (normal @ wanted) / (normal @ normal)
    np.testing.assert_allclose(result["direction"], wanted, rtol=1e-3, atol=1e-3)
    assert result["codes"] == [150, 150]
    direction = torch.tensor(result["direction"])
    kept = np.load(tmp_path / "images.npz")["images"].reshape(2, 3, -1) / 127.5 - 1
    z = opened.noise(2)[:, None] + torch.tensor([-2.0, 0, 2])[:, None] * direction
    wanted = (z @ opened.model.A.T).clamp(-1, 1)
    np.testing.assert_allclose(kept, wanted.numpy(), atol=0.01)
    assert result["shares_of_last_group"][0] < result["shares_of_last_group"][-1]


@pytest.mark.parametrize("preset", ["vae", "realnvp", "bigan"])
def test_an_edit_by_a_models_own_encoder(preset: str, tmp_path: Path) -> None:
    """The direction is that of the codes of the training images; a flow's picture is itself."""
    torch.manual_seed(0)
    checked = validate.check(small(composed(f"model={preset}", *SMALL)))
    model = build(checked["model"], "model")
    opened = session(model, Halves(name="h", shape=(1, 8, 8), classes=3, batch_size=8))
    train = opened.data.load("train")
    assert train.labels is not None
    Image.fromarray(train.images[2, 0].numpy()).save(tmp_path / "mine.png")
    shown: dict[str, Any] = {"source": str(tmp_path / "mine.png")} if model.exact else {"n": 1}
    result = drawn(Edit([1, 2], steps=3, codes=200, **shown), opened, tmp_path / "edit")
    order = random_rows(len(train.images), seed=0)
    a, b = (order[train.labels[order] == k][:100] for k in (1, 2))
    codes = [model.encode(to_float(train.images[rows])).flatten(1) for rows in (a, b)]
    wanted, found = codes[1].mean(0) - codes[0].mean(0), torch.tensor(result["direction"])
    # a VAE's pixels are drawn, and a flow's dequantised
    assert (found - wanted).norm() < (0.01 if model.exact else 0.3) * wanted.norm()
    assert result["codes"] == [100, 100] and result["codes_are"] == "of the encoder"
    if model.exact:
        middle = np.load(tmp_path / "edit" / "images.npz")["images"][1, :, :, 0].astype(float)
        assert np.abs(middle - train.images[2, 0].numpy()).max() <= 1


def test_without_an_encoder_pixels_name_the_groups(tmp_path: Path) -> None:
    """A is a generator whose first number makes the upper half bright, its second the lower."""
    model = Linear("uniform")
    model.A.zero_()  # type: ignore[operator]
    model.A[:8, 0] = model.A[8:, 1] = 1.0  # type: ignore[index]
    opened = session(model)
    probe = PixelProbe(opened)
    assert probe.accuracy > 0.98
    result = drawn(Edit(["1", "2"], n=4, codes=3000), opened, tmp_path)
    d = result["direction"]
    assert d[0] < -0.5 and d[1] > 0.5 and abs(d[2]) < 0.15
    assert result["codes_are"].startswith("noise")
    one = drawn(Edit(["2"], n=4, codes=3000), opened, tmp_path / "one")  # against all others
    assert one["codes"] == [150, 150] and one["direction"][1] > 0.5


@pytest.mark.parametrize(
    ("words", "groups", "model"),
    [
        (r"given the class.*class_grid", [0, 1], Linear(labelled=True)),
        (r"both 1.*\(mode\.groups\)", [1, "1"], Linear()),
        (r"no class.*5.*\(mode\.groups\)", [1, 5], Linear()),
    ],
)
def test_groups_that_have_no_direction(
    words: str, groups: list[int | str], model: Linear, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        drawn(Edit(groups), session(model), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_group_without_images(tmp_path: Path) -> None:
    data = Halves(name="halves", shape=SHAPE, classes=4, batch_size=8)
    with pytest.raises(UserError, match=r"no training image.*group 3 \(mode\.groups\)"):
        drawn(Edit([1, 3]), session(LinearWithEncoder(), data), tmp_path / "x")
    assert not (tmp_path / "x").exists()


# --- every model ----------------------------------------------------------------------------------

SMALL = ("data.size=8",)
WORDS: dict[str, tuple[str, ...]] = {
    "ali": ("data.size=28",), "iaf": (), "planar": (), "realnvp_points": (),
}  # fmt: skip
STARTS_OF = {"infogan": 10, "gan": 8, "ebgan": 8}  # eight rectifiers have many local minima
QUICK = ("dcgan", "bigan", "vae", "realnvp")
MADE_OF_NOISE = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in (*PRESETS, *DENSITIES)
]


@pytest.mark.parametrize("preset", MADE_OF_NOISE)
def test_an_image_of_the_generator_is_found_again(preset: str) -> None:
    """From the noise that a model draws, or from its encoder: the error falls below a bound."""
    torch.manual_seed(0)
    checked = validate.check(small(composed(f"model={preset}", *WORDS.get(preset, SMALL))))
    model, shape = build(checked["model"], "model"), tuple(checked["data"]["shape"])
    if model.prior is None or not supports(model, MakesImagesOfNoise) or len(shape) == 1:
        return
    data = Halves(name="halves", shape=shape, classes=10, batch_size=8)
    labels = torch.tensor([1, 3]) if model.labelled else None
    opened = session(model, data)
    x, other = images_of(
        opened, session(model, data, seed=1).noise(4), None if labels is None else labels.repeat(2)
    ).chunk(2)  # of no noise that a search starts from
    found = project(opened, x, labels, Search(starts=STARTS_OF.get(preset, 3), steps=120))
    far = (other - x).square().flatten(1).mean(1).sqrt()
    assert (found.rms < 0.5 * far.clamp(min=0.02)).all(), (found.rms, far)
