"""The page to try the API, in a real browser."""

import json
from urllib.parse import urlsplit

import httpx

from tests.commands import Server
from tests.e2e.browser import browser_page


def test_clicking_resolves_a_layer_and_no_other_host_is_or_can_be_asked(server: Server) -> None:
    requested: list[str] = []
    problems: list[str] = []
    with browser_page() as page:
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(error.message))
        page.goto(f"{server.url}/docs")
        operation = page.locator("#operations-default-getDownloadUrl")
        operation.locator(".opblock-summary-control").click()
        operation.locator("button.execute").click()
        response = operation.locator(".live-responses-table .response")
        status = response.locator(".response-col_status").inner_text()
        body = json.loads(response.locator(".response-col_description pre").first.inner_text())
        asked = [urlsplit(url) for url in requested if not url.startswith("data:")]
        assert problems == []
        page.evaluate("fetch('http://example.com/').catch(() => null)")
    assert status == "200"
    assert httpx.get(body["downloadUrl"]).status_code == 200
    assert {each.netloc for each in asked} == {urlsplit(server.url).netloc}
    assert {"/docs", "/docs/openapi.json", "/download-url"} <= {each.path for each in asked}
    assert "'http://example.com/' violates" in problems[0]
