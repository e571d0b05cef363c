"""Where things are in the repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
LIGHT = Path(__file__).parent / "light"  # its sitecustomize.py forbids the import of torch
