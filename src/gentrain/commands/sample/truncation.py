"""The truncation trick: less variety for more fidelity.

Brock, Donahue, Simonyan, "Large Scale GAN Training for High Fidelity Natural Image Synthesis"
(BigGAN), 2019: truncated noise, and the standing statistics of batch norm that belong to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from gentrain.commands.sample.mode import Mode
from gentrain.commands.sample.session import BLOCK, SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count, Whole
from gentrain.data.grids import annotated
from gentrain.errors import UserError
from gentrain.models.base import GenerativeModel
from gentrain.quality.base import Metric, measure, metrics_of, prepare_metric

# below, hardly one draw in a hundred is inside
Tau = Annotated[float, Field(ge=0.01, allow_inf_nan=False)]


class Truncation(Mode):
    """For each tau a picture of `n` images of noise with |z| <= tau, and their scores.

    The scores are those of the run's own `quality` protocol, beside those of the whole noise. The
    whole noise always has the running statistics of the training, so its scores are the run's own.

    Args:
        taus: where the noise is cut off.
        n: images in a picture.
        fid: score each tau; false draws the pictures alone.
        standing: images of the standing statistics that batch norm takes at each tau. 0 keeps the
            running ones of the training, whose scale truncated activations miss: small taus then
            give empty images. Where batch norm stands right behind the linear layer of z, as in
            DCGAN, standing statistics give back the scale that truncation took, and little changes.
            Null takes 5000, where there is batch norm.
    """

    noise = "normal"

    # of the scores in the printed table; the record has all
    STANDING = 5000  # images of the standing statistics, where the user names no number
    SHOWN = ("fid", "kid", "precision", "recall")

    def __init__(
        self,
        taus: Annotated[list[Tau], Field(min_length=1)],
        n: Count = 64,
        fid: bool = True,
        standing: Whole | None = None,
    ) -> None:
        self.taus, self.n, self.fid, self.given_standing = taus, n, fid, standing
        self.standing = self.STANDING if standing is None else standing
        if standing == 1:
            raise UserError(
                "statistics of one image (mode.standing); give 2 or more, or 0 for the running "
                "ones of training"
            )

    def check(self, session: SampleSession) -> None:
        super().check(session)
        if not batch_norms(session.generator):
            if self.given_standing is not None:
                raise UserError(
                    "this generator has no batch norm, and so no statistics of it "
                    "(mode.standing); leave it out"
                )
            self.standing = 0
        if self.fid:
            metric = quality_of(session)
            metric.split = session.data.held_out_split
            metric.check(session.data, session.model)

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        metric = quality_of(session) if self.fid else None
        truncated_model = TruncatedModel(session.model)
        protocol = {} if metric is None else self.prepare(metric, session)
        session.take_turns(self.n)
        z, labels, results, drawn = session.noise(self.n), session.labels(self.n), [], []
        for tau in [None, *self.taus]:
            truncated_model.tau = tau
            with self.statistics(session, tau):
                images = session.images(z if tau is None else truncated(z, tau), labels)
                name = "whole" if tau is None else f"tau-{tau:g}"
                title = "whole noise" if tau is None else f"noise below tau = {tau:g}"
                across = [""] * math.ceil(math.sqrt(self.n))
                out.picture(name, annotated(images, [], across, title))
                scores = {}
                if metric is not None:
                    scores = measure(metric, session.data, truncated_model, session.device)
                results.append({"tau": tau, **scores})
            drawn.append((images, labels))
        out.images(iter(drawn), self.n * len(drawn))
        if metric is not None:
            print("\n".join(score_lines(results, self.SHOWN)))
        return {"scores": results, "protocol": protocol | self.protocol()}

    def prepare(self, metric: Metric, session: SampleSession) -> dict[str, Any]:
        """Compute what all scores need; returns the protocol."""
        data = session.data
        return prepare_metric(metric, data, session.model, session.device, data.held_out_split)

    def protocol(self) -> dict[str, str]:
        """How the noise was truncated."""
        norm = "eval"
        if self.standing:
            norm = (
                f"standing statistics of {self.standing} images at each tau, "
                "running ones of the whole"
            )
        return {"truncation": "tau of each row, drawn again", "batch_norm": norm}

    def statistics(self, session: SampleSession, tau: float | None) -> Any:
        """A context in which batch norm has the statistics that belong to a tau."""
        if not tau or not self.standing:
            return nullcontext()
        return standing_statistics(session.generator, self.forwards(session, tau))

    def forwards(self, session: SampleSession, tau: float) -> Iterator[Callable[[], object]]:
        """Forward passes of `standing` images, in batches of nearly equal size."""
        model = session.model
        for rows in torch.arange(self.standing).tensor_split(-(-self.standing // BLOCK)):
            size, first = len(rows), int(rows[0])
            z = truncated(model.noise(size, session.device), tau)
            batch = session.batch(size, session.labels(size, first))
            yield partial(model.generate, session.generator, batch, z)


def quality_of(session: SampleSession) -> Metric:
    """The metric that the run was trained with. Raises UserError without one of samples."""
    metric = metrics_of(session.run.config).get("quality")
    if metric is None or not metric.from_samples:
        raise UserError(
            "this run has no quality protocol of its fakes, so no FID (mode.fid); "
            "give mode.fid=false for the pictures alone"
        )
    return metric


class TruncatedModel(GenerativeModel):
    """A model whose noise is truncated at `tau`; None for the whole noise."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.labelled = model.labelled
        self.ema_generator = model.ema_generator
        self.tau: float | None = None

    def sample(self, batch: tuple[Tensor, ...], noise: Tensor | None = None) -> Tensor:
        if noise is None and self.tau is not None:
            noise = truncated(self.model.noise(len(batch[0]), batch[0].device), self.tau)
        return self.model.sample(batch, noise)

    def sample_protocol(self) -> dict[str, Any]:
        return self.model.sample_protocol()


