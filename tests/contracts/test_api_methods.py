"""Every method of a `gentrain.Run`, tried on a finished run of every kind.

It works, or it says in one line what the model lacks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL.Image import Image

import gentrain
from gentrain.capability import supports
from gentrain.models import base
from tests.support.zoo import RUNS, Zoo

Run = gentrain.Run
# a run of every kind; `long` is a dcgan, as `gan` is, and the other translations are as `edges`
KINDS = sorted(RUNS.keys() - {"long", "noise", "residual", "colours", "larger"})
NOT_ASKED = {"ask", "batch", "image", "numbers", "session", "text_of", "with_prior"}
NOT_ASKED |= {"as_names", "log_prob_of_energy"}  # all of them used by the others


def labels(run: Run) -> torch.Tensor | None:
    """Labels of two images, for a model that must be given some."""
    model = run.model
    return torch.tensor([3, 7]) if model.labelled and not model.semi_supervised else None


def some(run: Run) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(0)
    return torch.rand(2, *run.data.shape, generator=numbers) * 2 - 1


def likely(run: Run) -> torch.Tensor:
    """log p(x), given labels where the likelihood is."""
    given = supports(run.model, base.HasLikelihood) and run.model.given_labels
    return run.log_prob(some(run), torch.tensor([3, 7]) if given else None, samples=2)


def known(run: Run) -> torch.Tensor:
    return torch.arange(run.data.shape[-1]) < 3


def anything(run: Run) -> torch.Tensor:
    """A source of a translation, or an image."""
    return torch.zeros(2, *(run.data.source_shape or run.data.shape))


def target(run: Run) -> int | None:
    return 1 if run.model.labelled and supports(run.model, base.Translates) else None


# how a method is called, and what it needs: a capability, "noise" (a prior), or nothing
CALLS: dict[str, tuple[Callable[[Run], Any], Any]] = {
    "sample": (lambda run: run.sample(2), None),
    "noise": (lambda run: run.noise(2), "noise"),
    "decode": (lambda run: run.decode(run.noise(2)), "noise"),
    "interpolate": (lambda run: run.interpolate(1, 3), "noise"),
    "encode": (lambda run: run.encode(some(run), labels(run)), base.Encodes),
    "reconstruct": (lambda run: run.reconstruct(some(run), labels(run)), base.Reconstructs),
    "classify": (lambda run: run.classify(some(run)), base.Classifies),
    "translate": (lambda run: run.translate(anything(run), target(run)), base.Translates),
    "complete": (lambda run: run.complete(some(run), known(run), labels(run)), base.Completes),
    "denoise": (lambda run: run.denoise(some(run), 1, 2), base.Denoises),
    "chains": (lambda run: run.chains(2, (0, 1, 3)), base.HasChains),
    "filters": (lambda run: run.filters(4), base.HasFilters),
    "log_partition": (lambda run: run.log_partition(2, 3).value, base.HasLogPartition),
    "log_prob": (likely, (base.HasLikelihood, base.HasLogPartition)),
    "examples": (lambda run: run.examples(2).images, None),
    "grid": (lambda run: run.grid(some(run), zoom=2), None),
    "curve": (lambda run: run.curve("images_per_second"), None),
    "save_pretrained": (lambda run: run.save_pretrained("saved"), None),
}


def has(run: Run, need: Any) -> bool:
    if need == "noise":
        return run.model.prior is not None
    needs = need if isinstance(need, tuple) else (need,)
    return need is None or any(supports(run.model, each) for each in needs)


def test_every_method_is_tried() -> None:
    methods = {name for name, _ in inspect.getmembers(Run, inspect.isfunction)}
    assert {name for name in methods if not name.startswith("_")} == CALLS.keys() | NOT_ASKED


@pytest.mark.parametrize("kind", KINDS)
def test_methods(kind: str, zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = gentrain.load(zoo(kind))
    shape = tuple(run.data.shape)
    for name, (call, need) in CALLS.items():
        if not has(run, need):
            with pytest.raises(gentrain.UserError) as error:
                call(run)
            line = str(error.value)
            assert "\n" not in line and f"({name}" in line.replace("(noise)", f"({name})"), name
            assert "choose" in line, name
            continue
        made = call(run)
        match made:
            case torch.Tensor():
                assert made.isfinite().all(), name
                if name in ("sample", "decode", "reconstruct", "translate", "complete", "denoise"):
                    assert made.shape == (2, *shape), name
                    assert made.abs().max() <= 1.001, name
                if need is not None:
                    assert torch.equal(made, call(run)), name  # by its seed
            case Image():
                assert made.width % 2 == 0 and made.height % 2 == 0
    again = gentrain.from_pretrained("saved")
    assert torch.equal(again.sample(2), run.sample(2))
    for word in ("metrics", "summary"):
        with pytest.raises(gentrain.UserError, match="a run that is not over"):
            getattr(again, word)


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        ("pixelcnn", lambda run: run.log_prob(some(run)), r"is given labels \(labels\)"),
        ("pixelcnn", lambda run: run.complete(some(run), known(run)), r"is given labels"),
        ("pixelcnn", lambda run: run.log_prob(some(run), [3, 10]), "from 0 to 9"),
        ("pixelcnn", lambda run: run.log_prob(some(run), [3]), "2 whole numbers"),
        ("vae", lambda run: run.encode(some(run), [3, 7]), r"not given labels \(labels\)"),
        ("vae", lambda run: run.encode(torch.zeros(2, 1, 28, 28).byte()), r"floats.*127\.5"),
        ("vae", lambda run: run.log_prob(some(run), log_z=1.0), r"\(log_z\)"),
        ("vae", lambda run: run.decode(torch.zeros(2, 5)), r"not \(B, 4\) \(z\)"),
        ("vae", lambda run: run.sample(seed=-1), r"\(seed\)"),
        ("vae", lambda run: run.sample(2.5), r"\(n\)"),
        ("gan", lambda run: run.sample(2, truncation=0.0), r"\(truncation\)"),
        ("gan", lambda run: run.interpolate(1, 1), r"\(steps\)"),
        ("gan", lambda run: run.examples(10**6), "fewer"),
        ("gan", lambda run: run.examples(1, "tset"), r"\(split\)"),
        ("gan", lambda run: run.curve("loss"), "it has .*critic/adversarial"),
        ("gan", lambda run: run.grid(torch.zeros(2, 3)), r"\(images\)"),
        ("gan", lambda run: gentrain.load(run.path, device="gpu0"), r"\(device\)"),
        ("gan", lambda run: gentrain.load(run.path, "first"), r"\(checkpoint\)"),
        ("rbm", lambda run: run.chains(2, (3, 1)), r"\(transitions\)"),
        ("rbm", lambda run: run.sample(2, truncation=0.5), "noise.*is none"),
        ("stargan", lambda run: run.translate(some(run)), r"several domains \(domain\)"),
    ],
)
def test_mistakes_are_a_line(kind: str, call: Callable[[Run], Any], message: str, zoo: Zoo) -> None:
    with pytest.raises(gentrain.UserError, match=message) as error:
        call(gentrain.load(zoo(kind)))
    assert "\n" not in str(error.value)


def test_no_gpu(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(gentrain.UserError, match=r"\(device\)"):
        gentrain.load(zoo("gan"), device="cuda")


def test_decode_and_interpolate_agree_with_sample(zoo: Zoo) -> None:
    run = gentrain.load(zoo("gan"))
    images = run.sample(4, seed=5)
    assert torch.allclose(run.decode(run.noise(4, seed=5)), images, atol=1e-6)
    strips = run.interpolate(2, 5, seed=5).unflatten(0, (2, 5))
    assert torch.allclose(strips[:, [0, -1]].flatten(0, 1), images, atol=1e-5)


def test_examples_are_those_of_the_data(zoo: Zoo) -> None:
    run = gentrain.load(zoo("edges"))
    few, more = run.examples(3, seed=1), run.examples(5, seed=1)
    assert torch.equal(few.images, more.images[:3])
    assert few.sources is not None and few.sources.shape == (3, *run.data.source_shape)
    test = run.data.load("test")
    rows = [(test.images == ((x + 1) * 127.5).round().byte()).all((1, 2, 3)) for x in few.images]
    for row, label, source in zip(rows, few.labels, few.sources, strict=True):
        at = int(row.nonzero()[0])
        assert test.labels[at] == label
        assert torch.equal(test.sources[at], ((source + 1) * 127.5).round().byte())


def test_log_prob_of_an_energy(zoo: Zoo) -> None:
    """log p(v) = b.v + sum log(1 + exp(c + W'v)) - log Z, with Z over all hidden states."""
    run = gentrain.load(zoo("rbm"))
    W, b, c = (part.double() for part in (run.model.W, run.model.b, run.model.c))
    v = torch.randint(0, 2, (4, len(b))).double()
    free = v @ b + torch.nn.functional.softplus(c + v @ W).sum(1)
    hidden = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * len(c)).double()
    each = hidden @ c + torch.nn.functional.softplus(b + hidden @ W.T).sum(1)
    nats = run.log_prob((2 * v - 1).float().view(4, *run.data.shape))
    assert torch.allclose(nats.double(), free - each.logsumexp(0), atol=1e-4)


def test_curve_and_metrics(zoo: Zoo) -> None:
    run = gentrain.load(zoo("gan"))
    table = run.metrics
    assert len({len(column) for column in table.values()}) == 1 and next(iter(table)) == "step"
    steps, values = run.curve("critic/adversarial")
    assert len(steps) == len(values) == sum(v is not None for v in table["critic/adversarial"])


def test_grid_has_the_pixels(zoo: Zoo) -> None:
    run = gentrain.load(zoo("gan"))
    images = torch.full((3, 1, 28, 28), -1.0)
    images[1] = 1.0
    picture = run.grid(images, columns=3, zoom=2)
    assert picture.size == (2 * (3 * 30 + 2), 2 * 32)
    assert picture.getpixel((2 * 45, 32)) == (255, 255, 255)
    assert picture.getpixel((2 * 15, 32)) == (0, 0, 0)
