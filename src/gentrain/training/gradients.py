"""The losses and gradients of a player on a batch, eagerly or compiled as one function.

A compiled update holds the losses, the inner gradient of a penalty and the outer gradient in one
graph. If the outer gradient were left out, torch would have to differentiate a compiled graph
twice, which it cannot do, and half of the work would stay eager.

A compiled update draws the same random numbers as an eager one. The first call of each graph is
compared with the eager losses and gradients, and leaves no trace: a run that is resumed, and
checks again, goes on bit for bit.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gentrain.errors import Diverged, Interrupted, UserError
from gentrain.models.objective import Objective

log = logging.getLogger("gentrain")
Batch = tuple[Tensor, ...]
Compile = Literal[True, False, "auto"]
BACKEND = "inductor"  # what compiles; tests choose another
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}
LAST_BITS, DISTURBED = 2.0**-19, 3  # relative changes of weights, and how often they are drawn
# On a GPU the first call of a graph only warms it up, the second records a CUDA graph, and the
# third is the first that replays it.
REPLAY = 2
# Measured, of wgan_gp: seconds to build the graphs of one player's update, and the share of its
# time that they save.
BUILD_SECONDS = {"cpu": 20.0, "cuda": 40.0}
SAVED = {"cpu": 0.2, "cuda": 0.5}


class GradientStep(ABC):
    """Adds the gradient of a player's objective to the player's weights.

    Args:
        objective: what the player minimises on a batch.
        parameters: the player's weights.
    """

    def __init__(
        self, objective: Callable[[Batch], Objective], parameters: Sequence[nn.Parameter]
    ) -> None:
        self.objective, self.parameters = objective, parameters

    @abstractmethod
    def __call__(self, batch: Batch, share: float, accumulate: bool) -> Objective:
        """Set or add the gradient of a batch.

        Args:
            batch: for the objective.
            share: factor of the gradient.
            accumulate: add to what is there, instead of replacing it.

        Returns:
            The objective's named scalars, without their graphs.
        """

    @property
    @abstractmethod
    def compiled(self) -> bool:
        """Whether one function computes it."""

    @abstractmethod
    def release(self) -> None:
        """Called after the optimizer's step: the gradients are not needed any longer."""


class EagerStep(GradientStep):
    """An objective and its backward, operation by operation.

    Args:
        backward: differentiates a loss, and adds to the weights' gradients.
        The other arguments are those of `GradientStep`.
    """

    def __init__(
        self,
        objective: Callable[[Batch], Objective],
        parameters: Sequence[nn.Parameter],
        backward: Callable[[Tensor], None],
    ) -> None:
        super().__init__(objective, parameters)
        self.backward = backward

    def __call__(self, batch: Batch, share: float, accumulate: bool) -> Objective:
        found = self.objective(batch)
        if not accumulate:
            # only now, so that the memory of the old gradients serves the new ones
            clear(self.parameters)
        self.backward(found.loss * share if share < 1 else found.loss)
        return detached(found)

    @property
    def compiled(self) -> bool:
        return False

    def release(self) -> None: ...


