"""Any folder or zip of images, of any size and kind, decoded once into a uint8 file of the cache.

file_folder.py says where splits and classes are, pictures.py what is done to each picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from gentrain.config.types import Size
from gentrain.data.checks import ensure
from gentrain.data.file_folder import FileFolder
from gentrain.data.images import Images, check_range

if TYPE_CHECKING:
    from gentrain.data.pictures import Form


@dataclass(kw_only=True, eq=False, repr=False)
class ImageFolder(FileFolder, Images):
    """Images of `size` pixels in a memory-mapped tensor, so their number does not matter.

    Args:
        channels: 3 for colour, 1 for grey.
        crop: cut the middle, of the shape of `size`; false squeezes the whole to it.
        range: the values of pixels that become black and white; null for those of the type.
        The other arguments are those of `FileFolder` and `Images`.
    """

    cached_in: ClassVar[str] = "image_folder"
    format: ClassVar[int] = 2
    size: Size = 64
    channels: int = 3
    crop: bool = True
    range: Sequence[float] | None = None

    def __post_init__(self) -> None:
        ensure(
            self.channels in (1, 3),
            f"channels must be 1 (grey) or 3 (colour), not {self.channels!r} (data.channels); "
            "e.g. 3",
        )
        check_range(self.range)
        super().__post_init__()
        ensure(
            self.shape[0] == self.channels,
            f"shape {self.shape} has not {self.channels} channels (data.shape); set data.channels",
        )

    @property
    def form(self) -> "Form":
        """What every picture becomes."""
        from gentrain.data.pictures import Form

        return Form(self.sides, self.channels, self.crop, range=self.pixel_range)

    @property
    def endings(self) -> tuple[str, ...]:
        from gentrain.data.pictures import EXTENSIONS

        return EXTENSIONS

    def warn_of_contents(self, samples: Tensor) -> None:
        self.warn_of_darkness(samples, str(self.path))

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        return None if self.range is None else (self.range[0], self.range[1])
