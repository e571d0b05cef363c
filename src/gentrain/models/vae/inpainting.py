"""A variational autoencoder that completes images.

The encoder sees a part of an image, and the decoder explains all of it. For every mask m the
posterior may depend on the known pixels alone, and the bound holds as for any posterior:

    log p(x) >= E_q log p(x | z) - KL(q(z | m x, m) || p(z)),        z ~ q(z | m x, m)

Averaged over masks, q(z | m x, m) approaches the codes of all images with these known pixels. An
image is completed by a draw of p(x | z) of such a code z. This follows the imputation of Rezende,
Mohamed & Wierstra (2014) and the masked encoder of Ivanov, Figurnov & Vetrov ("Variational
Autoencoder with Arbitrary Conditioning", 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from gentrain.config.types import NonNegative, Whole
from gentrain.errors import UserError
from gentrain.models.base import Batch, Completes, eval_mode
from gentrain.models.flow.base import Flow
from gentrain.models.objective import Objective
from gentrain.models.vae.likelihoods import Likelihood
from gentrain.models.vae.vae import VAE
from gentrain.networks.base import Backbone, with_options
from gentrain.networks.vae import Decoder, Encoder


class MaskedEncoder(nn.Module):
    """An encoder that sees the known pixels (the others are zero), and the mask as a channel.

    Args:
        network: makes the encoder for that shape.
        shape: (C, H, W) of images.
        latent: the size of a code.
        context: further outputs of the encoder.
    """

    def __init__(
        self, network: Backbone[Encoder], shape: list[int], latent: int, context: int
    ) -> None:
        super().__init__()
        whole = with_options(network, shape=[shape[0] + 1, *shape[1:]])  # the mask is a channel
        self.network = whole(latent=latent, context=context)
        self.classes, self.context = self.network.classes, self.network.context

    def forward(
        self, v: Tensor, y: Tensor | None = None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values (B, C, H, W); `known` (B, 1, H, W) is None where all of the image is known."""
        mask = torch.ones_like(v[:, :1]) if known is None else known.to(v.dtype)
        return self.network(torch.cat([v * mask, mask], 1), y)


class InpaintingVAE(VAE, Completes):
    """A VAE trained with random masks; see `rectangles`.

    Its likelihood is that of whole images, of which the encoder sees all pixels.

    Args:
        shape: (C, H, W) of images; the other arguments are those of `VAE`.

    Raises:
        UserError: for points, of which nothing can be masked.
    """

    def __init__(
        self,
        encoder: Backbone[Encoder],
        decoder: Callable[..., Decoder],
        likelihood: Likelihood,
        shape: list[int],
        beta: NonNegative = 1.0,
        warm_up: Whole = 0,
        flow: Flow | None = None,
        mean: bool = False,
    ) -> None:
        if len(shape) != 3:
            raise UserError(
                f"there is nothing to mask in points of {shape[0]} numbers (model); "
                "choose a data set of images"
            )
        masked: Callable[..., MaskedEncoder] = partial(MaskedEncoder, encoder, shape)
        options = (likelihood, beta, warm_up, flow, mean)
        super().__init__(masked, decoder, *options)  # type: ignore[arg-type]

    def objective(self, batch: Batch) -> Objective:
        v, y = self.pixels(batch[0])[0], self.labels(batch)
        known = rectangles(len(v), v.shape[2], v.shape[3], v.device)
        objective = self.elbo(*self.bound(v, y, self.posterior(v, y, known)))
        objective.metrics["known_share"] = known.float().mean()
        return objective

    def complete(self, batch: Batch, known: Tensor, noise: Tensor | None = None) -> Tensor:
        """Draws of p(x | z) of a code z of the known pixels, or means; known pixels stay exactly.

        Args:
            batch: images in [-1, 1], with labels for a labelled model.
            known: bool, broadcast over (B, 1, H, W); True where a pixel is known.
            noise: (B, latent), multiplied by the temperature, chooses the code among those of
                q; None draws it.
        """
        with eval_mode(self):
            x, y = batch[0], self.labels(batch)
            known = known.to(x.device).expand(len(x), 1, *x.shape[2:])
            noise = self.noise(len(x), x.device) if noise is None else noise
            posterior = self.posterior(self.pixels(x)[0], y, known)
            z, _ = self.draw_code(posterior, self.temperature * noise)
            return torch.where(known, x, self.show(z, y))


def rectangles(n: int, height: int, width: int, device: torch.device) -> Tensor:
    """Random masks (n, 1, H, W), True where a pixel is known.

    Half of them hide a rectangle, and half show nothing but one. The ends of a side are uniform in
    [-1/2, 3/2] of the image and cut to it: a side is all of the image with probability 1/8, and
    nothing with probability 1/8.
    """
    inside = torch.ones(n, 1, 1, 1, dtype=torch.bool, device=device)
    for axis, size in ((2, height), (3, width)):
        ends = (torch.rand(n, 2, device=device) * 2 - 0.5).sort(1).values.view(n, 2, 1, 1, 1)
        at = ((torch.arange(size, device=device) + 0.5) / size).view(-1, *[1] * (3 - axis))
        inside = inside & (at > ends[:, 0]) & (at < ends[:, 1])
    shown = torch.rand(n, 1, 1, 1, device=device) < 0.5
    return inside == shown
