"""Batches of data=shards, mapped from the cache by worker processes, beside those of a tensor in
memory.

    python benchmarks/shards.py [--images 20000] [--size 64] [--batches 200] [--rounds 5]

The pictures are made up. Each round times both, so that a busy machine slows both down.
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("images", 20_000), ("size", 64), ("batches", 200), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, ratios = Path(place), []
        write(folder, options.images, options.size)
        for _ in range(options.rounds):
            resident = seconds(folder, options.size, True, 0, options.batches)
            mapped = seconds(folder, options.size, False, 2, options.batches)
            ratios.append(resident / mapped)
            rates = [f"{options.batches * BATCH / each:,.0f}" for each in (resident, mapped)]
            print(f"resident {rates[0]} images/s, mapped {rates[1]} images/s")
    print(f"mapped / resident: {statistics.median(ratios):.2f} in the median")


if __name__ == "__main__":
    main()
