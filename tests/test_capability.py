"""Refusals of what a model cannot do, as a newcomer reads them."""

from __future__ import annotations

import pytest

from gentrain.capability import Capability, require
from gentrain.errors import UserError
from gentrain.models import base


class FlowDensity:
    """A model with none of the capabilities."""


def capabilities() -> list[type[Capability]]:
    found = [each for each in vars(base).values() if isinstance(each, type)]
    return [each for each in found if issubclass(each, Capability) and "what" in vars(each)]


def test_the_model_the_request_and_what_is_missing_are_named() -> None:
    with pytest.raises(UserError) as refused:
        require(FlowDensity(), base.Encodes, "encode")
    assert str(refused.value) == (
        "encode needs a model that encodes images, and FlowDensity is not one (encode); "
        "choose model=vae or bigan"
    )


@pytest.mark.parametrize("capability", capabilities(), ids=lambda each: each.__name__)
def test_every_capability_reads_as_a_sentence(capability: type[Capability]) -> None:
    """'needs a model that ...': a verb in the third person, and choices that exist."""
    first, *rest = capability.what.split()
    assert rest and (first in ("has", "can", "is") or first.endswith("s")), capability.what
    assert capability.examples.startswith("model=") and "which" not in capability.what
    with pytest.raises(UserError, match=f"needs a model that {capability.what}, and FlowDensity"):
        require(FlowDensity(), capability, "mode=x")
