"""GAN-CLS and GAN-INT-CLS, text to image (Reed, Akata, Yan, Logeswaran, Schiele & Lee, "Generative
adversarial text to image synthesis", 2016).

A text encoder phi makes a vector of a caption t. Both players see it with a mean square of one. A
linear layer compresses it, once for each player; it joins the noise of the generator, and the last
map of the critic at every place. With `conditioning="projection"` the critic's score is instead

    D(x, e) = head(h) + <h, V e>,   h = features(x)

(Miyato & Koyama, "cGANs with projection discriminator", 2018), as in `ProjectionCritic`. The critic
sees real images with wrong captions as further fakes (`ConditionedGAN`). The generator also
has to please it with captions in between (GAN-INT),

    E[-log D(G(z, e), e)],   e = beta phi(t1) + (1 - beta) phi(t2).

phi is learned beside an image encoder theta by the structured joint embedding (Reed, Akata, Lee &
Schiele, "Learning deep representations of fine-grained visual descriptions", 2016): with F(v, t) =
<theta(v), phi(t)> and the pairs (v_i, t_i) of a batch, the mean over all i and j with t_i != t_j of

    max(0, m + F(v_i, t_j) - F(v_i, t_i)) + max(0, m + F(v_j, t_i) - F(v_i, t_i)).

With `margin=None` it is contrastive instead: minus the log-probability of the right caption of an
image, and of the right image of a caption, under softmax over the batch of c(v, t) / 0.1, with the
cosine c. phi learns of this loss alone: no other gradient reaches it.

With `contrast` both players minimise that contrastive loss as well, with linear maps of the
critic's features and of the text in place of theta and phi: the critic for real images, and the
generator for its own (Zhang, Koh, Baldridge, Lee & Yang, "Cross-modal contrastive learning for
text-to-image generation", 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gentrain.adversarial.criterion import AdversarialCriterion
from gentrain.adversarial.regularizer import Player
from gentrain.config.types import Count, NonNegative, Positive, Share, Whole
from gentrain.data.base import Data
from gentrain.data.labels import Captions, one_word_off, other_captions
from gentrain.errors import UserError
from gentrain.layers.activation import LeakyReLU
from gentrain.layers.lipschitz_bound import LipschitzBounded, WeightLimits, lipschitz_bound
from gentrain.models.base import Batch, ReadsCaptions
from gentrain.models.gan.base import ConditionedCritic
from gentrain.models.gan.cgan import ConditionedGAN
from gentrain.models.objective import Objective
from gentrain.networks import base
from gentrain.networks.classifier import Classifier
from gentrain.networks.conditional import Conditioning, JoinedGenerator, append_vectors

Between = Annotated[float, Field(gt=0, lt=1)]
TEMPERATURE = 0.1  # of contrastive losses (authors' code of Zhang et al., read)


# --- the joint embedding --------------------------------------------------------------------------


def joint_embedding_loss(images: Tensor, texts: Tensor, same: Tensor, margin: float) -> Tensor:
    """The symmetric margin loss of a batch of pairs.

    Args:
        images: theta(v), (B, E).
        texts: phi(t), (B, E).
        same: bool (B, B), which captions are the same; such a pair is right, and does not count.
        margin: m.

    Returns:
        The mean over the pairs of different captions; 0 where there are none.
    """
    scores = images @ texts.T
    own = scores.diagonal()
    of_images = (margin + scores - own[:, None]).relu()
    of_texts = (margin + scores - own[None, :]).relu()
    differ = (~same).to(scores)
    return ((of_images + of_texts) * differ).sum() / differ.sum().clamp(min=1)


def contrastive_loss(images: Tensor, texts: Tensor, same: Tensor, further: Tensor) -> Tensor:
    """-log P(t_i | v_i) - log P(v_i | t_i), the means over a batch of pairs.

    P is a softmax of cosines, divided by the temperature, over all of the batch.

    Args:
        images: (B, E).
        texts: (B, E).
        same: bool (B, B), which captions are the same; such a pair is right, and does not count.
        further: (K, B, E), K more texts for each image that are wrong for it; they are among those
            that P(t_i | v_i) is over.
    """
    v, t, wrong = (F.normalize(each, dim=-1) for each in (images, texts, further))
    own = torch.arange(len(v), device=v.device)
    other = same & (own[:, None] != own)
    scores = (v @ t.T / TEMPERATURE).masked_fill(other, -math.inf)
    of_image = torch.cat([scores, (wrong * v).sum(2).T / TEMPERATURE], 1)
    return F.cross_entropy(of_image, own) + F.cross_entropy(scores.T, own)


def retrieval(images: Tensor, texts: Tensor, same: Tensor) -> Tensor:
    """The share of images (B, E) whose best caption of the batch is their own."""
    best = (images @ texts.T).argmax(1)
    return same[torch.arange(len(best), device=best.device), best].float().mean()


class TextEncoder(nn.Module):
    """Captions (B, L) -> (B, size): two convolutions over the words, and the largest of each unit.

    What fills up a caption changes nothing.

    Args:
        words: size of the vocabulary; word 0 is none.
        size: length of the result.
        width: length of a word; the convolutions have twice as many channels.
    """

    def __init__(self, words: Count, size: Count, width: Count) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.first = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.second = nn.Conv1d(2 * width, 2 * width, 3, padding=1)
        self.head = nn.Linear(2 * width, size)

    def forward(self, y: Tensor) -> Tensor:
        x, there = self.words(y).transpose(1, 2), (y > 0)[:, None]
        for layer in (self.first, self.second):
            x = layer(x).relu() * there
        return self.head(x.amax(2))


def same_captions(y: Tensor) -> Tensor:
    """Which captions (B, L) are the same, bool (B, B)."""
    return (y[:, None] == y[None]).all(2)


def scaled(e: Tensor) -> Tensor:
    """Texts (B, E), each with a mean square of one."""
    return e * (e.shape[1] / e.square().sum(1, keepdim=True).clamp(min=1e-12)).sqrt()


# --- the players ----------------------------------------------------------------------------------


class CaptionGenerator(JoinedGenerator):
    """G(z, t): the compressed text joins the noise. It holds phi, and theta of phi's own loss.

    Args:
        backbone: a generator.
        text: phi.
        images: theta.
        size: length of phi.
        code: length of the compressed text.
    """

    def __init__(
        self, backbone: base.Backbone[Any], text: nn.Module, images: nn.Module, size: int, code: int
    ) -> None:
        super().__init__(backbone, code)
        self.text, self.images = text, images
        self.compress = nn.Sequential(nn.Linear(size, code), LeakyReLU(0.2))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(B, latent), captions (B, L) -> (B, *shape)."""
        return self.of_text(z, self.text(y))

    def of_text(self, z: Tensor, e: Tensor) -> Tensor:
        """(B, latent), texts (B, E) -> (B, *shape)."""
        return self.generator(torch.cat([z, self.compress(scaled(e))], 1))


