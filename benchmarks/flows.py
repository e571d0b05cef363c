"""Samples of autoregressive flows: of a teacher in two ways, and of its student.

    python benchmarks/flows.py [--rounds 9] [--threads 1] [--out FILE]

See README.md beside this file for how to read the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import frame
import torch

from gentrain.models.flow.autoregressive import InverseAutoregressive, MaskedAutoregressive
from gentrain.models.flow.base import Reversed

SHAPE, SIZE, LAYERS, WIDTH = [1, 28, 28], 784, 5, 1024
PASSES = 10  # whole passes that are timed, of as many as there are values and maps


def stirred(flow: Any, sd: float = 0.02) -> Any:
    """Draw weights as large as after training: with zeros, exponentials would cost too little."""
    for weights in flow.parameters():
        torch.nn.init.normal_(weights, 0, sd)
    return flow.eval().requires_grad_(False)


def whole_passes(flow: MaskedAutoregressive, x: torch.Tensor) -> None:
    """PASSES passes of one map. A sample takes one for each value and map."""
    unwrapped: Any = flow
    network = unwrapped.maps[0]
    for _ in range(PASSES):
        unwrapped.invert(x, *network(x, None).unbind(1))


def sampling(args: argparse.Namespace) -> Iterator[Any]:
    """The tables of samples: the teacher of model=iaf_distilled in two ways, and its student."""
    teacher = stirred(
        MaskedAutoregressive(SHAPE, LAYERS, WIDTH, depth=2, bound=5.0, batch_norm=True)
    )
    student = stirred(
        Reversed(
            SHAPE, partial(InverseAutoregressive, layers=4, width=WIDTH, gated=False, bound=5.0)
        )
    )
    for n in args.samples:
        u = torch.randn(n, SIZE)
        calls: dict[str, Callable[[], Any]] = {
            "teacher (maf), a whole pass for each value and map": partial(whole_passes, teacher, u),
            "teacher (maf), gentrain's sampler": partial(teacher.inverse, u),
            "student (iaf), one pass": partial(student.inverse, u),
        }
        with torch.no_grad():
            times = frame.in_turn(calls, args.rounds)
        naive, _, own = times
        times[naive] = [t * SIZE * LAYERS / PASSES for t in times[naive]]
        yield frame.Table(f"{n} sample(s) of {SIZE} values", times, (own,), digits=1)
    yield (
        "\nThe whole passes are scaled up from ten; that they give the same samples is a test "
        "(tests/certificates/test_flows.py)."
    )


def main() -> None:
    parser = frame.parser(__doc__, rounds=9)
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 64])
    args = parser.parse_args()
    frame.publish_in_process("Samples of autoregressive flows", sampling(args), args)


if __name__ == "__main__":
    main()
