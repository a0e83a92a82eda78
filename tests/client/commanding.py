"""Runs commands in this process, against the local service with images made of given layers."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecr_layers.cli import main
from local.oci_layout import OciLayout
from local.service import local_service
from tests.layouts import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, LayoutWriter

REPOSITORY = "team/tools"


@dataclass(frozen=True)
class Result:
    """What a command came to."""

    status: int
    output: str
    error: str


Command = Callable[..., Result]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Return what runs `ecr-layers` in this process, which takes less time than a process of its own."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> Result:
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        return Result(status, *capsys.readouterr())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def add_image(writer: LayoutWriter, config: dict[str, Any], layers: Sequence[bytes]) -> Descriptor:
    """Write an image and return its descriptor."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": writer.document(OCI_CONFIG, config),
        "layers": [writer.blob(layer, OCI_LAYER) for layer in layers],
    }
    return writer.document(OCI_MANIFEST, document)


@contextmanager
def serving(directory: Path, images: Mapping[str, Sequence[bytes]]) -> Iterator[str]:
    """Serve images with these layers by their tags, and return the service's URL."""
    writer = LayoutWriter(directory)
    for tag, layers in images.items():
        writer.name(add_image(writer, {"os": "linux", "architecture": "amd64"}, layers), tag)
    with serving_layout(writer) as url:
        yield url


@contextmanager
def serving_layout(writer: LayoutWriter) -> Iterator[str]:
    """Serve the images that were written, and return the service's URL."""
    writer.write()
    with local_service({REPOSITORY: OciLayout(writer.directory)}, write_log=lambda _: None) as service:
        yield service.url