def truncated(z: Tensor, tau: float) -> Tensor:
    """N(0, 1) given |z| <= tau: values outside are drawn again until they are inside.

    They are never clamped, which would pile them up at tau.
    """
    z = z.clone()
    while (outside := z.abs() > tau).any():
        z[outside] = torch.randn(int(outside.sum()), device=z.device, dtype=z.dtype)
    return z


def batch_norms(generator: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers of a generator that keep running statistics."""
    return [
        m
        for m in generator.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]


@contextmanager
def standing_statistics(
    generator: nn.Module, forwards: Iterator[Callable[[], object]]
) -> Iterator[None]:
    """Give batch norm the mean and variance of what it sees in some forward passes.

    Each batch is normalised by itself, as in training. Mean and variance are those of all values
    together: m = E[x], v = E[x^2] - m^2 (times n / (n - 1)), summed in float64. Afterwards the
    former statistics are restored.
    """
    norms = batch_norms(generator)
    before = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
    seen = [Sums() for _ in norms]
    hooks = [norm.register_forward_pre_hook(sums) for norm, sums in zip(norms, seen, strict=True)]
    generator.eval()
    try:
        for norm in norms:
            norm.train()
        with torch.no_grad():
            for forward in forwards:
                forward()
        for norm, sums in zip(norms, seen, strict=True):
            norm.eval()
            mean, variance = sums.moments()
            norm.get_buffer("running_mean").copy_(mean)
            norm.get_buffer("running_var").copy_(variance)
        for hook in hooks:
            hook.remove()
        yield
    finally:
        for norm, state, hook in zip(norms, before, hooks, strict=True):
            hook.remove()
            norm.eval().load_state_dict(state)


class Sums:
    """n, sum x and sum x^2 of every channel of a module's inputs, as a forward hook."""

    def __init__(self) -> None:
        self.n, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().double().transpose(0, 1).flatten(1)  # (C, values)
        self.n += x.shape[1]
        self.first, self.second = self.first.to(x) + x.sum(1), self.second.to(x) + x.square().sum(1)

    def moments(self) -> tuple[Tensor, Tensor]:
        """The mean and the unbiased variance (C,) of each channel."""
        mean = self.first / self.n
        biased = (self.second / self.n - mean.square()).clamp_min(0)
        return mean, biased * self.n / max(1, self.n - 1)


def score_lines(rows: list[dict[str, Any]], shown: tuple[str, ...]) -> list[str]:
    """Scores against tau as text: a head, then a line a row.

    The columns are the scores named in `shown`, or all where there are none of those.
    """
    names = [name for name in rows[0] if name != "tau"]
    wanted = [name for name in names if is_shown(name.split("/")[-1], shown)] or names
    heads = [name.split("/")[-1] for name in wanted]
    lines = ["    tau  " + "  ".join(heads)]
    for row in rows:
        tau = "  whole" if row["tau"] is None else f"{row['tau']:7g}"
        cells = [f"{row[name]:>{len(head)}.4g}" for name, head in zip(wanted, heads, strict=True)]
        lines.append(tau + "  " + "  ".join(cells))
    return lines


def is_shown(name: str, shown: tuple[str, ...]) -> bool:
    """Whether a score is one of those in `shown`, such as fid_inception, and no floor of one."""
    return name.split("_")[0] in shown and not name.endswith(("_floor", "_std"))
