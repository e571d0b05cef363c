"""gentrain sample run=PATH source=...: pictures of any size and kind through a translation, under
their names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gentrain.data.grids import LINE
from tests.support.program import Program, fine, refused
from tests.support.zoo import Zoo


@pytest.fixture
def trained(zoo: Zoo) -> Path:
    """The folder of the runs."""
    return zoo.with_runs("edges", "colours", "larger", "holes", "residual", "noise")


@pytest.fixture
def sample(trained: Path, tmp_path: Path, gentrain: Program) -> Program:
    return lambda name, *words: gentrain(
        "sample", f"run={trained / name}", f"out={tmp_path / 'out'}", "device=cpu", *words
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Of several sizes, kinds and endings, in folders."""
    random, root = np.random.default_rng(0), tmp_path / "pictures"
    (root / "inner folder").mkdir(parents=True)
    for name, (height, width, *rest) in {
        "a.png": (50, 30, 3),
        "b.jpg": (28, 28, 3),
        "inner folder/ü.bmp": (90, 120),
        "c.gif": (33, 44),
    }.items():
        Image.fromarray(random.integers(0, 256, (height, width, *rest), dtype=np.uint8)).save(
            root / name
        )
    (root / "notes.txt").write_text("no picture")
    return root


def made(out: Path) -> dict[str, tuple[int, int]]:
    folder = out / "translated"
    return {
        str(file.relative_to(folder)): Image.open(file).size
        for file in sorted(folder.rglob("*.png"))
    }


def test_a_folder_of_pictures_of_any_size(sample: Program, pictures: Path, tmp_path: Path) -> None:
    done = sample("edges", f"source={pictures}")
    fine(done)
    assert made(tmp_path / "out") == dict.fromkeys(
        ("a.png", "b.png", "c.png", "inner folder/ü.png"), (28, 28)
    )
    about = json.loads((tmp_path / "out" / "sample.json").read_text())
    assert (
        about["mode"] == "translate"
        and about["averaged"]
        and about["results"] == {"pictures": 4, "given": "source"}
    )
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "translated",
        "translate.png",
        "sample.json",
    }
    assert Image.open(tmp_path / "out" / "translate.png").size[0] > 2 * 28
    before = {
        name: (tmp_path / "out" / "translated" / name).read_bytes()
        for name in made(tmp_path / "out")
    }
    fine(sample("edges", f"source={pictures}"))  # over the same directory, with the same noise
    assert before == {
        name: (tmp_path / "out" / "translated" / name).read_bytes() for name in before
    }


def test_a_network_that_enlarges_keeps_the_size_of_each_picture(
    sample: Program, pictures: Path, tmp_path: Path
) -> None:
    fine(sample("larger", f"source={pictures}"))
    assert made(tmp_path / "out") == {
        "a.png": (120, 200),
        "b.png": (112, 112),
        "c.png": (176, 132),
        "inner folder/ü.png": (480, 360),
    }
    fine(sample("larger", f"source={pictures / 'a.png'}", "mode.size=trained"))
    assert made(tmp_path / "out") == {"a.png": (28, 28)}
    fine(
        sample("larger", f"source={pictures / 'a.png'}", "mode.given=target")
    )  # made smaller, and enlarged: 50 x 30 less what 4 does not divide
    assert made(tmp_path / "out") == {"a.png": (28, 48)}


def test_a_convolutional_network_takes_any_size_and_gives_it_back(
    sample: Program, pictures: Path, tmp_path: Path
) -> None:
    fine(sample("residual", f"source={pictures}", "mode.size=own"))
    assert made(tmp_path / "out") == {
        "a.png": (30, 50),
        "b.png": (28, 28),
        "c.png": (44, 33),
        "inner folder/ü.png": (120, 90),
    }


