"""Types of constructor arguments.

A constructor's signature is the schema of its YAML file: types, ranges and choices. Example:

    def __init__(self, weight: NonNegative = 10.0, every: Count = 1) -> None: ...
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]  # from 0 to 1
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
# of images; the description is the remedy of a message
Size = Annotated[int | Sequence[int], Field(description="a side, or [HEIGHT,WIDTH]")]
