"""A session's images by seed and number, what modes draw of toy models, and files that are whole
or absent.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import js
from gentrain.commands.sample import (
    data_modes,
    domain_modes,
    energy_modes,
    latent_modes,
    mode,
    translate_files,
    truncation,
)
from gentrain.commands.sample.session import BLOCK, SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.data.arrays import ArrayDataset, random_rows, to_bytes
from gentrain.data.base import Data
from gentrain.data.grids import annotated, tile, unit
from gentrain.data.labels import Attributes
from gentrain.errors import Diverged, Unavailable, UserError
from gentrain.files import report_disk_errors
from gentrain.models.base import Encodes, Reconstructs
from gentrain.models.energy.boltzmann import Boltzmann
from gentrain.models.energy.hopfield import Hopfield
from gentrain.models.energy.rbm import RBM
from gentrain.models.energy.visible import BinaryUnits
from gentrain.models.gan.cgan import ConditionalGAN
from gentrain.models.gan.gan import GAN
from gentrain.models.gan.infogan import InfoGAN
from gentrain.models.gan.stargan import StarGAN
from gentrain.networks import mlp, patchgan
from gentrain.networks.base import Generator
from gentrain.networks.translator import Translator
from tests.support.paths import ROOT
from tests.support.toy import Noise

SHAPE = [1, 8, 8]


def session(
    model: Any = None, shape: list[int] = SHAPE, names: tuple[str, ...] = (), **options: Any
) -> SampleSession:
    data = Noise(
        name="noise", shape=tuple(shape), classes=4 if len(shape) == 3 else None, batch_size=8
    )
    run = SimpleNamespace(
        model=model or unconditional(shape=shape),
        data=data,
        device=torch.device("cpu"),
        config={"quality": {"_target_": "gentrain.quality.base.no_metric"}, "callbacks": {}},
        class_names=list(names),
    )
    return SampleSession(run, **options)  # type: ignore[arg-type]


def criterion() -> AdversarialCriterion:
    return AdversarialCriterion(js(), Unconstrained())


def backbones(shape: list[int], **options: Any) -> tuple[partial[Any], partial[Any]]:
    generator = partial(mlp.Generator, shape=shape, latent=6, width=16, depth=1, **options)
    return generator, partial(mlp.Critic, shape=shape, width=16, depth=1)


def unconditional(prior: Any = "normal", shape: list[int] = SHAPE) -> GAN:
    return GAN(*backbones(shape, norm="batch", prior=prior), criterion())


def labelled() -> ConditionalGAN:
    return ConditionalGAN(*backbones(SHAPE), criterion(), classes=4, embedding=3)


class Invertible(GAN, Encodes, Reconstructs):
    """G is x = tanh(W z) with orthonormal columns, so that E(x) = W^T artanh(x) is its inverse."""

    def encode(self, x: Tensor) -> Tensor:
        return torch.atanh(x.flatten(1).clamp(-0.999999, 0.999999)) @ self.generator.weight

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.sample((x,), self.encode(x))


class Orthonormal(Generator):
    def __init__(self) -> None:
        super().__init__(nn.Identity(), latent=6)
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(64, 6)).Q)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z @ self.weight.T).unflatten(1, (1, 8, 8))


def images(out: Path) -> np.ndarray:
    with np.load(out / "images.npz") as kept:
        return kept["images"]


# --- the session -------------------------------------------------------------------------------


def test_an_image_depends_on_its_seed_and_number_alone() -> None:
    model = unconditional()
    few, many = (torch.cat([x for x, _ in session(model).stream(n)]) for n in (7, 2 * BLOCK + 30))
    assert len(many) == 2 * BLOCK + 30
    assert torch.allclose(many[:7], few, atol=1e-6)
    assert not torch.allclose(many[:BLOCK], many[BLOCK : 2 * BLOCK])
    assert torch.equal(session(model).noise(230)[:7], session(model).noise(7))
    assert not torch.equal(session(model, seed=1).noise(7), session(model).noise(7))


def test_labels_take_turns() -> None:
    drawn = [y for _, y in session(labelled()).stream(BLOCK + 6)]
    assert torch.equal(torch.cat(drawn), torch.arange(BLOCK + 6) % 4)  # type: ignore[arg-type]
    assert session(labelled(), labels=[3, 1]).labels(3).tolist() == [3, 1, 3]
    assert session().labels(3) is None
    ordinals = ("1", "2", "10", "cat")  # where a name is a number, a number is a name
    assert session(labelled(), names=ordinals, labels=[10, "cat", 2, 1]).classes == [2, 3, 1, 0]
    for word in ("dog", 0, 3):
        told = rf"no class {word} \(labels\); give one of 1, 2, 10, cat$"
        with pytest.raises(UserError, match=told):
            session(labelled(), names=ordinals, labels=[1, word])


def test_a_list_of_labels_that_is_not_of_n_is_told_or_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "gentrain")
    for labels, n, words in (
        ([1, 2], 7, "the 2 labels take turns: 4 of b, 3 of cat"),
        ([1, 2], 4, "the 2 labels take turns: 2 of b, 2 of cat"),
        ([1, 2], 2, None),
        ([3], 7, None),
        (None, 7, None),
    ):
        caplog.clear()
        list(session(labelled(), names=("a", "b", "cat", "d"), labels=labels).stream(n))
        assert caplog.messages == ([words] if words else [])
        assert all((r.levelname == "WARNING") == (n == 7) for r in caplog.records)
    with pytest.raises(
        UserError, match=r"^3 labels, and 2 images do not .* \(labels, n\); give n=3"
    ):
        list(session(labelled(), labels=[0, 1, 2]).stream(2))


@pytest.mark.parametrize(
    ("model", "labels", "words"),
    [(labelled, [4], "0 to 3"), (unconditional, [0], "no labels"), (labelled, [], "empty")],
)
def test_labels_that_do_not_fit(model: Any, labels: list[int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        session(model(), labels=labels)


def test_the_averaged_generator_draws_unless_it_shall_not() -> None:
    model = unconditional()
    model.ema_generator = unconditional().generator
    last = model.generator
    assert session(model).generator is model.ema_generator
    assert session(model, averaged=False).generator is last


def test_images_that_are_no_numbers() -> None:
    model = unconditional()
    with torch.no_grad():
        model.generator.body[0].weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="not finite"):
        next(session(model).stream(2))


# --- modes ----------------------------------------------------------------------------------------


def test_arithmetic_of_means(tmp_path: Path) -> None:
    here = session()
    latent_modes.Arithmetic([[0, 3], 2, 101]).draw(here, Output(tmp_path, "npz"))
    z = here.noise(102)
    mean = (z[0] + z[3]) / 2
    wanted = here.images(torch.stack([mean, z[2], z[101], mean - z[2] + z[101]]), None)
    assert np.array_equal(images(tmp_path), to_bytes(wanted).permute(0, 2, 3, 1).numpy())


def test_class_grid_repeats_noise_down_its_columns(tmp_path: Path) -> None:
    here = session(labelled())
    latent_modes.ClassGrid(3).draw(here, Output(tmp_path, "npz"))
    wanted = here.images(here.noise(3)[1].repeat(4, 1), torch.arange(4))
    assert np.array_equal(
        images(tmp_path).reshape(4, 3, 8, 8)[:, 1], to_bytes(wanted)[:, 0].numpy()
    )


def test_sphere_and_interpolation_begin_and_end_at_images_of_the_noise(tmp_path: Path) -> None:
    here = session()
    z = to_bytes(here.images(here.noise(4), None)).squeeze(1).numpy()
    latent_modes.Sphere(steps=3).draw(here, Output(tmp_path / "sphere", "npz"))
    drawn = images(tmp_path / "sphere")[..., 0]
    assert np.abs(drawn[[0, 2, 6, 8]].astype(int) - z).max() <= 1  # rounding
    latent_modes.Interpolate(n=2, steps=4).draw(here, Output(tmp_path / "strips", "npz"))
    drawn = images(tmp_path / "strips")[..., 0]
    assert np.abs(drawn[[0, 3, 4, 7]].astype(int) - z).max() <= 1


def test_nearest_finds_what_was_copied(tmp_path: Path) -> None:
    train = torch.randint(256, (5000, 1, 4, 4), dtype=torch.uint8)  # more than one chunk
    samples = train[[4999, 17]].clone()
    samples[1, 0, 0, 0] = train[17, 0, 0, 0].int().add(8).remainder(256).to(torch.uint8)
    distances, rows = data_modes.nearest(samples, train, 3)
    assert rows[:, 0].tolist() == [4999, 17] and distances[0, 0] == 0
    brute = (
        (samples[:, None].double() - train[None].double())
        .flatten(2)
        .square()
        .mean(2)
        .sqrt()
        .sort(1)
    )
    assert torch.equal(rows, brute.indices[:, :3])
    assert torch.allclose(distances.double(), brute.values[:, :3], atol=1e-4)


def test_reconstruct_gives_back_what_a_true_inverse_encoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Invertible(partial(Orthonormal), backbones(SHAPE)[1], criterion())
    here, generator = session(model), model.generator
    # images that the generator can draw
    own = to_bytes(generator(torch.randn(12, 6, generator=torch.Generator().manual_seed(5))))
    here.data._samples["test"] = here.data.load("train")._replace(images=own)
    result = data_modes.Reconstruct(10).draw(here, Output(tmp_path, "npz"))
    assert (
        result["split"] == "test" and result["median"] < 1 < 10 < result["median_of_random_noise"]
    )
    back = images(tmp_path)[..., 0].astype(int)
    assert np.abs(back - own[random_rows(12, 10), 0].int().numpy()).max() <= 3
    assert "reconstructions of 10 test images" in capsys.readouterr().out


def test_truncation_draws_inside_tau_and_gives_back_the_statistics(tmp_path: Path) -> None:
    model = unconditional()
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    seen: list[Tensor] = []
    model.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    here = session(model)
    truncation.Truncation([0.5], n=4, fid=False, standing=300).draw(here, Output(tmp_path, "npz"))
    whole, *at_tau = seen
    assert torch.equal(whole, here.noise(4)) and whole.abs().max() > 0.5
    assert all(z.abs().max() <= 0.5 for z in at_tau) and sum(map(len, at_tau)) == 304
    assert all(
        torch.equal(value, model.generator.state_dict()[name]) for name, value in before.items()
    )
    assert {p.name for p in tmp_path.iterdir()} == {"whole.png", "tau-0.5.png", "images.npz"}
    assert len(images(tmp_path)) == 8


@pytest.mark.parametrize(
    ("mode", "here", "words"),
    [
        (latent_modes.ClassGrid(), lambda: session(), "no labels"),
        (data_modes.Reconstruct(), lambda: session(), "reconstructs images"),
        (truncation.Truncation([1.0]), lambda: session(unconditional("uniform")), "is uniform"),
        (truncation.Truncation([1.0]), lambda: session(), "mode.fid=false"),
        (latent_modes.Interpolate(), lambda: session(unconditional("uniform")), "mode.path=linear"),
        (latent_modes.Sphere(), lambda: session(unconditional("uniform")), "is uniform"),
        (data_modes.Nearest(), lambda: session(shape=[2]), "gives points"),
        (latent_modes.Arithmetic([0, 1, 2]), lambda: session(shape=[2]), "gives points"),
    ],
)
def test_what_does_not_fit(mode: mode.Mode, here: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        mode.check(here())


def test_points_are_kept_as_points(tmp_path: Path) -> None:
    mode, here = latent_modes.Grid(n=250), session(shape=[2])
    mode.check(here)
    mode.draw(here, Output(tmp_path, "npz"))
    with np.load(tmp_path / "images.npz") as kept:
        assert kept["points"].shape == (250, 2) and kept["points"].dtype == np.float32


# --- files ----------------------------------------------------------------------------------------


def test_the_archive_is_what_numpy_would_write(tmp_path: Path) -> None:
    here = session(labelled())
    latent_modes.Grid(n=130, shown=9).draw(here, Output(tmp_path, "npz"))
    with np.load(tmp_path / "images.npz") as kept:
        assert set(kept) == {"images", "labels"}
        assert kept["images"].dtype == np.uint8 and kept["images"].shape == (130, 8, 8, 1)
        assert np.array_equal(kept["labels"], np.arange(130) % 4)
        wanted = to_bytes(torch.cat([x for x, _ in here.stream(130)])).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(kept["images"], wanted)
    assert zipfile.ZipFile(tmp_path / "images.npz").testzip() is None
    assert Image.open(tmp_path / "grid.png").size == (3 * 10 + 2, 3 * 10 + 2)


def test_a_folder_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    here = session(labelled())
    latent_modes.Grid(n=20).draw(here, Output(tmp_path, "folder", here.data))
    assert len(list(tmp_path.glob("images/*/*.png"))) == 20
    here = session(labelled())
    latent_modes.Grid(n=5).draw(here, Output(tmp_path, "folder", here.data))
    files = sorted(str(p.relative_to(tmp_path / "images")) for p in tmp_path.glob("images/*/*.png"))
    assert files == ["0/000000.png", "0/000004.png", "1/000001.png", "2/000002.png", "3/000003.png"]
    assert {p.name for p in tmp_path.iterdir()} == {"images", "grid.png"}
    here = session(labelled())
    (first,) = here.images(here.noise(1), torch.tensor([0]))
    assert torch.equal(
        torch.from_numpy(np.array(Image.open(tmp_path / "images/0/000000.png"))), to_bytes(first)[0]
    )


@pytest.mark.parametrize("save", ["npz", "folder"])
def test_nothing_half_written(tmp_path: Path, save: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the middle leaves the old images, whole, and nothing beside them."""
    latent_modes.Grid(n=3).draw(session(), Output(tmp_path, save))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    here = session()
    generate = here.generate

    def second_fails(n: int, z: Any, labels: Any, *start: int) -> Tensor:
        if n < BLOCK:
            raise OSError(28, "No space left on device")
        return generate(n, z, labels, *start)

    monkeypatch.setattr(here, "generate", second_fails)
    with pytest.raises(Unavailable, match="No space left"), report_disk_errors(tmp_path, "out"):
        latent_modes.Grid(n=BLOCK + 1).draw(here, Output(tmp_path, save))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


