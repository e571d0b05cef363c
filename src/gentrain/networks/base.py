"""What networks have in common: a body, what is around it, and how a model builds them.

A model receives a `Backbone`: a network class with its options, still to be built. The model
builds it with its own shapes, and wraps it where it needs more than the backbone has: a label, a
second head, a second direction. So every model works with every backbone that fits its shapes.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from gentrain.config.factory import Factory
from gentrain.errors import UserError
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.layers.normalization import Norm

Backbone = Factory  # a network class with options; calling it with more options builds the network
Prior = Literal["normal", "uniform"]
# one score, one for each patch, a whole image, one for each part of a sample
HeadKind = Literal["linear", "patches", "decoder", "parts"]
NoNorm = Literal["none"]  # the `norm` of a network that has none


def with_options(backbone: Backbone[Any] | partial[Any], **options: Any) -> Backbone[Any]:
    """The same network class with more options, or others in place of the configuration's."""
    match backbone:
        case Factory():
            return backbone.replaced(**options)
    return Factory(backbone.func, **backbone.keywords | options)


class ImageMaker(nn.Module):
    """What makes images, of noise or of other images."""

    input_kind: ClassVar[str]  # what it makes images of
    conditional: ClassVar[bool] = False  # it takes labels itself: it has an option `classes`
    grows: ClassVar[bool] = False  # it grows level by level, as in a progressive GAN

    def backbones(self) -> list[nn.Module]:
        """The networks with a body: this one."""
        return [self]


class Generator(ImageMaker):
    """Noise to images: `body` maps (B, latent) to (B, *shape) in [-1, 1].

    Args:
        body: the network.
        latent: length of the noise.
        prior: distribution of the noise, N(0, 1) or U(-1, 1).
    """

    input_kind = "noise"

    def __init__(self, body: nn.Module, latent: int, prior: Prior = "normal") -> None:
        super().__init__()
        self.body, self.latent, self.prior = body, latent, prior

    def noise(self, n: int, device: torch.device | str) -> Tensor:
        """Draw (n, latent) from the prior."""
        if self.prior == "uniform":
            return torch.rand(n, self.latent, device=device) * 2 - 1
        return torch.randn(n, self.latent, device=device)

    def nearest_noise(self, z: Tensor) -> Tensor:
        """The noise nearest to z (B, latent) that the prior can draw."""
        return z.clamp(-1, 1) if self.prior == "uniform" else z

    def init_from_images(self, x: Tensor) -> None:
        """Data-dependent initialisation by a first batch of real images (B, *shape)."""

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, *shape)."""
        return self.body(z)


class Translator(ImageMaker):
    """Images to images: `body` maps (B, *source_shape) to (B, *shape) in [-1, 1].

    It has no noise of its own. It is convolutional, so images of other sizes pass.

    Args:
        body: the network.
    """

    input_kind = "images"
    fixed_size: ClassVar[bool] = False  # it sees a whole image at one scale: other sizes do not fit
    random: bool = False  # it draws random numbers when it translates, as dropout that stays on
    prior: str | None = None

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, source: Tensor) -> Tensor:
        """(B, *source_shape) -> (B, *shape)."""
        return self.body(source)


class Critic(nn.Module, LipschitzBounded):
    """Images to scores (logits): `body` maps (B, *shape) to features (B, F), `head` these to (B,).

    A head may give P scores for each sample, one for each patch of the image or each part of the
    sample. Scores are then (B * P,), those of a sample next to each other.

    Args:
        body: the network.
        features: F.
        points: samples are points, sounds or pairs with a code: what is no image.
        head: the last layer; None makes one linear layer.
        neck: what is between the features and every head, such as noise.
    """

    conditional: ClassVar[bool] = False  # it takes labels itself: it has an option `classes`
    norms: ClassVar[tuple[str, ...]] = get_args(Norm)  # of option `norm`
    head_kind: ClassVar[HeadKind] = "linear"
    grows: ClassVar[bool] = False  # it grows level by level, as in a progressive GAN
    is_energy: ClassVar[bool] = False  # scores are minus an energy, which is never negative
    source_shape: list[int] | None = None  # of the image that it sees beside each image
    summed: int = 1  # pixels that each feature is the sum of
    # (C, H, W) of the map of which the features are the values; None where they are of no map
    last_map: tuple[int, int, int] | None = None

    def __init__(
        self,
        body: nn.Module,
        features: int,
        points: bool = False,
        head: nn.Module | None = None,
        neck: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.body, self.points, self.size = body, points, features
        self.neck = neck or nn.Identity()
        self.head: Any = head or nn.Linear(features, 1)  # a trick may put more before it

    def backbones(self) -> list[nn.Module]:
        """The networks with a body: this one."""
        return [self]

    def features(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, F)."""
        return self.body(x)

    def score(self, h: Tensor) -> Tensor:
        """Features (B, F) -> scores (B,), or (B * P,)."""
        return self.head(self.neck(h)).flatten()

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> scores (B,), or (B * P,)."""
        return self.score(self.features(x))

    def init_from_batch(self, x: Tensor) -> None:
        """Data-dependent initialisation from a first batch (B, *shape); most critics have none."""

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """K of a sample's score, which is the mean over its patches."""
        return lipschitz_bound(self.body, limits) * lipschitz_bound(self.head, limits)

    @classmethod
    def with_codes(cls, backbone: Backbone[Any], latent: int, width: int | None) -> Critic | None:
        """The network's own critic D(x, z) of images with a code each; None where it has none.

        Pairs are flat, the pixels of an image and then its code.

        Args:
            backbone: this network and its options.
            latent: length of a code.
            width: units of the layers that see both; None takes the network's own number.

        Raises:
            UserError: for a width that the network does not have.
        """
        return None

    # --- what tricks change -----------------------------------------------------------------------

    def widen(self, m: int) -> None:
        """Take m samples at once: every layer that sees samples gets m times the inputs.

        Args:
            m: samples that are joined on channels, or points on coordinates.

        Raises:
            UserError: for a network that can only take one sample at a time.
        """
        for layer in self.input_layers():
            replace(self.body, layer, self.widened(layer, m))

    def input_layers(self) -> list[nn.Module]:
        """The layers of the body that see samples: here the first one.

        A network whose samples go into several layers names them all.
        """
        kinds = nn.Linear | nn.Conv1d | nn.Conv2d
        return [next(m for m in self.body.modules() if isinstance(m, kinds))]

    def widened(self, layer: Any, m: int) -> nn.Module:
        """A layer of the same kind with m times the inputs, and weights of the same scale.

        A network whose layers are more than a linear map or a convolution overrides it.
        """
        return init_like(with_inputs(layer, m), layer)

    def widened_head(self, extra: int) -> nn.Module:
        """The linear head for `extra` further features; it keeps the weights of the others."""
        head = nn.Linear(self.head.in_features + extra, self.head.out_features)
        with torch.no_grad():
            head.weight[:, : self.head.in_features] = self.head.weight
        return head


