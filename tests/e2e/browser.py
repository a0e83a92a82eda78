"""Debian's Chromium, headless, for tests of web pages."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

from tests.commands import tool

_ONLY_LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


@contextmanager
def browser_page() -> Iterator[Page]:
    """Run a browser with one page, which reaches loopback addresses only."""
    chromium = tool("chromium")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=[_ONLY_LOOPBACK]) as browser,
    ):
        yield browser.new_page(viewport={"width": 1280, "height": 1000})
