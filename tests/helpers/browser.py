"""A Chromium without a window, told what to do over a pipe (the DevTools protocol): nothing waits for a clock."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120.0  # seconds that an answer may take on a loaded machine
KEYS = {"Enter": ("Enter", 13), "ArrowRight": ("ArrowRight", 39), "ArrowDown": ("ArrowDown", 40)}


class Browser:
    """One browser with one page; a context manager."""

    def __init__(self, profile: Path, width: int = 1200, height: int = 900) -> None:
        ours, theirs = os.pipe(), os.pipe()
        self._out, self._in = ours[1], theirs[0]
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        start = f'exec 3<&{ours[0]} 4>&{theirs[1]} "$@"'
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars"]
        options += [f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", start, "bash", str(BROWSER), *options],
            pass_fds=(ours[0], theirs[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(ours[0])
        os.close(theirs[1])
        self._numbers, self._rest, self._session, self._arrived = itertools.count(1), b"", "", ""
        self.errors: list[str] = []
        self._width, self._height = width, height

    def __enter__(self) -> Browser:
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self("Page.enable")
        self("Runtime.enable")
        self.resize(self._width, self._height)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = ""
        try:
            self("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._out)
            os.close(self._in)

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command; its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (told := self._next()).get("id") != number:
            self._event(told)
        assert "error" not in told, told["error"]
        return told["result"]

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def open(self, address: str) -> None:
        """Go to a page, and wait until it has loaded."""
        self._go("Page.navigate", url=address)

    def reload(self) -> None:
        self._go("Page.reload")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        told = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys, as a person does."""
        for key in keys:
            code, number = KEYS.get(key, (f"Key{key.upper()}", ord(key.upper()[0])))
            text = {"text": key} if len(key) == 1 else {}
            event = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            self("Input.dispatchKeyEvent", type="keyDown", **event, **text)
            self("Input.dispatchKeyEvent", type="keyUp", **event)

    def save_screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))

    def _go(self, method: str, **parameters: Any) -> None:
        self._arrived = ""
        told = self(method, **parameters)
        assert "errorText" not in told, told
        while self._arrived != "loaded":
            self._event(self._next())

    def _event(self, told: dict[str, Any]) -> None:
        match told.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(told["params"]["exceptionDetails"]))
            case "Page.frameNavigated":
                self._arrived = "there"
            case "Page.loadEventFired" if self._arrived:
                self._arrived = "loaded"

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            read = os.read(self._in, 1 << 16)
            assert read, "the browser has gone"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
