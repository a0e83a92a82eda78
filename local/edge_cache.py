"""What CloudFront keeps of answers, with the cache policy that the stack has for blobs and manifests by digest.

Source: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/Expiration.html
"""

import re
from threading import Lock

from cachetools import TTLCache
from starlette.responses import Response

from local.viewer_event import Headers

KEPT_PATHS = ("/v2/*/blobs/*:*", "/v2/*/manifests/*:*")
"""The paths of the behaviours that have a minimum TTL, as infra/edge.py has them; '*' takes slashes."""

KEY_HEADERS = frozenset({"origin", "x-ecr-layers-host", "x-ecr-layers-method"})
"""What of a request's headers is part of the cache key. CloudFront keeps answers to GET and HEAD under the same key, so
the function puts the method into a header."""

_KEPT_PATH = re.compile("|".join(re.escape(path).replace(r"\*", ".*") for path in KEPT_PATHS))
# A minimum TTL overrides `no-store`; errors aren't kept, with an error caching TTL of 0.
# CloudFront's manual lists 304 among the 3xx answers that it caches, so here one would be kept as well:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/http-3xx-status-codes.html
_KEPT_STATUSES = frozenset({200, 203, 204, 300, 301, 302, 304, 307, 308})
_MOST_ANSWERS = 10_000

_Key = tuple[str, tuple[tuple[str, str], ...]]


class EdgeCache:
    """Keeps answers of the origin for some seconds; 0 is not at all."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._answers: TTLCache[_Key, Response] = TTLCache(_MOST_ANSWERS, seconds)
        self._lock = Lock()

    def get(self, method: str, target: str, headers: Headers) -> Response | None:
        """Return the kept answer to a request; None without."""
        if not self.is_cached(method, target):
            return None
        with self._lock:
            kept = self._answers.get(_key(target, headers))
        if kept is None:
            return None
        answer = Response(b"" if method == "HEAD" else kept.body, kept.status_code)
        answer.raw_headers = list(kept.raw_headers)
        if ("if-none-match", kept.headers.get("etag")) in headers:
            answer = Response(status_code=304, headers={"etag": kept.headers["etag"]})
        answer.headers["x-cache"] = "Hit from cloudfront"
        return answer

    def put(self, method: str, target: str, headers: Headers, answer: Response) -> None:
        """Keep an answer, if it is one that is kept."""
        if self.is_cached(method, target) and answer.status_code in _KEPT_STATUSES:
            kept = Response(answer.body, answer.status_code)
            kept.raw_headers = list(answer.raw_headers)
            with self._lock:
                self._answers[_key(target, headers)] = kept

    def is_cached(self, method: str, target: str) -> bool:
        """Tell whether answers to a request are kept, unless they are errors."""
        is_readable = method in {"GET", "HEAD"} and self._seconds > 0
        return is_readable and _KEPT_PATH.fullmatch(target.partition("?")[0]) is not None


def _key(target: str, headers: Headers) -> _Key:
    return target.partition("?")[0], tuple(sorted(pair for pair in headers if pair[0] in KEY_HEADERS))
