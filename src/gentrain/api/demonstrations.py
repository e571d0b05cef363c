"""The demonstrations in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gentrain.errors import UserError

if TYPE_CHECKING:
    from gentrain.commands.demo.base import Shown


def demo(name: str, seed: int | None = None, **numbers: Any) -> Shown:
    """Show a claim of the field's lectures, or fail to.

    Args:
        name: as after `gentrain demo`, such as "best_critic".
        seed: of its random numbers; None for 0.
        numbers: its options, such as `steps=500`; `gentrain list demo=NAME` shows them.

    Returns:
        Its figure, the rows of its table, and what it found; `print` shows the last two.

    Raises:
        UserError: for an unknown name or number, and without matplotlib.
    """
    import yaml

    from gentrain.commands.demo import build_demo, made
    from gentrain.commands.demo.base import refuse_missing_matplotlib
    from gentrain.config.paths import option_files
    from gentrain.config.validate import nearest

    files = option_files("demo")
    if name == "list":
        raise UserError(f"gentrain.demo shows one (name); give one of {', '.join(files)}")
    if name not in files:
        raise UserError(f"no demonstration {name!r} (name){nearest(str(name), files)}")
    refuse_missing_matplotlib()
    preset = yaml.safe_load(files[name].read_text("utf-8"))
    return made(build_demo({"seed": seed, "demo": preset | numbers}))
