"""Debian's Chromium without a window, asked by the Chrome DevTools Protocol over a pair of pipes.

It keeps to this machine: each name but those of the loopback interface is one that it can't find.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

_LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024
_READ_BYTES = 256 * 1024


class BrowserError(Exception):
    """The browser failed or didn't answer in time."""


def find_chromium() -> str | None:
    """Return the path of the browser, None if there is none."""
    return shutil.which("chromium")


class Page:
    """A page of a running browser.

    Attributes:
        requested: The URL of each request that the page has made, in their order.
        problems: What the page's console has of errors, violations of its Content-Security-Policy among them.
    """

    def __init__(self, commands: int, answers: int, seconds: float) -> None:
        self.requested: list[str] = []
        self.problems: list[str] = []
        self._commands = commands
        self._answers = answers
        self._seconds = seconds
        self._unread = b""
        self._last_id = 0
        self._session: dict[str, str] = {}
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Network", "Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str, *, width: int, height: int) -> None:
        """Open a URL in a window of this size, in pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._call("Page.navigate", url=url)

    def wait_for(self, expression: str) -> Any:
        """Return the value of a JavaScript expression as soon as it is true in JavaScript's sense.

        Raises:
            BrowserError: If it does not become so in time.
        """
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.05)
        raise BrowserError(f"The page did not come to {expression}. Its problems: {self.problems}")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, which has to be one that JSON has.

        Raises:
            BrowserError: If it raises an exception.
        """
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on the middle of the element that a CSS selector finds, when it is there, as a mouse does."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait_for(f"{element} !== null")
        self.evaluate(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.evaluate(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({element}.getBoundingClientRect())")
        for event in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1)

    def picture(self) -> bytes:
        """Return a PNG of what the window shows."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self._seconds
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._last_id:
                break
            self._note(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.problems.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.problems.append(str(parameters["exceptionDetails"].get("exception", {}).get("description")))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._answers, _READ_BYTES) if ready else b""
            if not chunk or len(self._unread) > _LARGEST_MESSAGE_BYTES:
                raise BrowserError("The browser ended or does not answer.")
            self._unread += chunk
        message, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextmanager
def browser_page(chromium: str, *, options: Sequence[str] = (), seconds: float = 30) -> Iterator[Page]:
    """Run a browser with one page while the context lasts.

    Args:
        chromium: The path of the browser.
        options: Further options of its command line.
        seconds: How long it may take over each thing that it is asked for.

    Raises:
        BrowserError: If it does not start.
    """
    commands_read, commands = _pipe()
    answers, answers_written = _pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = [chromium, *_OPTIONS, f"--user-data-dir={profile}", *options]
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", _START, str(commands_read), str(answers_written), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(commands_read, answers_written),
        )
        os.close(commands_read)
        os.close(answers_written)
        try:
            yield Page(commands, answers, seconds)
        finally:
            os.close(commands)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()
            process.wait()
            os.close(answers)


def _pipe() -> tuple[int, int]:
    """Return the ends of a pipe, both with numbers that are out of the way of those that the browser reads."""
    ends = os.pipe()
    above = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return above[0], above[1]


# The browser reads commands from file descriptor 3, and writes answers to 4.
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    # A container's root has no user namespaces to build its sandbox of, and only the project's own page is opened.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--force-color-profile=srgb",
    "--lang=en-US",
)
