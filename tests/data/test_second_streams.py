"""Augmentation of what comes beside the images: labelled images, another domain, a pair's source.

Each augmented image must be one of the crops, plain or mirrored, of an image of its own split.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gentrain.data.arrays import ArrayDataset, to_float
from gentrain.data.images import Images

SIDE, JITTER = 6, 2


@dataclass(kw_only=True, eq=False, repr=False)
class Noise(Images):
    """40 images of noise of 4 classes, with 40 sources where there is a shape for them."""

    paired: bool = True

    @property
    def aligned(self) -> bool:
        return self.paired

    def read(self, split: str) -> ArrayDataset:
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(256, (2, 40, 1, SIDE, SIDE), generator=draw, dtype=torch.uint8)
        if self.source_shape is None:
            return ArrayDataset(images[0], torch.arange(40) % 4)
        # the sources of pairs are their images, so that both must be augmented alike
        return ArrayDataset(images[0], None, images[0] if self.paired else images[1])


def noise(**options: Any) -> Noise:
    sources = {"source_shape": (1, SIDE, SIDE)} if "paired" in options else {"classes": 4}
    return Noise(name="noise", shape=(1, SIDE, SIDE), size=SIDE, batch_size=8, **sources, **options)


def augmentations(image: Tensor, flip: bool, jitter: int) -> list[Tensor]:
    """Every picture that augmentation may make of an image (1, H, W)."""
    larger = F.interpolate(image[None], (SIDE + jitter,) * 2, mode="bilinear")[0]
    flipped = F.interpolate(image.flip(-1)[None], (SIDE + jitter,) * 2, mode="bilinear")[0]
    return [
        whole[:, top : top + SIDE, left : left + SIDE]
        for whole in ([larger, flipped] if flip else [larger])
        for top in range(jitter + 1)
        for left in range(jitter + 1)
    ]


def is_one_of(image: Tensor, others: list[Tensor]) -> bool:
    return any(torch.allclose(image, other, atol=1e-5) for other in others)


@pytest.mark.parametrize(("flip", "jitter"), [(True, 0), (False, JITTER), (True, JITTER)])
def test_labelled_images_are_augmented_as_the_others_are(flip: bool, jitter: int) -> None:
    data = noise(labelled=8, flip=flip, jitter=jitter)
    few = to_float(data.labelled_subset().images)
    allowed = {
        int(label): [
            a
            for image in few[data.labelled_subset().labels == label]
            for a in augmentations(image, flip, jitter)
        ]
        for label in range(4)
    }
    unchanged = 0
    for _, x, y in itertools.islice(data.batches(), 10):
        for image, label in zip(x, y, strict=True):
            assert is_one_of(image, allowed[int(label)])
            unchanged += is_one_of(image, list(few))
    most = {(True, 0): 60, (False, JITTER): 0, (True, JITTER): 0}[flip, jitter]
    assert unchanged <= most  # of 80; mirrored alone, half of them stay


def test_both_domains_are_augmented_and_each_by_itself() -> None:
    data = noise(paired=False, flip=True, jitter=JITTER)
    images, _, sources = data.load("train")
    assert sources is not None
    parts = [to_float(images), to_float(sources)]
    allowed = [[a for x in part for a in augmentations(x, True, JITTER)] for part in parts]
    for batch in itertools.islice(data.batches(), 2):
        for part, mine in zip(batch, allowed, strict=True):
            assert all(is_one_of(image, mine) for image in part)


def test_both_sides_of_a_pair_are_augmented_alike() -> None:
    for x, source in itertools.islice(noise(paired=True, flip=True, jitter=JITTER).batches(), 10):
        torch.testing.assert_close(x, source, rtol=0, atol=0)
