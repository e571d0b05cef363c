"""Densities in the plane, a row for each data set, the data first: exact ones of flows, and of energies by their sum over a grid.

    for data in two_moons checkerboard rings; do for model in planar realnvp maf iaf; do
        gentrain model=$model data=$data pixels=real steps=3000 data.batch_size=256 schedule=cosine scheme.optimizers.model.lr=2e-3 \
            samples.every=0 hydra.run.dir=outputs/gallery/$model-$data      # maf: model.flow.width=64 model.flow.depth=2
    done; done
    python scripts/gallery.py outputs/gallery --out docs/gallery-flows.png

    for data in two_moons checkerboard rings; do
        gentrain model=ebm experiment=plane data=$data hydra.run.dir=outputs/gallery/ebm-$data
    done
    for data in gaussian_ring gaussian_grid; do
        gentrain model=ebm experiment=plane data=$data model.k=50 scheme.optimizers.model.lr=3e-4 hydra.run.dir=outputs/gallery/ebm-$data
    done
    python scripts/gallery.py outputs/gallery --models ebm --data two_moons checkerboard rings gaussian_ring gaussian_grid \
        --out docs/gallery-energies.png

(matplotlib comes with mlxtend.)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from hydra.core.utils import setup_globals

from gentrain.commands.sample.latent_modes import density_on_grid
from gentrain.runs.reopen import reopen

FLOWS = ("planar", "realnvp", "maf", "iaf")


def figure(runs: Path, rows: list[str], models: list[str], out: Path) -> None:
    size = (2.2 * (1 + len(models)), 2.35 * len(rows))
    fig, axes = plt.subplots(len(rows), 1 + len(models), figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([]), axis.set_yticks([])
    for row, name in zip(axes, rows, strict=True):
        row[0].set_ylabel(name.replace("_", " "))
        for axis, model in zip(row[1:], models, strict=True):
            run = reopen(runs / f"{model}-{name}")
            density, points = run.model.eval(), run.data.load("train").images
            p, _, log_z = density_on_grid(density, torch.device("cpu"))
            axis.imshow(p.sqrt().T.flip(0), cmap="magma", extent=(-1, 1, -1, 1))
            test = run.data.load("test").images
            with torch.no_grad():
                minus = (
                    -density.log_likelihood((test,), 1)
                    if log_z is None
                    else density.energy(density.values(test)) + log_z
                )
            nats = minus.double().mean().item()
            axis.set_xlabel(
                f"{nats:.2f} nats, {run.step:,} steps", fontsize=8, labelpad=2
            )
            print(
                f"{model} {name}: {nats:.3f} nats on {len(test)} test points, step {run.step}"
            )
        counts = torch.histogramdd(points, bins=[128, 128], range=[-1.0, 1.0, -1.0, 1.0]).hist
        row[0].imshow(counts.sqrt().T.flip(0), cmap="magma", extent=(-1, 1, -1, 1))
    for axis, title in zip(axes[0], ("truth", *models), strict=True):
        axis.set_title(title, fontsize=10)
    fig.tight_layout(pad=0.4)
    fig.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="a directory of run directories, MODEL-DATA")
    parser.add_argument("--data", nargs="+", default=["two_moons", "checkerboard", "rings"])
    parser.add_argument("--models", nargs="+", default=list(FLOWS))
    parser.add_argument("--out", type=Path, default=Path("docs/gallery-flows.png"))
    args = parser.parse_args()
    setup_globals()  # the resolvers in a run's configuration
    figure(args.runs, args.data, args.models, args.out)


if __name__ == "__main__":
    main()
