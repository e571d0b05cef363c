"""Run directories as gentrain leaves them, made by hand: no training."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw

PROTOCOL: dict[str, Any] = {
    "features": "classifier",
    "features_hash": "856a1184ae24",
    "samples": 5000,
    "ema": False,
    "reference": {"data": "mnist", "split": "train", "samples": 60000},
    "fid_classifier_floor": {"value": 1.8633, "split": "test"},
}


def config(model: str, seed: int, steps: int, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Nested, as .hydra/config.yaml has it; `more` is by dotted keys."""
    made: dict[str, Any] = {
        "steps": steps,
        "seed": seed,
        "model": {"_target_": "gentrain.models.gan.gan.GAN", "name": model},
        "data": {"name": "mnist", "batch_size": 64, "seed": "${seed}", "cache": "/tmp/cache"},
        "scheme": {"critic_steps": 1, "accumulate": 1, "log_every": 50},
        "quality": {"samples": 5000, "every": 1000},
    }
    for key, value in (more or {}).items():
        node = made
        *path, last = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return made


def run(
    path: Path,
    model: str = "gan",
    seed: int = 0,
    steps: int = 1000,
    fid: tuple[float, ...] | None = (300.0, 60.0, 50.0),
    status: str | None = "completed",
    protocol: dict[str, Any] | None = PROTOCOL,
    more: dict[str, Any] | None = None,
    columns: dict[str, list[float]] | None = None,
    every: int | None = None,
    pictures: int = 0,
    pixels: int = 62,
    collapsed: float | None = None,
) -> Path:
    """A run whose FID was measured at equal distances; `status=None` leaves it without a summary,
    as one that is going.
    """
    hydra = path / ".hydra"
    hydra.mkdir(parents=True)
    typed = {"model": model, "seed": seed} | (more or {})
    (hydra / "config.yaml").write_text(yaml.safe_dump(config(model, seed, steps, more)))
    (hydra / "overrides.yaml").write_text(
        yaml.safe_dump(
            [*(f"{key}={value}" for key, value in typed.items()), "logger=csv", "data.root=/d"]
        )
    )
    choices = {"model": model, "data": "mnist", "hydra/launcher": "basic"}
    (hydra / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"choices": choices}}}))
    rows = logged(fid, columns or {}, steps, every or steps // 4, collapsed)
    names = ["step", *sorted({name for row in rows.values() for name in row})]
    with (path / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({"step": step} | row for step, row in sorted(rows.items()))
    if status:
        end = {
            "status": status,
            "choices": {"model": model, "data": "mnist"},
            "seed": seed,
            "steps": steps,
            "metrics": {},
            "best": {"metric": "quality/fid_classifier", "value": min(fid), "step": steps}
            if fid
            else {},
            "protocols": {"quality": protocol} if protocol else {},
            "measured_by": dict.fromkeys(
                [
                    name
                    for name in ("quality/fid_classifier", *(columns or {}))
                    if name.startswith(("quality/", "test/"))
                ],
                "quality",
            )
            if protocol
            else {},
            "images_per_second": 1000.0 + seed,
            "wall_seconds": 120.0,
            "device": "CPU, 2 cores, 1 threads",
        }
        (path / "summary.json").write_text(json.dumps(end))
    for i in range(pictures):
        grid(path / "samples" / f"step-{steps * i // pictures:06d}.png", pixels, seed * 100 + i)
    if pictures:
        grid(path / "samples" / "final.png", pixels, seed * 100 + pictures)
        grid(path / "samples" / "real.png", pixels, 7)
    return path


def logged(
    fid: Any, columns: dict[str, list[float]], steps: int, every: int, collapsed: float | None
) -> dict[int, dict[str, float]]:
    rows: dict[int, dict[str, float]] = {
        step: {"images_per_second": 1000.0} for step in range(every, steps + 1, every)
    }
    for i, value in enumerate(fid or ()):
        rows.setdefault(steps * i // max(1, len(fid) - 1), {})["quality/fid_classifier"] = value
    for name, values in columns.items():
        for i, value in enumerate(values):
            rows.setdefault(every * (i + 1), {})[name] = value
    if collapsed is not None:
        rows.setdefault(steps, {})["doctor/collapsed"] = collapsed
    return rows


def grid(path: Path, pixels: int, seed: int) -> None:
    """Strokes on black, as digits are, ten to a side."""
    chance, image = random.Random(seed), Image.new("RGB", (pixels, pixels))
    draw, cell = ImageDraw.Draw(image), pixels / 10
    for i in range(100):
        x, y = (i % 10) * cell, (i // 10) * cell
        points = [(x + chance.random() * cell, y + chance.random() * cell) for _ in range(4)]
        draw.line(
            points,
            fill=(255, 255, 255) if seed % 2 else (250, 250, 250),
            width=max(1, int(cell // 10)),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def many(
    place: Path,
    groups: int = 20,
    seeds: int = 3,
    rows: int = 200,
    values: int = 24,
    pictures: int = 10,
    pixels: int = 302,
) -> Path:
    """Runs of usual size: `rows` logged rows of `values` values, scores every tenth row, sample
    grids of digits.
    """
    for i in range(groups):
        for seed in range(seeds):
            chance = random.Random(i * 100 + seed)
            decay = [math.exp(-j / (20 + i)) + 0.05 * chance.random() for j in range(rows)]
            columns = {
                f"critic/value_{k:02d}": [d * (k + 1) for d in decay] for k in range(values - 2)
            }
            fid = tuple(
                20 + i + 1000 * math.exp(-j / 3) + 3 * chance.random()
                for j in range(rows // 10 + 1)
            )
            run(
                place / f"{i * seeds + seed:03d}",
                model=f"model_{i:02d}",
                seed=seed,
                steps=rows * 50,
                every=50,
                fid=fid,
                columns=columns,
                pictures=pictures,
                pixels=pixels,
                more={"scheme.critic_steps": 1 + i % 3},
            )
    return place
