"""The page to try the API, in a real browser."""

import struct
from urllib.parse import urlsplit

import httpx

from scripts.pictures.browser import browser_page
from scripts.pictures.docs_page import HEIGHT, WIDTH, resolve_by_clicking
from tests.commands import ROOT, Server, tool

PICTURE = ROOT / "docs" / "pictures" / "docs-page.png"


def test_clicking_resolves_a_layer_and_no_other_host_is_or_can_be_asked(server: Server, layer: dict[str, str]) -> None:
    with browser_page(tool("chromium"), width=WIDTH, height=HEIGHT) as page:
        requested: list[str] = []
        problems: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(error.message))
        answer = resolve_by_clicking(page, server.url)
        asked = [urlsplit(url) for url in requested if not url.startswith("data:")]
        picture = page.screenshot()
        assert problems == []
        page.evaluate("fetch('http://example.com/').catch(() => null)")
    assert answer.status == 200
    assert httpx.get(answer.body["downloadUrl"]).status_code == 200
    assert {each.netloc for each in asked} == {urlsplit(server.url).netloc}
    assert {"/docs", "/docs/swagger-ui-bundle.js", "/docs/openapi.json", "/download-url"} <= {
        each.path for each in asked
    }
    assert "'http://example.com/' violates" in problems[0]
    assert size_of(picture) == (WIDTH, HEIGHT)


def test_the_documents_show_the_page() -> None:
    assert size_of(PICTURE.read_bytes()) == (WIDTH, HEIGHT)
    assert "](pictures/docs-page.png)" in (ROOT / "docs" / "local.md").read_text()


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height
