"""Files of the IDX format, as MNIST has them."""

from __future__ import annotations

import struct

import numpy as np

STEMS = {"train": 60, "t10k": 20}


def idx(values: np.ndarray, magic: int | None = None) -> bytes:
    kind = 0x800 + values.ndim if magic is None else magic
    head = struct.pack(f">{1 + values.ndim}I", kind, *values.shape)
    return head + values.astype(np.uint8).tobytes()


def idx_files(seed: int = 0) -> dict[str, bytes]:
    """The four files of a small MNIST of random images."""
    random, files = np.random.default_rng(seed), {}
    for stem, count in STEMS.items():
        files[f"{stem}-images-idx3-ubyte"] = idx(random.integers(0, 256, (count, 28, 28)))
        files[f"{stem}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files
