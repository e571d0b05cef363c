"""gentrain: train, compare and sample the classic deep generative models from one command."""

__version__ = "0.2.0"
