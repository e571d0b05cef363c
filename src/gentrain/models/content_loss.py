"""Content losses: how far a translated image is from its target, one number for two batches.

Images are (B, C, H, W) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from gentrain.errors import UserError
from gentrain.runs.checkpoints import load

Content = Callable[[Tensor, Tensor], Tensor]  # (translated, targets) -> a scalar

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for pixels in [0, 1]


def l1(made: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference; the best answer is the median of the possible targets.

    >>> l1(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5))
    tensor(0.5000)
    """
    return (made - target).abs().mean()


def l2(made: Tensor, target: Tensor) -> Tensor:
    """The mean squared difference; the best answer is the mean of the possible targets.

    >>> l2(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5))
    tensor(0.2500)
    """
    return (made - target).square().mean()


class Perceptual:
    """The squared distance of VGG-19 features (Ledig et al., "Photo-Realistic Single Image
    Super-Resolution Using a Generative Adversarial Network", 2017).

    The features are phi_5,4: those of the fourth convolution after the fourth pooling, rectified.
    They are divided by 12.75, so that the number has the scale of a squared pixel difference. Grey
    images are repeated to three channels. The VGG weights are not part of a checkpoint.

    Args:
        weights: a file with torchvision's vgg19 weights; nothing is downloaded.

    Raises:
        UserError: for a missing file, or one without these weights.
    """

    LAST = 36  # layers of torchvision's vgg19.features: up to the ReLU after conv5_4

    def __init__(self, weights: str) -> None:
        network = load_vgg19(Path(weights).expanduser())
        self.network = network[: self.LAST].eval().requires_grad_(False)

    def __call__(self, made: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(target)
        return l2(self.features(made), wanted)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, 512, H // 16, W // 16)."""
        if min(x.shape[2:]) < 16:
            raise UserError(
                f"images of {x.shape[2]} x {x.shape[3]} pixels leave VGG nothing after four "
                "poolings (content, data.size); take content=l2"
            )
        self.network.to(x.device)
        mean, sd = (torch.tensor(values, device=x.device)[:, None, None] for values in (MEAN, SD))
        return self.network(((x.expand(-1, 3, -1, -1) + 1) / 2 - mean) / sd) / 12.75


def load_vgg19(path: Path) -> nn.Sequential:
    """The convolutional part of VGG-19 with weights from a file of torchvision's.

    Raises:
        UserError: for a missing file, or one without these weights.
    """
    # slow to import, and needed by few runs
    from torchvision.models import vgg19

    if not path.is_file():
        raise UserError(
            f"no weights of VGG-19 in {path} (content.weights); "
            "give torchvision's vgg19-*.pth, or choose content=l2"
        )
    prefix = "features."
    try:
        saved = load(path)
        weights = {
            name.removeprefix(prefix): value
            for name, value in saved.items()
            if name.startswith(prefix)
        }
        with torch.device("meta"):
            network = vgg19().features
        network.load_state_dict(weights, assign=True)
    except (RuntimeError, AttributeError, EOFError, UserError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path} holds no weights of VGG-19: {reason} (content.weights); give another file"
        ) from error
    return network
