"""Configurations as they were written, and what their references name."""

from __future__ import annotations

import base64
import io
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image

from gentrain.commands.compare.find import find
from gentrain.commands.compare.groups import spread
from gentrain.commands.compare.pictures import data_uri
from gentrain.commands.compare.records import followed, read_curves, saved_config
from gentrain.runs import directory
from tests.support import made_runs as made
from tests.support.program import Program

# every kind of reference in conf/, numbers with and without points, words that YAML reads as others
TEXT = """
seed: 3
lr: 1e-4
more: [.5, -2.5e+3, 0x10, 1_000, 12:30:45, 2026-11-28, 'on', on, no, null, '', ~]
data:
  size: 28
  channels: 1
  shape: ["${..channels}", "${..size}", "${..size}"]
  source_shape: ${.shape}
  seed: ${seed}
loss: {_target_: some.Loss, pair: ["${data.shape}", {again: "${loss._target_}"}]}
model:
  name: gan
  generator: {shape: "${data.shape}", wide: "${...data.source_shape}", up: "${..name}"}
  criterion: {loss: "${loss}"}
"""


def test_references_are_followed_as_omegaconf_follows_them(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(TEXT)
    found = saved_config(tmp_path)
    assert found == OmegaConf.to_container(OmegaConf.create(TEXT), resolve=True) | {
        "data": found["data"]
    }
    assert found["data"].pop("validation") == 0.0  # as `in_todays_terms` says of such a run
    assert found["data"] == OmegaConf.create(TEXT).data
    assert found == directory.saved_config(tmp_path) | {"data": found["data"]}


@pytest.mark.parametrize("value", ["${nope}", "${.nope.more}", "${....a}", "${now:%H}", "${a}x"])
def test_what_names_no_key_stays_as_it_was_written(value: str) -> None:
    tree = {"a": {"b": value}}
    assert followed(tree, [tree], ()) == tree


def test_a_circle_ends(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"a": "${b}", "b": "${a}", "c": {"d": "${c}"}}
    assert followed(tree, [tree], ())["b"].startswith("${")


def test_what_was_computed_needs_neither_its_data_nor_torch(
    compare: Program, tmp_path: Path
) -> None:
    """A table that is gone; a degradation, whose shape is computed with torch."""
    more = {
        "data.file": str(tmp_path / "gone.csv"),
        "data.key": None,
        "data.shape": "${points_shape:${.file},${.key}}",
        "data.source_shape": "${degraded:${.shape},gray}",
        "model.shape": "${data.shape}",
    }
    before = set(sys.modules)
    made.run(tmp_path / "r", more=more)
    assert compare("runs=r", "page=false").status == 0
    (run,) = find([tmp_path / "r"])
    assert run.config["model.shape"] == run.config["data.shape"] == more["data.shape"]
    assert "gentrain.data.degrade" not in set(sys.modules) - before


@pytest.mark.parametrize(
    ("rows", "curves"),
    [
        ("1,2.5,\n3,,7", {"a": ([1], [2.5]), "b": ([3], [7.0])}),
        ("3,1,1\n1,2,2\n", {"a": ([1, 3], [2.0, 1.0]), "b": ([1, 3], [2.0, 1.0])}),
        ("1,1,nan\n2,inf,x", {"a": ([1], [1.0])}),
        ("1,1,4\n1,x,5\n1,nan,6", {"a": ([1], [1.0]), "b": ([1], [6.0])}),  # a step thrice
        ("1,1,1\n2,2\nx,3,3\n4,4,4", {"a": ([1, 4], [1.0, 4.0]), "b": ([1, 4], [1.0, 4.0])}),
        ("", {}),
    ],
    ids=["gaps", "order", "no numbers", "the last number", "broken rows", "none"],
)
def test_curves(rows: str, curves: dict[str, Any], tmp_path: Path) -> None:
    """By column; the row without an end of line is still being written."""
    file = tmp_path / "metrics.csv"
    file.write_text(f"step,a,b\n{rows}\n9,9,9")
    assert read_curves(file) == curves


def test_the_deviation_is_that_of_the_sample() -> None:
    for values in ([1.0, 2.0, 4.0], [1e200, 3e200], [0.1, 0.1], [-5.0, 2.0, 1e-9, 7.0]):
        found = spread(values)
        assert found.sd == pytest.approx(statistics.stdev(values), rel=1e-12)
    assert spread([3.0]).sd is None


def test_a_small_picture_goes_in_as_it_is(tmp_path: Path) -> None:
    """Unless it is damaged, too large, or no PNG."""
    file = tmp_path / "a.png"
    Image.new("L", (64, 64), 7).save(file)
    whole = file.read_bytes()
    uri = data_uri(file, 64)
    assert uri is not None and base64.b64decode(uri.partition(",")[2]) == whole
    smaller = data_uri(file, 32)
    assert smaller is not None and size_of(smaller) == (32, 32)
    file.write_bytes(whole[:-20])
    assert data_uri(file, 64) is None
    file.write_bytes(whole.replace(b"IDAT", b"IDAT\0", 1))
    assert data_uri(file, 64) is None
    Image.new("L", (64, 64), 7).save(file, "BMP")
    found = data_uri(file, 64)
    assert found is not None and size_of(found) == (64, 64)
    noise = Image.frombytes("RGB", (64, 64), random.Random(0).randbytes(3 * 64 * 64))
    noise.save(file)
    found = data_uri(file, 64)
    assert found is not None and len(found) < file.stat().st_size


def size_of(uri: str) -> tuple[int, int]:
    """Of the PNG in a data URI."""
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.format == "PNG"
        return image.size
