"""The demo: every blob of an image through the function URL, from the local S3, with its digest verified."""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Column, Table

from local.oci_layout import Manifest, OciLayout
from local.service import local_service

_SHOWN_DIGEST = len("sha256:") + 24


class DemoError(Exception):
    """The demo did not do what it should; the message is one line."""


@dataclass(frozen=True, slots=True)
class _Download:
    digest: str
    size: int
    seconds: float
    is_verified: bool


def run_demo(repository: str, layout: OciLayout, console: Console) -> None:
    """Resolve and download the config and all layers of the layout's first image, and print a table of them.

    Args:
        repository: The name of the repository to serve the layout as.
        layout: The image layout.
        console: Where to print.

    Raises:
        DemoError: If a blob could not be resolved or downloaded, or has another digest or size than it should.
    """
    log: list[str] = []
    manifest = next((each for each in layout.manifests.values() if each.document.layers is not None), None)
    if manifest is None:
        raise DemoError(f"{layout.name} has no image.")
    try:
        with (
            local_service({repository: layout}, write_log=log.append) as service,
            # A proxy that the environment names can't reach this machine's loopback interface.
            httpx.Client(timeout=60, trust_env=False) as client,
        ):
            console.print(f"Function URL: {service.url}\nLocal S3:     {service.aws.s3_url}")
            blobs = _resolve(client, service.url, repository, manifest)
            downloads = _download_all(client, blobs, console)
    except httpx.HTTPError as error:
        raise DemoError("\n".join([f"A request failed: {type(error).__name__}. The function wrote:", *log])) from None
    console.print(_table(downloads))
    wrong = [download.digest for download in downloads if not download.is_verified]
    if wrong:
        raise DemoError(f"Not what was asked for: {', '.join(wrong)}.")
    console.print(f"All {len(downloads)} blobs of {repository} are verified.")


def _resolve(client: httpx.Client, url: str, repository: str, manifest: Manifest) -> list[dict[str, Any]]:
    response = client.post(
        f"{url}/download-urls",
        params={"repositoryName": repository},
        content=manifest.content,
        headers={"Content-Type": manifest.media_type},
    )
    if response.status_code != httpx.codes.OK:
        raise DemoError(f"The function answered {response.status_code}: {response.text}")
    result = response.json()
    if result["failures"]:
        raise DemoError(f"Not resolved: {result['failures']}")
    blobs: list[dict[str, Any]] = result["downloadUrls"]
    return blobs


def _download_all(client: httpx.Client, blobs: list[dict[str, Any]], console: Console) -> list[_Download]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Downloading", total=sum(blob["size"] for blob in blobs))
        return [_download(client, blob, lambda count: progress.advance(task, count)) for blob in blobs]


def _download(client: httpx.Client, blob: dict[str, Any], advance: Any) -> _Download:
    algorithm, _, expected = blob["layerDigest"].partition(":")
    content_hash, size, started = hashlib.new(algorithm), 0, time.monotonic()
    with client.stream("GET", blob["downloadUrl"]) as response:
        response.raise_for_status()
        for chunk in response.iter_raw():
            content_hash.update(chunk)
            size += len(chunk)
            advance(len(chunk))
    return _Download(
        digest=blob["layerDigest"],
        size=size,
        seconds=time.monotonic() - started,
        is_verified=content_hash.hexdigest() == expected and size == blob["size"],
    )


def _table(downloads: list[_Download]) -> Table:
    table = Table("Digest", Column("Size", justify="right"), Column("Time", justify="right"), "Verified")
    for download in downloads:
        table.add_row(
            download.digest[:_SHOWN_DIGEST],
            f"{download.size:,} B",
            f"{download.seconds * 1000:.1f} ms",
            "yes" if download.is_verified else "NO",
        )
    return table
