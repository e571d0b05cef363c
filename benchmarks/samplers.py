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
from pathlib import Path
from typing import Any

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


def measured(model: str, args: argparse.Namespace) -> str:
    """One line of the table. Both ways must give the same values."""
    density = preset(model, args.set)
    u = torch.rand(args.n, *density.shape)
    ways = {naive: partial(density.fill, u, cached=not naive) for naive in (False, True)}
    times: dict[bool, list[float]] = {naive: [] for naive in ways}
    with eval_mode(density):
        ways[False]()  # the first call does not count
        for number in range(args.rounds):
            drawn = {}
            for naive in (False, True) if number % 2 == 0 else (True, False):
                began = time.process_time()
                drawn[naive] = ways[naive]()
                times[naive].append(time.process_time() - began)
            same = (drawn[False] == drawn[True]).float().mean().item()
            # Sums of the same numbers may be rounded differently. A uniform between two of them
            # gives another pixel, and all later ones change with it.
            if same < 0.999:
                raise SystemExit(f"{model}: only {same:.1%} of the values agree with whole passes")
    ratios = loop.spread(loop.ratio(times[True], times[False]), 1)
    whole, kept = (
        loop.spread([s / args.n * 1e3 for s in times[naive]], 1) for naive in (True, False)
    )
    return f"| {model} | {whole} | {kept} | {ratios} | {same:.2%} |"


def report(args: argparse.Namespace) -> Iterator[str]:
    yield "# Samples of autoregressive models\n"
    yield from loop.provenance(args)
    yield (
        f"{args.n} images at a time; milliseconds of processor time an image, medians of "
        f"{args.rounds} rounds [least-most]; ratios are taken in each round. `equal`: values that "
        "both ways give alike, in float32, from the same uniforms.\n"
    )
    yield "| preset | whole passes | kept | ratio | equal |\n|---|---|---|---|---|"
    for model in args.models:
        yield measured(model, args)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the samplers of autoregressive models.")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--n", type=int, default=16, help="images at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="overrides of the presets")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the table to a file")
    args = parser.parse_args()
    args.device = "cpu"
    loop.publish(report(args), args.threads, args.out)


if __name__ == "__main__":
    main()
