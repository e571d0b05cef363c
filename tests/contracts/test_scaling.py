"""docs/scaling.md has what the presets of today cost."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gentrain.models.gan.progan import Growth
from tests.support.paths import ROOT


def script() -> Any:
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "scripts/scaling.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module  # where dataclasses look up annotations
    spec.loader.exec_module(module)
    return module


scaling = script()


def test_every_preset_has_a_row() -> None:
    assert scaling.rows_of(scaling.PAGE.read_text()) == scaling.presets()


def test_experiments_have_rows() -> None:
    """Those of small images; a count of larger ones takes minutes, and may not be made yet."""
    names, rows = scaling.experiments(), scaling.rows_of(scaling.PAGE.read_text(), "experiments")
    assert len(names) == 10 and [name for name in names if name in rows] == rows
    assert {name for name in names if name.endswith("cifar10")} <= set(rows)


def test_chosen_experiments_are_counted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows are new and in their places, and all else of the page stays."""
    page, count = scaling.PAGE.read_text(), scaling.Count("", 1, 1e12, 1, 1, 1)

    def counted(name: str) -> Any:
        return scaling.Experiment(dataclasses.replace(count, preset=name), 1, 1, 1.0)

    monkeypatch.setattr(scaling, "counted_experiment", counted)
    *_, whole = scaling.with_experiments(page, ["pix2pix_facades", "pixelcnn_cifar10"])
    before = scaling.table_rows(page, "experiments")
    after = scaling.table_rows(whole, "experiments")
    changed = {name for name, row in after.items() if row != before.get(name)}
    assert changed == {"pix2pix_facades", "pixelcnn_cifar10"}
    assert list(after) == [name for name in scaling.experiments() if name in after]
    assert scaling.between("experiments").sub("", page) == scaling.between("experiments").sub(
        "", whole
    )
    with pytest.raises(SystemExit, match="no such experiment: pix2pix; one of"):
        next(scaling.with_experiments(page, ["pix2pix"]))


@pytest.mark.parametrize("images", [2, 3])
def test_a_growing_experiment_is_counted_when_it_has_grown(images: int) -> None:
    """Its first step is of 4 pixels, and took a 400th of the arithmetic."""
    config = scaling.composed("experiment=progan_faces", *scaling.GROWN)
    step, growth = scaling.whole_at(config, images), Growth(fade=1, stable=1)
    sides = [4 * 2**level for level in range(7)]
    assert config["data"]["shape"][-1] == sides[-1]
    growth.critic = [SimpleNamespace(sides=sides)]
    assert growth.phase((step - 1) * images) == (6, 1.0)
    assert scaling.whole_at({"model": {}}, images) == 1


def test_what_is_saved_for_gradients_counts_once() -> None:
    """x is kept by two products, w is a weight, and nothing is left after the backward pass."""
    saved, x, w = scaling.Saved(), torch.randn(10, 4), torch.randn(4, 3, requires_grad=True)
    with saved.hooks():
        y = (x @ w).exp() + (x @ w.detach()[:, :1] + (x @ w)).sum()
        loss = y.sum()
    exp = 10 * 3
    assert saved.most == saved.now == 4 * (x.numel() + exp)
    loss.backward()
    del y, loss
    assert saved.now == 0 and saved.most > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert scaling.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.filterwarnings("default")
def test_the_row_of_the_vae_is_what_its_layers_cost() -> None:
    """Three products a weight, but for the inputs of the first layer; two FLOP for each."""
    found = scaling.count("vae")
    assert not scaling.stale(scaling.PAGE.read_text(), [found])
    encoder, decoder = [784 * 500, 500 * 40], [20 * 500, 500 * 784]
    products = 3 * sum(encoder + decoder) - encoder[0]
    biases = 500 + 40 + 500 + 784
    assert found.flop == 2 * 100 * products
    assert found.weights == found.updated == sum(encoder + decoder) + biases


def test_averaging_follows_its_formula() -> None:
    count = scaling.Count("x", images=64, flop=1e9, operations=10, weights=10**6, updated=5 * 10**6)
    assert scaling.reduction(count, 8) == pytest.approx(1.75 * 20e6 / 450e9)
    assert scaling.reduction(count, 64) == pytest.approx(2 * 63 / 64 * 20e6 / 50e9)
    assert count.floors["memory"] == pytest.approx(28 * 5e6 / 4.3e12)
