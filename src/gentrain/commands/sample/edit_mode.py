"""A direction of the latent space along which one group of images becomes another.

Two directions between groups a and b of labelled codes (N, L), both as long as the way between the
means along them:

    means   m_b - m_a, as Radford, Metz & Chintala ("Unsupervised representation learning with deep
            convolutional generative adversarial networks", 2016) and White (2016) add and subtract
    probe   w <w, m_b - m_a> / |w|^2, with w the normal of a linear classifier of the two groups, as
            in InterFaceGAN (Shen, Gu, Tang & Zhou, 2020)

Codes are those of labelled training images, where the model has an encoder. Otherwise they are
noise: as in InterFaceGAN, a classifier scores the images that are made of many draws, and the draws
of the highest and of the lowest scores are the groups. Here it is a linear one of few pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from gentrain.commands.sample.mode import Mode, Steps, keep, number
from gentrain.commands.sample.projection import (
    Search,
    encoded,
    encodes,
    enough_starts,
    images_of,
    pictures,
    project,
    refuse_number,
)
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count, Positive
from gentrain.data.arrays import random_rows, to_float
from gentrain.data.grids import annotated
from gentrain.data.labels import number_of
from gentrain.errors import UserError
from gentrain.models.base import MakesImagesOfNoise

SIDE = 16  # pixels of a side, of what the classifier of pixels sees
SEEN = 5000  # training images that it learns from
RIDGE = 1e-2  # of its weights, for each image
SHARE = 0.05  # of the draws of noise, in each group


class Edit(Mode):
    """Strips of images along a direction from group a to group b, through `n` images.

    The middle of a strip is the image itself, and the distance of its ends is `reach` times the way
    between the groups. The record says which share of the ends the classifier of pixels takes for
    group b.

    Args:
        groups: two classes, by name or number; or one, which stands for all others against it.
        source: a picture, or a folder or .zip of pictures, which are projected first; null takes
            new noise.
        n: strips, without a source; null for 8.
        by: the difference of the means, or the normal of a linear classifier of codes.
        steps: images in a strip.
        reach: the largest step, in distances of the groups.
        codes: how many codes the direction is of: images, half of each group where there are so
            many, or draws of the noise, of which each group is a twentieth.
    """

    requires = (MakesImagesOfNoise,)
    reads = ("seed", "source", "save")
    noise = "any"

    STRIPS = 8  # where the user names no number

    directions: ClassVar[dict[str, Callable[[Tensor, Tensor], Tensor]]]

    def __init__(
        self,
        groups: Annotated[list[int | str], Field(min_length=1, max_length=2)],
        source: str | None = None,
        n: Count | None = None,
        by: Literal["means", "probe"] = "means",
        steps: Steps = 7,
        reach: Positive = 1.0,
        codes: Annotated[int, Field(ge=100)] = 5000,
    ) -> None:
        refuse_number(source, n)
        self.groups, self.source, self.n = groups, source, n or self.STRIPS
        self.by, self.steps, self.reach, self.codes = by, steps, reach, codes

    def check(self, session: SampleSession) -> None:
        super().check(session)
        if session.model.labelled:
            raise UserError(
                "this model is given the class beside the noise, so that noise has no direction "
                f"between classes (mode=edit); choose {session.data.label_kind.mode}"
            )
        if session.data.classes is None:
            raise UserError(
                f"data={session.data.name} has no labels, which the groups are of (mode.groups); "
                "give a run on data with labels"
            )
        numbers = self.numbers(session)
        if len(set(numbers)) < len(numbers):
            raise UserError(f"the groups are both {self.groups[0]} (mode.groups); name two classes")

    def numbers(self, session: SampleSession) -> list[int]:
        """The numbers of the groups' classes."""
        names = session.label_names
        return [number_of(str(word), names, "class", "mode.groups") for word in self.groups]

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        probe = PixelProbe(session)
        of_a, of_b = self.coded(session) if encodes(session) else self.scored(session, probe)
        direction = self.directions[self.by](of_a, of_b)
        names, middle = self.middles(session)
        t = torch.linspace(-self.reach, self.reach, self.steps)
        along = t.view(-1, *[1] * (middle.ndim - 1)) * direction.view(middle.shape[1:])
        z = session.model.nearest_noise((middle[:, None] + along).flatten(0, 1))
        images = keep(session, out, z, None)
        heads = [number(value) for value in t.tolist()]
        out.picture(self.name, annotated(images, [], heads, self.title(session)))
        named = self.members(session, probe.labels(images))[-1].float()
        shares = named.unflatten(0, (-1, self.steps)).mean(0)
        print(
            f"{self.groups[-1]} are {shares[0]:.0%} of the images at {-self.reach:g}, and "
            f"{shares[-1]:.0%} at {self.reach:g}, by a classifier of pixels that is right for "
            f"{probe.accuracy:.0%}"
        )
        return {
            "pictures": names,
            "codes": [len(of_a), len(of_b)],
            "codes_are": "of the encoder" if encodes(session) else "noise, by their images' pixels",
            "direction": direction.tolist(),
            "shares_of_last_group": shares.tolist(),
            "accuracy_of_pixels": probe.accuracy,
        }

    def title(self, session: SampleSession) -> str:
        """What the numbers above the images are of."""
        names = [session.label_names[number] for number in self.numbers(session)]
        ends = " to ".join(names) if len(names) == 2 else f"others to {names[0]}"
        return f"steps of the way from {ends}"

    def middles(self, session: SampleSession) -> tuple[list[str] | None, Tensor]:
        """Names of the pictures, if any, and the noise (n, ...) in the middle of each strip."""
        if self.source is None:
            return None, session.noise(self.n)
        names, x, _ = pictures(session, self.source, self.n)
        return names, project(session, x, None, Search(starts=enough_starts(session))).z

    def coded(self, session: SampleSession) -> tuple[Tensor, Tensor]:
        """Codes (N, L) of training images of group a, and of group b.

        Raises:
            UserError: for a group without images.
        """
        images, labels, _ = session.data.load("train")
        assert labels is not None
        order, found = random_rows(len(images), seed=session.seed), []
        *first, last = self.members(session, labels.cpu())
        groups = [first[0] if first else ~last, last]
        for word, group in zip([self.groups[0], self.groups[-1]], groups, strict=True):
            rows = order[group[order]][: self.codes // 2]
            if not len(rows):
                raise UserError(
                    f"no training image of data={session.data.name} is of group {word} "
                    "(mode.groups); choose another class"
                )
            x = to_float(images[rows.to(images.device)].cpu())
            found.append(encoded(session, x, None).flatten(1))
        return found[0], found[1]

    def scored(self, session: SampleSession, probe: PixelProbe) -> tuple[Tensor, Tensor]:
        """Noise (N, L) whose images look most like group a, and most like group b."""
        z = session.noise(self.codes)
        scores = probe.scores(images_of(session, z, None))
        *first, last = self.numbers(session)
        towards = scores[:, last] - (scores[:, first[0]] if first else 0)
        order, count = towards.argsort(stable=True), round(SHARE * len(z))
        return z[order[:count]].flatten(1), z[order[-count:]].flatten(1)

    def members(self, session: SampleSession, labels: Tensor) -> list[Tensor]:
        """For each class of the groups, whether labels (N, ...) say it, bool (N,)."""
        vectors = session.data.label_kind.vectors(labels, session.data.classes or 0)
        return [vectors[:, number] > 0 for number in self.numbers(session)]


# --- directions -----------------------------------------------------------------------------------


def difference_of_means(a: Tensor, b: Tensor) -> Tensor:
    """m_b - m_a of codes (N, L) and (M, L): (L,)."""
    return b.mean(0) - a.mean(0)


def probe_direction(a: Tensor, b: Tensor) -> Tensor:
    """The normal of a linear classifier of codes, as long as the way between their means along it.

    The classifier is logistic regression: |w|^2 / 2 + sum log(1 + exp(-y (<w, z> + c))), y = +-1.

    Args:
        a: (N, L).
        b: (M, L).

    Returns:
        (L,).
    """
    z = torch.cat([a, b]).double()
    y = torch.cat([-torch.ones(len(a)), torch.ones(len(b))]).double()
    w = torch.zeros(z.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS(
        [w], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        descent.zero_grad()
        value = w[:-1].square().sum() / 2 + F.softplus(-y * (z @ w[:-1] + w[-1])).sum()
        value.backward()
        return value

    with torch.enable_grad():
        descent.step(loss)  # type: ignore[arg-type]
    normal = w.detach()[:-1].to(a)
    return normal * (normal @ difference_of_means(a, b)) / normal.square().sum()


Edit.directions = {"means": difference_of_means, "probe": probe_direction}


# --- what an image shows --------------------------------------------------------------------------


class PixelProbe:
    """Names what images show: ridge regression of the labels' vectors on few pixels.

        W = (X^T X + N r I)^-1 X^T Y,  X (N, D + 1) with a column of ones, Y (N, K) of -1 and 1

    Args:
        session: its training images teach, and held-out ones test.
    """

    def __init__(self, session: SampleSession) -> None:
        self.data = session.data
        train = self.data.load("train")
        rows = random_rows(len(train.images), SEEN, session.seed)
        x, y = self.examples(train, rows)
        targets = 2 * self.data.label_kind.vectors(y, self.data.classes or 0).double() - 1
        ridge = RIDGE * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
        self.weights = torch.linalg.solve(x.T @ x + ridge, x.T @ targets)
        held_out = self.data.held_out() or train
        x, y = self.examples(held_out, random_rows(len(held_out.images), SEEN, session.seed))
        predicted = self.data.label_kind.predict(x @ self.weights)
        self.accuracy = float((predicted == y).double().mean())  # of held-out images, if any

    def examples(self, samples: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and labels of some rows."""
        images, labels = samples.images, samples.labels
        x = self.inputs(to_float(images[rows.to(images.device)].cpu()))
        return x, labels[rows.to(labels.device)].cpu()

    def inputs(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, D + 1)."""
        size = min(images.shape[2], SIDE), min(images.shape[3], SIDE)
        x = F.adaptive_avg_pool2d(images, size).flatten(1).double()
        return torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)

    def scores(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, K), about 1 for what an image shows, else -1."""
        return self.inputs(images) @ self.weights

    def labels(self, images: Tensor) -> Tensor:
        """The most likely labels of images (B, C, H, W)."""
        return self.data.label_kind.predict(self.scores(images))
