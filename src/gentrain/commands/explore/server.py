"""Serves the page of `gentrain explore` on this machine alone, by Streamlit."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gentrain.errors import UserError

if TYPE_CHECKING:
    from gentrain.commands.explore.explorer import Explorer

HOST = "127.0.0.1"  # nobody else reaches the page
PORTS = range(8501, 8601)  # the first that is free, where the user names none
PAGE = Path(__file__).with_name("page.py")
OPTIONS = {
    "server.address": HOST,
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "logger.hideWelcomeMessage": True,
    "global.developmentMode": False,
}


class Served:
    """The run that the page of this process shows."""

    explorer: Explorer | None = None


def serve(explorer: Explorer, port: int, browser: bool) -> None:
    """Serve a run until the process is interrupted.

    Args:
        explorer: the run.
        port: where; it is free.
        browser: open the page in the user's browser.
    """
    from streamlit.web import bootstrap

    Served.explorer = explorer
    print(f"{explorer.about}\nhttp://{HOST}:{port}    (Ctrl+C ends it)", flush=True)
    options: dict[str, Any] = {**OPTIONS, "server.port": port, "server.headless": not browser}
    bootstrap.load_config_options({key.replace(".", "_"): value for key, value in options.items()})
    bootstrap.run(os.fspath(PAGE), False, [], {})


def free_port(wanted: int | None) -> int:
    """The port to serve at: the one that the user wants, or the first that is free.

    Raises:
        UserError: where it is taken.
    """
    tried: Iterable[int] = PORTS if wanted is None else [wanted]
    for port in tried:
        with socket.socket() as tried_socket:
            tried_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried_socket.bind((HOST, port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
            else:
                return port
    what = f"port {wanted} is" if wanted is not None else f"ports {PORTS[0]} to {PORTS[-1]} are"
    raise UserError(f"{what} taken (port); give another, such as port=9000")
