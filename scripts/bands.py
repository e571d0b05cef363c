"""Write src/gentrain/certificates/bands.json: the first steps of every preset, over five seeds.

    python scripts/bands.py                 # of all presets
    python scripts/bands.py vae wgan_gp     # of these; the others stay

A preset gets as many steps as its seeds can be trained for in `--seconds` each: 300, 100, 60, 30
or 20, and never more than it trains itself.
"""

from __future__ import annotations

import argparse
import logging
import time

import torch

from gentrain.certificates.bands import FILE, SEEDS, STEPS, Band, as_json, band, stored, trained
from gentrain.certificates.tiny import tiny
from gentrain.cli.compose import composed
from gentrain.config.paths import option_files

FEWER = (STEPS, 100, 60, 30, 20)
PROBES = (2, 2, 7)  # steps, whose times are measured; the first reads the data


def made(name: str, seconds: float) -> Band:
    """The band of a preset."""
    values = composed("train", [f"model={name}"]).values
    began = [time.process_time()]
    for steps in PROBES:
        trained(tiny(values, steps), SEEDS[0], steps)
        began.append(time.process_time())
    each = (began[-1] - 2 * began[-2] + began[-3]) / (PROBES[-1] - PROBES[-2])
    steps = next((n for n in FEWER if n * each <= seconds), FEWER[-1])
    steps = min(steps, values["steps"])
    return band([trained(tiny(values, steps), seed, steps) for seed in SEEDS])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="presets; none for all")
    parser.add_argument("--seconds", type=float, default=0.8, help="of a core, a seed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    bands = dict(stored())
    for name in args.names or option_files("model"):
        began = time.monotonic()
        bands[name] = made(name, args.seconds)
        FILE.write_text(as_json(bands), "utf-8")
        print(f"{name}: {bands[name].steps} steps, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
