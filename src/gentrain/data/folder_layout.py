"""Where the splits and the classes of a folder or zip of pictures lie.

Splits are `train/` and `test/` (or `val/`, `valid/`, `validation/`) where these exist; otherwise
they are drawn.
"""

from typing import TYPE_CHECKING

import torch

from gentrain.data.batches import generator

if TYPE_CHECKING:
    from gentrain.data.pictures import Tree

VALIDATION = ("val", "valid", "validation")
HELD_OUT = ("test", *VALIDATION)


def layout(tree: "Tree", split: str) -> tuple[str, bool]:
    """Where a split lies.

    Returns:
        A prefix of paths, such as "" or "train/", and whether the split has to be drawn from what
        lies there.
    """
    wrap = ""
    while f"{wrap}train" not in tree.folders and (only := only_folder(tree, wrap)):
        wrap = f"{wrap}{only}/"  # all in one folder, as zips often are
    held_out = [name for name in HELD_OUT if wrap + name in tree.folders]
    if f"{wrap}train" not in tree.folders:
        return "", True
    if held_out:
        validation = held_out[1:] if held_out[0] == "test" else []
        of = {"test": held_out[0], "validation": next(iter(validation), "train"), "train": "train"}
        return f"{wrap}{of[split]}/", False
    # a train/ without a test/; beside other folders, "train" is a class like "car"
    return (f"{wrap}train/" if only_folder(tree, wrap) == "train" else ""), True


def only_folder(tree: "Tree", prefix: str) -> str | None:
    """The folder that holds all there is below a prefix; None where there is more than one."""
    below = {name.removeprefix(prefix) for name in tree.folders if name.startswith(prefix)}
    tops = {name for name in below if name and "/" not in name}
    loose = any(
        "/" not in name.removeprefix(prefix) for name in tree.files if name.startswith(prefix)
    )
    return next(iter(tops)) if len(tops) == 1 and not loose else None


def unwrapped(tree: "Tree", prefix: str) -> str:
    """A prefix, and the folders that alone hold all pictures below it."""
    while (only := only_folder(tree, prefix)) is not None:
        prefix = f"{prefix}{only}/"
    return prefix


def inside(tree: "Tree", prefix: str) -> str:
    """A prefix, and the folders that alone hold all class folders below it."""
    while (only := only_folder(tree, prefix)) is not None:
        deeper = f"{prefix}{only}/"
        if not any("/" in name.removeprefix(deeper) for name in tree.under(deeper).files):
            break  # pictures lie in it: it is a class
        prefix = deeper
    return prefix


def drawn(names: list[str], split: str, seed: int) -> list[str]:
    """A drawn tenth of some names ("test"), or the others, in their order."""
    order = torch.randperm(len(names), generator=generator(seed, "split")).tolist()
    tenth = len(names) // 10
    return [names[row] for row in sorted(order[:tenth] if split == "test" else order[tenth:])]


def class_of(name: str, prefix: str) -> str:
    """The first folder below the prefix."""
    return name.removeprefix(prefix).split("/")[0]
