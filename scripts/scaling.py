"""Write docs/scaling.md: what a step of every preset costs, and what bounds it on many GPUs.

    python scripts/scaling.py                # count every preset, and write the page (minutes)
    python scripts/scaling.py --check        # exit status 1 where a count is not up to date
    python scripts/scaling.py --check vae    # of these presets alone

One training step of each preset in conf/model is made on a CPU, with few images, and its arithmetic
is counted where torch dispatches it, by the formulas of torch.utils.flop_counter. Nothing is timed.
"""

from __future__ import annotations

import argparse
import logging
import math
import re
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scaling.md"

# An H200: what large products and streams reach of the data sheet's 67, 989 TFLOP/s and 4.8 TB/s
FP32, BF16, MEMORY = 67e12, 790e12, 4.3e12
LAUNCH = 5e-6  # seconds of the host for an operation
ADAM = 28  # bytes read and written for a weight: itself, its gradient, and two moments
NVLINK, NETWORK, PER_NODE = 450e9, 50e9, 8  # bytes a second of a GPU in one direction; GPUs
GPUS = (8, 64, 512)
IMAGES = (8, 16)  # of two counted batches
STEPS = 3  # of which the last is counted
# what only the beginning of a training has
STEADY = {
    "wgan": ("scheme.critic_warmup=null",),
    "iaf_distilled": ("model.teacher_steps=1",),
    "progan": ("model.growth.fade=1", "model.growth.stable=1"),
}
QUIET = (
    "trainer=cpu",
    "logger=csv",
    "quality=none",
    "samples.every=0",
    "checkpoint.every=0",
    "data.workers=0",
)


@dataclass(frozen=True)
class Count:
    """What an update of all players of a preset takes.

    Args:
        preset: its name.
        images: real images of a step.
        flop: multiplications and additions of a step.
        operations: that torch dispatches in a step.
        weights: of all players.
        updated: weights that are updated in a step; a critic's of 5 updates count 5 times.
    """

    preset: str
    images: int
    flop: float
    operations: int
    weights: int
    updated: int

    columns: ClassVar = (
        "preset", "images", "MFLOP/image", "weights", "operations", "fp32 ms", "bf16 ms",
        "Adam ms", "host ms", "bound by", "eager", "graph",
    )  # fmt: skip

    @property
    def floors(self) -> dict[str, float]:
        """Seconds that a step takes at least, for each reason."""
        return {
            "arithmetic": self.flop / BF16,
            "memory": ADAM * self.updated / MEMORY,
            "the host": self.operations * LAUNCH,
        }

    @property
    def reduced(self) -> int:
        """Bytes of the gradients of a step, float32."""
        return 4 * self.updated

    def cells(self) -> list[str]:
        floors = self.floors
        bound = max(floors, key=lambda reason: floors[reason])
        times = (self.flop / FP32, *floors.values())
        without_host = max(floors["arithmetic"], floors["memory"])
        return [
            self.preset,
            f"{self.images:,}",
            short(self.flop / self.images / 1e6),
            f"{self.weights:,}",
            f"{self.operations:,}",
            *(short(seconds * 1e3) for seconds in times),
            bound,
            short(self.images / max(floors.values())),
            short(self.images / without_host) if self.flop else "",
        ]


def short(value: float) -> str:
    """Two digits: 0.0034, 12, 4,500."""
    if not value:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{float(f'{value:.2g}'):,.{digits}f}"


# --- counting -----------------------------------------------------------------------------------


def presets() -> list[str]:
    files = (ROOT / "conf" / "model").glob("*.yaml")
    return sorted(file.stem for file in files if not file.name.startswith("_"))


def count(preset: str) -> Count:
    """Count a step of a preset. What it costs is a constant and a part for each image."""
    small, large = (counted(preset, n) for n in IMAGES)
    own = configuration(preset)
    step = own["scheme"].get("critic_steps", 1) * own["scheme"]["accumulate"]
    batch = own["data"]["batch_size"]
    slope = (large[0] - small[0]) / (IMAGES[1] - IMAGES[0])
    flop = small[0] + slope * (batch - IMAGES[0])
    return Count(preset, batch * step, flop, *small[1:])


def configuration(preset: str, *overrides: str) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from gentrain.cli.compose import register
    from gentrain.config import paths, schema

    register()
    words = [f"model={preset}", *QUIET, *STEADY.get(preset, ()), *overrides]
    with initialize_config_dir(str(paths.conf_dir()), version_base="1.3"):
        found = compose("train", overrides=words)
    with open_dict(found):
        found.pop("sweep", None)
    return schema.resolved(found)


