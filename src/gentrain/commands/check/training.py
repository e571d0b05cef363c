"""The contract of what is trained: models, networks, losses, tricks, optimizers and the like."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.capability import supports
from gentrain.certificates.subject import objectives, players
from gentrain.commands.check.documentation import check_documentation
from gentrain.commands.check.equality import difference, plain_state
from gentrain.commands.check.options import Compose, Option
from gentrain.commands.check.outcome import Fault, Report, Skipped
from gentrain.commands.check.subject import STEPS, Subject, first_built
from gentrain.errors import UserError
from gentrain.models.base import GenerativeModel, HasCritic
from gentrain.models.objective import Objective
from gentrain.networks.progan import Growing

Batch = tuple[Tensor, ...]


def check_training(
    option: Option, report: Report, compose: Compose, place: Path, compiler: str
) -> None:
    """Check an option that is a part of a training.

    Args:
        option: the option.
        report: takes a line for each check.
        compose: gives the configuration of a command.
        place: an empty directory.
        compiler: "inductor", "graph" or "none".
    """
    subject = first_built(report, option, compose, place)
    if subject is None:
        return
    if report.run("shapes", lambda: shapes(shown_a_batch(subject), subject.batch)):
        report.run("gradients", lambda: gradients(subject.fresh(), subject.batch))
        report.run("processes", lambda: processes(subject.fresh(), subject.batch))
        if report.run("trains", lambda: trains(subject)):
            report.run("checkpoint", lambda: checkpoint(subject))
        report.run("compile", lambda: compiles(subject, compiler))
    report.run("options", lambda: check_documentation(option))


# --- shapes ---------------------------------------------------------------------------------------


def shapes(model: GenerativeModel, batch: Batch) -> str:
    """Samples are as the data, scores are one for each image, losses are finite numbers.

    Raises:
        Fault: naming what has another shape.
    """
    images = batch[0]
    asked = (images, batch[-1]) if model.semi_supervised else batch
    samples = of_network("the generator", lambda: model.sample(asked))
    expect("a sample", samples, tuple(images.shape))
    if not samples.isfinite().all():
        raise Fault("samples have values that are not finite numbers")
    said = f"samples {shown(samples)}"
    if supports(model, HasCritic):
        critic: Any = model
        scores = of_network("the critic", lambda: critic.critic_scores(batch))
        expect("the scores of a batch", scores, (len(scores),))
        said += f", scores {shown(scores)}"
    for player, objective in objectives(model).items():
        for name, loss in objective(batch).losses.items():
            expect(f"the loss {name} of the {player}", loss, ())
            if not loss.isfinite():
                raise Fault(f"the loss {name} of the {player} is {float(loss)} at the start")
    return said


def shown_a_batch(subject: Subject) -> GenerativeModel:
    """The model after its first batch.

    Raises:
        Fault: where a network cannot take it.
    """
    return of_network("a network", subject.fresh, "a first batch")


def of_network(what: str, call: Callable[[], Any], of: str = "a batch") -> Any:
    """What a network gives; RuntimeErrors of its layers are told as its own."""
    try:
        return call()
    except RuntimeError as error:
        raise Fault(f"{what} fails on {of}: {str(error).splitlines()[0]}") from error


def expect(what: str, found: Any, shape: tuple[int, ...]) -> None:
    """Raise Fault for anything but a tensor of a shape."""
    if not torch.is_tensor(found):
        raise Fault(f"{what} is a {type(found).__name__}, not a tensor")
    if tuple(found.shape) != shape:
        raise Fault(f"{what} has the shape {shown(found)}, not {shape}")


def shown(tensor: Tensor) -> str:
    """A shape, as (8, 1, 28, 28)."""
    return str(tuple(tensor.shape))


# --- gradients ------------------------------------------------------------------------------------


def gradients(model: GenerativeModel, batch: Batch) -> str:
    """Every parameter of a player gets a gradient in the player's step.

    A network that grows has layers that are used later.

    Raises:
        Fault: naming a loss that hangs on no weight, a parameter that no loss hangs on, or one
            whose gradient is not finite.
    """
    counts = []
    for player in objectives(model):
        objective, used = backward(model, player, batch)
        refuse_detached(objective, player)
        later = used_later(players(model)[player])
        unused = [n for n, each in used.items() if each is None and not n.startswith(later)]
        if unused:
            names = ", ".join(unused[:3])
            raise Fault(
                f"no gradient reaches {names} of the {player}: no loss hangs on it; "
                "use it in forward, or leave it out"
            )
        found = {name: gradient for name, gradient in used.items() if gradient is not None}
        bad = [name for name, gradient in found.items() if not gradient.isfinite().all()]
        if bad:
            raise Fault(f"the gradient of {bad[0]} of the {player} is not finite")
        if not any(gradient.any() for gradient in found.values()):
            raise Fault(f"every gradient of the {player} is zero")
        counts.append(f"{len(found)} of the {player}")
    return f"reach every parameter: {', '.join(counts)}"


def refuse_detached(objective: Objective, player: str) -> None:
    """Raise Fault for a loss that hangs on no weight."""
    for name, loss in objective.losses.items():
        if not loss.requires_grad:
            raise Fault(
                f"the loss {name} of the {player} has no gradient: it hangs on none of the "
                f"{player}'s weights; compute it without detach(), item() and no_grad()"
            )


def used_later(player: nn.Module) -> tuple[str, ...]:
    """Where the layers of a network lie that grows, and so uses some of them later."""
    modules = player.named_modules()
    return tuple(f"{path}." for path, module in modules if supports(module, Growing))


def backward(
    model: GenerativeModel, player: str, batch: Batch
) -> tuple[Objective, dict[str, Tensor | None]]:
    """The objective of a player, and the gradient of each of its parameters, as in a training."""
    model.zero_grad()
    with only(model, player):
        objective = objectives(model)[player](batch)
        if objective.loss.requires_grad:
            objective.loss.backward()
    parameters = players(model)[player].named_parameters()
    return objective, {name: p.grad for name, p in parameters if p.requires_grad}


@contextmanager
def only(model: GenerativeModel, player: str) -> Iterator[None]:
    """Keep gradients away from the weights of the other players."""
    others = [module for name, module in players(model).items() if name != player]
    frozen = [p for module in others for p in module.parameters() if p.requires_grad]
    for p in frozen:
        p.requires_grad = False
    try:
        yield
    finally:
        for p in frozen:
            p.requires_grad = True


# --- several processes ----------------------------------------------------------------------------


def processes(model: GenerativeModel, batch: Batch) -> str:
    """Two processes, which have other images and other noise, do the same.

    They use the same parameters and log the same terms. DDP averages gradients by their places,
    and waits for each process.

    Raises:
        Fault: naming what one of them does alone.
    """
    for player in objectives(model):
        ranks = []
        for rank in range(2):
            torch.manual_seed(rank)
            part = tuple(each[rank::2] for each in batch)
            objective, used = backward(model, player, part)
            names = {name for name, gradient in used.items() if gradient is not None}
            ranks.append((names, {*objective.losses, *objective.metrics}))
        for what, one, other in zip(("parameter", "term"), *ranks, strict=True):
            if alone := sorted(one ^ other):
                raise Fault(
                    f"the {what} {alone[0]} of the {player} is used by one process and not by "
                    "another, which has other images and noise; use it in each step, or in none"
                )
    return "two processes use the same parameters and terms"


# --- training, and going on with it ---------------------------------------------------------------


def trains(subject: Subject) -> str:
    """A few steps change the weights of every player, and all terms stay finite.

    Raises:
        Fault: naming a player whose weights stay as they were.
        Diverged: where a gradient is not finite.
    """
    before = {name: p.detach().clone() for name, p in subject.model.named_parameters()}
    model = subject.trained.scheme.model
    after = dict(model.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    for player in objectives(model):
        prefix = "" if player == "model" else f"{player}."
        if not any(name.startswith(prefix) for name in changed):
            raise Fault(f"{STEPS} steps leave every weight of the {player} as it was")
    terms = [name for name in subject.trained.scheme.latest if name != "images_per_second"]
    return f"{STEPS} steps; terms: {', '.join(sorted(terms))}"


def checkpoint(subject: Subject) -> str:
    """A run that goes on from a checkpoint is, bit for bit, the run that was not interrupted.

    Raises:
        Fault: naming what differs.
    """
    whole, resumed = subject.trained, subject.resumed()
    models = [job.scheme.model for job in (whole, resumed)]
    if (lost := difference(plain_state(models[0]), plain_state(models[1]))) is not None:
        raise Fault(
            f"{lost} is not in the checkpoint: it is another after a resume; "
            "keep it in a buffer, self.register_buffer(name, tensor)"
        )
    saved = [
        torch.load(job.run_dir / "checkpoints" / "last.ckpt", weights_only=True)
        for job in (whole, resumed)
    ]
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        if (where := difference(saved[0][part], saved[1][part])) is not None:
            raise Fault(
                f"{where} ({part}) is another after a resume; keep all state in buffers and draw "
                "random numbers from torch alone"
            )
    return f"step 2 to {STEPS} from a checkpoint: the same bits"


# --- torch.compile --------------------------------------------------------------------------------


def compiles(subject: Subject, compiler: str) -> str:
    """Compiled objectives have the values and gradients of those that are not.

    Args:
        subject: what is checked.
        compiler: "inductor", as `compile=true` takes it, or "graph", which needs no C++ compiler
            and a tenth of the time.

    Raises:
        Skipped: where compiling is not asked for, or the class says that it cannot be compiled.
        Fault: where it is no single graph, or another value.
    """
    if compiler == "none":
        raise Skipped("compile=none")
    model = subject.fresh()
    refuse_declared(subject)
    no_compiler = not any(map(shutil.which, ("g++", "clang++", "c++")))
    backend = "aot_eager" if compiler == "graph" or no_compiler else "inductor"
    torch._dynamo.reset()
    with torch._inductor.config.patch(fallback_random=True):
        for player, objective in objectives(model).items():
            fast = torch.compile(objective, fullgraph=True, dynamic=False, backend=backend)
            compare_compiled(model, player, objective, fast, subject.batch)
    torch._dynamo.reset()
    said = "one graph each, equal values and gradients"
    if compiler == "inductor" and no_compiler:
        return f"{said}; without inductor, since there is no C++ compiler"
    return f"{said} ({backend})"


def refuse_declared(subject: Subject) -> None:
    """Raise Skipped for a class that says that it cannot be compiled."""
    from gentrain.config.build import build

    try:
        build(subject.job.config["scheme"] | {"compile": True}, "scheme", model=subject.model)
    except UserError as refusal:
        raise Skipped(f"it says so itself: {refusal}") from refusal


def compare_compiled(
    model: GenerativeModel, player: str, objective: Any, fast: Any, batch: Batch
) -> None:
    """Raise Fault where a compiled objective is no single graph, or another value."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = []
    for function in (objective, fast):
        model.load_state_dict(state)
        model.zero_grad()
        torch.manual_seed(0)
        with only(model, player):
            try:
                result = function(batch)
            except torch._dynamo.exc.TorchDynamoException as error:
                reason = str(error).strip().splitlines()[0]
                raise Fault(
                    f"the {player}'s objective is no single graph: {reason}; leave Python that "
                    "looks at values (float(x), if x > 0) out of it, or say compiles = False"
                ) from error
            result.loss.backward()
        parameters = players(model)[player].named_parameters()
        grads = {name: p.grad.clone() for name, p in parameters if p.grad is not None}
        found.append({name: loss.detach() for name, loss in result.losses.items()} | grads)
    eager, compiled = found
    for name, value in eager.items():
        scale = max(1.0, float(value.abs().max()))
        if name not in compiled or not torch.allclose(
            compiled[name], value, rtol=1e-3, atol=1e-4 * scale
        ):
            raise Fault(f"{name} of the {player} has another value when it is compiled")
