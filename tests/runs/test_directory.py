"""The command that a run directory records."""

from __future__ import annotations

from pathlib import Path

import yaml

from gentrain.runs import directory


def test_the_command_of_a_cell_has_no_words_of_its_sweep(tmp_path: Path) -> None:
    """A single run refuses them."""
    hydra = tmp_path / ".hydra"
    hydra.mkdir()
    words = ["model=gan", "sweep.name=s", "+sweep.cell='002'", "cluster=slurm", "probe=true"]
    (hydra / "overrides.yaml").write_text(yaml.safe_dump(words))
    (hydra / "hydra.yaml").write_text("hydra: {runtime: {config_sources: []}}")
    found = directory.command_of(tmp_path).split()
    assert found == [":", "gentrain", "model=gan", directory.resuming(tmp_path)]
