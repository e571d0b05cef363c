"""The version of gentrain; runs and checkpoints keep it."""

__version__ = "0.2.0"