MEMORY = """
import resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.commands.sample.test_modes import latent_modes, session, unconditional, Output
here = session(unconditional(shape=[1, 28, 28]), shape=[1, 28, 28])
out = Output(Path(sys.argv[1]), "npz")
peaks = []
for n in (2000, 20000):
    latent_modes.Grid(n=n).draw(here, out)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_n(tmp_path: Path) -> None:
    """18,000 images more are 14 MB as bytes and 56 MB as floats."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 6, done.stdout
    assert len(images(tmp_path)) == 20000


def test_the_record_is_json_of_numbers(tmp_path: Path) -> None:
    result = data_modes.Nearest(n=3, neighbours=2).draw(session(), Output(tmp_path, "none"))
    again = json.loads(json.dumps(result))
    assert len(again["rows"]) == 3 and len(again["distances"][0]) == 2
    assert not (tmp_path / "images.npz").exists()


# --- Markov chains --------------------------------------------------------------------------------


def trained_rbm() -> RBM:
    """Sure of one image: the upper half white, the lower black."""
    torch.manual_seed(0)
    model = RBM(BinaryUnits(), SHAPE, hidden=4, n_chains=5)
    with torch.no_grad():
        model.b.copy_(torch.cat([torch.full((32,), 20.0), torch.full((32,), -20.0)]))
    return model