def test_holes_are_what_is_transparent_and_all_else_stays(sample: Program, tmp_path: Path) -> None:
    pixels = np.full((28, 28, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[5:15, 8:20, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "holed.png")
    fine(sample("holes", f"source={tmp_path / 'holed.png'}"))
    out = np.asarray(Image.open(tmp_path / "out" / "translated" / "holed.png"))
    assert (out[pixels[..., 3] > 0] == 200).all() and not (out[5:15, 8:20] == 200).all()
    Image.fromarray(pixels[..., :3]).save(tmp_path / "whole.png")
    refused(
        sample("holes", f"source={tmp_path / 'whole.png'}"),
        "whole.png has no transparent pixels",
        "mode.given=target",
    )
    fine(sample("holes", f"source={tmp_path / 'whole.png'}", "mode.given=target"))


@pytest.mark.parametrize("name", ["edges", "colours", "larger", "holes"])
def test_held_out_pairs_stand_beside_their_targets(
    sample: Program, tmp_path: Path, name: str
) -> None:
    fine(sample(name, "mode=translate", "n=3"))
    assert len(made(tmp_path / "out")) == 3
    width = Image.open(tmp_path / "out" / "translate.png").size[0]
    assert width == 3 * 58 + 2  # source | made | target, at twice their size for the words
    fine(sample(name, "n=5"))  # the plain grid is of held-out sources as well
    with np.load(tmp_path / "out" / "images.npz") as kept:
        assert (
            kept["images"].shape[:3] == (5, 28, 28)
            and len({image.tobytes() for image in kept["images"]}) == 5
        )


def test_two_pictures_side_by_side_bring_their_target(
    sample: Program, pictures: Path, tmp_path: Path
) -> None:
    fine(sample("edges", f"source={pictures / 'a.png'}", "mode.given=pair"))
    assert Image.open(tmp_path / "out" / "translate.png").size == (
        3 * 58 + 2,
        60 + 2 * LINE,
    )  # title, heads


def test_completion_of_held_out_images(sample: Program, tmp_path: Path) -> None:
    fine(sample("holes", "mode=complete", "mode.known=left", "n=2", "mode.times=1"))
    assert (tmp_path / "out" / "complete.png").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ("model=gan", "data=digit_edges"),
            ("does not translate, and data=digit_edges gives sources", "(model, data.degrade)"),
        ),
        (
            ("model=vae", "data=mnist_5k", "data.degrade=mask"),
            ("does not translate", "(model, data.degrade)"),
        ),
        (("model=cgan", "data=digit_edges"), ("does not translate", "(model, data.degrade)")),
        (("model=srresnet", "data=mnist_5k"), ("these data have no sources", "(data.degrade)")),
        (
            ("model=pix2pix", "data=digit_domains"),
            ("learns from pairs, and data=digit_domains gives two domains", "data.degrade=edges"),
        ),
        (
            ("model=pix2pix", "data.degrade=grayscale"),
            ("cannot take grayscale, they have no colours", "(data.degrade)"),
        ),
        (("model=pix2pix", "data=facades"), ("data=facades needs a folder", "(data.root)")),
        (("model=pix2pix", "data=pairs", "data.a=/tmp"), ("data=pairs needs a folder", "(data.b)")),
    ],
)
def test_runs_that_cannot_be(
    gentrain: Program, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    refused(gentrain(*words, "steps=2", "trainer=cpu", "logger=csv", "quality=none"), *parts)
    assert not (tmp_path / "outputs").exists()


def test_mistakes(sample: Program, pictures: Path, tmp_path: Path) -> None:
    def told(words: tuple[Any, ...], *parts: str) -> None:
        refused(sample(*words), *parts)
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())

    told(("edges", "source=/nowhere"), "no such file or folder /nowhere (source)")
    told(
        ("noise", f"source={pictures}"),
        "mode=translate needs a model that translates images, and GAN is not one",
    )
    told(("edges", f"source={pictures}", "mode.size=own"), "sees whole pictures", "(mode.size)")
    told(
        ("edges", f"source={pictures}", "mode.back=true"),
        "does not translate a picture back",
        "(mode.back)",
    )
    told(
        ("edges", f"source={pictures}", "domain=red"),
        "does not translate between several domains (domain)",
    )
    told(("edges", "mode=interpolate"), "has no noise to choose")
    (tmp_path / "empty").mkdir()
    told(("edges", f"source={tmp_path / 'empty'}"), "0 pictures in", "(source)")
    (pictures / "a.bmp").write_bytes((pictures / "inner folder" / "ü.bmp").read_bytes())
    told(("edges", f"source={pictures}"), "a.bmp and a.png", "one name, a.png (source)")
    (pictures / "a.bmp").unlink()
    (pictures / "b.jpg").write_bytes(b"no picture")
    told(("edges", f"source={pictures}"), "cannot read the picture b.jpg", "(source)")
