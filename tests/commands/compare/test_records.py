"""Configurations as they were written, and what their references name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from gentrain.commands.compare.find import find
from gentrain.commands.compare.records import followed, saved_config
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