def test_chains_start_at_noise_and_reach_the_model(tmp_path: Path) -> None:
    model = trained_rbm()
    drawn = energy_modes.Chains(n=3, columns=4).draw(session(model), Output(tmp_path, "npz"))
    assert drawn == {"transitions": [0, 1, 2, 4]}
    found = images(tmp_path).reshape(3, 4, 8, 8)
    sure = np.concatenate([np.full((4, 8), 255), np.zeros((4, 8))])
    assert (found[:, 1:] == sure).all() and not (found[:, 0] == sure).all()
    assert (tmp_path / "chains.png").exists()
    with pytest.raises(UserError, match="mode=chains"):
        energy_modes.Chains().check(session())


@pytest.mark.parametrize(
    "model",
    [RBM(BinaryUnits(), SHAPE, hidden=4, n_chains=5), Boltzmann(SHAPE, hidden=4, n_chains=5)],
)
def test_filters_are_the_weights_of_a_hidden_unit(model: Any, tmp_path: Path) -> None:
    """Which a change of that unit shows: E(h_j = 1) - E(h_j = 0) is linear in v with them for its
    slopes.
    """
    drawn = energy_modes.Filters(n=3).draw(session(model), Output(tmp_path, "npz"))
    found = images(tmp_path).reshape(3, 8, 8).astype(float) / 127.5 - 1
    v = torch.eye(64)
    if isinstance(model, RBM):
        rises = model.hidden_logits(v) - model.hidden_logits(torch.zeros(1, 64))
    else:
        x, h = torch.cat([v, torch.zeros(64, 4)], 1), torch.eye(4)
        joint = torch.stack(
            [
                model.energy(x) - model.energy(x + torch.cat([torch.zeros(64), h[j]]))
                for j in range(4)
            ],
            1,
        )
        rises = joint - model.b[64:]
    for j in range(3):
        slope = rises[:, j].detach() / drawn["largest_weights"][j]
        np.testing.assert_allclose(found[j], slope.view(8, 8), atol=0.006)
    with pytest.raises(UserError, match="mode=filters"):
        energy_modes.Filters().check(session())


