"""gentrain trains, compares and samples the classic deep generative models from one command."""

__version__ = "0.2.0"
