"""Finished runs of cyclegan and stargan, of one step: what they draw, which domain is asked for,
and what is refused.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.program import Program, fine, refused
from tests.support.zoo import Zoo


@pytest.fixture
def run(zoo: Zoo, request: pytest.FixtureRequest) -> Path:
    """A finished run of the model that the test is asked for."""
    return zoo(request.param)


def picture(place: Path, mode: str) -> np.ndarray:
    return np.asarray(Image.open(place / f"{mode}.png").convert("RGB"))


@pytest.mark.parametrize("run", ["cyclegan"], indirect=True)
def test_a_cycle_is_three_rows(gentrain: Program, run: Path, tmp_path: Path) -> None:
    done = gentrain("sample", f"run={run}", "mode=cycle", "n=5", "out=made")
    fine(done)
    height, width, _ = picture(tmp_path / "made", "cycle").shape
    assert height == 3 * 58 + 2 and width > 5 * 58 + 2  # words before the rows
    results = json.loads((tmp_path / "made" / "sample.json").read_text())["results"]
    images = np.load(tmp_path / "made" / "images.npz")["images"].astype(float) / 127.5 - 1
    assert images.shape == (15, 28, 28, 3)
    assert np.abs(images[10:] - images[:5]).mean() == pytest.approx(
        results["cycle_error"], abs=0.01
    )
    assert (images[:5].mean((1, 2, 3)) < 0).all()  # white digits on black
    fine(gentrain("sample", f"run={run}", "n=6", "mode=grid", "out=grid"))
    refused(gentrain("sample", f"run={run}", "mode=domains"), "mode=domains", "stargan")
    refused(gentrain("sample", f"run={run}", "mode=cycle", "domain=red"), "(domain)", "several")


@pytest.mark.parametrize("run", ["stargan"], indirect=True)
def test_domains_are_columns_and_may_be_chosen(
    gentrain: Program, run: Path, tmp_path: Path
) -> None:
    fine(gentrain("sample", f"run={run}", "mode=domains", "n=3", "out=domains"))
    # twice as large, so that the words above the columns fit
    assert picture(tmp_path / "domains", "domains").shape == (3 * 58 + 2 + 12, 5 * 58 + 2, 3)
    table = np.load(tmp_path / "domains" / "images.npz")["images"].reshape(3, 5, 28, 28, 3)

    fine(gentrain("sample", f"run={run}", "mode=cycle", "n=3", "domain=blue", "out=blue"))
    record = json.loads((tmp_path / "blue" / "sample.json").read_text())
    assert record["domain"] == 2 and record["results"]["to"] == [2, 2, 2]
    rows = np.load(tmp_path / "blue" / "images.npz")["images"].reshape(3, 3, 28, 28, 3)
    assert np.array_equal(rows[0], table[:, 0]) and np.array_equal(rows[1], table[:, 3])

    fine(gentrain("sample", f"run={run}", "mode=cycle", "n=3", "out=next"))
    results = json.loads((tmp_path / "next" / "sample.json").read_text())["results"]
    assert results["to"] == [(label + 1) % 4 for label in results["from"]]

    for n in (3, 8):  # image i is the same however many are drawn, and of the labels in turn
        fine(gentrain("sample", f"run={run}", "mode=grid", f"n={n}", f"out=grid-{n}"))
    few, many = (np.load(tmp_path / f"grid-{n}" / "images.npz") for n in (3, 8))
    assert np.abs(few["images"].astype(int) - many["images"][:3]).max() <= 1 and many[
        "labels"
    ].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    refused(
        gentrain("sample", f"run={run}", "mode=cycle", "domain=pink"),
        "no domain pink",
        "red, green, blue, yellow",
    )
    refused(gentrain("sample", f"run={run}", "mode=class_grid"), "no noise")


@pytest.mark.parametrize("run", ["stargan"], indirect=True)
def test_ones_own_pictures_go_to_the_domain_that_is_named(
    gentrain: Program, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(tmp_path / "mine" / "dark.png")
    fine(gentrain("sample", f"run={run}", "source=mine", "domain=1", "out=made"))
    assert (tmp_path / "made" / "translated" / "dark.png").exists()
    refused(
        gentrain("sample", f"run={run}", "source=mine", "out=other"),
        "(domain)",
        "red, green, blue, yellow",
    )
