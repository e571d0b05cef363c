"""How many random patterns a Hopfield network remembers, as a table and a picture.

    python scripts/hopfield.py --units 400 --out hopfield.png

The load is patterns / units, P / N. Patterns are stored by Hebb's rule, which is one step down the
model's own objective, and recalled from themselves. In theory 1.5 % of the units are wrong at a
load of 0.138, and above it nothing is remembered (Amit, Gutfreund & Sompolinsky, "Storing Infinite
Numbers of Patterns in a Spin-Glass Model of Neural Networks", 1985; N to infinity).

matplotlib comes with mlxtend.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from gentrain.models.energy.hopfield import Hopfield

CAPACITY = 0.138


def stored(patterns: Tensor) -> Hopfield:
    """A network that has stored patterns (P, N) in {-1, 1}."""
    model = Hopfield([1, 1, patterns.shape[1]], len(patterns))
    images = patterns.view(len(patterns), 1, 1, -1)
    model.init_from_data((images,))
    model.objective((images,)).loss.backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    return model


def share_wrong(units: int, load: float, networks: int) -> float:
    """The share of units that recall changes, from the pattern itself; the mean over networks."""
    shares = []
    for _ in range(networks):
        patterns = 2.0 * torch.randint(2, (max(1, round(load * units)), units)) - 1
        shares.append((stored(patterns).run_chain(patterns, 50) != patterns).float().mean())
    return torch.stack(shares).mean().item()


def plot(loads: list[float], errors: list[float], units: int, out: Path) -> None:
    figure, axis = plt.subplots(figsize=(5.5, 3.2))
    axis.plot(loads, errors, marker="o", label=f"{units} units, measured")
    axis.axvline(CAPACITY, color="red", label=f"capacity {CAPACITY} of an infinite network")
    axis.set_xlabel("load: patterns / units")
    axis.set_ylabel("share of wrong units after recall")
    axis.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=400, help="N")
    parser.add_argument("--networks", type=int, default=3, help="averaged at each load")
    parser.add_argument("--out", type=Path, default=Path("hopfield.png"))
    args = parser.parse_args()
    torch.manual_seed(0)
    loads = [0.02, 0.05, 0.08, 0.1, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18, 0.2, 0.25]
    errors = [share_wrong(args.units, load, args.networks) for load in loads]
    for load, error in zip(loads, errors, strict=True):
        print(f"{load:5.2f}  {error:.4f}")
    plot(loads, errors, args.units, args.out)


if __name__ == "__main__":
    main()
