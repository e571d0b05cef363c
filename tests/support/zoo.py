"""Tiny finished runs, each trained once a session, whatever the number of workers.

A test reads what it gets. One that changes a run takes a copy.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from filelock import FileLock

from tests.support.shell import SMALL, TINY, assert_fine, gentrain, signalled

FEW = ("trainer=cpu", "logger=csv", "samples.n=4", "data.batch_size=16", "steps=3")
SCORED = ("quality.images=20", "quality.importance=2", "quality.at_start=false")
NARROW = ("model.generator.width=8", "model.critic.width=8")
CODED = ("model.encoder.width=16", "model.decoder.width=16", "model.decoder.latent=4")
PAIRED = (
    *SMALL, "samples.n=4", "data.batch_size=8", "steps=2", "callbacks.paired.images=20",
)  # fmt: skip
SHALLOW = (*NARROW, "model.critic.depth=1")
TRANSLATORS = (
    *SMALL, "samples.n=4", "samples.every=0", "model.critic.width=4",
    "model.generator.width=4", "model.generator.blocks=1", "steps=1",
    "data.batch_size=4", "schedule=constant",
)  # fmt: skip
# with an average, old fakes and old weights, which a resumed run must have again
STEPS = 60
LONG = (
    "model=dcgan", "tricks=[ema,replay,historical_averaging]", "checkpoint.every=5",
    "samples.every=0", *TINY, f"steps={STEPS}",
)  # fmt: skip
CLASSIFIER = (
    "quality=classifier", "quality.samples=200", "quality.features.updates=20",
    "quality.at_start=false",
)  # fmt: skip
RUNS = {
    # games
    "gan": (
        "model=dcgan", "model.generator.prior=normal", *NARROW, "tricks=[ema]", *CLASSIFIER, *FEW,
    ),
    "cgan": (
        "model=cgan", "network=dcgan", "quality=none",
        "model.generator.width=8", "model.critic.width=8", *FEW,
    ),
    "noise": ("model=dcgan", *NARROW, *PAIRED[:-1]),
    "long": LONG,
    # densities
    "vae": ("model=vae", *CODED, *FEW, *SCORED),
    "inpainting": ("model=vae_inpainting", *CODED, *FEW, *SCORED),
    "m2": ("model=semi_supervised_vae", *CODED, "data.labelled=20", *FEW, *SCORED),
    "maf": (
        "model=maf", "model.flow.layers=1", "data.size=8", "samples.every=0", "quality=none", *FEW,
    ),
    "rbm": (
        "model=rbm", "model.hidden=5", "data.size=8", "model.steps=5", "samples.every=0",
        "quality.images=30", *FEW,
    ),
    "pixelcnn": (
        "model=gated_pixelcnn", "model.network.width=4", "model.network.depth=1",
        "model.conditional=true", "data.size=8", "quality=none", *FEW,
    ),
    # translations
    "edges": ("model=pix2pix", *SHALLOW, "tricks=[ema]", *PAIRED),
    "colours": ("model=unet", "data=digit_colours", "model.network.width=8", *PAIRED),
    "larger": ("model=srresnet", "model.network.width=8", "model.network.blocks=1", *PAIRED),
    "holes": ("model=inpainting", *NARROW, "model.generator.bottleneck=16", *PAIRED),
    "residual": (
        "model=pix2pix", *SHALLOW, "network=resnet_translator", "model.generator.blocks=1", *PAIRED,
    ),
    "cyclegan": ("model=cyclegan", *TRANSLATORS),
    "stargan": ("model=stargan", *TRANSLATORS),
}  # fmt: skip


class Zoo:
    def __init__(self, place: Path, env: dict[str, str]) -> None:
        self.place, self.env = place, env

    def __call__(self, name: str) -> Path:
        """The directory of a finished run; not to be changed."""
        return self.made(name, RUNS[name])

    def made(self, name: str, words: tuple[str, ...], stopped_at: int = 0) -> Path:
        """A run of a command, finished, or stopped by SIGTERM after a step."""
        run_dir = self.place / name
        self.place.mkdir(exist_ok=True)
        with FileLock(self.place / f"{name}.lock"):
            if not (self.place / f"{name}.made").exists():
                shutil.rmtree(run_dir, ignore_errors=True)
                if stopped_at:
                    status, stderr = signalled(
                        self.place, self.env, run_dir, stopped_at, signal.SIGTERM, *words
                    )
                    assert status == 143, stderr
                else:
                    assert_fine(gentrain(self.place, self.env, *words, f"hydra.run.dir={run_dir}"))
                (self.place / f"{name}.made").touch()
        return run_dir

    def with_runs(self, *names: str) -> Path:
        """The folder that holds finished runs."""
        for name in names:
            self(name)
        return self.place

    def stopped(self) -> Path:
        """The run `long`, stopped at its fifteenth step."""
        return self.made("stopped", LONG, stopped_at=15)

    def copy(self, name: str, to: Path) -> Path:
        """A run that may be changed."""
        return Path(shutil.copytree(self.stopped() if name == "stopped" else self(name), to))
