"""A real browser for tests: headless Chromium over its own DevTools pipe (JSON on descriptors 3 and 4), nothing between."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE_SECS = 30.0


class BrowserError(AssertionError):
    """Chromium said no, or nothing at all."""


class Browser:
    """One Chromium with one page."""

    def __init__(self, profile: Path) -> None:
        ours_read, theirs_write = os.pipe()
        theirs_read, ours_write = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to descriptor 4.
        command = [
            "bash", "-c", f'exec "$@" 3<&{theirs_read} 4>&{theirs_write}', "bash",
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
            "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command,
            pass_fds=(theirs_read, theirs_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_read)
        os.close(theirs_write)
        self._read, self._write = ours_read, ours_write
        self._numbers = itertools.count(1)
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command to the page."""
        return self._call(method, self._session, **parameters)

    def _call(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_SECS
        while True:
            told = self._next(deadline)
            if told.get("id") == number:
                if "error" in told:
                    raise BrowserError(f"{method}: {told['error']}")
                found: dict[str, Any] = told["result"]
                return found

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._read, 1 << 20) if ready else b""
            if not chunk:
                raise BrowserError("Chromium does not answer")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        if "method" in told:
            self.events.append(told)
        return told

    def viewport(self, width: int, height: int, *, mobile: bool = False, dark: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url: str) -> None:
        """Load a page, with its pictures."""
        self._loading(lambda: self.call("Page.navigate", url=url))

    def click(self, selector: str) -> None:
        """Click something that leads to another page."""
        self._loading(lambda: self.evaluate(f"document.querySelector({json.dumps(selector)}).click()"))

    def _loading(self, act: Any) -> None:
        self.events.clear()
        act()
        deadline = time.monotonic() + PATIENCE_SECS
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next(deadline)

    def evaluate(self, expression: str) -> Any:
        """A value of the page. Raises when the expression throws."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise BrowserError(told["exceptionDetails"].get("text", "exception"))
        return told["result"].get("value")

    def complaints(self) -> list[str]:
        """What the browser had to say since the page was loaded: blocked content, broken pictures, failed requests."""
        entries = [event["params"]["entry"] for event in self.events if event["method"] == "Log.entryAdded"]
        return [f"{entry['source']}: {entry['text']}" for entry in entries]

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        with contextlib.suppress(BrowserError, OSError):
            self._call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    profile = Path(tempfile.mkdtemp(prefix="isobridge-chromium-"))
    running = Browser(profile)
    try:
        yield running
    finally:
        running.close()
        shutil.rmtree(profile, ignore_errors=True)
