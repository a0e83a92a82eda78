"""How much one batch saves over one request for each layer, and how much the cache saves over asking ECR.

All ways are measured in turn, in one run, so that what else the machine does hits them all; the ratios are what counts.
Run it with `make bench`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx

from local.oci_layout import OciLayout
from local.sample_image import write_image
from local.service import local_service

REPOSITORY = "team/app"
LAYERS = 64
ROUNDS = 5
ECR_LATENCY_MS = 20.0
# URLs are used again for half of their lifetime: here, no longer than between two runs.
UNCACHEABLE = timedelta(seconds=1)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        write_image(Path(directory), [{f"file-{number}": 1000} for number in range(LAYERS)])
        layout = OciLayout(Path(directory))
        digests = list(layout.referenced_blobs)
        with (
            client_of(layout, url_lifetime=UNCACHEABLE) as uncached,
            client_of(layout, url_lifetime=timedelta(hours=1)) as cached,
        ):
            in_a_batch(cached, digests)
            rounds = [
                (
                    seconds(lambda: one_by_one(uncached, digests)),
                    seconds(lambda: in_a_batch(uncached, digests)),
                    seconds(lambda: in_a_batch(cached, digests)),
                )
                for _ in range(ROUNDS)
            ]
    report(len(digests), rounds)


@contextmanager
def client_of(layout: OciLayout, url_lifetime: timedelta) -> Iterator[httpx.Client]:
    """Yield a client of a service whose download URLs are valid for so long."""
    with (
        local_service(
            {REPOSITORY: layout}, ecr_latency_ms=ECR_LATENCY_MS, url_lifetime=url_lifetime, write_log=lambda _: None
        ) as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        yield client


def report(count: int, rounds: list[tuple[float, float, float]]) -> None:
    """Print medians and ratios."""
    single, batch, cached = (statistics.median(each) * 1000 for each in zip(*rounds, strict=True))
    print(f"{count} layers, {ECR_LATENCY_MS:.0f} ms for each call to ECR, {ROUNDS} rounds, medians:")
    print(f"  one request for each layer  {single:8.0f} ms")
    print(f"  one batch                   {batch:8.0f} ms   {ratio([a / b for a, b, _ in rounds])} as fast")
    print(f"  one batch from the cache    {cached:8.0f} ms   {ratio([b / c for _, b, c in rounds])} as fast as that")


def ratio(ratios: list[float]) -> str:
    """Return the median of some ratios with their range."""
    return f"{statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f})"


def seconds(run: Callable[[], None]) -> float:
    """Return how long one run takes, when no URL of the run before can be used again."""
    time.sleep(UNCACHEABLE.total_seconds())
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
