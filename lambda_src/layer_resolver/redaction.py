"""Takes secrets out of foreign text: what exceptions and libraries say, and nobody knows the form of.

Of foreign text the log has nothing but types, codes and statuses. Only at the level DEBUG has it the text as well,
after `redact`, which keeps what is known to be no secret: short words, names, digests. Knows nothing of requests, ECR
or Lambda.
"""

import html
import re
from urllib.parse import unquote

REDACTED = "REDACTED"

LONGEST_TEXT = 4096
"""How many characters of a text are looked at; the rest is left out."""

# A text may have been encoded for a URL, JSON, Python, HTML or XML, and that again.
_MOST_DECODINGS = 4
_ESCAPE = re.compile(r"(?:\\u|%u)([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
# What shows as nothing: a NUL stands before each character of UTF-16 that is read as bytes.
_INVISIBLE = dict.fromkeys([0x0, 0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])

# What follows the address of a URL, up to where a URL ends.
_URL_QUERY = re.compile(r"(?P<address>https?://[^\s?#\"'<>\\]{0,300})[?#][^\s\"'<>\\]*", re.IGNORECASE)

# Names of secrets, with whatever joins name and value: signs, quotes, tags, spaces. Sources:
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-signed-urls.html
_NAMED = re.compile(
    r"(?:x-amz-(?:signature|security-token|credential)|signature|(?:session|security|access)[_-]?token|token|password"
    r"|(?:secret|access|api|customer)[_-]?(?:access[_-]?)?key(?:[_-]?id)?|key-pair-id|policy|credentials?)"
    r"\b[\s\"'\\]{0,5}(?:[=:>][\s\"'\\=:>]{0,5}(?:b[\"'])?(?P<value>[^\s&\"'<>,;}\\]{1,4096})?)?",
    re.IGNORECASE,
)
# The schemes of a header for authorization, with all that follows in the line.
_AUTHORIZATION = re.compile(
    r"\b(?:aws4-hmac-sha256|aws4-ecdsa-p256-sha256|basic|bearer|digest|negotiate)\s[^\r\n]{1,4096}", re.IGNORECASE
)
_AUTHORIZATION_HEADER = re.compile(r"\b(?:proxy-)?authorization\b[^\r\n]{0,4096}", re.IGNORECASE)

# What is long and of these characters alone is taken for a key, a token or a signature, unless it has a known form.
_OPAQUE = re.compile(r"[A-Za-z0-9+/_=%~.:@-]{16,}")
_KNOWN = re.compile(
    r"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})"  # digests
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # request ids
    r"|(?:[a-z]{1,20}:)?[A-Za-z]{1,60}[.:]?"  # words, such as the names of exceptions and actions
    r"|(?:https?://)?[a-z0-9-]{1,40}(?:[./_:]{1,2}[a-z0-9-]{1,40}){0,10}[./:]?"  # hosts, repositories
)
# Within what looks like a name, a part that is long and has digits among its letters is no word.
_MIXED = re.compile(r"(?=[a-z-]*[0-9])(?=[0-9-]*[a-z])[a-z0-9]{16,}")


def redact(text: str) -> str:
    """Return the beginning of a text without what may be a secret.

    Args:
        text: Any text, such as the message of an exception.

    Returns:
        At most `LONGEST_TEXT` characters of the text, decoded, in which the queries of URLs, values that are called as
        secrets are, headers for authorization, and whatever else is long and has no known form are `REDACTED`.
    """
    plain = _decoded(text[:LONGEST_TEXT].translate(_INVISIBLE))
    plain = _URL_QUERY.sub(rf"\g<address>?{REDACTED}", plain)
    plain = _AUTHORIZATION_HEADER.sub(REDACTED, plain)
    plain = _AUTHORIZATION.sub(REDACTED, plain)
    plain = _NAMED.sub(REDACTED, plain)
    return _OPAQUE.sub(_kept_or_redacted, plain)[:LONGEST_TEXT]


def _decoded(text: str) -> str:
    for _ in range(_MOST_DECODINGS):
        decoded = html.unescape(_ESCAPE.sub(_character, unquote(text))).translate(_INVISIBLE)
        if decoded == text:
            return text
        text = decoded
    return text


def _character(escape: re.Match[str]) -> str:
    character = chr(int(escape[1] or escape[2], 16))
    return character if character.isprintable() else " "


def _kept_or_redacted(run: re.Match[str]) -> str:
    return run[0] if _KNOWN.fullmatch(run[0]) and not _MIXED.search(_without_digest(run[0])) else REDACTED


def _without_digest(run: str) -> str:
    return "" if run.startswith(("sha256:", "sha512:")) else run
