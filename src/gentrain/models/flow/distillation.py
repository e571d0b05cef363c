"""Probability density distillation (van den Oord, Li, Babuschkin et al., "Parallel WaveNet: Fast
High-Fidelity Speech Synthesis", 2018).

A flow that samples in one pass learns from one that trains in one pass. The teacher T is a masked
autoregressive flow, the student S an inverse one. Both densities of the student's own samples
v = S(u), u ~ N(0, I), are cheap, and no data are needed:

    KL(S || T) = H(S, T) - H(S)
    H(S, T)    = -E log p_T(v)
    H(S)       = D/2 log(2 pi e) + E log |det dv/du|

The entropy of the noise is exact, so only the student's log-slopes are estimated. The paper's
further terms are specific to speech, and left out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from gentrain.config.build import build
from gentrain.config.types import Count
from gentrain.errors import UserError
from gentrain.models.base import Batch, InitialWeights
from gentrain.models.flow.base import Flow, FlowDensity
from gentrain.models.objective import Objective
from gentrain.models.pixels import Pixels

log = logging.getLogger("gentrain")
KEY = "model.teacher"


class Distilled(FlowDensity):
    """A student flow that learns from a frozen teacher flow.

    The student is the density, and what is sampled.

    Args:
        flow: makes the student, from data to noise.
        teacher_flow: makes the teacher, from data to noise.
        teacher: a finished run with that flow, on the same data and pixels. It is read when a new
            run starts, never again. None trains the teacher here, on the data.
        teacher_steps: the first steps, which train the teacher where no run is given.

    Raises:
        UserError: for a student with batch norm.
    """

    steps: Tensor

    def __init__(
        self,
        flow: Callable[..., Flow],
        teacher_flow: partial[Flow],
        pixels: Pixels,
        shape: list[int],
        teacher: str | None = None,
        teacher_steps: Count = 5000,
    ) -> None:
        super().__init__(flow, pixels, shape)
        if self.flow.reference_size:
            raise UserError(
                "a student learns from its own samples, which have no batch statistics "
                "(model.flow.batch_norm); write false"
            )
        self.teacher = FlowDensity(teacher_flow, pixels, shape)
        self.init_images = self.teacher.init_images
        self.teacher_options: dict[str, Any] = teacher_flow.keywords
        self.initial_weights = InitialWeights(Path(teacher), KEY) if teacher else None
        self.teacher_steps = 0 if teacher else teacher_steps
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_load_state_dict_post_hook(lambda *_: self.set_step(int(self.steps)))
        self.set_step(0)

    def set_step(self, done: int) -> None:
        """Freeze the teacher, or not, after so many steps."""
        self.done, self.teaching = done, done < self.teacher_steps
        self.teacher.requires_grad_(self.teaching)
        self.teacher.train(self.teaching and self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.teacher.train(self.teaching and mode)
        return self

    def init_from_data(self, batch: Batch) -> None:
        if self.teaching:
            self.teacher.init_from_data(batch)

    def after_step(self) -> None:
        self.steps += 1
        self.set_step(self.done + 1)
        if self.done == self.teacher_steps:
            log.info("the teacher is trained after %s steps; the student starts", self.done)

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
        of_noise = 0.5 * u.shape[1] * math.log(2 * math.pi * math.e)
        return -self.teacher.log_prob(v).mean(), of_noise + log_det.mean()

    def load_initial_weights(self, config: dict[str, Any], state_dict: dict[str, Tensor]) -> None:
        assert self.initial_weights is not None
        self.refuse_other_teacher(config["model"], self.initial_weights.run)
        weights = {name.removeprefix("model."): value for name, value in state_dict.items()}
        self.teacher.load_state_dict(weights)

    def refuse_other_teacher(self, model: dict[str, Any], run: Path) -> None:
        """Refuse a model that is not what `teacher_flow`, the pixels and the data say.

        Args:
            model: the configuration of the model in `run`.
            run: named in the message.
        """
        options = {name: v for name, v in model.get("flow", {}).items() if name[0] != "_"}
        is_density = model["_target_"].endswith(f".{FlowDensity.__name__}")
        if not is_density or set(options) != set(self.teacher_options):
            raise UserError(
                f"the model in {run} is no flow like model.teacher_flow ({KEY}); "
                "give a run of model=maf"
            )
        if list(model["shape"]) != self.shape:
            raise UserError(
                f"the model in {run} is of shape {model['shape']}, and the data here of "
                f"{self.shape} ({KEY}); give its data="
            )
        if (name := build(model["pixels"], KEY).name) != self.pixels.name:
            raise UserError(
                f"the pixels in {run} are {name}, and here {self.pixels.name} ({KEY}); "
                "give the same pixels="
            )
        if other := {n: v for n, v in options.items() if v != self.teacher_options[n]}:
            remedy = " ".join(f"model.teacher_flow.{name}={v}" for name, v in other.items())
            raise UserError(
                f"the flow in {run} has other sizes than model.teacher_flow ({KEY}); add {remedy}"
            )
