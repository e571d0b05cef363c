"""Options that were renamed: the old name answers with the new one, in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.errors import HydraException

from gentrain.cli.hydra_errors import one_line
from gentrain.cli.overrides import NOT_THE_SAME, RENAMED_NETWORKS, rename_networks
from gentrain.commands.list import options
from gentrain.config.paths import conf_dir
from tests.support.shell import Done, assert_refused

Run = Callable[..., Done]

NETWORKS = RENAMED_NETWORKS


@pytest.mark.parametrize("old", NETWORKS)
def test_an_old_network_answers_with_the_new_one(old: str) -> None:
    error = HydraException(f"In 'train': Could not find 'network/{old}'")
    line = one_line(error, [f"network={old}"], conf_dir())
    assert line == f"network={old} has another name now (network); give {NETWORKS[old]}"


@pytest.mark.parametrize("old", NETWORKS)
def test_the_new_name_is_there(old: str) -> None:
    new = re.match(r"network=(\w+)( model\.[\w.]+=[\w.]+)*$", NETWORKS[old])
    assert new is not None
    known = options("network")
    assert new[1] in known or old in known


def test_the_old_list_is_whole() -> None:
    """Every network of version 0.1 is there still, or has a new name."""
    before = """
        autoencoder_dcgan autoencoder_mlp bidirectional_dcgan bidirectional_mlp biggan
        classifier_dcgan classifier_mlp classifying_coding_conv classifying_coding_mlp coding_conv
        coding_mlp conditional_dcgan conditional_mlp conditional_resnet cycle_resnet cycle_unet
        dcgan domains_resnet domains_unet energy_conv energy_mlp logits_dcgan logits_mlp maxout mlp
        mlp_dropout normfree progan projection_dcgan resnet resnet_translator sagan srgan srresnet
        unet unet_alone
    """
    assert set(before.split()) <= {*options("network"), *NETWORKS}


def test_equal_networks_are_used(capsys: pytest.CaptureFixture[str]) -> None:
    """An old name whose networks are there is a warning; the user's own options win."""
    assert rename_networks(["network=conditional_dcgan", "model=cgan"]) == [
        "network=dcgan", "model.embedding=10", "model=cgan",
    ]  # fmt: skip
    assert capsys.readouterr().err == (
        "gentrain: warning: network=conditional_dcgan is now network=dcgan model.embedding=10 "
        "(network)\n"
    )
    words = ["network=classifier_mlp", "model.embedding=7"]
    assert rename_networks(words) == ["network=mlp_dropout_512", "model.embedding=7"]


@pytest.mark.parametrize("old", sorted(NOT_THE_SAME))
def test_other_networks_are_refused(run_light: Run, tmp_path: Path, old: str) -> None:
    done = run_light("model=stargan", f"network={old}")
    assert_refused(done, tmp_path, f"network={old}", "(network)", f"give {NETWORKS[old]}")
