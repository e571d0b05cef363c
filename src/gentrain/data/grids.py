"""Pictures of batches: grids, sheets of pairs, and densities of points."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from gentrain.data.arrays import Frame, to_bytes
from gentrain.files import atomic_write

POINTS = 10_000  # points that a density picture counts
BINS = 64  # of a density picture, a side
ZOOM = 4  # pixels of a bin, a side
COORDINATES = 6  # of points that a picture shows, where they are not two
GAP = 2  # black pixels around the images of a grid
READABLE = 56  # pixels, at least, of an image that has a word above it or before it
LINE = 12  # pixels of a line of words


def tile(images: Tensor, columns: int) -> Tensor:
    """Lay images side by side, with black lines between them.

    The picture is that of `torchvision.utils.make_grid`, whose import takes a second. A single
    image has no lines around it.

    Args:
        images: (B, C, H, W) in [0, 1]; grey images become coloured ones.
        columns: images in a row.

    Returns:
        (3, H', W') in [0, 1].

    >>> tile(torch.ones(3, 1, 4, 4), columns=2).shape
    torch.Size([3, 14, 14])
    """
    images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    if len(images) == 1:
        return images[0]
    count, channels, height, width = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    height, width = height + GAP, width + GAP
    picture = images.new_zeros(channels, rows * height + GAP, columns * width + GAP)
    for i, image in enumerate(images):
        top, left = GAP + i // columns * height, GAP + i % columns * width
        picture[:, top : top + height - GAP, left : left + width - GAP] = image
    return picture


def annotated(images: Tensor, rows: list[str], columns: list[str], title: str = "") -> Tensor:
    """Lay images side by side, with words before the rows and above the columns.

    Args:
        images: (B, C, H, W) in [-1, 1]; small ones are enlarged, so that the words fit.
        rows: a word for each row; empty for none.
        columns: a word for each column, or "" for none.
        title: a line above all of it, or "" for none.

    Returns:
        (3, H', W') in [0, 1]; the images are at the bottom.
    """
    title, rows, columns = spaced(title), [*map(spaced, rows)], [*map(spaced, columns)]
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    widest = max([math.ceil(pen.textlength(word)) + GAP for word in columns], default=0)
    zoom = math.ceil(max(READABLE, widest) / images.shape[3])
    images = unit(images).repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    height, width = images.shape[2] + GAP, images.shape[3] + GAP
    cells = tile(images, len(columns)) if len(images) > 1 else F.pad(images[0], [GAP] * 4)
    left = max([math.ceil(pen.textlength(row)) + 2 * GAP for row in rows], default=0)
    heads = LINE if title else 0  # where the words above columns begin
    above = heads + (LINE if any(columns) else 0)
    across = max(left + cells.shape[2], math.ceil(pen.textlength(title)) + 2 * GAP)
    picture = Image.new("RGB", (across, above + cells.shape[1]), "white")
    picture.paste(as_image(cells.expand(3, -1, -1)), (left, above))
    pen = ImageDraw.Draw(picture)
    pen.text((GAP, 0), title, fill="black")
    for i, word in enumerate(columns):
        middle = left + GAP + i * width + (width - GAP) // 2
        pen.text((middle - pen.textlength(word) / 2, heads), word, fill="black")
    for i, word in enumerate(rows):
        pen.text((GAP, above + GAP + i * height + (height - 14) // 2), word, fill="black")
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1) / 255


def spaced(words: str) -> str:
    """Words with two spaces between them: one is 2 pixels wide in this font, and hardly seen."""
    return words.replace(" ", "  ")


def grid(images: Tensor) -> Tensor:
    """(B, C, H, W) in [-1, 1] -> (3, H', W') in [0, 1], as square as it can be."""
    return tile(unit(images), math.ceil(math.sqrt(len(images))))


def sheet(
    sources: Tensor, images: Tensor, targets: Tensor | None = None, across: int | None = None
) -> Tensor:
    """Show triples of source, image and target side by side.

    Args:
        sources: (B, C, H, W) in [-1, 1]; a mask as the last channel is left out.
        images: (B, C', H', W') in [-1, 1], made of them.
        targets: (B, C', H', W') in [-1, 1], where they are known.
        across: triples in a row; None for a picture that is as square as it can be.

    Returns:
        (3, H'', W'') in [0, 1].
    """
    parts = [part for part in (sources, images, targets) if part is not None]
    across = across or max(1, math.ceil(math.sqrt(len(images) / len(parts))))
    return tile(unit(in_turn(*parts)), across * len(parts))


def in_turn(*parts: Tensor) -> Tensor:
    """The first image of each part, then the second of each, ...; all of them in one size.

    Args:
        parts: (B, C, H, W) in [-1, 1] each; a mask as the last channel is left out.

    Returns:
        (B P, 3, H', W') in [-1, 1].
    """
    size = tuple(max(part.shape[-2:] for part in parts))
    return torch.stack([enlarged(as_picture(part), size) for part in parts], 1).flatten(0, 1)


def as_picture(part: Tensor) -> Tensor:
    """(B, 3, H, W): grey is repeated, and a mask, the last channel, is left out."""
    part = part.detach().float().cpu()
    part = part[:, :-1] if part.shape[1] in (2, 4) else part
    return part.expand(-1, 3, -1, -1) if part.shape[1] == 1 else part


def enlarged(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Images in a larger size, their pixels repeated."""
    return images if images.shape[-2:] == size else F.interpolate(images, size)


def scatter(points: Tensor, frame: Frame | None = None) -> Tensor:
    """Points (B, D) as a picture (3, H, W): a density of two coordinates, else all pairs of them.

    Of D != 2 coordinates, the first `COORDINATES` are shown: the panel of row i and column j has
    coordinate j to the right and i upwards, and the diagonal has the histogram of each.

    Args:
        points: (B, D).
        frame: what is shown; None for [-1, 1]^D.
    """
    points = points.float().cpu() if frame is None else frame.inside(points)
    if points.shape[1] == 2:
        return density(points)
    columns = points[:, :COORDINATES].T
    panels = [
        histogram(x) if i == j else density(torch.stack([x, y], 1), zoom=2)
        for i, y in enumerate(columns)
        for j, x in enumerate(columns)
    ]
    return tile(torch.stack(panels), len(columns))


def histogram(x: Tensor, zoom: int = 2) -> Tensor:
    """Numbers (B,) in [-1, 1] -> (3, H, W): a bar for each bin."""
    counts = torch.histc(x[(x >= -1) & (x <= 1)], BINS, -1.0, 1.0)
    heights = counts / counts.max().clamp(min=1)
    bars = (torch.arange(BINS) < (heights * BINS)[:, None]).float()
    return inked(bars.repeat_interleave(zoom, 0).repeat_interleave(zoom, 1))


def density(points: Tensor, zoom: int = ZOOM) -> Tensor:
    """(B, 2) in [-1, 1]^2 -> (3, H, W): the more points, the darker.

    Darkness is the square root of the count, so that sparse places show.
    """
    counts = torch.histogramdd(
        points.float().cpu(), bins=[BINS, BINS], range=[-1.0, 1.0, -1.0, 1.0]
    ).hist
    return inked(counts.repeat_interleave(zoom, 0).repeat_interleave(zoom, 1))


def inked(values: Tensor) -> Tensor:
    """Numbers >= 0 at (x, y) -> (3, H, W) in [0, 1], black for the greatest; y points up."""
    ink = (values / values.max().clamp(min=1e-30)).sqrt().T.flip(0)
    return (1 - ink).expand(3, -1, -1)


def unit(images: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], on the CPU."""
    return (images.detach().float().cpu() + 1).div(2).clamp(0, 1)


def save(picture: Tensor, path: Path) -> None:
    """Write a picture (3, H, W) in [0, 1] as a PNG; the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        as_image(picture).save(part, format="png")


def write_png(image: Tensor, path: Path) -> None:
    """Write an image (1 or 3, H, W) in [-1, 1] as a PNG, grey or in colour."""
    pixels = to_bytes(image).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(path)


def as_image(picture: Tensor) -> Image.Image:
    """A picture (3, H, W) in [0, 1] as one of Pillow.

    >>> as_image(torch.ones(3, 2, 4)).size
    (4, 2)
    """
    pixels = picture.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy())