def test_noise_is_taken_away(tmp_path: Path) -> None:
    model = Hopfield(SHAPE, memories=1)
    model.init_from_data((torch.rand(4, *SHAPE) * 2 - 1,))
    with torch.no_grad():
        model.weight.copy_(model.memories.T @ model.memories)
    result = data_modes.Denoise(n=5, share=0.3, steps=3, draws=2).draw(
        session(model), Output(tmp_path, "npz")
    )
    assert result["split"] == "remembered" and result["median"] == 0 < result["median_of_noisy"]
    again = data_modes.Denoise(n=5).draw(session(trained_rbm()), Output(tmp_path / "rbm", "npz"))
    assert again["split"] == "test" and images(tmp_path / "rbm").shape == (15, 8, 8, 1)
    with pytest.raises(UserError, match="mode=denoise"):
        data_modes.Denoise().check(session())


class Sorted(Noise):
    """300 images, sorted by class: 100 black, then 200 white; those of the test split are grey."""

    def read(self, split: str) -> ArrayDataset:
        labels = (torch.arange(300) >= 100).long()
        images = (
            ((128 if split == "test" else 255) * labels)
            .byte()[:, None, None, None]
            .expand(-1, *self.shape)
        )
        return ArrayDataset(images.contiguous(), labels)


