"""A variational autoencoder that completes images: its encoder sees a part of an image, its decoder explains the whole.

For every mask m the posterior may look at the known pixels alone, and the bound holds as it does for any posterior:

    log p(x) >= E_q log p(x | z) - KL(q(z | m x, m) || p(z)),      z ~ q(z | m x, m)

Averaged over masks, q(z | m x, m) comes nearest to the codes of all images that have these known pixels; an image is completed by the
decoder's means of such a code, and the known pixels stay as they are. After the missing-data imputation of Rezende, Mohamed & Wierstra
(2014) and the masked encoders of Ivanov, Figurnov & Vetrov (2019, "Variational autoencoder with arbitrary conditioning").
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from gentrain.config.types import NonNegative, Whole
from gentrain.errors import UserError
from gentrain.models.base import Batch, eval_mode
from gentrain.models.flow.base import Flow
from gentrain.models.objective import Objective
from gentrain.models.vae.likelihoods import Likelihood
from gentrain.models.vae.vae import VAE, Encoded
from gentrain.networks.coding import Decoder, Encoder


class MaskedEncoder(nn.Module):
    """An encoder of the known pixels, the others being zero, and of the mask as one more channel. `network` makes it for that shape."""

    def __init__(
        self, network: Callable[..., Encoder], shape: list[int], latent: int, context: int
    ) -> None:
        super().__init__()
        self.network = network(shape=[shape[0] + 1, *shape[1:]], latent=latent, context=context)
        self.classes, self.context = self.network.classes, self.network.context

    def forward(self, v: Tensor, y: Tensor | None = None, known: Tensor | None = None) -> Encoded:
        """`known`, (B, 1, H, W), is all of the image where it is not given."""
        mask = torch.ones_like(v[:, :1]) if known is None else known.to(v.dtype)
        return self.network(torch.cat([v * mask, mask], 1), y)


class InpaintingVAE(VAE):
    """A VAE that was trained under masks: see `rectangles`. Its likelihood is that of whole images, all of them known to the encoder."""

    def __init__(
        self,
        encoder: Callable[..., Encoder],
        decoder: Callable[..., Decoder],
        likelihood: Likelihood,
        shape: list[int],
        beta: NonNegative = 1.0,
        warm_up: Whole = 0,
        flow: Flow | None = None,
    ) -> None:
        if len(shape) != 3:
            raise UserError(
                f"there is nothing to mask in points of {shape[0]} numbers (model); choose a data set of images"
            )
        super().__init__(
            partial(MaskedEncoder, encoder, shape), decoder, likelihood, beta, warm_up, flow
        )  # type: ignore[arg-type]

    def objective(self, batch: Batch) -> Objective:
        v, y = self.pixels(batch[0])[0], self.label(batch)
        known = rectangles(len(v), v.shape[2], v.shape[3], v.device)
        objective = self.named(*self.bound(v, y, self.encoded(v, y, known)))
        objective.metrics["known_share"] = known.float().mean()
        return objective

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """The decoder's means of a code of the known pixels; `noise`, (B, latent), chooses the code among those that q gives."""
        with eval_mode(self):
            x, y = batch[0], self.label(batch)
            known = known.to(x.device).expand(len(x), 1, *x.shape[2:])
            z, _ = self.posterior(self.encoded(self.pixels(x)[0], y, known), noise)
            return torch.where(known, x, self.decoded(z, y))


def rectangles(n: int, height: int, width: int, device: torch.device) -> Tensor:
    """Masks (n, 1, H, W), true where a pixel is known. Half of them hide a rectangle, the others show nothing but one.

    A side's ends are uniform in [-1/2, 3/2] of the image and cut to it: all of it with probability 1/8, nothing with 1/8.
    """
    inside = torch.ones(n, 1, 1, 1, dtype=torch.bool, device=device)
    for axis, size in ((2, height), (3, width)):
        ends = (torch.rand(n, 2, device=device) * 2 - 0.5).sort(1).values.view(n, 2, 1, 1, 1)
        at = ((torch.arange(size, device=device) + 0.5) / size).view(-1, *[1] * (3 - axis))
        inside = inside & (at > ends[:, 0]) & (at < ends[:, 1])
    shown = torch.rand(n, 1, 1, 1, device=device) < 0.5
    return inside == shown
