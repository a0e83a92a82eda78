"""Debian's Chromium, headless, for the pictures and the tests."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

_ONLY_LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


def find_chromium() -> str | None:
    """Return the browser's path, None if it isn't installed."""
    return shutil.which("chromium")


@contextmanager
def browser_page(chromium: str, *, width: int, height: int) -> Iterator[Page]:
    """Run a browser with one page, which reaches loopback addresses only.

    Args:
        chromium: Path of the browser.
        width: Width of the window in pixels.
        height: Height of the window in pixels.
    """
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=[_ONLY_LOOPBACK]) as browser,
    ):
        yield browser.new_page(viewport={"width": width, "height": height})
