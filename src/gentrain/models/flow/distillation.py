"""Parallel WaveNet (van den Oord, Li, Babuschkin et al., 2018): a flow that samples in one pass learns from one that is trained in one.

The teacher T is a masked autoregressive flow, the student S an inverse one. Of the student's own samples v = S(u), u ~ N(0, I), both
densities are cheap, and no data are needed:

    KL(S || T) = H(S, T) - H(S),    H(S, T) = -E log p_T(v),    H(S) = D/2 log(2 pi e) + E log |det dv/du|

where the entropy of the noise is its closed form, so that what is left to estimate of H(S) are the student's scales. (The paper adds
terms for speech, which are not here.)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.models.base import Batch
from gentrain.models.flow.base import Flow, FlowDensity
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels

log = logging.getLogger("gentrain")


class Distilled(FlowDensity):
    """The student is the density and what samples; `teacher` is another, which from its time on is frozen, in eval mode.

    Args:
        flow: of the student, from data to noise.
        teacher_flow: of the teacher.
        teacher: a finished run with that flow on the same data and pixels, read when training begins and not again; None trains the teacher
            here, on the data, in the first `teacher_steps` steps.
    """

    steps: Tensor

    def __init__(
        self,
        flow: Callable[..., Flow],
        teacher_flow: Callable[..., Flow],
        pixels: Pixels,
        shape: list[int],
        teacher: str | None = None,
        teacher_steps: Count = 5000,
    ) -> None:
        super().__init__(flow, pixels, shape)
        self.teacher = FlowDensity(teacher_flow, pixels, shape)
        self.wanted: dict[str, Any] = getattr(teacher_flow, "keywords", {})
        self.run, self.teacher_steps = teacher, 0 if teacher else teacher_steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_load_state_dict_post_hook(lambda *_: self.count(int(self.steps)))
        self.count(0)
        if teacher and Path(teacher).exists():
            self.refuse_another(Path(teacher))

    def count(self, done: int) -> None:
        """So many steps are done: is the teacher still learning?"""
        self.done, self.teaching = done, done < self.teacher_steps
        self.teacher.requires_grad_(self.teaching)
        self.teacher.train(self.teaching and self.training)

    def train(self, mode: bool = True) -> Distilled:
        super().train(mode)
        self.teacher.train(self.teaching and mode)
        return self

    def after_step(self) -> None:
        self.steps += 1
        self.count(self.done + 1)
        if self.done == self.teacher_steps:
            log.info(
                "the teacher has had its %s steps; from now on the student learns from it",
                self.teacher_steps,
            )

    def objective(self, batch: Batch) -> Objective:
        if self.teaching:
            nll = self.teacher.objective(batch)
            return Objective({"teacher_nll": nll.losses["nll"]})
        cross, entropy = self.entropies(len(batch[0]), batch[0].device)
        return Objective(
            {"cross_entropy": cross, "negative_entropy": -entropy}, {"kl": cross - entropy}
        )

    def entropies(self, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """H(S, T) and H(S), estimated with n samples."""
        u = self.noise(n, device)
        v, log_det = self.flow.inverse(u)
        return -self.teacher.log_prob(v).mean(), 0.5 * u.shape[1] * math.log(
            2 * math.pi * math.e
        ) + log_det.mean()

    def init_from_batch(self, batch: Batch) -> None:
        """A new run takes the teacher's weights; a resumed one has them."""
        super().init_from_batch(batch)
        if self.run is None:
            return
        from gentrain.runs.checkpoints import load, newest_valid

        self.refuse_another(Path(self.run))
        found = Path(self.run) / "checkpoints" / "last.ckpt"
        if not found.exists():
            raise UserError(
                f"no checkpoint in {self.run} (model.teacher); give a run that has been trained"
            )
        saved = load(
            newest_valid(
                found, "(model.teacher); no whole checkpoint is left there, give another run"
            )
        )["state_dict"]
        self.teacher.load_state_dict(
            {key.removeprefix("model."): value for key, value in saved.items()}
        )

    def refuse_another(self, run: Path) -> None:
        """Raises UserError where a run is none, or is not what `teacher_flow`, pixels and shape say."""
        from gentrain.config.build import build
        from gentrain.runs import directory

        if not (run / ".hydra" / "config.yaml").exists():
            raise UserError(
                f"no run in {run} (model.teacher); give a run directory, such as outputs/maf-mnist/..."
            )
        theirs: dict[str, Any] = directory.saved_config(run)
        model, key = theirs["model"], "model.teacher"
        flow = {name: value for name, value in model.get("flow", {}).items() if name[0] != "_"}
        if not model["_target_"].endswith(".FlowDensity") or set(flow) != set(self.wanted):
            raise UserError(
                f"the model in {run} is no flow like model.teacher_flow ({key}); give a run of model=maf"
            )
        if list(model["shape"]) != self.shape:
            raise UserError(
                f"the model in {run} is of shape {model['shape']}, and the data here of {self.shape} ({key}); give its data="
            )
        if (name := build(model["pixels"], key).name) != self.pixels.name:
            raise UserError(
                f"the pixels in {run} are {name}, and here {self.pixels.name} ({key}); give the same pixels="
            )
        if other := {name: value for name, value in flow.items() if value != self.wanted[name]}:
            remedy = " ".join(f"model.teacher_flow.{name}={value}" for name, value in other.items())
            raise UserError(
                f"the flow in {run} has other sizes than model.teacher_flow ({key}); add {remedy}"
            )
