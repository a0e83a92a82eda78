"""CloudFront in front of S3: the behaviour `/layers/*` of an edge that serves layers from its own host."""

from collections.abc import Mapping
from typing import Any

import httpx

PREFIX = "/layers/"

# CloudFront passes these on by itself, and S3 reads them.
_FORWARDED = frozenset({"range", "if-none-match", "if-match", "if-modified-since", "if-unmodified-since", "if-range"})


def request_to_s3(method: str, origin: str, target: str, fields: Mapping[str, Any]) -> httpx.Request:
    """Return the request to S3 for a layer."""
    raw_target = target.encode("latin-1")
    headers = {name: each["value"] for name, each in fields.items() if name in _FORWARDED}
    return httpx.Request(
        method,
        httpx.URL(origin).copy_with(raw_path=raw_target),
        headers={**headers, "user-agent": "Amazon CloudFront"},
        extensions={"target": raw_target},
    )