def test_held_out_images_of_sorted_files_are_of_all_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = session()
    here.data = Sorted(name="sorted", shape=tuple(SHAPE), classes=2)
    (images,), split = data_modes.held_out(here, 20)
    assert split == "test" and 0.3 < float((images > 0).float().mean()) < 0.95
    again, _ = data_modes.held_out(here, 20)
    assert torch.equal(images, again[0])
    result = data_modes.Nearest(n=4).draw(here, Output(tmp_path, "npz"))
    assert result["median_of_held_out_images"] == 127  # of grey and white; black ones are at 0


# --- several attributes at once -------------------------------------------------------------------

HAIR = Attributes(["black", "blond", "male"], [["black", "blond"]])


class Faces(Data):
    """Grey squares, each brighter than the one before it, with labels of three attributes."""

    domain_names = ("black", "blond", "male")

    def read(self, split: str) -> ArrayDataset:
        images = torch.arange(0, 240, 30).byte()[:, None, None, None].expand(-1, 3, 16, 16)
        labels = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]] * 2)
        return ArrayDataset(images.clone(), labels)


def faces(**options: Any) -> SampleSession:
    shape = [3, 16, 16]
    model = StarGAN(
        partial(Translator, shape=shape, width=4, blocks=1, kernel=4, padding="zeros"),
        partial(patchgan.Strided, shape=shape, width=4),
        criterion(),
        classes=3,
        label_kind=HAIR,
    )
    asked: list[Tensor] = []
    translate = model.translate
    model.translate = lambda x, y: asked.append(y) or translate(x, y)  # type: ignore[method-assign]
    data = Faces(name="faces", shape=tuple(shape), classes=3, label_kind=HAIR, batch_size=4)
    run = SimpleNamespace(
        model=model, data=data, device=torch.device("cpu"), asked=asked, class_names=[]
    )
    return SampleSession(run, **options)  # type: ignore[arg-type]


