"""Floating types: of new tensors, of sums that half precision would round, and of a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """A half-precision tensor as float32; any other as it is.

    >>> at_least_single(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def fast_precision(accelerator: str) -> str:
    """The precision of `trainer.precision=auto`: bf16-mixed where the device is fast at bfloat16.

    A CPU is where it has AVX512-BF16 or AMX. Others compute bfloat16 as float32, and more slowly.

    Args:
        accelerator: of the trainer; "auto" is a GPU where there is one, else the CPU.
    """
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if on_gpu:
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("auto", "cpu") and not torch.backends.mps.is_available():
        fast = any(cpu_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    else:
        fast = False
    return "bf16-mixed" if fast else "32-true"


def cpu_capabilities() -> Mapping[str, object]:
    """The instruction sets of the CPU; none for an older torch, which does not say."""
    try:
        return torch.cpu.get_capabilities()
    except AttributeError:
        return {}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new tensors of a floating type inside: noise, batches and networks."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
