"""Takes download URLs and their credentials out of text that is about to be written somewhere.

A pre-signed URL is a secret: who has it can download the layer until it expires. Everything the function logs goes
through `redact`; see observability.py. This module knows nothing of requests, ECR or Lambda.
"""

import re

REDACTED = "REDACTED"

# The scheme and what stands before the query are kept: they say which host was meant and are no secret.
_URL_QUERY = re.compile(r"(?P<address>\bhttps?(?:://|%3A%2F%2F)[^\s?\"'<>\\]*?)(?:\?|%3F)[^\s\"'<>\\]*", re.IGNORECASE)

# SigV4's query parameters, in a query, percent-encoded, or as a key of JSON or of a Python dict. Source:
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
_SIGNATURE_PARAMETER = re.compile(
    r"X-Amz-(?:Signature|Security-Token|Credential)(?:[\\\"']*\s*(?:=|:|%3D)\s*[\\\"']*[^\s&\"'<>,;}\\]*)?",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return `text` without the query of any URL and without SigV4 signatures, tokens and credentials.

    Args:
        text: Any text, such as a log line or the message of an exception.

    Returns:
        The text with each URL's query, and each signature parameter outside a URL, replaced by `REDACTED`. Text that
        holds neither comes back unchanged.
    """
    without_queries = _URL_QUERY.sub(rf"\g<address>?{REDACTED}", text)
    return _SIGNATURE_PARAMETER.sub(REDACTED, without_queries)