class Contrast(nn.Module):
    """Linear maps of a critic's features (B, F) and of texts (B, E) to one space (B, code).

    Args:
        features: F.
        size: E.
        code: length of both results.
    """

    def __init__(self, features: int, size: int, code: int) -> None:
        super().__init__()
        self.images, self.texts = nn.Linear(features, code), nn.Linear(size, code)

    def loss(self, h: Tensor, e: Tensor, same: Tensor, further: Tensor) -> Tensor:
        """The contrastive loss of features (B, F) and texts (B, E) and (K, B, E)."""
        texts = self.texts(scaled(torch.cat([e, further.flatten(0, 1)])))
        own, wrong = texts[: len(e)], texts[len(e) :].reshape(*further.shape[:2], texts.shape[1])
        return contrastive_loss(self.images(h), own, same, wrong)


class CaptionCritic(nn.Module, LipschitzBounded):
    """D(x, e): the compressed text joins the last map at every place, before one more layer.

    The layer is a convolution of 1 x 1. Features that are of no map are a map of one place.

    Args:
        backbone: a critic; its head is replaced.
        size: length of a text.
        code: length of the compressed text.
        contrast: length of the maps of a contrastive loss; 0 for none.
    """

    def __init__(
        self, backbone: base.Backbone[Any], size: int, code: int, contrast: int = 0
    ) -> None:
        super().__init__()
        self.critic = backbone()
        self.contrast = Contrast(self.critic.size, size, contrast) if contrast else None
        self.map = self.critic.last_map or (self.critic.head.in_features, 1, 1)
        self.compress = nn.Sequential(nn.Linear(size, code), LeakyReLU(0.2))
        channels = self.map[0]
        self.join = nn.Sequential(nn.Conv2d(channels + code, channels, 1), LeakyReLU(0.2))

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.critic.backbones()

    def features(self, x: Tensor, e: Tensor) -> Tensor:
        """(B, *shape), texts (B, E) -> (B, F)."""
        maps = (self.critic.features(x) / self.critic.summed).unflatten(1, self.map)
        return self.join(append_vectors(maps, self.compress(scaled(e)))).flatten(1)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """(B, *shape), texts (B, E) -> scores (B,)."""
        return self.critic.score(self.features(x, e))

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """K for a fixed text."""
        return lipschitz_bound(self.critic, limits) * lipschitz_bound(self.join, limits)


