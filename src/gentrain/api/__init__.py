"""The Python API: train, open and use runs from a script or a notebook.

    import gentrain

    run = gentrain.train("model=wgan_gp", "data=mnist_5k", "steps=1000")
    images = run.sample(64, seed=0)          # (64, 1, 28, 28) in [-1, 1]
    run = gentrain.load("outputs/wgan_gp-mnist_5k/...")

The words of `train` are those of the command line. A mistake raises `gentrain.UserError`, whose
text is the line that the command would print.
"""

from __future__ import annotations

from gentrain.api.demonstrations import demo
from gentrain.api.opening import from_pretrained, load, train
from gentrain.api.run import Run

__all__ = ["Run", "demo", "from_pretrained", "load", "train"]
