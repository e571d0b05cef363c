"""A trick: consistency regularization.

Zhang, Zhang, Odena & Lee, "Consistency regularization for generative adversarial networks", 2020.
The critic shall give an image the score of a copy that is mirrored and moved by a few pixels:

    weight * mean (D(x) - D(T(x)))^2

    gentrain model=sngan 'tricks=[consistency]' plugins=consistency --config-dir conf
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.adversarial.regularizer import CriticFunction, Regularizer
from gentrain.config.types import NonNegative, Whole
from gentrain.errors import UserError


class Consistency(Regularizer):
    """weight * mean (D(x) - D(T(x)))^2 of real images x, and copies T(x) of them.

    Args:
        weight: weight of the term.
        shift: T moves an image by at most so many pixels.
        flip: T mirrors half of the images. Letters and digits should not be mirrored.
    """

    def __init__(self, weight: NonNegative = 10.0, shift: Whole = 4, flip: bool = False) -> None:
        super().__init__()
        self.weight, self.shift, self.flip = weight, shift, flip

    def critic_term(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        # a term is logged under the name of the trick: critic/consistency
        return self.weight * (critic(real) - critic(self.moved(real))).square().mean()

    def moved(self, x: Tensor) -> Tensor:
        """Copies of images (B, C, H, W), each moved by its own number of pixels."""
        if x.ndim != 4:
            raise UserError(
                "points cannot be moved by pixels (tricks=[consistency]); leave the trick out"
            )
        n, _, height, width = x.shape
        down, right = torch.randint(2 * self.shift + 1, (2, n, 1), device=x.device)
        rows = torch.arange(height, device=x.device) + down  # (B, H) of the padded image
        columns = torch.arange(width, device=x.device) + right
        padded = F.pad(x, (self.shift,) * 4, mode="replicate")
        image = torch.arange(n, device=x.device)[:, None, None]
        copies = padded.movedim(1, 3)[image, rows[:, :, None], columns[:, None]].movedim(3, 1)
        if not self.flip:
            return copies
        mirrored = torch.rand(n, 1, 1, 1, device=x.device) < 0.5
        return torch.where(mirrored, copies.flip(3), copies)
