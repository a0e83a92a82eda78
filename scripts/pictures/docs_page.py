"""The page to try the HTTP API, in a browser that resolves a layer on it."""

import json
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page

from local.sample_image import sample_image
from local.service import FunctionUrl, local_service
from scripts.pictures.browser import browser_page

# Ends above the response headers, which differ from run to run.
WIDTH, HEIGHT = 1000, 940

_OPERATION = "#operations-default-getDownloadUrl"

# Replaces ports, signatures and times. Each text node is replaced as a whole.
_SHORTEN = """
() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    node.textContent = node.textContent
      .replaceAll(location.origin, "http://127.0.0.1:9000")
      .replace(/http:\\/\\/localhost:[^"]*/, "http://localhost:…")
      .replace(/"\\d{4}-\\d\\d-\\d\\dT[^"]*Z"/, '"…Z"');
  }
}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as the page shows it.

    Attributes:
        status: HTTP status.
        body: Parsed JSON.
    """

    status: int
    body: Any


def resolve_by_clicking(page: Page, url: str) -> Answer:
    """Open the page of a local function URL, and resolve the layer that it suggests.

    Raises:
        playwright.sync_api.Error: If the page doesn't work.
    """
    page.goto(f"{url}/docs")
    operation = page.locator(_OPERATION)
    operation.locator(".opblock-summary-control").click()
    operation.locator("button.execute").click()
    response = operation.locator(".live-responses-table .response")
    status = response.locator(".response-col_status").inner_text()
    body = response.locator(".response-col_description pre").first.inner_text()
    return Answer(int(status), json.loads(body))


def docs_page(chromium: str) -> bytes:
    """Return a PNG of the page after it has resolved a layer of the sample image.

    Args:
        chromium: Path of the browser.

    Raises:
        playwright.sync_api.Error: If the page doesn't work.
    """
    with (
        local_service(
            {"team/app": sample_image()}, function_url=FunctionUrl(has_docs_page=True), write_log=lambda _: None
        ) as service,
        browser_page(chromium, width=WIDTH, height=HEIGHT) as page,
    ):
        resolve_by_clicking(page, service.url)
        page.evaluate(_SHORTEN)
        page.locator(_OPERATION).evaluate("element => element.scrollIntoView({behavior: 'instant'})")
        # The focus blinks.
        page.evaluate("document.activeElement.blur()")
        return page.screenshot()
