"""gentrain explore run=PATH: a page on this machine, with sliders over what a run can draw.

Streamlit (the extra `explore`) draws the page, and serves it to this machine alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gentrain.errors import UserError


def refuse_missing_streamlit() -> None:
    """Refuse an installation without the extra `explore`."""
    if find_spec("streamlit") is None:
        raise UserError("streamlit is not installed (explore); pip install 'gentrain[explore]'")


def explore(config: dict[str, Any]) -> None:
    """Open a finished run, and serve its page until it is interrupted.

    Args:
        config: the keys of conf/explore.yaml.

    Raises:
        UserError: where there is no run, or where the port is taken.
    """
    from gentrain.commands.explore import server
    from gentrain.commands.explore.explorer import Explorer
    from gentrain.commands.explore.panels import PANELS
    from gentrain.commands.sample import device
    from gentrain.patience import say_if_slow
    from gentrain.runs.reopen import reopen

    port, run_dir = server.free_port(config["port"]), Path(config["run"])
    with say_if_slow(f"opening {run_dir}"):
        run = reopen(run_dir, config["checkpoint"].name, device(config["device"].name))
    server.serve(Explorer(run, PANELS, config["averaged"]), port, config["browser"])
