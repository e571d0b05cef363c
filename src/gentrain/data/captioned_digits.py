"""Digits with captions, such as "a small red seven, top left, on blue".

A caption says a digit, its colour, its size, its place and the colour of the ground. Some captions
say nothing of the size, or of the place. A tenth of all combinations of the five facts is held out:
no image of any split shows one. All facts but the digit follow from the pixels by exact rules, from
16 pixels a side on; see `CaptionedDigits.facts_of`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gentrain.data.arrays import ArrayDataset, resized
from gentrain.data.batches import generator
from gentrain.data.capabilities import HasCaptionRules
from gentrain.data.captions import Captioned
from gentrain.data.checks import ensure, is_count
from gentrain.data.digits import OfDigits
from gentrain.data.validation import samples_of

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}
GROUNDS = {"black": (0, 0, 0), "white": (1, 1, 1), "blue": (0, 0, 1)}
SIZES = {"small": 16, "large": 24}  # of 32 pixels; a digit of 28 has 20 of them along its side
PLACES = ("top left", "top right", "bottom left", "bottom right")
FACTS = ("digit", "colour", "size", "place", "ground")
VALUES = (DIGITS, tuple(COLOURS), tuple(SIZES), PLACES, tuple(GROUNDS))
WORDS = (
    *("", "a", "on", "small", "large", "top", "bottom", "left", "right"),
    *dict.fromkeys((*COLOURS, *GROUNDS)),
    *DIGITS,
)
LONGEST = 8  # words: a small red seven top left on blue

CHUNK = 1000  # images that are drawn at a time
PLAIN = 28  # pixels of a digit as it is read
EVERY = 10  # of so many combinations one is held out
OF_GROUND = 0.4  # the least share of pixels in the colour of the ground
ALIKE = 0.85  # the least cosine between the way from the ground to the digit and that to a colour
VISIBLE = 0.5  # the least contrast of the strongest pixel, of that of the colour
FAINT = 0.25  # contrast below which a pixel is no ink
TAIL = 0.02  # of the ink that counts neither for the height nor for the width
CLEAR = 0.1  # pixels from the limit of sizes
LARGE = 0.39  # of the side of the image: the longer side of a larger digit


@dataclass(kw_only=True, eq=False, repr=False)
class CaptionedDigits(Captioned, OfDigits, HasCaptionRules):
    """A digit of one colour on a ground of another, in a quarter of the image, with its caption.

    Args:
        n: images for "train"; "test" has a tenth as many of test digits, and "validation" the share
            `validation` as many of digits that "train" has not.
        silent: the share of captions that do not say the size, and of those that do not say the
            place.
        The other arguments are those of `OfDigits`.
    """

    n: int = 20_000
    silent: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        ensure(
            self.shape[0] == 3,
            f"captioned digits have 3 channels, not {self.shape[0]} (data.shape); "
            "set data.size instead",
        )
        height, width = self.sides
        ensure(
            height == width and height >= 8 and height % 4 == 0,
            f"captioned digits are squares whose side is a multiple of 4 from 8 on, not "
            f"{self.size!r} (data.size); e.g. 32",
        )
        ensure(
            self.classes == len(WORDS),
            f"captions have {len(WORDS)} words, not {self.classes!r} (data.classes); "
            f"write data.classes={len(WORDS)}",
        )
        ensure(
            self.captions.length >= LONGEST,
            f"a caption has up to {LONGEST} words, not {self.captions.length} "
            f"(data.label_kind.length); give {LONGEST}",
        )
        ensure(
            0 <= self.silent < 1,
            f"silent is a share from 0 to below 1, not {self.silent!r} (data.silent); e.g. 0.2",
        )
        ensure(
            is_count(self.n, 10),
            f"n must be a whole number >= 10, not {self.n!r} (data.n); e.g. 20000",
        )
        ensure(
            not self.flip,
            "a mirrored image has another place than its caption says (data.flip); write false",
        )
        ensure(
            not self.jitter,
            "a cut image has another size than its caption says (data.jitter); write 0",
        )

    @property
    def class_names(self) -> Sequence[str]:
        return WORDS

    @property
    def reads_validation(self) -> bool:
        return True

    # --- images and captions ----------------------------------------------------------------------

    def read(self, split: str) -> ArrayDataset:
        digits, classes = self.telling(self.plain_of(PLAIN).load(split))
        count = samples_of(split, self.n, self.validation, self.name)
        draws = generator(self.draw_seed, type(self).__name__, split)
        rows = torch.randint(len(digits), (count,), generator=draws)
        allowed = ~held_out_combinations().flatten(1)
        number = torch.multinomial(allowed[classes[rows]].float(), 1, generator=draws)[:, 0]
        facts = torch.cat([classes[rows, None], combinations()[number]], 1)
        said = torch.rand(count, 2, generator=draws) >= self.silent
        corner = torch.randint(self.sides[0] // 16 + 1, (count, 2), generator=draws)
        parts = zip(*(each.split(CHUNK) for each in (rows, facts, corner)), strict=True)
        images = torch.cat([self.drawn(digits[some], *rest) for some, *rest in parts])
        return ArrayDataset(images, self.captioned(facts, said))

    def drawn(self, digits: Tensor, facts: Tensor, corner: Tensor) -> Tensor:
        """Images that show facts.

        Args:
            digits: uint8 (N, 1, 28, 28).
            facts: (N, 5).
            corner: (N, 2), pixels between the digit and the corner of its place.

        Returns:
            uint8 (N, 3, H, W).
        """
        side = self.sides[0]
        ink = torch.zeros(len(digits), side, side, dtype=torch.float32)
        for number, of_32 in enumerate(SIZES.values()):
            rows = (facts[:, 2] == number).nonzero()[:, 0]
            box, small = of_32 * side // 32, self.inked(digits[rows], of_32)
            far = (side - box) * torch.stack([facts[rows, 3] // 2, facts[rows, 3] % 2], 1)
            start = (far - corner[rows]).abs()  # from the near or from the far side
            top, left = (start[:, axis, None] + torch.arange(box) for axis in (0, 1))
            ink[rows[:, None, None], top[:, :, None], left[:, None, :]] = small
        colour, ground = palette(COLOURS)[facts[:, 1]], palette(GROUNDS)[facts[:, 4]]
        colour, ground = (each[:, :, None, None] for each in (colour, ground))
        return ((ground + (colour - ground) * ink[:, None]) * 255).round().byte()

    def inked(self, digits: Tensor, of_32: int) -> Tensor:
        """Digits (N, 1, 28, 28) as ink (N, S, S) in [0, 1], so many pixels a side of 32."""
        box = of_32 * self.sides[0] // 32
        small = resized(digits, (box, box))[:, 0].float()
        return small / small.amax((1, 2), keepdim=True).clamp(min=1)

    def telling(self, samples: ArrayDataset) -> tuple[Tensor, Tensor]:
        """Digits with their classes, without the very few of too faint ends to tell their size."""
        digits, classes, _ = samples
        assert classes is not None
        longest = [longer_side(faint_out(self.inked(digits, size))) for size in SIZES.values()]
        limit = LARGE * self.sides[0]
        told = (longest[0] < limit - CLEAR) & (longest[1] > limit + CLEAR)
        ensure(
            bool(told.any()),
            f"no digit of {self.digits} has a clear size (data.root); give the files of MNIST",
        )
        return digits[told], classes[told]

    def captioned(self, facts: Tensor, said: Tensor) -> Tensor:
        """Captions (N, L) of facts (N, 5).

        Args:
            facts: numbers of the values of `FACTS`.
            said: bool (N, 2), whether the size and the place are said.
        """
        _, inverse = (both := torch.cat([facts, said.long()], 1)).unique(dim=0, return_inverse=True)
        first = torch.zeros(int(inverse.max()) + 1, dtype=torch.int64).scatter(
            0, inverse, torch.arange(len(both))
        )
        texts = [self.sentence(*both[row].tolist()) for row in first.tolist()]
        return torch.stack([self.captions.named(text, WORDS) for text in texts])[inverse]

    @staticmethod
    def sentence(
        digit: int, colour: int, size: int, place: int, ground: int, sized: int, placed: int
    ) -> str:
        """The caption of five facts, with or without the size and the place."""
        of_size = f"{VALUES[2][size]} " if sized else ""
        of_place = f", {PLACES[place]}" if placed else ""
        what = f"a {of_size}{VALUES[1][colour]} {DIGITS[digit]}{of_place}"
        return f"{what}, on {VALUES[4][ground]}"

    # --- rules ------------------------------------------------------------------------------------

    @property
    def facts(self) -> dict[str, Sequence[str]]:
        return dict(zip(FACTS, VALUES, strict=True))

    @cached_property
    def held_out_captions(self) -> Tensor:
        held_out = held_out_combinations().nonzero()
        facts = torch.cat([held_out[:, :1], combinations()[held_out[:, 1]]], 1)
        return self.captioned(facts, torch.ones(len(facts), 2, dtype=torch.bool))

    def facts_said(self, labels: Tensor) -> Tensor:
        y = labels.cpu()
        after = (y == WORDS.index("on")).cumsum(1) > 0
        where = (y >= 0, ~after, y >= 0, y >= 0, after)
        return torch.stack(
            [said(y, values, part) for values, part in zip(VALUES, where, strict=True)], 1
        )

    def facts_of(self, images: Tensor) -> Tensor:
        seen = self.looked_at(images)
        ink = seen["ink"]
        found = torch.full((len(ink), len(FACTS)), -1)
        found[:, 4] = seen["ground"]
        visible = seen["visible"]
        found[visible, 1] = seen["colour"][visible]
        found[visible, 2] = (longer_side(ink) >= LARGE * ink.shape[-1]).long()[visible]
        below, right = (beyond_middle(ink.sum(axis)) for axis in (2, 1))
        found[visible, 3] = (2 * below + right)[visible]
        return found

    def ink_of(self, images: Tensor) -> Tensor:
        """See `HasCaptionRules.ink_of`: 28 x 28 pixels, the digit in the middle, 20 pixels long."""
        ink = self.looked_at(images)["ink"]
        side = ink.shape[-1]
        first, last = torch.stack([ends(ink.sum(axis)) for axis in (1, 2)], -1)
        middle = (first + last) / side - 1
        scale = (last - first).amax(1).clamp(min=1) * (PLAIN / 20) / side
        theta = torch.zeros(len(ink), 2, 3, dtype=torch.float32)
        theta[:, 0, 0] = theta[:, 1, 1] = scale
        theta[:, :, 2] = middle
        places = torch.nn.functional.affine_grid(theta, [len(ink), 1, PLAIN, PLAIN], False)
        found = torch.nn.functional.grid_sample(ink[:, None], places, align_corners=False)
        return (found * 255).round().byte()

    def looked_at(self, images: Tensor) -> dict[str, Tensor]:
        """Ground, colour and ink of images uint8 (N, 3, H, W).

        The ground g is the one in which most pixels are, of all that are nearest to a ground. With
        d = x - g, the colour c is the one whose way c - g has the largest cosine with the mean of d
        over the pixels at least half as far from g as the farthest one. The ink of a pixel is
        <d, c - g> / |c - g|^2 within [0, 1].
        """
        x = images.cpu().float() / 255
        shades = palette(COLOURS | GROUNDS)
        nearest = torch.stack([(x - shade[:, None, None]).square().sum(1) for shade in shades], 1)
        names = list(COLOURS | GROUNDS)
        grounds = torch.tensor([names.index(name) for name in GROUNDS])
        share = (nearest.argmin(1)[:, None] == grounds[:, None, None]).float().mean((2, 3))
        most, ground = share.max(1)
        d = x - palette(GROUNDS)[ground][:, :, None, None]
        length = d.square().sum(1).sqrt()
        strong = length * (length >= length.amax((1, 2), keepdim=True) / 2)
        mean = (d * strong[:, None]).sum((2, 3)) / strong.sum((1, 2))[:, None].clamp(min=1e-6)
        ways = palette(COLOURS)[None] - palette(GROUNDS)[ground][:, None]
        cosine, colour = torch.cosine_similarity(mean[:, None], ways, 2).max(1)
        way = ways[torch.arange(len(x)), colour]
        ink = (d * way[:, :, None, None]).sum(1) / way.square().sum(1)[:, None, None].clamp(min=1)
        ink = ink.clamp(0, 1)
        visible = (cosine >= ALIKE) & (ink.amax((1, 2)) >= VISIBLE) & (most >= OF_GROUND)
        return {
            "ground": torch.where(most >= OF_GROUND, ground, -1),
            "colour": colour,
            "ink": faint_out(ink),
            "visible": visible,
        }


def combinations() -> Tensor:
    """(K, 4): colour, size, place and ground of every combination without the digit."""
    every = itertools.product(*(range(len(values)) for values in VALUES[1:]))
    names = [
        (*others, ground)
        for *others, ground in every
        if VALUES[1][others[0]] != VALUES[4][ground]  # blue on blue
    ]
    return torch.tensor(names)


def held_out_combinations() -> Tensor:
    """bool (10, K): which combinations of a digit and the rest are held out, one digit for each."""
    rest, digit = torch.arange(len(combinations())), torch.arange(len(DIGITS))
    return (3 * digit[:, None] + rest) % EVERY == 0


def palette(colours: dict[str, Any]) -> Tensor:
    """(K, 3) in [0, 1]."""
    return torch.tensor(list(colours.values()), dtype=torch.float32)


def said(y: Tensor, values: Sequence[str], where: Tensor) -> Tensor:
    """Which of some values captions say, (N,); -1 for none.

    Args:
        y: (N, L) captions.
        values: of one or two words each, all of which must be there.
        where: bool (N, L), the part of the captions that counts.
    """
    has = torch.stack(
        [
            torch.stack([((y == WORDS.index(w)) & where).any(1) for w in value.split()]).all(0)
            for value in values
        ],
        1,
    )
    return torch.where(has.any(1), has.long().argmax(1), -1)


def faint_out(ink: Tensor) -> Tensor:
    """Ink without faint pixels."""
    return ink * (ink >= FAINT)


def longer_side(ink: Tensor) -> Tensor:
    """The height or the width of ink (N, H, W), the longer one, in pixels and parts of pixels."""
    height, width = (ends(ink.sum(axis)) for axis in (2, 1))
    return torch.maximum(height[1] - height[0], width[1] - width[0])


def ends(ink: Tensor) -> Tensor:
    """Where ink (N, S) begins and ends on a side from 0 to S, without its tails, (2, N)."""
    share = torch.nn.functional.pad(ink.cumsum(1), (1, 0)) / ink.sum(1, True).clamp(min=1e-6)
    row, found = torch.arange(len(ink)), []
    for part in (TAIL, 1 - TAIL):
        pixel = (share[:, 1:] >= part).int().argmax(1)
        before, after = share[row, pixel], share[row, pixel + 1]
        found.append(pixel + (part - before) / (after - before).clamp(min=1e-6))
    return torch.stack(found)


def beyond_middle(ink: Tensor) -> Tensor:
    """int64 (N,): 1 where the centre of ink (N, S) is beyond the middle of the side, else 0."""
    places = torch.arange(ink.shape[1], dtype=torch.float32) - (ink.shape[1] - 1) / 2
    return ((ink * places).sum(1) > 0).long()
