"""Images of captions that the user writes: by mode=captions, and as labels that take turns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gentrain.commands.sample.caption_mode import Captions
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.build import build
from gentrain.config.validate import checked
from gentrain.errors import UserError
from tests.support.compose import build_model, composed

WORDS = (
    "model=gan_cls", "network=mlp", "data.n=100", "model.generator.width=8",
    "model.critic.width=8", "model.text=8", "model.text_width=4",
)  # fmt: skip
TEXTS = ["A red seven, on white", "a small blue two, top left, on black"]


@pytest.fixture(scope="module")
def run() -> Any:
    torch.manual_seed(0)
    data = build(checked(composed(*WORDS)["data"], "data"), "data")
    about = {"config": {}, "run_dir": Path("run"), "device": torch.device("cpu"), "step": 0}
    return SimpleNamespace(model=build_model(*WORDS), data=data, class_names=[], **about)


def test_a_row_is_of_its_caption_with_the_noise_of_the_column(run: Any, tmp_path: Path) -> None:
    session, mode = SampleSession(run), Captions(TEXTS, n=3)
    mode.check(session)
    out = Output(tmp_path / "out", "folder", run.data)
    assert mode.draw(session, out) == {"captions": TEXTS}
    names = run.data.class_names
    z, y = session.noise(3), torch.stack([run.data.captions.named(text, names) for text in TEXTS])
    blank = torch.zeros(6, *run.data.shape)
    expected = run.model.sample((blank, y.repeat_interleave(3, 0)), z.repeat(2, 1))
    found = session.images(z.repeat(2, 1), y.repeat_interleave(3, 0))
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found[:3], found[3:], atol=1e-4)
    texts = [(tmp_path / "out" / "images" / f"{i:06d}.txt").read_text() for i in range(6)]
    assert texts == ["a red seven on white\n"] * 3 + ["a small blue two top left on black\n"] * 3
    assert (tmp_path / "out" / "captions.png").exists()


def test_captions_take_turns_as_labels(run: Any) -> None:
    session = SampleSession(run, labels=TEXTS)
    labels = session.labels(3)
    assert labels is not None
    texts = [run.data.captions.text(label, run.data.class_names) for label in labels]
    assert [text.split()[2] for text in texts] == ["seven", "blue", "seven"]
    with pytest.raises(UserError, match=r"do(es)? not reach"):
        session.take_turns(1)
    held_out = SampleSession(run).labels(4)
    assert held_out is not None and held_out.shape == (4, 8)


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["a purple seven"], r"no word purple \(text\); give one of"), ([], r"no captions \(text\)")],
)
def test_other_captions_are_refused_in_one_line(run: Any, texts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        Captions(texts).check(SampleSession(run))
    assert "\n" not in str(refused.value)
