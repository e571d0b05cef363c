"""How far a translation is from the image that it should have been: one number of two batches of images in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gentrain.errors import UserError

Content = Callable[[Tensor, Tensor], Tensor]
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]


def l1(made: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference; the median of what is possible is best."""
    return (made - target).abs().mean()


def l2(made: Tensor, target: Tensor) -> Tensor:
    """The mean squared difference; the mean of what is possible is best."""
    return (made - target).square().mean()


def absolute() -> Any:
    return l1


def squared() -> Any:
    return l2


class Perceptual:
    """The squared distance of features of VGG-19, phi_5,4: the fourth convolution after the fourth pooling, rectified (Ledig et al., 2017).

    `weights` is a file with torchvision's vgg19 weights; nothing is downloaded. Features are divided by 12.75, so that the number is of
    the size of a squared difference of pixels. Grey images are repeated. The weights are no part of a checkpoint.
    """

    LAST = 36  # layers of torchvision's vgg19.features: up to the rectifier after conv5_4

    def __init__(self, weights: str) -> None:
        self.network = vgg(Path(weights).expanduser())[: self.LAST].eval().requires_grad_(False)

    def __call__(self, made: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(target)
        return l2(self.features(made), wanted)

    def features(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < 16:
            raise UserError(
                f"images of {x.shape[2]} pixels leave VGG nothing after four poolings (content, data.size); take content=l2"
            )
        self.network.to(x.device)
        mean, sd = (torch.tensor(values, device=x.device)[:, None, None] for values in (MEAN, SD))
        return self.network(((x.expand(-1, 3, -1, -1) + 1) / 2 - mean) / sd) / 12.75


def vgg(path: Path) -> nn.Sequential:
    """The features of VGG-19. Raises UserError for a file that is not there, or is another's."""
    from torchvision.models import vgg19

    from gentrain.runs.checkpoints import load

    if not path.is_file():
        raise UserError(
            f"no weights of VGG-19 in {path} (content.weights); give torchvision's vgg19-*.pth, or choose content=l2"
        )
    try:
        saved = load(path)
        weights = {
            name.removeprefix("features."): value
            for name, value in saved.items()
            if name.startswith("features.")
        }
        with torch.device("meta"):
            network = vgg19().features
        network.load_state_dict(weights, assign=True)
    except (RuntimeError, AttributeError, EOFError, UserError) as error:
        raise UserError(
            f"{path} holds no weights of VGG-19: {' '.join(str(error).split())[:120]} (content.weights); give another"
        ) from error
    return network
