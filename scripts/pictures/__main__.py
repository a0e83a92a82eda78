"""`make pictures`: writes the pictures of the documents to docs/pictures."""

import sys
from pathlib import Path

from scripts.pictures.browser import find_chromium
from scripts.pictures.demo import demo
from scripts.pictures.docs_page import docs_page

DIRECTORY = Path(__file__).parents[2] / "docs" / "pictures"


def main() -> None:
    """Record the demo, and photograph the API page if Chromium is installed."""
    _write("demo.svg", demo().encode())
    chromium = find_chromium()
    if chromium is None:
        print("Kept docs-page.png: it needs Debian's chromium.", file=sys.stderr)
        return
    _write("docs-page.png", docs_page(chromium))


def _write(name: str, content: bytes) -> None:
    path = DIRECTORY / name
    path.write_bytes(content)
    print(path)


if __name__ == "__main__":
    main()
