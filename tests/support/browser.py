"""Headless Chromium over a pipe in the DevTools protocol: no port, no driver, nothing to install
but the browser itself.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    "--disable-dev-shm-usage",
)


class Page:
    """One tab.

    `complaints` collects what the console would show in red, and requests for anything but the file
    itself.
    """

    def __init__(self, to: int, back: int) -> None:
        self.to, self.back, self.rest, self.number = to, back, b"", 0
        self.complaints: list[str] = []
        self.session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> Any:
        """Send a command, and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params} | (
            {"sessionId": self.session} if self.session else {}
        )
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self.next()).get("id") != self.number:
            self.hear(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def next(self, timeout: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while b"\0" not in self.rest:
            assert select.select([self.back], [], [], max(0.0, deadline - time.monotonic()))[0], (
                "the browser is silent"
            )
            self.rest += os.read(self.back, 1 << 20)
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def hear(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.complaints.append(
                    details.get("exception", {}).get("description") or details["text"]
                )
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(
                    " ".join(
                        str(arg.get("value", arg.get("description"))) for arg in params["args"]
                    )
                )
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(params["entry"]["text"])
            case "Network.requestWillBeSent" if not (url := params["request"]["url"]).startswith(
                ("file:", "data:", "blob:", "about:")
            ):
                self.complaints.append(f"asked for {url}")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(
        self,
        file: Path | str,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        ready: str = "document.documentElement?.dataset.ready",
    ) -> Any:
        """Show a file or an address; what `ready` is then. By default that is the page's own
        account of the milliseconds from the start of loading until all was drawn.
        """
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        url = file if isinstance(file, str) else file.resolve().as_uri()
        self.ask("Page.navigate", url=url)
        deadline = time.monotonic() + 60
        while not (found := self.run(f"location.href === {url!r} && ({ready})")):
            assert time.monotonic() < deadline, self.complaints
            time.sleep(0.02)
        return found

    def press(self, key: str, code: int) -> None:
        """A key of the keyboard, on whatever has the focus."""
        for kind in ("keyDown", "keyUp"):
            text = (
                {"text": "\r"}
                if key == "Enter" and kind == "keyDown"
                else {"text": " "}
                if key == " " and kind == "keyDown"
                else {}
            )
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **text,
            )

    def choose(self, element: str, value: str) -> None:
        """An option of a select, as a hand would."""
        change = "element.dispatchEvent(new Event('change', {bubbles: true}))"
        self.run(
            f"{{const element = document.querySelector({element!r}); "
            f"element.value = {value!r}; {change};}}"
        )

    def screenshot(self, file: Path, whole: bool = False) -> None:
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """A browser of its own with one tab, gone when the block is left."""
    assert CHROMIUM is not None
    (read_here, write_there), (read_there, write_here) = os.pipe(), os.pipe()

    def plumb() -> None:
        """The browser reads from file descriptor 3 and writes to 4."""
        keep_in, keep_out = os.dup(read_there), os.dup(write_there)
        os.dup2(keep_in, 3)
        os.dup2(keep_out, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
            preexec_fn=plumb,
            close_fds=False,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": profile},
        )
        os.close(read_there)
        os.close(write_there)
        try:
            yield Page(write_here, read_here)
        finally:
            os.close(write_here)
            os.close(read_here)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
