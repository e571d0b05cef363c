"""How well the Markov chains of an energy model mix."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from gentrain.config.types import Whole
from gentrain.data.base import Data
from gentrain.models.base import HasTrace, eval_mode
from gentrain.quality.base import Metric, Score
from gentrain.samplers.diagnostics import mixing
from gentrain.streams import image_streams


class ChainMixing(Metric):
    """Acceptance, effective sample size and R-hat of the energy along chains.

    Chains start as those of samples do. R-hat is that of split chains, 1 where they agree; the
    effective sample size is of `chains * transitions` draws. Neither sees a mode that no chain has
    reached.

    Args:
        every: generator steps between two scores.
        chains: the number of chains, 2 or more.
        transitions: of each chain, 4 or more.
        seed: seed for the chains.
        at_start: score an untrained model, too.
    """

    key = "quality=chains"
    requires = HasTrace
    options: ClassVar = {"seed": "seed"}
    scores: ClassVar = {
        "acceptance": Score("share of proposals", None),
        "ess": Score("draws", None),
        "r_hat": Score("ratio of standard deviations", None),
    }

    def __init__(
        self,
        every: Whole = 1000,
        chains: Annotated[int, Field(ge=2)] = 100,
        transitions: Annotated[int, Field(ge=4)] = 100,
        seed: Whole = 0,
        at_start: bool = False,
    ) -> None:
        super().__init__(every, chains, seed, at_start)
        self.chains, self.transitions = chains, transitions

    def protocol(self, data: Data, model: Any) -> dict[str, Any]:
        return {
            "mixing": f"of the energy, {self.chains} chains of {self.transitions} transitions",
            "start": "noise" if model.starts is None else f"the {model.starts} chains of training",
            "seed": self.seed,
        }

    def compute(self, data: Data, model: Any, device: torch.device) -> dict[str, float]:
        with eval_mode(model), image_streams(self.seed, range(self.chains)):
            trace = model.trace(model.start(self.chains, device), self.transitions)
        return {name: value.item() for name, value in mixing(*trace[1:]).items()}
