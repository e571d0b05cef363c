"""Layers through which a sample's output depends on the rest of its batch.

A gradient penalty takes the gradient of each sample's score alone, and the energies of two samples
are compared one by one: neither is defined where layers couple samples.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class CouplesSamples(nn.Module):
    """Base class of layers that couple the samples of a batch (batch norm aside)."""

    within_groups: ClassVar[bool] = False  # it couples no more than a small group of samples


def batch_coupled_layers(
    network: nn.Module, within_groups: bool = True, training: bool = True
) -> list[str]:
    """Names of the layers that couple the samples of a batch.

    Args:
        network: any network.
        within_groups: also name layers that couple no more than a small group of samples.
        training: name those of train mode; in eval mode a batch norm uses its running moments.

    >>> batch_coupled_layers(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    ['1']
    """
    found = []
    for name, module in network.named_modules():
        match module:
            case CouplesSamples():
                couples = within_groups or not module.within_groups
            case nn.modules.batchnorm._BatchNorm():
                couples = training or not module.track_running_stats
            case _:
                couples = False
        if couples:
            found.append(name or type(module).__name__)
    return found
