"""Types of arguments of the Python API; the signature of a method is what it takes.

Numbers of numpy are accepted as those of Python. Strings are not taken for numbers.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BeforeValidator, Field, PlainValidator, StrictBool, StrictInt, StrictStr
from torch import Tensor

MOST = 10**9  # of anything that is counted: more is a slip, and no memory holds it


def plain_number(value: Any) -> Any:
    """A number of numpy as one of Python; anything else as it is."""
    match value:
        case bool():
            return value
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
    return value


def device_word(value: Any) -> Any:
    """A device of torch as the word for it; anything else as it is."""
    match value:
        case torch.device(type=kind, index=None | 0):
            return kind
        case torch.device():
            return str(value)
    return value


def to_tensor(value: Any) -> Tensor:
    """Tensors, arrays and nested lists of finite numbers as a tensor."""
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError("Input should be a tensor of numbers") from error
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise ValueError("Input should be finite numbers")
    return tensor


def to_mask(value: Any) -> Tensor:
    """Tensors, arrays and nested lists of true and false as a tensor."""
    tensor = to_tensor(value)
    if tensor.dtype != torch.bool:
        raise ValueError("Input should be true or false for each pixel")
    return tensor


def to_scalar(value: Any) -> Tensor:
    """A number, or a tensor that holds one, as a tensor without dimensions."""
    tensor = to_tensor(value)
    if tensor.numel() != 1 or tensor.dtype == torch.bool:
        raise ValueError("Input should be one number")
    return tensor.reshape(())


class OfTensor(list[Any]):
    """Classes that a tensor or an array has given: numbers, as those of `Run.examples`.

    In a plain list a number may be the name of a class.
    """


def to_list(value: Any) -> list[int | str]:
    """Classes in a row as a list; a single class as a list of one."""
    found: list[Any]
    match value:
        case Tensor() | np.ndarray():
            found = value.tolist() if value.ndim else [value.item()]
            found = found if str in map(type, found) else OfTensor(found)
        case Sequence() if not isinstance(value, str | bytes):
            found = [plain_number(each) for each in value]
        case _:
            found = [plain_number(value)]
    if not all(type(each) in (int, str) for each in found):  # and no bool
        raise ValueError("Input should be classes")
    return found


def to_times(value: Any) -> list[int]:
    """Whole numbers in a row as a list."""
    found = to_list(value)
    if not found or not all(type(each) is int and 0 <= each <= MOST for each in found):
        raise ValueError("Input should be whole numbers")
    return found  # type: ignore[return-value]


NUMBER = BeforeValidator(plain_number)
COUNT = f"a whole number from 1 to {MOST:,}"
Count = Annotated[int, NUMBER, Field(ge=1, le=MOST, strict=True, description=COUNT)]
Several = Annotated[
    int, NUMBER, Field(ge=2, le=MOST, strict=True, description=f"a whole number from 2 to {MOST:,}")
]
Seed = Annotated[
    int, NUMBER, Field(ge=0, lt=2**32, strict=True, description=f"a number from 0 to {2**32 - 1}")
]
Temperature = Annotated[
    float,
    NUMBER,
    Field(ge=0, allow_inf_nan=False, strict=True, description="a number, 0 or more"),
]
Truncation = Annotated[
    float,
    NUMBER,
    Field(ge=0.01, allow_inf_nan=False, strict=True, description="a number, 0.01 or more"),
]
Flag = Annotated[StrictBool, Field(description="True or False")]
Word = Annotated[StrictStr, Field(description="a word in quotation marks")]
Device = Annotated[
    StrictStr,
    BeforeValidator(device_word),
    Field(description='"cpu", "cuda" or "auto"'),
]
Domain = Annotated[
    StrictStr | StrictInt, NUMBER, Field(description="the name or the number of a domain")
]
Images = Annotated[
    Tensor, PlainValidator(to_tensor), Field(description="a tensor of finite numbers")
]
Mask = Annotated[
    Tensor,
    PlainValidator(to_mask),
    Field(description="a tensor of bool, such as torch.ones(28, 28).bool()"),
]
Number = Annotated[Tensor | float, PlainValidator(to_scalar), Field(description="a finite number")]
# by name or number
Classes = Annotated[
    Sequence[int | str] | Tensor | int | str,
    PlainValidator(to_list),
    Field(description="names or numbers of classes, such as [3, 7]"),
]
Transitions = Annotated[
    Sequence[int],
    PlainValidator(to_times),
    Field(description="whole numbers that increase, such as (0, 1, 10)"),
]
Place = Annotated[
    str | os.PathLike[str], Field(description='a path, such as "outputs/dcgan-mnist/..."')
]
Modules = Annotated[
    list[StrictStr] | tuple[StrictStr, ...] | dict[StrictStr, StrictStr],
    Field(description='a list of modules, such as ["my_module"]'),
]