class CaptionProjectionCritic(nn.Module, LipschitzBounded):
    """D(x, e) = head(h) + <h, V e>: the text is projected on the features of the image.

    Args:
        backbone: a critic.
        size: length of a text.
        contrast: length of the maps of a contrastive loss; 0 for none.
    """

    def __init__(self, backbone: base.Backbone[Any], size: int, contrast: int = 0) -> None:
        super().__init__()
        self.critic = backbone()
        self.contrast = Contrast(self.critic.size, size, contrast) if contrast else None
        self.project = nn.Linear(size, self.critic.head.in_features, bias=False)
        base.divide_weights(self.project, self.critic.summed)

    def backbones(self) -> list[nn.Module]:
        """The networks with a body."""
        return self.critic.backbones()

    def features(self, x: Tensor, e: Tensor) -> Tensor:
        """(B, *shape), texts (B, E) -> (B, F)."""
        return self.critic.features(x)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """(B, *shape), texts (B, E) -> scores (B,)."""
        h = self.critic.features(x)
        return self.critic.score(h) + (h * self.project(scaled(e))).sum(1)

    def lipschitz_bound(self, limits: WeightLimits) -> float:
        """K for a fixed text, whose length is sqrt(E)."""
        text = math.sqrt(self.project.in_features) * lipschitz_bound(self.project, limits)
        head = lipschitz_bound(self.critic.head, limits) + text
        return lipschitz_bound(self.critic.body, limits) * head


# --- the model ------------------------------------------------------------------------------------


