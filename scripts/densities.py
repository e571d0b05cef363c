"""Draw densities in the plane: a row for each data set, the data first, then each model.

The density of a flow is exact. That of an energy is normalised by its sum over a grid.

    options='pixels=real steps=3000 data.batch_size=256 schedule=cosine samples.every=0'
    for data in two_moons checkerboard rings; do for model in planar realnvp_points maf iaf; do
        gentrain model=$model data=$data $options scheme.optimizers.model.lr=2e-3 \
            hydra.run.dir=outputs/gallery/$model-$data
    done; done   # and for maf: model.flow.width=64 model.flow.batch_norm=false
    python scripts/densities.py outputs/gallery --out docs/gallery-flows.png

    for data in two_moons checkerboard rings; do
        gentrain model=ebm experiment=plane data=$data hydra.run.dir=outputs/gallery/ebm-$data
    done
    for data in gaussian_ring gaussian_grid; do
        gentrain model=ebm experiment=tempering data=$data hydra.run.dir=outputs/gallery/ebm-$data
    done
    python scripts/densities.py outputs/gallery --models ebm --out docs/gallery-energies.png \
        --data two_moons checkerboard rings gaussian_ring gaussian_grid

matplotlib comes with mlxtend.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from hydra.core.utils import setup_globals
from torch import Tensor

from gentrain.commands.sample.energy_modes import density_on_grid
from gentrain.runs.reopen import OpenedRun, reopen

FLOWS = ("planar", "realnvp_points", "maf", "iaf")
SQUARE = (-1.0, 1.0, -1.0, 1.0)


def figure(runs: Path, datasets: list[str], models: list[str], out: Path) -> None:
    """Draw the table of densities to a file."""
    size = (2.2 * (1 + len(models)), 2.35 * len(datasets))
    fig, axes = plt.subplots(len(datasets), 1 + len(models), figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for row, name in zip(axes, datasets, strict=True):
        row[0].set_ylabel(name.replace("_", " "))
        for axis, model in zip(row[1:], models, strict=True):
            run = reopen(runs / f"{model}-{name}")
            nats = draw_density(axis, run)
            print(f"{model} {name}: {nats:.3f} nats on the test points, step {run.step}")
        points = run.data.load("train").images
        counts = torch.histogramdd(points, bins=[128, 128], range=list(SQUARE)).hist
        show(row[0], counts)
    for axis, title in zip(axes[0], ("truth", *models), strict=True):
        axis.set_title(title, fontsize=10)
    fig.tight_layout(pad=0.4)
    fig.savefig(out, dpi=110)


def draw_density(axis: Any, run: OpenedRun) -> float:
    """Draw the density of a run's model, and write its test score below.

    Returns:
        The mean of -log p over the test points, in nats.
    """
    model = run.model.eval()
    p, _, log_z = density_on_grid(model, torch.device("cpu"))
    show(axis, p)
    test = run.data.load("test").images
    with torch.no_grad():
        if log_z is None:
            minus_log_p = -model.log_likelihood((test,), 1)
        else:
            minus_log_p = model.energy(model.values(test)) + log_z
    nats = minus_log_p.double().mean().item()
    axis.set_xlabel(f"{nats:.2f} nats, {run.step:,} steps", fontsize=8, labelpad=2)
    return nats


def show(axis: Any, density: Tensor) -> None:
    """Draw the square root of a density, so that faint parts can be seen."""
    axis.imshow(density.sqrt().T.flip(0), cmap="magma", extent=SQUARE)


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
