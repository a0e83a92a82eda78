"""The demo: every blob of an image, as the client fetches it through the function URL, with its digest verified."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

import ecr_layers
from ecr_layers import ClientError, Descriptor, IntegrityError
from ecr_layers.oci.references import digest_of
from local.oci_layout import OciLayout
from local.service import local_service

_SHOWN_DIGEST = len("sha256:") + 24


class DemoError(Exception):
    """The demo did not do what it should; the message is one line."""


@dataclass(frozen=True, slots=True)
class _Download:
    blob: Descriptor
    seconds: float
    is_verified: bool


def run_demo(repository: str, layout: OciLayout, console: Console) -> None:
    """Fetch the config and all layers of the layout's first image, and print a table of them.

    Raises:
        DemoError: If a blob could not be fetched, or has another digest or size than it should.
    """
    log: list[str] = []
    digest = next((digest for digest, each in layout.manifests.items() if not each.is_index), None)
    if digest is None:
        raise DemoError(f"{layout.name} has no image.")
    try:
        with (
            local_service({repository: layout}, write_log=log.append) as running,
            ecr_layers.Client(running.url) as service,
            tempfile.TemporaryDirectory() as directory,
        ):
            console.print(f"Function URL: {running.url}\nLocal S3:     {running.aws.s3_url}\n")
            image = service.image(f"{repository}@{digest}").manifest
            # One after another, so that each has a time of its own.
            downloads = [_fetch(service, repository, blob, Path(directory)) for blob in image.blobs if not blob.urls]
    except ClientError as error:
        raise DemoError("\n".join([str(error), "The function wrote:", *log])) from None
    console.print(_table(downloads))
    wrong = [download.blob.digest for download in downloads if not download.is_verified]
    if wrong:
        raise DemoError(f"Digest mismatch: {', '.join(wrong)}.")
    console.print(f"All {len(downloads)} blobs of {repository} are verified.")


def _fetch(service: ecr_layers.Client, repository: str, blob: Descriptor, directory: Path) -> _Download:
    started = time.monotonic()
    try:
        service.save_layers(repository, [blob.digest], directory)
    except IntegrityError:
        is_verified = False
    else:
        # The client has verified it; this is the demo's own look at it.
        content = (directory / blob.digest.replace(":", "/")).read_bytes()
        is_verified = (digest_of(content, blob.digest), len(content)) == (blob.digest, blob.size)
    return _Download(blob, time.monotonic() - started, is_verified)


def _table(downloads: list[_Download]) -> Table:
    table = Table("Digest", Column("Size", justify="right"), Column("Time", justify="right"), "Verified")
    for download in downloads:
        table.add_row(
            download.blob.digest[:_SHOWN_DIGEST],
            f"{download.blob.size:,} B",
            f"{download.seconds * 1000:.1f} ms",
            "yes" if download.is_verified else "NO",
        )
    return table
