"""A headless Chromium that tests drive by keyboard and mouse, through its DevTools protocol on two pipes."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35, "Tab": 9}


def executable() -> str | None:
    """The browser's path; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._held = write, read, bytearray()
        self._count = 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for name in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{name}.enable")

    def _message(self) -> Any:
        """The next message. Raises TimeoutError, EOFError."""
        while b"\0" not in self._held:
            if not select.select([self._read], [], [], SECONDS)[0]:
                raise TimeoutError(f"Chromium is silent for {SECONDS} s")
            content = os.read(self._read, 1 << 20)
            if not content:
                raise EOFError("Chromium has ended")
            self._held += content
        message, _, self._held = self._held.partition(b"\0")
        return json.loads(message)

    def _heard(self, message: Any) -> None:
        given = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(given["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(given["entry"]["text"])

    def call(self, method: str, **given: Any) -> Any:
        """What the protocol answers."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": given}
        if self._session is not None:
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._write, content) :]
        while True:
            answer = self._message()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self._heard(answer)

    def open(self, path: Path, width: int, height: int, dark: bool = False) -> None:
        """Load the file, at that size of the window, and wait until it is whole."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.go(path.as_uri())

    def go(self, address: str) -> None:
        """Load an address, and wait until the page is whole and drawn."""
        self.call("Page.navigate", url="about:blank")
        assert "errorText" not in self.call("Page.navigate", url=address)
        end = time.monotonic() + SECONDS
        while self.script("document.readyState + location.protocol") != f"complete{address.partition('//')[0]}":
            assert time.monotonic() < end, f"{address} is not loaded after {SECONDS} s"
            time.sleep(0.05)
        self.drawn()

    def script(self, code: str) -> Any:
        """The value of an expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def drawn(self) -> None:
        """Wait until two frames are drawn."""
        self.script("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")

    def key(self, name: str, times: int = 1) -> None:
        """Press a key."""
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=KEYS[name])
        self.drawn()

    def click(self, selector: str) -> None:
        """Click the middle of an element, where it is on the screen."""
        self.script(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        rect = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()"
        place = self.script(rect)
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.drawn()

    def screenshot(self, path: Path) -> None:
        """The window as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A tab of a browser that is started for it, with its profile in a folder."""
    found = executable()
    assert found is not None
    theirs_read, ours_write = os.pipe()
    ours_read, theirs_write = os.pipe()
    command = [
        *(found, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
        *("--disable-dev-shm-usage", f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"),
    ]
    # DevTools reads from descriptor 3 and writes to 4.
    script = f'exec 3<&{theirs_read} 4>&{theirs_write}; exec "$@"'
    browser = subprocess.Popen(
        ["bash", "-c", script, "bash", *command], pass_fds=(theirs_read, theirs_write),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_read)
    os.close(theirs_write)
    try:
        yield Page(ours_write, ours_read)
    finally:
        browser.terminate()
        browser.wait(30)
