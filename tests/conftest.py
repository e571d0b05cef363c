"""What tests share: one thread each (two workers share two cores), a cache of their own, compositions and toy games."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import pytest


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
