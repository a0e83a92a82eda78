"""`make docs` builds a web site that draws its diagrams, can be searched, and asks no other host."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.commands import ROOT
from tests.e2e.browser import browser_page

DIAGRAMS = "[...document.querySelectorAll('div.mermaid')].map(each => each.getBoundingClientRect().height)"


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the web site, which another run of `make docs` doesn't remove."""
    result = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return shutil.copytree(ROOT / "build" / "site", tmp_path_factory.mktemp("docs") / "site")


@contextmanager
def serve(directory: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory))) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_the_start_page_is_the_readme(site: Path) -> None:
    assert "Download the layers of Amazon ECR images" in (site / "index.html").read_text()


def test_diagrams_are_drawn_and_no_other_host_is_asked(site: Path) -> None:
    problems: list[str] = []
    hosts: set[str] = set()
    with serve(site) as url, browser_page() as page:
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto(f"{url}/docs/architecture.html")
        page.wait_for_function(f"{DIAGRAMS}.length === 2 && {DIAGRAMS}.every(height => height > 100)")
        page.get_by_role("button", name="Search").click()
        page.keyboard.type("pull token")
        page.get_by_role("link", name="Pull tokens").first.wait_for()
    assert hosts - {""} == {urlsplit(url).netloc}
    assert problems == []