def with_inputs(layer: Any, m: int) -> Any:
    """A linear layer or a convolution as `layer`, with m times the inputs."""
    match layer:
        case nn.Linear():
            return nn.Linear(m * layer.in_features, layer.out_features, layer.bias is not None)
        case _:
            kind = nn.Conv1d if len(layer.kernel_size) == 1 else nn.Conv2d
            return kind(
                m * layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                bias=layer.bias is not None,
            )


def replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put another layer in the place of one inside a network."""
    for parent in network.modules():
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
                return


def require_source_shape(source_shape: list[int] | None) -> list[int]:
    """The shape that a translation starts from.

    Raises:
        UserError: for data without sources.
    """
    if source_shape is None:
        raise UserError(
            "this model translates images, and these data have no sources (data.degrade); "
            "e.g. data.degrade=edges"
        )
    return list(source_shape)


def require_image(shape: list[int], instead: str = "mlp") -> None:
    """Refuse points and sounds.

    Args:
        shape: of a sample.
        instead: the network that makes points.

    Raises:
        UserError: for any shape but (C, H, W).
    """
    if len(shape) != 3:
        raise UserError(
            f"this network is for images, and samples have the shape {list(shape)} "
            f"(network, data); choose network={instead}"
        )


def init_like(layer: Any, model: Any) -> nn.Module:
    """Draw weights with the standard deviation of another layer's weights; biases are zero."""
    weight = model.weight.detach()
    spread = weight.std() if weight.numel() > 1 else weight.abs().mean()  # one has no deviation
    with torch.no_grad():
        layer.weight.normal_(0, spread.item())
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def gaussian_init(network: nn.Module, sd: float = 0.02) -> nn.Module:
    """Weights of DCGAN (Radford et al., 2016): N(0, sd), gains of norms N(1, sd), biases 0."""
    for layer in network.modules():
        match layer:
            case nn.Conv2d() | nn.ConvTranspose2d() | nn.Linear():
                nn.init.normal_(layer.weight, 0, sd)
            case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.InstanceNorm2d() if layer.affine:
                nn.init.normal_(layer.weight, 1, sd)
            case nn.GroupNorm() | nn.LayerNorm() if layer.weight is not None:
                nn.init.normal_(layer.weight, 1, sd)
            case _:
                continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return network


@torch.no_grad()
def divide_weights(layer: nn.Module, summed: int) -> None:
    """Divide the weights of a layer whose inputs are sums, so that its outputs start near one.

    The authors' critics have spectral norm, which undoes it. Without it, scores would start with a
    standard deviation of 20.

    Args:
        layer: a linear layer or an embedding.
        summed: how many values each input is the sum of.
    """
    for weight in layer.parameters():
        if weight.dim() > 1:
            weight.div_(summed)
