"""Write docs/results/likelihood.md: log p of all families, of training and test images.

    python scripts/likelihood_table.py outputs/likelihood [--models vae gan]

It trains and scores what is missing in the folder, one small run after the other. All numbers are
log densities of grey pixels in [0, 1], of the same images. A decoder of noise is scored by annealed
importance sampling with Gaussian pixels (Wu, Burda, Salakhutdinov & Grosse, 2017). The others have
a probability of 8-bit pixels, or a bound of it, log P(x), and log P(x) + D log 256 is the density
of pixels with the noise of a level.
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
    exit_code,
    has_ended,
    paragraph,
    record,
    write_page,
)

import gentrain
from gentrain.tables import markdown_table

COMMON = (
    "data=mnist_5k",
    "data.validation=0.1",
    "quality=none",
    "samples.every=0",
    "trainer=cpu",
    "logger=csv",
    "seed=0",
)
SPLITS = ("train", "test")
GAN = (
    "network=mlp",
    "model.generator.norm=batch",
    "model.generator.width=256",
    "model.critic.width=256",
    "model.generator.latent=10",
)
VAE = (
    "network=vae_mlp",
    "model.encoder.width=256",
    "model.decoder.width=256",
    "model.decoder.latent=10",
)
DCGAN = (
    "model.generator.width=8",
    "model.critic.width=8",
    "model.generator.latent=10",
    "data.batch_size=64",
)
MAF = ("model.flow.layers=2", "model.flow.depth=1", "model.flow.width=784")
PIXELCNN = ("pixels=levels", "model.network.width=16", "model.network.depth=4")
# how each kind is scored
DECODER = ("quality=decoder_ais", "quality.chains=2", "quality.temperatures=400")
DENSITY: tuple[str, ...] = ()
ENERGY = ("quality=ais",)


class Entry(NamedTuple):
    """What is trained, and how it is scored."""

    words: tuple[str, ...]
    how: tuple[str, ...]


MODELS = {
    "vae": Entry((*VAE, "steps=3000"), DECODER),
    "beta_vae": Entry((*VAE, "steps=3000"), DECODER),
    "gan": Entry((*GAN, "steps=3000"), DECODER),
    "wgan_gp": Entry((*GAN, "steps=1000"), DECODER),
    "dcgan": Entry((*DCGAN, "steps=1500"), DECODER),
    "realnvp": Entry(("model.flow.width=8", "steps=200"), DENSITY),
    "maf": Entry((*MAF, "steps=500"), DENSITY),
    "gated_pixelcnn": Entry((*PIXELCNN, "steps=250"), DENSITY),
    "rbm": Entry(
        ("visible=gaussian", "scheme.optimizers.model.lr=1e-3", "steps=3000"),
        ENERGY,
    ),
}
# Table 2 of Wu et al.: training and test images, BDMC gap
PAPER = (
    ("VAE-10", "780.2 ± 19.1", "705.4 ± 7.4", "0.8"),
    ("GAN-10", "318.9 ± 22.5", "328.8 ± 5.5", "0.9"),
    ("GMMN-10", "345.2 ± 19.9", "346.7 ± 5.9", "0.6"),
    ("VAE-50", "1,272.6 ± 6.8", "991.4 ± 6.5", "1.5"),
    ("GAN-50", "620.5 ± 31.0", "627.3 ± 8.8", "10.0"),
    ("GMMN-50", "571.8 ± 30.9", "593.5 ± 8.6", "1.1"),
)
SAME = ("data", "images", "seed", "dimensions")  # of the protocols of all rows


class Scored(NamedTuple):
    """A run, and the record of `gentrain eval` for each split."""

    run: Record
    evals: dict[str, dict[str, Any]]

    @property
    def is_decoder(self) -> bool:
        return "quality/nats_gaussian" in self.evals["test"]["scores"]

    def protocol(self, split: str) -> dict[str, Any]:
        """How a split was scored."""
        found: dict[str, Any] = self.evals[split]["protocols"]["quality"]
        return found

    def log_p(self, split: str) -> tuple[float, float]:
        """The mean of log p of pixels in [0, 1], and its standard error."""
        scores = self.evals[split]["scores"]
        if self.is_decoder:
            return -scores["quality/nats_gaussian"], scores["quality/nats_gaussian_error"]
        of_levels = self.protocol(split)["dimensions"] * math.log(256)
        return of_levels - scores["quality/nats"], scores["quality/nats_error"]

    def images(self, split: str) -> tuple[Any, ...]:
        """Which images of a split were scored."""
        about = self.protocol(split)
        return tuple(about[key] for key in (*SAME, "split", "digest"))


def made(folder: Path, name: str, images: int) -> Scored:
    """A run and its scores, trained and scored where they are missing."""
    place, entry = folder / name, MODELS[name]
    if not has_ended(place):
        words = (f"model={name}", *entry.words, *COMMON)
        gentrain.train(*words, f"hydra.run.dir={place}", "resume=auto")
    evals: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        file = place / f"log_p-{split}.json"
        words = (f"run={place}", f"split={split}", f"n={images}", f"out={file}", *entry.how)
        for other in evals.values() if entry.how == DECODER else ():  # one deviation for all
            words = (*words, f"quality.deviation={other['scores']['quality/deviation']}")
        if not file.exists():
            subprocess.run([sys.executable, "-m", "gentrain", "eval", *words], check=True)
        evals[split] = json.loads(file.read_text("utf-8"))
    return Scored(record(place), evals)


def row(scored: Scored) -> list[str]:
    """Training and test side by side."""
    run = scored.run
    pairs = [scored.log_p(split) for split in SPLITS]
    texts = [f"{mean:,.0f} ± {error:.0f}" for mean, error in pairs]
    options = " ".join(f"`{word}`" for word in MODELS[run.word("model")].words)
    all_scores = [scored.evals[split]["scores"] for split in SPLITS]
    deviation = f"{all_scores[0]['quality/deviation']:.3f}" if scored.is_decoder else ""
    gap = f"{all_scores[0]['quality/nats_gap']:.1f}" if scored.is_decoder else ""
    return [
        f"`model={run.word('model')}` {options}",
        *texts,
        f"{pairs[0][0] - pairs[1][0]:+.0f} ± {math.hypot(pairs[0][1], pairs[1][1]):.0f}",
        scored.protocol("test")["likelihood"].split(", Gaussian")[0],
        deviation,
        gap,
        f"{run.minutes:.1f}",
    ]


HEAD = (
    "run", "log p, training", "log p, test", "difference", "how", "deviation", "BDMC gap",
    "minutes",
)  # fmt: skip


def check_images(found: list[Scored]) -> None:
    """Stop where two rows are of other images: they would not compare."""
    for split in SPLITS:
        if len({each.images(split) for each in found}) > 1:
            sys.exit(f"rows of other {split} images; score them again (remove log_p-*.json)")


def text(found: list[Scored], images: int) -> str:
    """What the numbers are, and how they were measured."""
    lines = [each.evals["test"]["protocol_lines"].values() for each in found]
    hashes = sorted({f"`{line.split(':')[0]}`" for each in lines for line in each})
    return paragraph(
        f"Nats an image, mean and standard error of {images} images of each split of the 5,000",
        "digits, the same ones for all rows: log p of grey pixels in [0, 1]; more is better, and",
        "training minus test shows what was learned by heart. A decoder of noise has Gaussian",
        "pixels around its image, with one deviation, tuned on validation images for each model,",
        "and log p is a bound from below on average, by annealed importance sampling",
        "(quality=decoder_ais). The BDMC gap says by how much the bound may be too low, on images",
        "that the model itself makes. All others have probabilities of 8-bit pixels, exact or by",
        "uniform noise within a level, and log Z of rbm is annealed: log P + 784 log 256 is a",
        "density of the same pixels. Flows and gated_pixelcnn can be sure of black pixels, and a",
        "Gaussian with one deviation for all pixels cannot (rbm has one, too, of 0.15, given its",
        "hidden units): most of the distance between them is that. So compare the two kinds among",
        "themselves.",
        f"These are early runs: minutes of one busy core. All have `{' '.join(COMMON)}`;",
        f"{devices([each.run for each in found])}. Protocols of the test scores:",
        f"{', '.join(hashes)}.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, help="the folder of the runs")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--images", type=int, default=100, help="scored, of each split")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/likelihood.md")
    args = parser.parse_args()
    found = [made(args.runs, name, args.images) for name in args.models]
    check_images(found)
    write_page(
        args.out,
        "# Log-likelihoods of all families",
        paragraph(f"Written by `{command_line()}`, which trains and scores what is missing."),
        markdown_table(HEAD, [row(each) for each in found]),
        text(found, args.images),
        "## What the paper has",
        paragraph(
            "Wu, Burda, Salakhutdinov & Grosse (2017), Table 2 (read): 100 training and 1,000 test",
            "images of the whole MNIST, decoders of 10 or 50 numbers of noise, trained by their",
            "objective with Gaussian pixels, 16 chains of 10,000 temperatures. Ours are trained on",
            "4,050 digits for minutes, and `vae` and `beta_vae` with black and white pixels.",
        ),
        markdown_table(("", "log p, training", "log p, test", "BDMC gap"), PAPER),
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
