"""The means of a VAE beside the samples of a GAN whose generator is the same network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.lipschitz import Unconstrained
from gentrain.adversarial.losses import js
from gentrain.commands.demo.base import Demo, Finding, Row, Shown, figure, seeded
from gentrain.commands.demo.training import batches, digits, fit, play
from gentrain.config.types import Count
from gentrain.models.gan.gan import GAN
from gentrain.models.vae.likelihoods import Gaussian
from gentrain.models.vae.vae import VAE
from gentrain.networks import dcgan
from gentrain.networks.base import Backbone
from gentrain.networks.vae import Decoder, MLPEncoder

SHAPE = [1, 14, 14]
IMAGES = 500  # that are measured


class BlurredMeans(Demo):
    """Both models learn digits of 14 x 14 pixels for as many steps; their decoders are equal.

    Args:
        steps: updates of each.
        width: channels of the decoder and of the critic.
        latent: size of a code.
        seed: of weights, batches and codes.
    """

    title = "Blurred means, sharp samples"
    claim = (
        "A VAE whose pixels are normal given the code answers with a mean over all images that the "
        "code may stand for, so it is blurred. A GAN with the same decoder makes sharp images, "
        "since its critic would know a blurred one."
    )
    formula = (
        r"\mu(z) = \mathbb{E}_{q(x | z)} \, x \quad \text{minimises} \quad "
        r"\mathbb{E}_{q(x | z)} |x - \mu(z)|^2"
    )
    papers = (
        "Kingma & Welling, Auto-Encoding Variational Bayes, 2014",
        "Larsen et al., Autoencoding beyond Pixels using a Learned Similarity Metric, 2016",
    )
    code: ClassVar = (VAE, GAN, dcgan.Generator)
    notes = (
        "Grey pixels are those between -1/2 and 1/2, of pixels from -1 to 1; edges are the mean "
        "step between neighbours. Both are means over 500 images with their standard errors. A "
        "draw of the VAE's p(x | z) is no better: it adds noise to each pixel alone."
    )
    exercise = "Train the VAE with model.beta=0.1. Are its reconstructions sharper? Its samples?"
    tiny: ClassVar = {"steps": 2, "width": 4, "latent": 2}

    def __init__(
        self, steps: Count = 700, width: Count = 32, latent: Count = 16, seed: int = 0
    ) -> None:
        self.steps, self.width, self.latent, self.seed = steps, width, latent, seed

    def show(self, place: Path) -> Shown:
        images = digits(SHAPE[1])[0]
        drawn = {"data": digits(SHAPE[1], "test")[0][:IMAGES]}
        with seeded(self.seed):
            vae = self.vae()
            fit(vae, batches(64, images), self.steps, 2e-3)
            drawn["VAE, reconstructions"] = vae.reconstruct(drawn["data"])
            drawn["VAE, means"] = vae.sample((drawn["data"],))
        with seeded(self.seed):
            gan = self.gan()
            play(gan, batches(64, images), self.steps, 1e-3)
            drawn["GAN"] = gan.sample((drawn["data"],))
        rows: list[Row] = [{"images": name} | measured(x) for name, x in drawn.items()]
        made, axes = figure(self.title, columns=2, size=3.8)
        table = torch.cat([torch.cat([*x[:10, 0]], 1) for x in drawn.values()])
        axes[0, 0].imshow(table.numpy(), cmap="gray", vmin=-1, vmax=1)
        ticks = [SHAPE[1] * (k + 0.5) for k in range(len(drawn))]
        axes[0, 0].set(xticks=[], yticks=ticks, yticklabels=[*drawn], xlabel="images")
        axes[0, 0].set_title("ten of each")
        for name, each in drawn.items():
            counts = torch.histc(each, 40, -1, 1) / each.numel()
            axes[0, 1].step(
                torch.linspace(-1, 1, 40).numpy(), counts.numpy(), where="mid", label=name
            )
        axes[0, 1].set(xlabel="pixel", ylabel="share", yscale="log", title="pixels")
        axes[0, 1].legend()
        return Shown(made, rows, findings(rows))

    def network(self) -> dcgan.Generator:
        """The decoder of one, and the generator of the other."""
        return dcgan.Generator(SHAPE, self.latent, self.width)

    def vae(self) -> VAE:
        """An untrained VAE with normal pixels; its samples are means."""

        def decoder(parameters: int) -> Decoder:
            body = nn.Sequential(self.network().body, nn.Unflatten(1, (parameters, SHAPE[0])))
            return Decoder(body, SHAPE, self.latent, 0)

        return VAE(partial(MLPEncoder, SHAPE, width=256), decoder, Gaussian(0.3), mean=True)

    def gan(self) -> GAN:
        """An untrained GAN with the same network as its generator."""
        return GAN(
            Backbone(dcgan.Generator, shape=SHAPE, latent=self.latent, width=self.width),
            Backbone(dcgan.Critic, shape=SHAPE, width=self.width, norm="none"),
            AdversarialCriterion(js(), Unconstrained()),
        )


def measured(x: Tensor) -> dict[str, Any]:
    """Grey pixels and edges of images (N, 1, H, W), with their standard errors."""
    grey = (x.abs() < 0.5).flatten(1).float().mean(1)
    edges = (x.diff(dim=2).abs().flatten(1).mean(1) + x.diff(dim=3).abs().flatten(1).mean(1)) / 2
    return {
        name: value
        for what, each in (("grey", grey), ("edges", edges))
        for name, value in (
            (what, each.mean().item()),
            (f"error of {what}", (each.std() / len(each) ** 0.5).item()),
        )
    }


def findings(rows: list[Row]) -> list[Finding]:
    """How sharp both are, beside the data."""
    data, again, means, gan = rows
    return [
        Finding(
            f"edges of the VAE's means are {means['edges'] / data['edges']:.0%} of those of the "
            f"data, and of its reconstructions {again['edges'] / data['edges']:.0%}",
            max(means["edges"], again["edges"]) + 3 * means["error of edges"] < data["edges"],
        ),
        Finding(
            f"edges of the GAN's samples are {gan['edges'] / data['edges']:.0%} of those of the "
            "data, nearer than the VAE's",
            abs(gan["edges"] - data["edges"]) < abs(means["edges"] - data["edges"]),
        ),
        Finding(
            f"{means['grey']:.1%} of the VAE's pixels are grey, {gan['grey']:.1%} of the GAN's, "
            f"and {data['grey']:.1%} of the data's",
            means["grey"] > gan["grey"] + 3 * (means["error of grey"] + gan["error of grey"]),
        ),
    ]