def test_translations_to_attributes(tmp_path: Path) -> None:
    """A column changes one attribute; domain= names those that a face shall have, and no others."""
    here = faces()
    result = domain_modes.Domains(n=4).draw(here, Output(tmp_path / "domains", "npz"))
    own, (asked,) = torch.tensor(result["from"]), here.run.asked  # type: ignore[attr-defined]
    wanted = [HAIR.turned(y[None], torch.tensor([k]))[0].tolist() for y in own for k in range(3)]
    assert asked.tolist() == wanted
    assert np.load(tmp_path / "domains" / "images.npz")["images"].shape == (16, 16, 16, 3)
    chosen = faces(domain="blond+male")
    cycle = domain_modes.Cycle(n=3)
    cycle.check(chosen)
    result = cycle.draw(chosen, Output(tmp_path / "cycle", "npz"))
    assert result["to"] == [[0, 1, 1]] * 3
    translate_files.Translate(n=2).draw(chosen, Output(tmp_path / "translate", "none"))
    assert chosen.run.asked[-1].tolist() == [[0, 1, 1]]  # type: ignore[attr-defined]
    assert len(list((tmp_path / "translate" / "translated").glob("*.png"))) == 2
    ((images, labels),) = faces().stream(5)
    assert images.shape == (5, 3, 16, 16) and labels.tolist() == [0, 1, 2, 0, 1]
    with pytest.raises(UserError, match=r"give some, with \+ between them, of black, blond, male"):
        translate_files.Translate().check(faces())
    with pytest.raises(UserError, match=r"no domain red \(domain\); give one of black, blond"):
        faces(domain="red")


# --- codes ----------------------------------------------------------------------------------------


def coded(categories: list[int], continuous: int) -> InfoGAN:
    torch.manual_seed(0)
    generator, critic = backbones(SHAPE)
    return InfoGAN(generator, critic, criterion(), categories, continuous)


def test_a_traverse_of_codes_has_a_row_for_each_category(tmp_path: Path) -> None:
    """A picture for each continuous code; all else is one noise, with other codes at 0."""
    model = coded([3], 2)
    opened = session(model)
    result = latent_modes.Traverse(steps=5).draw(opened, Output(tmp_path, "npz"))
    assert result == {"codes": [0, 1], "categories": 3}
    kept = np.load(tmp_path / "images.npz")["images"].reshape(2, 3, 5, 8, 8)
    z = opened.noise(1)
    for code, row, column in ((0, 2, 0), (1, 0, 4), (1, 1, 2)):
        c = z.clone()
        c[:, 6:] = 0
        c[:, 6 + row] = 1
        c[:, 9 + code] = [-2, -1, 0, 1, 2][column]
        wanted = to_bytes(opened.images(c, None))[0, 0].numpy()
        assert np.array_equal(kept[code, row, column], wanted)
    assert {path.name for path in tmp_path.glob("*.png")} == {"traverse-0.png", "traverse-1.png"}
    assert np.array_equal(kept[0, :, 2], kept[1, :, 2])  # where both codes are 0
    only = latent_modes.Traverse(latents=[1], steps=3, reach=1.0)
    only.check(opened)
    assert only.draw(opened, Output(tmp_path / "one", "npz"))["codes"] == [1]
    with pytest.raises(UserError, match=r"no continuous code 2 among 2 \(mode\.latents\)"):
        latent_modes.Traverse(latents=[2]).check(opened)


