"""How much one batch saves over one request for each layer, with an ECR that takes its time.

Both ways are measured in turn, in one run, so that what else the machine does hits both; the ratio is what counts.
Run it with `make bench`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from local.oci_layout import OciLayout
from local.sample_image import write_image
from local.service import local_service

REPOSITORY = "team/app"
LAYERS = 64
ROUNDS = 5
ECR_LATENCY_MS = 20.0


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        write_image(Path(directory), [{f"file-{number}": 1000} for number in range(LAYERS)])
        layout = OciLayout(Path(directory))
        digests = list(layout.referenced_blobs)
        with (
            local_service({REPOSITORY: layout}, ecr_latency_ms=ECR_LATENCY_MS, write_log=lambda _: None) as service,
            httpx.Client(base_url=service.url, timeout=60) as client,
        ):
            measure(lambda: one_by_one(client, digests), lambda: in_a_batch(client, digests), len(digests))


def measure(single: Callable[[], None], batch: Callable[[], None], count: int) -> None:
    """Time both ways in turn and print their medians and ratio."""
    timings = [(seconds(single), seconds(batch)) for _ in range(ROUNDS)]
    singles, batches = zip(*timings, strict=True)
    ratios = [one / other for one, other in timings]
    print(f"{count} layers, {ECR_LATENCY_MS:.0f} ms for each call to ECR, {ROUNDS} rounds, medians:")
    print(f"  one request for each layer  {statistics.median(singles) * 1000:8.0f} ms")
    print(f"  one batch                   {statistics.median(batches) * 1000:8.0f} ms")
    print(f"  ratio                       {statistics.median(ratios):8.1f}  ({min(ratios):.1f} to {max(ratios):.1f})")


def seconds(run: Callable[[], None]) -> float:
    """Return how long one run takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def one_by_one(client: httpx.Client, digests: list[str]) -> None:
    """Resolve each layer with a request of its own."""
    for digest in digests:
        parameters = {"repositoryName": REPOSITORY, "layerDigest": digest}
        client.get("/download-url", params=parameters).raise_for_status()


def in_a_batch(client: httpx.Client, digests: list[str]) -> None:
    """Resolve all layers with one request."""
    request = {"repositoryName": REPOSITORY, "layerDigests": digests}
    failures = client.post("/download-urls", json=request).raise_for_status().json()["failures"]
    if failures:
        raise RuntimeError(failures)


if __name__ == "__main__":
    main()
