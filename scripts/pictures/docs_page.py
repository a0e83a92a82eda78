"""The page to try the HTTP API, in a browser: a layer is resolved by clicking."""

import json
from dataclasses import dataclass
from typing import Any

from local.sample_image import sample_image
from local.service import FunctionUrl, local_service
from scripts.pictures.browser import Page, browser_page

# Down to the answer's body: its headers differ from run to run.
WIDTH, HEIGHT = 1000, 940

ONLY_LOOPBACK = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",)
"""Options of a browser that finds no host but this machine."""

_OPERATION = "#operations-default-getDownloadUrl"
_ANSWER = f"{_OPERATION} .live-responses-table .response"

# What differs from run to run. A text node is replaced as a whole, so each is looked at by itself.
_SHORTEN = """
(() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    node.textContent = node.textContent
      .replaceAll(location.origin, "http://127.0.0.1:9000")
      .replace(/http:\\/\\/localhost:[^"]*/, "http://localhost:…")
      .replace(/"\\d{4}-\\d\\d-\\d\\dT[^"]*Z"/, '"…Z"');
  }
})()
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page shows of an answer.

    Attributes:
        status: Its status.
        body: Its body.
    """

    status: int
    body: Any


def resolve_by_clicking(page: Page, url: str) -> Answer:
    """Open the page of a service and let it resolve the layer that it has filled in.

    Args:
        page: A page of a browser.
        url: The local function URL.

    Returns:
        What the page shows.

    Raises:
        BrowserError: If the page does not work.
    """
    page.open(f"{url}/docs", width=WIDTH, height=HEIGHT)
    page.click(f"{_OPERATION} .opblock-summary-control")
    page.click(f"{_OPERATION} button.execute")
    status = page.wait_for(f"document.querySelector('{_ANSWER} .response-col_status')?.textContent")
    body = page.wait_for(f"document.querySelector('{_ANSWER} .response-col_description pre')?.textContent")
    return Answer(int(status), json.loads(body))


def docs_page(chromium: str) -> bytes:
    """Return a PNG of the page after it has resolved a layer of the sample image.

    Args:
        chromium: The path of the browser.

    Raises:
        BrowserError: If the page does not work.
    """
    with (
        local_service(
            {"team/app": sample_image()}, function_url=FunctionUrl(has_docs_page=True), write_log=lambda _: None
        ) as service,
        browser_page(chromium, options=ONLY_LOOPBACK) as page,
    ):
        resolve_by_clicking(page, service.url)
        page.evaluate(_SHORTEN)
        page.evaluate(f"document.querySelector('{_OPERATION}').scrollIntoView({{behavior: 'instant'}})")
        # The cursor and the focus blink.
        page.evaluate("document.activeElement.blur()")
        return page.picture()