def test_codes_of_one_kind(tmp_path: Path) -> None:
    result = latent_modes.Traverse(steps=4).draw(session(coded([3], 0)), Output(tmp_path, "npz"))
    assert result == {"codes": [], "categories": 3}
    kept = np.load(tmp_path / "images.npz")["images"].reshape(3, 4, -1)
    assert len(np.unique(kept.reshape(12, -1), axis=0)) == 12  # the columns are other noise
    numbers = session(coded([], 2))
    result = latent_modes.Traverse(steps=4).draw(numbers, Output(tmp_path / "n", "npz"))
    assert result == {"codes": [0, 1], "categories": 0}
    assert (tmp_path / "n" / "traverse-1.png").exists()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that are drawn into pictures, in order."""
    words: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def noted(pen: Any, place: Any, text: str, *args: Any, **options: Any) -> None:
        words.append(text)
        draw(pen, place, text, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    return words


@pytest.mark.parametrize(
    ("drawn", "opened", "words"),
    [
        pytest.param(
            latent_modes.Interpolate(n=2, steps=3),
            lambda: session(),
            "from one noise to another along a great circle|0|0.5|1|noise 0 to 1|noise 2 to 3",
            id="interpolate",
        ),
        pytest.param(
            latent_modes.Interpolate(n=2, steps=3, path="linear"),
            lambda: session(labelled()),
            "from one noise to another along a straight line|0|0.5|1|class 0: noise 0 to 1"
            "|class 1: noise 2 to 3",
            id="interpolate of classes",
        ),
        pytest.param(
            latent_modes.Interpolate(n=1, steps=9),
            lambda: session(),
            "from one noise to another along a great circle|0|0.125|0.25|0.375|0.5|0.625|0.75|0.875"
            "|1|noise 0 to 1",
            id="interpolate in eighths",
        ),
        pytest.param(
            latent_modes.Sphere(steps=3),
            lambda: session(labelled(), labels=[2]),
            "class 2: four noises in the corners, angles in degrees|0|45|90|0|45|90",
            id="sphere",
        ),
        pytest.param(
            latent_modes.Arithmetic(pick=[3, [1, 2], 0]),
            lambda: session(),
            "z1 = noise 3, z2 = mean of noise 1, 2, z3 = noise 0|z1|z2|z3|z1 - z2 + z3",
            id="arithmetic",
        ),
        pytest.param(
            latent_modes.Traverse(latents=[4, 1], steps=3, reach=2.5),
            lambda: session(),
            "one latent variable a row, from -2.5 to 2.5|-2.5|0|2.5|latent 4|latent 1",
            id="traverse",
        ),
        pytest.param(
            latent_modes.Traverse(latents=[1], steps=3),
            lambda: session(coded([2], 2)),
            "continuous code 1; one category a row|-2|0|2|c=0|c=1",
            id="traverse of codes",
        ),
        pytest.param(
            latent_modes.ClassGrid(n=2),
            lambda: session(labelled(), labels=[3, 0]),
            "one noise a column|||3|0",
            id="class_grid",
        ),
        pytest.param(
            translate_files.Translate(n=4),
            lambda: faces(domain="blond+male"),
            "to blond+male|source|made",
            id="translate",
        ),
        pytest.param(
            energy_modes.Chains(n=2, columns=3),
            lambda: session(trained_rbm()),
            "one chain a row, after so many transitions|0|1|2",
            id="chains",
        ),
    ],
)
def test_pictures_say_what_they_show(
    drawn: Any, opened: Any, words: str, written: list[str], tmp_path: Path
) -> None:
    here = opened()
    drawn.check(here)
    drawn.draw(here, Output(tmp_path, "none"))
    assert written == [word.replace(" ", "  ") for word in words.split("|")]  # gaps that show


def test_the_title_of_a_traverse_says_its_order(written: list[str], tmp_path: Path) -> None:
    model = Invertible(partial(Orthonormal), backbones(SHAPE)[1], criterion())
    drawn, here = latent_modes.Traverse(n=2, steps=3), session(model)
    drawn.check(here)
    drawn.draw(here, Output(tmp_path, "none"))
    title = "one latent variable a row, from -3 to 3; first those whose codes vary most"
    assert written[0].replace("  ", " ") == title and len(written) == 6


def test_a_translation_to_the_only_domain_has_a_title() -> None:
    told = [
        translate_files.Translate(source=source).title(SimpleNamespace(domain=None))
        for source in (None, "folder")
    ]
    assert told == ["held-out images, translated", "pictures, translated"]


def test_a_title_is_above_all_and_widens_a_narrow_picture() -> None:
    images = torch.rand(2, 1, 8, 8) * 2 - 1
    plain, titled = (annotated(images, [], ["a", "b"], title) for title in ("", "w" * 60))
    height, width = plain.shape[1:]
    assert titled.shape[1] > height and titled.shape[2] > 2 * width
    assert torch.equal(titled[:, -height:, :width], plain)
    assert (titled[:, -height:, width:] == 1).all() and titled[:, :-height].min() < 0.5


def test_words_beside_a_table_are_drawn_in_its_margins() -> None:
    images = torch.rand(6, 1, 8, 8) * 2 - 1
    plain, named = (annotated(images, rows, ["-2", "0", "2"]) for rows in ([], ["a", "long word"]))
    cells = tile(unit(images).repeat_interleave(7, 2).repeat_interleave(7, 3), 3)
    for picture in (plain, named):
        height, width = cells.shape[1:]
        torch.testing.assert_close(picture[:, -height:, -width:], cells, atol=1 / 255, rtol=0)
        assert picture[:, :-height].min() < 0.5  # there is ink
    assert plain.shape[2] == cells.shape[2] < named.shape[2]
    assert named[:, -height:, :-width].min() < 0.5
