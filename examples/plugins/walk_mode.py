"""A sample mode: a walk through the noise and back, as a moving picture.

Two draws of the noise, z1 and z2, span a circle. All its points have about the length that normal
noise has, and the walk ends where it began:

    z(t) = cos(t) z1 + sin(t) z2,    t from 0 to 2 pi

    gentrain sample run=DIR mode=walk plugins=walk_mode --config-dir conf
"""

from __future__ import annotations

import math
from typing import Any

import torch
from PIL import Image

from gentrain.commands.sample.mode import Mode, keep, table
from gentrain.commands.sample.session import SampleSession
from gentrain.commands.sample.writer import Output
from gentrain.config.types import Count
from gentrain.files import atomic_write


class Walk(Mode):
    """`n` walks of `frames` pictures each, beside each other, in walk.gif.

    Args:
        n: walks.
        frames: pictures of a walk.
        milliseconds: how long each is shown.
    """

    noise = "normal"  # a run with other noise is refused

    def __init__(self, n: Count = 8, frames: Count = 24, milliseconds: Count = 80) -> None:
        self.n, self.frames, self.milliseconds = n, frames, milliseconds

    def draw(self, session: SampleSession, out: Output) -> dict[str, Any]:
        z1, z2 = session.noise(2 * self.n).chunk(2)
        t = torch.arange(self.frames) * 2 * math.pi / self.frames
        # (frames, n, latent): the first n images are the first picture
        z = t.cos().view(-1, 1, 1) * z1.flatten(1) + t.sin().view(-1, 1, 1) * z2.flatten(1)
        labels = session.labels(self.n)
        labels = None if labels is None else labels.repeat(self.frames)
        images = keep(session, out, z.view(-1, *z1.shape[1:]), labels)
        pictures = [table(each, self.n) for each in images.split(self.n)]
        out.picture(self.name, torch.cat(pictures, 1))  # one below another, to see it all at once
        frames = [
            Image.fromarray((255 * each).round().byte().permute(1, 2, 0).numpy())
            for each in pictures
        ]
        with atomic_write(out.path / "walk.gif") as part:  # whole, or not there
            frames[0].save(
                part, "GIF", save_all=True, append_images=frames[1:], loop=0,
                duration=self.milliseconds,
            )  # fmt: skip
        return {"frames": self.frames}