class CompiledStep(GradientStep):
    """An objective and its gradient as one compiled function.

    A graph is built for each shape of a batch, and for each state of the model that Python sees,
    such as whether a lazy penalty is due. Where that fails, or where the first call of a graph is
    not what eager code gives, the player goes on eagerly, and a line says why.

    Args:
        player: its name.
        eager: the same step, eagerly.
        model: whose buffers the objective may change.
        scale: gives what a loss is multiplied by before it is differentiated, for float16.
        precision: in which most is computed; the comparison allows for its rounding.
        device: of the weights.
    """

    def __init__(
        self,
        player: str,
        eager: GradientStep,
        model: nn.Module,
        scale: Callable[[], Tensor] | None,
        precision: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(eager.objective, eager.parameters)
        self.player, self.eager, self.model, self.scale = player, eager, model, scale
        self.tolerance, self.device = tolerance(precision, device), device
        self.rounds = precision.itemsize < 4
        self.on_gpu = device.type == "cuda"
        self.gave_up = False
        self.before: Snapshot | None = None  # of the call in which a graph is being built
        self.calls = 0  # of the newest graph
        self.started: float | None = None
        self.function = self.traced()

    def traced(self) -> Callable[..., Any]:
        """The losses, their names, and the gradients, as a function of a batch."""
        try:
            torch._dynamo.config.trace_autograd_ops = True  # type: ignore[attr-defined]
        except AttributeError:
            self.give_up("torch traces no gradients before version 2.11")
        objective, parameters = self.objective, list(self.parameters)

        def losses_and_gradients(batch: Batch, share: float, scale: Tensor | None) -> Any:
            found = objective(batch)
            loss = found.loss * share if share < 1 else found.loss
            loss = loss if scale is None else loss * scale
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            laid_out = list(map(like, gradients, parameters))
            scalars = found.losses | found.metrics
            values = torch.stack([value.detach().to(loss.dtype) for value in scalars.values()])
            return tuple(found.losses), tuple(scalars), values, laid_out

        return torch.compile(
            losses_and_gradients, backend=self.build, fullgraph=True, dynamic=False
        )

    def build(self, graph: Any, inputs: list[Tensor]) -> Any:
        """Compile a graph that torch has traced; nothing of this call has been computed yet."""
        self.announce()
        self.before, self.calls = Snapshot(self.model, self.device), 1
        options: dict[str, Any] = {}
        if BACKEND == "inductor":
            patches = {"fallback_random": True, "triton.cudagraphs": self.on_gpu}
            options["config_patches"] = patches
        return torch._dynamo.lookup_backend(BACKEND)(graph, inputs, **options)

    def __call__(self, batch: Batch, share: float, accumulate: bool) -> Objective:
        if self.gave_up:
            return self.eager(batch, share, accumulate)
        self.calls += 1
        if self.calls == 1:
            self.announce()
        if self.on_gpu:
            torch.compiler.cudagraph_mark_step_begin()
            if self.calls == 1 + REPLAY:
                self.before = Snapshot(self.model, self.device)
        try:
            scale = None if self.scale is None else self.scale()
            losses, names, values, gradients = self.function(batch, share, scale)
        except (Diverged, Interrupted, UserError, torch.OutOfMemoryError):
            raise
        except torch._dynamo.exc.TorchDynamoException as error:
            return self.instead(error, batch, share, accumulate)
        except Exception as error:
            if self.calls > 1 + REPLAY:
                raise
            return self.instead(error, batch, share, accumulate)
        if self.on_gpu:  # the next replay writes to the same memory
            values = values.clone()
            gradients = cloned(gradients) if share < 1 else gradients
        found = named(losses, names, values)
        if self.before is not None and not self.holds(batch, share, found, gradients):
            return self.eager(batch, share, accumulate)
        store(self.parameters, gradients, accumulate)
        return found

    def instead(self, error: Exception, batch: Batch, share: float, accumulate: bool) -> Objective:
        """Give up after an error, and make the eager step."""
        if self.before is not None:
            self.before.restore()
        self.give_up(reason(error))
        return self.eager(batch, share, accumulate)

    def holds(
        self, batch: Batch, share: float, found: Objective, gradients: list[Tensor | None]
    ) -> bool:
        """Whether the eager step gives the same; gives up where it does not."""
        assert self.before is not None
        before, self.before = self.before, None
        kept, after = self.gradients(), Snapshot(self.model, self.device)
        before.restore()
        expected = self.eager(batch, share, accumulate=False)
        eager = exact = self.gradients()
        if self.rounds:
            before.restore()
            with torch.autocast(self.device.type, enabled=False):
                self.eager(batch, share, accumulate=False)
            exact = self.gradients()
        differs = self.other_loss(expected, found)
        if differs is None and self.other_gradient(eager, exact, gradients):
            moved = None if self.rounds else self.sensitivity(before, batch, share, eager)
            differs = self.other_gradient(eager, exact, gradients, moved)
        after.restore()
        for p, gradient in zip(self.parameters, kept, strict=True):
            p.grad = gradient
        self.report()
        if differs is not None:
            before.restore()
            self.give_up(differs)
        return differs is None

    def gradients(self) -> list[Tensor | None]:
        """What the weights have."""
        return [p.grad for p in self.parameters]

    def other_loss(self, expected: Objective, found: Objective) -> str | None:
        """Which loss is another one than the eager step's."""
        for name, value in expected.losses.items():
            want, got = value.double(), found.losses[name].double()
            if not torch.allclose(got, want, self.tolerance, self.tolerance, equal_nan=True):
                return f"{name} is {float(got):.6g}, and {float(want):.6g} eagerly"
        return None

    def other_gradient(
        self,
        eager: Sequence[Tensor | None],
        exact: Sequence[Tensor | None],
        compiled: Sequence[Tensor | None],
        moved: Sequence[float] | None = None,
    ) -> str | None:
        """Which gradient is another one than the eager step's.

        In 16 bits the eager gradient is rounded itself, in other places. There the compiled one may
        be as far as that from the gradient in float32.

        Args:
            eager: of the eager step.
            exact: the same in float32.
            compiled: of the compiled step.
            moved: what `sensitivity` found.
        """
        moved = [0.0] * len(eager) if moved is None else moved
        whole = math.hypot(*(0.0 if g is None else float(g.norm()) for g in eager))
        names = {id(p): name for name, p in self.model.named_parameters()}
        for p, ours, theirs, truth, jump in zip(
            self.parameters, compiled, eager, exact, moved, strict=True
        ):
            name = names.get(id(p), "a weight")
            if ours is None or theirs is None or truth is None:
                if ours is not theirs:
                    return f"the gradient of {name} is there in one of both alone"
                continue
            length, rounding = float(theirs.norm()), float((theirs - truth).norm())
            apart = float((ours - truth).norm())
            allowed = self.tolerance * (length + whole / 10) + 1.25 * rounding + 3 * jump
            # float16 overflows in the first steps, with any code
            if math.isfinite(length) and not apart <= allowed:
                return f"the gradient of {name} is {apart / (length or whole):.1e} of itself away"
        return None

    @torch.no_grad()
    def sensitivity(
        self, before: Snapshot, batch: Batch, share: float, eager: Sequence[Tensor | None]
    ) -> list[float]:
        """How far the eager gradients move where the last bits of all weights change.

        Code that rounds elsewhere may find another sign where a rectifier is near zero. Its
        gradient jumps there, and in a large batch of a wide network some are always near.

        Args:
            before: the state to start from.
            batch: of the step.
            share: of the step.
            eager: its gradients.
        """
        weights = [(p, p.clone()) for p in self.model.parameters()]
        draw = torch.Generator(self.device).manual_seed(0)
        moved = [0.0] * len(eager)
        for _ in range(DISTURBED):
            for p, value in weights:
                noise = torch.randn(value.shape, generator=draw, device=self.device)
                p.copy_(value * (1 + LAST_BITS * noise))
            before.restore()
            with torch.enable_grad():
                self.eager(batch, share, accumulate=False)
            for i, (one, other) in enumerate(zip(eager, self.gradients(), strict=True)):
                if one is not None and other is not None:
                    moved[i] = max(moved[i], float((one - other).norm()))
        for p, value in weights:
            p.copy_(value)
        return moved

    def announce(self) -> None:
        """Say that a graph is being built."""
        if self.started is None:
            self.started = time.monotonic()
            log.info("compiling the %s's update; other steps and runs use it again", self.player)

    def report(self) -> None:
        """Say how long it took to build a graph."""
        if self.started is not None:
            log.info("compiled in %.0f s", time.monotonic() - self.started)
            self.started = None

    def give_up(self, why: str) -> None:
        """Go on eagerly."""
        self.gave_up, self.started = True, None
        log.warning("the %s's update is not compiled: %s (compile)", self.player, why)

    @property
    def compiled(self) -> bool:
        return not self.gave_up

    def release(self) -> None:
        if self.on_gpu:
            clear(self.parameters)  # the next replay of any graph writes to their memory


class Snapshot:
    """The buffers of a model, and the states of torch's random number generators.

    Args:
        model: the model.
        device: of its weights.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        self.device, self.cpu_state = device, torch.get_rng_state()
        on_gpu = device.type == "cuda"
        self.gpu_state = torch.cuda.get_rng_state(device) if on_gpu else None

    @torch.no_grad()
    def restore(self) -> None:
        """Set all of them as they were."""
        for buffer, value in self.buffers:
            buffer.copy_(value)
        torch.set_rng_state(self.cpu_state)
        if self.gpu_state is not None:
            torch.cuda.set_rng_state(self.gpu_state, self.device)


def tolerance(precision: torch.dtype, device: torch.device) -> float:
    """How far a compiled gradient may be from the eager one, relative to its length.

    TF32, which torch lets convolutions on a GPU use, rounds float32 to 10 bits.
    """
    tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    if precision == torch.float32 and device.type == "cuda" and tf32:
        return 2e-3
    return TOLERANCE[precision]


def worth_compiling(seconds: float, device: str) -> bool:
    """Whether compiling saves twice the time that it takes.

    >>> worth_compiling(100, "cpu"), worth_compiling(300, "cpu")
    (False, True)

    Args:
        seconds: that a player's gradients take eagerly in the rest of a run.
        device: "cpu" or "cuda".
    """
    return seconds * SAVED.get(device, 0.0) >= 2 * BUILD_SECONDS.get(device, 0.0) > 0


def seconds_of(
    step: GradientStep, batches: Sequence[Batch], model: nn.Module, device: torch.device
) -> float:
    """Seconds that a step takes for all batches of an update. It leaves no trace.

    Args:
        step: of the player.
        batches: of one update; the first is taken for all.
        model: whose buffers the step may change.
        device: of its weights.
    """
    before, best = Snapshot(model, device), float("inf")
    for _ in range(3):
        wait_for(device)
        began = time.perf_counter()
        step(batches[0], 1.0, accumulate=False)
        wait_for(device)
        best = min(best, time.perf_counter() - began)
    before.restore()
    clear(step.parameters)
    return best * len(batches)


def wait_for(device: torch.device) -> None:
    """Wait until a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def named(losses: tuple[str, ...], names: tuple[str, ...], values: Tensor) -> Objective:
    """The scalars of a compiled step, by name.

    Args:
        losses: names of the losses.
        names: names of all scalars.
        values: (N,) the scalars.
    """
    scalars = dict(zip(names, values.unbind(), strict=True))
    metrics = {name: value for name, value in scalars.items() if name not in losses}
    return Objective({name: scalars[name] for name in losses}, metrics)


def cloned(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients in memory of their own."""
    return [None if gradient is None else gradient.clone() for gradient in gradients]


def clear(parameters: Sequence[nn.Parameter]) -> None:
    """Forget the gradients."""
    for p in parameters:
        p.grad = None


def store(
    parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], accumulate: bool
) -> None:
    """Set the gradients of weights, or add to them."""
    for p, gradient in zip(parameters, gradients, strict=True):
        if not accumulate or p.grad is None:
            p.grad = gradient
        elif gradient is not None:
            p.grad.add_(gradient)


def like(gradient: Tensor | None, parameter: Tensor) -> Tensor | None:
    """A gradient with the strides of its weight, as autograd's own accumulation gives it."""
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(gradient)


def detached(objective: Objective) -> Objective:
    """An objective without its graph."""
    return Objective(
        {name: value.detach() for name, value in objective.losses.items()},
        {name: value.detach() for name, value in objective.metrics.items()},
    )


def reason(error: Exception) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