def counted(preset: str, images: int) -> tuple[int, int, int, int]:
    """FLOP, operations, weights and updated weights of the last of some steps."""
    from gentrain.training.job import Job

    words = (f"data.batch_size={images}", f"steps={STEPS}")
    with tempfile.TemporaryDirectory() as folder:
        job = Job(configuration(preset, *words), {"model": preset, "data": "any"}, Path(folder))
        meter = meter_of_last_step()
        job.trainer.callbacks.append(meter)  # type: ignore[attr-defined]
        job.fit()
    return meter.found


def meter_of_last_step() -> Any:
    """A callback that counts the last step of a training."""
    import lightning as L
    from torch.optim import Optimizer
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Operations(TorchDispatchMode):
        """Counts as torch's FlopCounterMode does, which does not allow inner gradients."""

        number, flop = 0, 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            self.number += not func.is_view
            if (formula := flop_registry.get(func._overloadpacket)) is not None:
                self.flop += formula(*args, **(kwargs or {}), out_val=out)
            return out

    class Meter(L.Callback):
        found: tuple[int, int, int, int]
        stack: ExitStack | None = None

        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step == STEPS - 1 and self.stack is None:
                self.stack, self.updated = ExitStack(), 0
                self.operations = self.stack.enter_context(Operations())
                for optimizer in trainer.optimizers:
                    optimizer.register_step_post_hook(self.count_update)

        def count_update(self, optimizer: Optimizer, *_: Any) -> None:
            self.updated += weights_of(optimizer)

        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if self.stack is None or trainer.global_step < STEPS:
                return
            self.stack.close()
            weights = sum(map(weights_of, trainer.optimizers))
            self.found = self.operations.flop, self.operations.number, weights, self.updated

    return Meter()


def weights_of(optimizer: Any) -> int:
    """The weights with a gradient."""
    groups = optimizer.param_groups
    return sum(p.numel() for group in groups for p in group["params"] if p.grad is not None)


# --- the page -----------------------------------------------------------------------------------


def reduction(count: Count, gpus: int) -> float:
    """Seconds to average the gradients of a step over GPUs, by the slowest link of a ring."""
    link = NVLINK if gpus <= PER_NODE else NETWORK
    return 2 * (gpus - 1) / gpus * count.reduced / link


def tables(counts: list[Count]) -> dict[str, list[str]]:
    """The tables of the page, by their names."""
    floors = [row(Count.columns), row("---" for _ in Count.columns)]
    floors += [row(count.cells()) for count in counts]
    heads = ("preset", "MB a step", "step ms", *(f"ms, {n} GPUs" for n in GPUS), "share, 512")
    traffic = [row(heads), row("---" for _ in heads)]
    for count in counts:
        step = max(count.floors.values())
        each = [reduction(count, gpus) for gpus in GPUS]
        ms = (short(1e3 * seconds) for seconds in (step, *each))
        share = f"{each[-1] / (each[-1] + step):.0%}"
        traffic.append(row((count.preset, short(count.reduced / 1e6), *ms, share)))
    return {"floors": floors, "traffic": traffic}


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def between(name: str) -> re.Pattern[str]:
    """A table of the page, between the comments that name it."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)


def written(page: str, counts: list[Count]) -> str:
    for name, lines in tables(counts).items():
        text = "\n".join(("", *lines, "", ""))
        page = between(name).sub(lambda _, text=text: text, page, count=1)  # type: ignore[misc]
    return page


def stale(page: str, counts: list[Count]) -> list[str]:
    """The rows that the page has not."""
    lines = page.splitlines()
    return [line for each in tables(counts).values() for line in each if line not in lines]


def rows_of(page: str) -> list[str]:
    """The presets that the page has, in the first table."""
    found = between("floors").search(page)
    assert found is not None
    return [line.split("|")[1].strip() for line in found[0].strip().splitlines()[2:]]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Count the arithmetic of every preset.")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("presets", nargs="*", help="with --check: these alone")
    args = parser.parse_args(words)
    logging.getLogger("gentrain").setLevel(logging.ERROR)
    page = PAGE.read_text(encoding="utf-8")
    counts = []
    for preset in args.presets or presets():
        counts.append(count(preset))
        print(preset, file=sys.stderr, flush=True)
    if not args.check:
        PAGE.write_text(written(page, counts), encoding="utf-8")
        return 0
    wrong = stale(page, counts)
    if not args.presets and rows_of(page) != presets():
        wrong.append("presets that are not there, or that are gone")
    for line in wrong:
        print(f"not in {PAGE.name}: {line}; make docs", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
