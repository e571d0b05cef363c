"""Write docs/results/likelihood.md: log p of decoders and densities, training and test together.

    python scripts/likelihood_table.py outputs/likelihood [--models vae gan]

It trains and scores what is missing in the folder, one small run after the other. A decoder of
noise is scored by annealed importance sampling with Gaussian pixels (Wu, Burda, Salakhutdinov &
Grosse, 2017), and an exact density of 8-bit pixels by itself: log P(x) + D log 256 is that of
pixels in [0, 1] with the noise of a level.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from run_tables import (
    ROOT,
    Record,
    command_line,
    devices,
    has_ended,
    paragraph,
    write_page,
)

import gentrain
from gentrain.tables import markdown_table

COMMON = ("data=mnist_5k", "quality=none", "samples.every=0", "trainer=cpu", "logger=csv", "seed=0")
SPLITS = ("train", "test")
GAN = (
    "network=mlp",
    "model.generator.norm=batch",
    "model.generator.width=256",
    "model.critic.width=256",
    "model.generator.latent=32",
)
VAE = ("model.encoder.width=256", "model.decoder.width=256", "model.decoder.latent=32")
MODELS = {
    "vae": (*VAE, "steps=3000"),
    "beta_vae": (*VAE, "steps=3000"),
    "gan": (*GAN, "steps=3000"),
    "wgan_gp": (*GAN, "steps=1000"),
    "realnvp": ("steps=300",),
}
EXACT = ("realnvp",)


class Scored(NamedTuple):
    """A run, and the record of `gentrain eval` for each split."""

    run: Record
    evals: dict[str, dict[str, Any]]

    @property
    def exact(self) -> bool:
        return self.run.word("model") in EXACT

    def log_p(self, split: str) -> tuple[float, float]:
        """The mean of log p of pixels in [0, 1], and its standard error."""
        scores = self.evals[split]["scores"]
        if not self.exact:
            return -scores["quality/nats_gaussian"], scores["quality/nats_gaussian_error"]
        nats = scores["quality/nats"]
        values = nats / (scores["quality/bits_per_dim"] * math.log(2))  # D
        return values * math.log(256) - nats, scores["quality/nats_error"]


def made(folder: Path, name: str, images: int) -> Scored:
    """A run and its scores, trained and scored where they are missing."""
    place = folder / name
    if not has_ended(place):
        words = (f"model={name}", *MODELS[name], *COMMON, f"hydra.run.dir={place}", "resume=auto")
        gentrain.train(*words)
    evals = {}
    for split in SPLITS:
        file = place / f"log_p-{split}.json"
        how = () if name in EXACT else ("ais=true",)
        if not file.exists():
            words = (f"run={place}", f"split={split}", f"n={images}", f"out={file}", *how)
            subprocess.run([sys.executable, "-m", "gentrain", "eval", *words], check=True)
        evals[split] = json.loads(file.read_text("utf-8"))
    return Scored(Record(place), evals)


def row(scored: Scored) -> list[str]:
    """Training and test side by side."""
    run = scored.run
    pairs = [scored.log_p(split) for split in SPLITS]
    gap = pairs[0][0] - pairs[1][0]
    scores = scored.evals["test"]["scores"]
    how = "exact" if scored.exact else f"{scores['quality/deviation']:.3f}"
    bound = "" if scored.exact else f"{scores['quality/nats_gap']:.1f}"
    texts = [f"{mean:,.0f} ± {error:.0f}" for mean, error in pairs]
    options = " ".join(f"`{word}`" for word in MODELS[run.word("model")])
    return [
        f"`model={run.word('model')}` {options}",
        *texts,
        f"{gap:+.0f}",
        how,
        bound,
        f"{run.minutes:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, help="the folder of the runs")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--images", type=int, default=20, help="scored, of each split")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/likelihood.md")
    args = parser.parse_args()
    found = [made(args.runs, name, args.images) for name in args.models]
    head = ("run", "log p, training", "log p, test", "difference", "deviation", "BDMC gap")
    hashes = {
        line.split(":")[0]
        for each in found
        for line in each.evals["test"]["protocol_lines"].values()
    }
    write_page(
        args.out,
        "# Log-likelihoods of decoders and densities",
        f"Written by `{command_line()}`, which trains and scores what is missing.",
        markdown_table((*head, "minutes of training"), [row(each) for each in found]),
        paragraph(
            f"Nats an image, mean and standard error of {args.images} images of each split of the",
            "5,000 digits: log p of pixels in [0, 1]; more is better. A decoder of noise has",
            "Gaussian pixels, with one deviation, tuned on other images for each model, and log p",
            "is a bound from below, by annealed importance sampling (`gentrain eval run=DIR",
            "ais=true`). The BDMC gap says how far from it the truth can be, on images that the",
            "model itself makes. An exact density is that of pixels with the noise of a level, so",
            "it has another observation model, and its row compares with the others roughly.",
            f"All have `{' '.join(COMMON)}`; {devices([each.run for each in found])}.",
            f"Protocols {', '.join(f'`{name}`' for name in sorted(hashes))}.",
        ),
        paragraph(
            "`ais=true` is refused for flows, whose likelihood is exact, for autoregressive",
            "models, which have no decoder of noise, and for Boltzmann machines, which",
            "`quality=ais` scores.",
        ),
    )


if __name__ == "__main__":
    main()
