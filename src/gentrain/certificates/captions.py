"""Certificates of text to image: texts and images that fit, and texts in between."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gentrain.certificates.adversarial import GeneratorDescends
from gentrain.certificates.base import Call, Certificate, error, largest, recorded
from gentrain.models.gan.gan_cls import GANCLS

Array = Any  # of numpy
TEMPERATURE = 0.1  # of Zhang et al., 2021


# --- formulas, by loops over the pairs of a batch -------------------------------------------------


def joint_embedding(v: Array, t: Array, y: Array, m: float) -> float:
    """The mean over i and j with y_i != y_j of two margins: of a wrong text, and a wrong image.

    Args:
        v: theta of images, (B, E).
        t: phi of their captions, (B, E).
        y: the captions, (B, ...).
        m: the margin.
    """
    terms = [
        max(0.0, m + v[i] @ t[j] - v[i] @ t[i]) + max(0.0, m + v[j] @ t[i] - v[i] @ t[i])
        for i, j in permutations(range(len(y)), 2)
        if (y[i] != y[j]).any()
    ]
    return float(np.mean(terms)) if terms else 0.0


def contrastive(v: Array, t: Array, y: Array, wrong: Array) -> float:
    """-log of the share of the own text among the texts, and of the own image among the images.

    Args:
        v: of images, (B, E).
        t: of their captions, (B, E).
        y: the captions, (B, ...); where they are the same, the others do not count.
        wrong: of further captions that are wrong, (K, B, E).
    """

    def share(image: Array, text: Array) -> float:
        cosine = image @ text / math.sqrt((image @ image) * (text @ text))
        return math.exp(cosine / TEMPERATURE)

    total = 0.0
    for i in range(len(y)):
        rivals = [j for j in range(len(y)) if (y[i] != y[j]).any()]
        own = share(v[i], t[i])
        texts = [share(v[i], t[j]) for j in rivals] + [share(v[i], each[i]) for each in wrong]
        images = [share(v[j], t[i]) for j in rivals]
        total -= math.log(own / (own + sum(texts))) + math.log(own / (own + sum(images)))
    return total / len(y)


# --- the model ------------------------------------------------------------------------------------


class JointEmbedding(Certificate):
    """The text encoder's loss, of the batch's images and captions."""

    of = (GANCLS,)
    property = "phi's loss is the mean margin of wrong pairs; without a margin, that of contrast"
    source = "Reed et al., 2016, section 3.2; the margins: Reed, Akata, Lee & Schiele, 2016"

    def measure(self) -> float:
        model, (x, y) = self.subject.model(), self.subject.batch
        with (
            recorded(model.generator.images, "forward") as of_images,
            recorded(model.generator.text, "forward") as of_texts,
        ):
            losses = model.generator_loss((x, y)).losses
        theta, (t, wrong) = numbers(of_images[0].result), parts(of_texts[0].result, len(y))
        margin = self.node["margin"]
        expected = (
            contrastive(theta, t, numbers(y), wrong)
            if margin is None
            else joint_embedding(theta, t, numbers(y), margin)
        )
        captions = wrong_captions(of_texts[0].args[0], y, self.node["negatives"])
        images = error(of_images[0].args[0], x)
        return largest(images, captions, error(losses["embedding"], expected))


class CaptionsBetween(Certificate):
    """Half as many texts more, each between those of any two captions of the batch.

    The critic scores the images that are made of them beside the same texts.
    """

    of = (GANCLS,)
    property = "both players are given beta phi(t1) + (1 - beta) phi(t2) of two captions"
    source = "Reed et al., 2016, section 4.3 and eq. 5"

    def measure(self) -> float | None:
        beta = self.node["interpolation"]
        if beta is None:
            return None
        model, (x, y) = self.subject.model(), self.subject.batch
        n = len(y)
        with (
            recorded(model.generator, "of_text") as made,
            recorded(model, "transform_batch") as changed,
            recorded(model.critic, "forward") as scored,
        ):
            model.generator_loss((x, y))
        texts, e = made[0].args[1], model.generator.text(y)
        if len(texts) != n + n // 2:
            return float("inf")
        mixed = [beta * e[i] + (1 - beta) * e[j] for i, j in permutations(range(n), 2)]
        nearest = [min(error(each, mix) for mix in mixed) for each in texts[n:]]
        seen = [call.args[0] for call in scored if error(call.args[1], texts[n:]) == 0]
        images = shown(changed, 1, made[0].result[n:])
        scores = 0.0 if any(a is b for a in seen for b in images) else float("inf")
        return largest(error(texts[:n], e), *nearest, scores)


class Contrast(Certificate):
    """Both players' contrastive terms, of maps of the critic's features and of texts.

    The critic's images are those of the data, the generator's those that it makes of the captions.
    """

    of = (GANCLS,)
    property = "both players' contrast is -log softmax(cosine / 0.1) over batch and wrong captions"
    source = "Zhang et al., 2021, image and sentence, and the authors' code"

    def measure(self) -> float | None:
        if not self.node["contrast"]:
            return None
        model, (x, y) = self.subject.model(), self.subject.batch
        with recorded(model.generator, "of_text") as made:
            of_critic = self.error(model, model.critic_loss, 0, lambda: x)
            made.clear()
            fakes = self.error(model, model.generator_loss, 1, lambda: made[0].result[: len(y)])
        return largest(of_critic, fakes)

    def error(self, model: Any, objective: Any, place: int, images: Callable[[], Tensor]) -> float:
        """How far a player's term is from the formula, and what it is of from what it should be.

        Args:
            model: the system.
            objective: of the player.
            place: of its images, in the pair that tricks change before the critic sees it.
            images: gives them, once the objective is computed.
        """
        critic, y = model.critic, self.subject.batch[1]
        with (
            recorded(critic.contrast.images, "forward") as of_images,
            recorded(critic.contrast.texts, "forward") as of_texts,
            recorded(model.generator.text, "forward") as phi,
            recorded(critic.critic, "features") as features,
            recorded(model, "transform_batch") as changed,
        ):
            losses = objective(self.subject.batch).losses
        (v,), (t,) = of_images, of_texts
        own, wrong = parts(t.result, len(y))
        weight = float(self.node["contrast"])
        expected = weight * contrastive(numbers(v.result), own, numbers(y), wrong)
        seen = [call.args[0] for call in features if call.result is v.args[0]]
        right = any(a is b for a in seen for b in shown(changed, place, images()))
        given = [largest(*self.texts(call, t.args[0])) for call in phi]
        return largest(
            0.0 if right else float("inf"), min(given), error(losses["contrast"], expected)
        )

    def texts(self, phi: Call, given: Tensor) -> tuple[float, float]:
        """How far texts are from phi of the captions, each with a mean square of one."""
        e, y = numbers(phi.result), self.subject.batch[1]
        scaled = e / np.sqrt(np.mean(e**2, 1, keepdims=True))
        return error(given, scaled), wrong_captions(phi.args[0], y, self.node["negatives"])


class CaptionsDescend(GeneratorDescends):
    """The same, where phi learns of its own loss alone: the others would say too little of it."""

    of = (GANCLS,)
    property = "small steps, of phi down its own loss alone, lower the losses as far as they say"
    source = "Reed et al., 2016, section 3.2, and algorithm 1"

    def measure(self) -> float:
        model, other = self.subject.model(), self.subject.model()
        phi = {id(p) for p in model.generator.text.parameters()}
        rest = [p for p in model.generator.parameters() if id(p) not in phi]
        of_phi = self.off(other, other.generator.text.parameters(), self.embedding)
        return largest(self.off(model, rest, self.loss), of_phi)

    def embedding(self, model: Any, batch: Any) -> Tensor:
        """The text encoder's loss."""
        torch.manual_seed(self.subject.seed)
        loss: Tensor = model.generator_loss(batch).losses["embedding"]
        return loss


# --- help -----------------------------------------------------------------------------------------


def numbers(x: Tensor) -> Array:
    """A tensor as an array."""
    return x.detach().numpy()


def parts(texts: Tensor, n: int) -> tuple[Array, Array]:
    """Texts of a batch, (n, E), and those of wrong captions, (K, n, E), out of (n + K n, E)."""
    e = numbers(texts)
    return e[:n], e[n:].reshape(-1, n, e.shape[1])


def wrong_captions(captions: Tensor, y: Tensor, k: int) -> float:
    """0 where captions are those of a batch, and then k times as many that are not those."""
    own, *wrong = captions.split(len(y))
    right = torch.equal(own, y) and len(wrong) == k
    return 0.0 if right and all((each != y).any(1).all() for each in wrong) else float("inf")


def shown(calls: list[Call], place: int, images: Tensor) -> list[Tensor]:
    """What the critic may see of images, after the tricks of the system.

    Args:
        calls: of the function that changes a pair (real, fake).
        place: of the images in the pair.
        images: before that.
    """
    return [call.result[place] for call in calls if error(call.args[place], images) == 0]
