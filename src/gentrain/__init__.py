"""gentrain trains, compares and samples the classic deep generative models from one command."""

from gentrain.version import __version__

__all__ = ["__version__"]
