"""What the players of every game have in common: a body, and one thing around it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gentrain.errors import UserError

Prior = Literal["normal", "uniform"]


class Generator(nn.Module):
    """Noise to images: `body`, (B, latent) -> (B, *shape) in [-1, 1]."""

    def __init__(self, body: nn.Module, latent: int, prior: Prior = "normal") -> None:
        super().__init__()
        self.body, self.latent, self.prior = body, latent, prior

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """(n, latent) from N(0, 1), or from U(-1, 1)."""
        if self.prior == "uniform":
            return torch.rand(n, self.latent, device=device) * 2 - 1
        return torch.randn(n, self.latent, device=device)

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z)


class Translator(nn.Module):
    """Images to images: `body`, (B, *source_shape) -> (B, *shape) in [-1, 1]. It has no noise of its own.

    It is convolutional, so pictures of other sizes pass. One that sees `whole` pictures at once, at a scale, is not meant for them.
    """

    whole: ClassVar[bool] = False

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, source: Tensor) -> Tensor:
        return self.body(source)


class Critic(nn.Module):
    """Images to scores (logits): `body`, (B, *shape) -> features (B, F), then `head`, one linear layer -> (B,).

    A head may give P scores a sample, one for each patch of the image; scores are then (B * P,), a sample's next to each other.
    """

    critic_input: ClassVar[str] = "images"
    source_shape: list[int] | None = None  # of what it is given beside each image

    def __init__(
        self, body: nn.Module, features: int, points: bool = False, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.body, self.points, self.size = body, points, features
        self.head: Any = head or nn.Linear(features, 1)  # a trick may put more before it

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def score(self, h: Tensor) -> Tensor:
        """Features (B, F) -> scores (B,), or (B * P,)."""
        return self.head(h).flatten()

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.features(x))

    def widen(self, m: int) -> None:
        """Take m samples at once: a new first layer with m times the inputs, of the same kind and scale of weights."""
        for parent in self.body.modules():
            for name, layer in parent.named_children():
                if isinstance(layer, nn.Linear):
                    setattr(
                        parent,
                        name,
                        init_like(nn.Linear(m * layer.in_features, layer.out_features), layer),
                    )
                    return
                if isinstance(layer, nn.Conv2d):
                    geometry: dict[str, Any] = {
                        key: getattr(layer, key) for key in ("kernel_size", "stride", "padding")
                    }
                    wider = nn.Conv2d(
                        m * layer.in_channels,
                        layer.out_channels,
                        bias=layer.bias is not None,
                        **geometry,
                    )
                    setattr(parent, name, init_like(wider, layer))
                    return
        raise TypeError(f"{type(self).__name__} has no first layer to widen")


def require_source_shape(source_shape: list[int] | None) -> list[int]:
    """What a translation starts from, or a refusal of data that have nothing of the kind."""
    if source_shape is None:
        raise UserError(
            "this model translates images, and these data have no sources (data.degrade); e.g. data.degrade=edges"
        )
    return list(source_shape)


def init_like(layer: nn.Linear | nn.Conv2d, model: nn.Linear | nn.Conv2d) -> nn.Module:
    """Weights of the standard deviation of another layer's."""
    with torch.no_grad():
        layer.weight.normal_(0, model.weight.std().item())
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def gaussian_init(network: nn.Module, sd: float = 0.02) -> nn.Module:
    """Weights of DCGAN (Radford et al., 2016): N(0, 0.02), gains of norms N(1, 0.02), biases 0."""
    layer: Any
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0, sd)
        elif "Norm" in type(layer).__name__ and getattr(layer, "weight", None) is not None:
            nn.init.normal_(layer.weight, 1, sd)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return network


def stages(side: int, smallest: int = 7) -> tuple[int, int]:
    """(side of the smallest map, how many halvings lead there): 28 -> (7, 2), 32 -> (4, 3), 64 -> (4, 4), 128 -> (4, 5)."""
    halvings = 0
    while side > smallest and side % 2 == 0:
        side, halvings = side // 2, halvings + 1
    return side, halvings