class GANCLS(ConditionedGAN, ReadsCaptions):
    """G(z, t) against D(x, t) for captions t. Batches are (images, captions).

    Args:
        generator: a backbone from noise to images.
        critic: a backbone from images to scores.
        criterion: loss, Lipschitz method and tricks.
        classes: size of the vocabulary.
        text: length of phi and theta, E.
        text_width: length of a word in phi.
        code: length of the compressed text, in each player that has one.
        conditioning: how the critic sees the text: in its last map ("concat"), or by the product
            of the features and a projection of the text ("projection").
        margin: m; None for the contrastive loss of phi and theta.
        images: a backbone of the critic's kind, the body of theta; None for the critic's.
        contrast: weight of the contrastive loss of both players; 0 for none.
        negatives: so many captions of one wrong word join those of the batch in contrastive losses,
            for each image. Without them few captions of a batch are hard to tell from its own.
        matching_aware: also show the critic real images with wrong captions.
        near: the share of wrong captions that are the image's own but for one word, which comes
            from another caption of as many words. Only such captions tell apart what is hard to
            see; the others nearly always differ in the easiest fact as well.
        interpolation: beta, for captions between two; None for none.
    """

    label_kinds = (Captions,)
    critic_heads = ("linear",)

    def __init__(
        self,
        generator: base.Backbone[base.Generator | base.Translator],
        critic: base.Backbone[base.Critic],
        criterion: AdversarialCriterion,
        classes: Count,
        text: Count = 256,
        text_width: Count = 64,
        code: Count = 128,
        conditioning: Conditioning = "concat",
        margin: Positive | None = 1.0,
        images: base.Backbone[base.Critic] | None = None,
        contrast: NonNegative = 0.0,
        negatives: Whole = 0,
        matching_aware: bool = True,
        near: Share = 0.0,
        interpolation: Between | None = 0.5,
    ) -> None:
        self.check_backbones(generator, critic, criterion)
        body = self.image_backbone(critic, images)
        theta = Classifier(lambda shape: body(), critic.keywords["shape"], text)
        phi = TextEncoder(classes, text, text_width)
        maps = code if contrast else 0
        super().__init__(
            CaptionGenerator(generator, phi, theta, text, code),
            CaptionProjectionCritic(critic, text, maps)
            if conditioning == "projection"
            else CaptionCritic(critic, text, code, maps),
            criterion,
        )
        self.matching_aware, self.margin, self.interpolation = matching_aware, margin, interpolation
        self.near, self.contrast, self.negatives = near, contrast, negatives
        self.refuse_interpolation()
        self.refuse_captions()

    @classmethod
    def misfits(cls, generator: Any, critic: Any, energy: bool) -> Iterable[tuple[Player, str]]:
        yield from super().misfits(generator, critic, energy)
        if generator.conditional:
            yield "generator", "takes classes, and this model is given captions"
        if critic.conditional:
            yield "critic", "takes classes, and this model is given captions"

    @classmethod
    def image_backbone(
        cls, critic: base.Backbone[Any], images: base.Backbone[Any] | None
    ) -> base.Backbone[Any]:
        """The body of theta.

        Raises:
            UserError: for a network that gives no features of single images.
        """
        if images is None:
            return critic
        kind: Any = images.func
        if kind.conditional or kind.head_kind not in cls.critic_heads:
            raise UserError(
                "the image encoder needs a critic of one score for each image, without labels "
                "(model.images); write model.images=null"
            )
        return images

    def refuse_captions(self) -> None:
        """Refuse wrong captions that nothing looks at.

        Raises:
            UserError: naming the option.
        """
        if self.near and not self.matching_aware:
            raise UserError(
                "the critic sees no wrong captions, and so none that are nearly right (model.near, "
                "model.matching_aware); write model.near=0"
            )
        if self.negatives and self.margin is not None and not self.contrast:
            raise UserError(
                "only contrastive losses look at further captions (model.negatives, "
                "model.margin, model.contrast); write model.margin=null, or model.negatives=0"
            )

    def refuse_interpolation(self) -> None:
        """Refuse captions in between where their loss is not defined.

        Raises:
            UserError: for a loss that needs real images, and for one that a trick replaces.
        """
        if self.interpolation is None:
            return
        if self.loss.relative:
            raise UserError(
                "this loss compares generated images with real ones, and a caption in between has "
                "no real image (loss, model.interpolation); write model.interpolation=null"
            )
        if not self.generator_is_adversarial:
            raise UserError(
                "captions in between have an adversarial loss alone, which feature matching or "
                "unrolled replaces (model.interpolation, tricks); use feature_matching_added, or "
                "write model.interpolation=null"
            )

    def check_data(self, data: Data) -> None:
        super().check_data(data)
        if data.batch_size < 2:
            raise UserError(
                "captions are compared with others of the batch, and one image has none "
                "(data.batch_size); give 2 or more"
            )

    def embed(self, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self.generator.text(y)

    def wrong_labels(self, y: Tensor) -> Tensor:
        others = other_captions(y)
        if not self.near:
            return others
        chosen = torch.rand(len(y), 1, device=y.device) < self.near
        return torch.where(chosen, one_word_off(y), others)

    def condition(self, y: Tensor) -> Tensor:
        return self.embed(y)

    def critic_loss(self, batch: Batch) -> Objective:
        objective = super().critic_loss(batch)
        if self.contrast:
            x, y = batch
            real, _ = self.transform_batch(x, x, critics_turn=True)
            with torch.no_grad():
                e, further = self.texts(y)
            objective.losses["contrast"] = self.contrast_loss(real, y, e, further)
        return objective

    def generator_loss(self, batch: Batch) -> Objective:
        x, y = batch
        (e, further), theta = self.texts(y), self.generator.images(x)
        texts = [e.detach(), self.between(e.detach())]
        z = self.generator.noise(sum(map(len, texts)), x.device)
        fakes = self.generator.of_text(z, torch.cat(texts)).split([*map(len, texts)])
        objective = self.generator_terms(ConditionedCritic(self.critic, texts[0]), x, fakes[0])
        if self.interpolation is not None:
            objective.losses["interpolation"] = self.interpolation_loss(x, fakes[1], texts[1])
        if self.contrast:
            _, shown = self.transform_batch(x, fakes[0], critics_turn=False)
            found = self.contrast_loss(shown, y, texts[0], further.detach())
            objective.losses["contrast"] = found
        same = same_captions(y)
        if self.margin is None:
            e = F.normalize(e, dim=1)
            objective.losses["embedding"] = contrastive_loss(theta, e, same, further)
        else:
            objective.losses["embedding"] = joint_embedding_loss(theta, e, same, self.margin)
        objective.metrics["retrieval"] = retrieval(theta.detach(), e.detach(), same)
        return objective

    def texts(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """phi of captions (B, L), (B, E), and of captions of one wrong word each, (K, B, E)."""
        wrong = [one_word_off(y) for _ in range(self.negatives)]
        e = self.generator.text(torch.cat([y, *wrong]))
        return e[: len(y)], e[len(y) :].reshape(self.negatives, len(y), e.shape[1])

    def contrast_loss(self, x: Tensor, y: Tensor, e: Tensor, further: Tensor) -> Tensor:
        """The weighted contrastive loss of images (B, ...) that the critic sees, and captions.

        Args:
            x: images.
            y: (B, L), their captions.
            e: (B, E), phi of these.
            further: (K, B, E), phi of captions that are wrong.
        """
        h = self.critic.critic.features(x)
        return self.contrast * self.critic.contrast.loss(h, e, same_captions(y), further)

    def between(self, e: Tensor) -> Tensor:
        """Texts (B // 2, E) between those of the first half of a batch and of the second; or none.

        A batch is in random order, so these are any two captions.
        """
        if self.interpolation is None:
            return e[:0]
        half = len(e) // 2
        return torch.lerp(e[half : 2 * half], e[:half], self.interpolation)

    def interpolation_loss(self, real: Tensor, fake: Tensor, e: Tensor) -> Tensor:
        """The generator's adversarial loss of images (B // 2, ...) of texts in between."""
        _, shown = self.transform_batch(real[: len(fake)], fake, critics_turn=False)
        on_fake = ConditionedCritic(self.critic, e)(shown)
        return self.generator_adversarial(on_fake, on_fake)["adversarial"]
