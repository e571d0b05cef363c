"""Batches of data=shards, mapped from the cache by worker processes, beside those of a tensor in
memory.

    python benchmarks/shards.py [--images 20000] [--size 64] [--batches 200] [--out FILE]

The pictures are made up. Each round times both, so that a busy machine slows both down.
"""

from __future__ import annotations

import argparse
import io
import itertools
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frame
import numpy as np
from PIL import Image

from gentrain.data.shards import Shards

BATCH = 64
PER_SHARD = 1000


def write(folder: Path, count: int, size: int) -> None:
    """Shards of JPEGs that differ."""
    noise = np.random.default_rng(0).integers(0, 60, (size, size, 3))
    for start in range(0, count, PER_SHARD):
        with tarfile.open(folder / f"{start // PER_SHARD:04d}.tar", "w") as archive:
            for row in range(start, min(count, start + PER_SHARD)):
                colour = [row % 190, row // 190 % 190, 100]
                out = io.BytesIO()
                Image.fromarray((noise + colour).astype(np.uint8)).save(out, "jpeg")
                about = tarfile.TarInfo(f"{row:06d}.jpg")
                about.size = len(out.getvalue())
                archive.addfile(about, io.BytesIO(out.getvalue()))


def seconds(folder: Path, size: int, resident: bool, workers: int, batches: int) -> float:
    """How long so many batches take, after the first."""
    data = Shards(
        name="shards",
        shape=(3, size, size),
        size=size,
        root=str(folder),
        cache=str(folder / "cache"),
        resident=resident,
        workers=workers,
        batch_size=BATCH,
    )
    stream = iter(data.batches())
    next(stream)
    began = time.perf_counter()
    for _ in itertools.islice(stream, batches):
        pass
    return time.perf_counter() - began


def report(args: argparse.Namespace) -> Iterator[Any]:
    yield f"{args.images:,} pictures of {args.size} px; images a second."
    rates: dict[str, list[float]] = {"in memory": [], "mapped, two workers": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, args.images, args.size)
        for _ in range(args.rounds):
            for (_, found), resident in zip(rates.items(), (True, False), strict=True):
                workers = 0 if resident else 2
                took = seconds(folder, args.size, resident, workers, args.batches)
                found.append(args.batches * BATCH / took)
    yield frame.Table("", rates, ("in memory",), "images/s", 1, 0)


def main() -> None:
    parser = frame.parser(__doc__, rounds=5)
    for name, value in (("images", 20_000), ("size", 64), ("batches", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    frame.publish_in_process("Batches from shards", report(args), args)


if __name__ == "__main__":
    main()
