"""Read the file of an offline W&B run: blocks of 32 KiB (LevelDB's log format) that hold protobuf
records.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

BLOCK, HEADER, FULL, LAST = 32768, 7, 1, 4


@dataclass
class Offline:
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    alerts: list[tuple[str, str]] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)  # pattern -> step metric


def read(run_dir: Path) -> Offline:
    """The newest offline run in a run directory."""
    found = Offline()
    for record in records(sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))[-1].read_bytes()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            found.config |= values(record.run.config.update)
        elif kind == "config":
            found.config |= values(record.config.update)
        elif kind == "history":
            found.history.append(values(record.history.item))
        elif kind == "summary":
            found.summary |= values(record.summary.update)
        elif kind == "alert":
            found.alerts.append((record.alert.title, record.alert.text))
        elif kind == "metric":
            found.axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
    return found


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def records(content: bytes) -> Iterator[Any]:
    position, parts = HEADER, b""
    while position + HEADER <= len(content):
        left = BLOCK - position % BLOCK
        crc, length, kind = struct.unpack("<IHB", content[position : position + HEADER])
        if left < HEADER or kind == 0:  # padding up to the next block
            position += left
            continue
        part = content[position + HEADER : position + HEADER + length]
        assert zlib.crc32(part, zlib.crc32(bytes([kind]))) == crc
        position, parts = position + HEADER + length, parts + part
        if kind in (FULL, LAST):
            record = pb.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
