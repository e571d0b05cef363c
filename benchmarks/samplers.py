"""What a sample of an autoregressive preset costs: with a cache of past pixels, and without.

Without the cache, the whole network is computed for each value. Both ways use the same uniforms.

    python benchmarks/samplers.py [--models gated_pixelcnn pixelcnn ...] [--n 16] [--rounds 3] \\
        [--set pixels=levels] [--out FILE]

See README.md beside this file for how to read the table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import frame
import loop
import torch

from gentrain.config.build import build
from gentrain.models.base import eval_mode

MODELS = ("pixelcnn", "gated_pixelcnn", "pixelrnn_row", "pixelrnn_diagonal")


def preset(model: str, overrides: list[str]) -> Any:
    """The model of a preset, untrained: the time does not depend on the weights."""
    torch.manual_seed(0)
    work = loop.Work(model, (f"model={model}", *overrides))
    return build(loop.configuration(work, "cpu")["model"], "model")


def measured(model: str, args: argparse.Namespace) -> frame.Table:
    """Processor time of an image. Both ways must give the same values."""
    density = preset(model, args.set)
    u = torch.rand(args.n, *density.shape)
    whole, kept = "whole passes", "kept"
    ways = {name: partial(density.fill, u, cached=name == kept) for name in (whole, kept)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    with eval_mode(density):
        ways[kept]()  # the first call does not count
        for number in range(args.rounds):
            drawn = {}
            for name in frame.order(ways, number):
                began = time.process_time()
                drawn[name] = ways[name]()
                times[name].append((time.process_time() - began) / args.n)
            same = (drawn[whole] == drawn[kept]).float().mean().item()
            # Sums of the same numbers may be rounded differently. A uniform between two of them
            # gives another pixel, and all later ones change with it.
            if same < 0.999:
                raise SystemExit(f"{model}: only {same:.1%} of the values agree with whole passes")
    return frame.Table(model, times, (kept,), digits=1, more={"equal": {kept: f"{same:.2%}"}})


def report(args: argparse.Namespace) -> Iterator[Any]:
    yield (
        f"{args.n} images at a time; milliseconds of processor time an image. `equal`: values that "
        "both ways give alike, in float32, from the same uniforms."
    )
    for model in args.models:
        yield measured(model, args)


def main() -> None:
    parser = frame.parser(__doc__, rounds=3)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--n", type=int, default=16, help="images at a time")
    parser.add_argument("--set", nargs="*", default=[], help="overrides of the presets")
    args = parser.parse_args()
    frame.publish_in_process("Samples of autoregressive models", report(args), args)


if __name__ == "__main__":
    main()
