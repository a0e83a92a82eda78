"""Errors on the command line: exit statuses, remedies that are options, and JSON."""

import json
import sys
from contextlib import suppress

from ecr_layers.errors import ClientError, IntegrityError, TargetError, UsageError

FAILED, USAGE, MISMATCH, TARGET, READER_GONE = 1, 2, 3, 4, 141
"""Exit statuses; a signal's is 128 plus its number."""

EXIT_STATUSES = f"""\
exit status:
  0    done, everything verified
  {FAILED}    the service or S3 failed despite retries, or the file doesn't exist
  {USAGE}    wrong command line, settings or credentials
  {MISMATCH}    digest mismatch
  {TARGET}    the target or the output can't be written
  130  stopped by Ctrl-C; 143 by SIGTERM
  {READER_GONE}  the reader of the output has gone"""

_STATUSES = ((UsageError, USAGE), (IntegrityError, MISMATCH), (TargetError, TARGET))
_HINTS = {
    "no-service": "Or use --url.",
    "credentials-required": "Run docker login, or use --token-file; for a function URL, leave --anonymous out.",
    "NotEnabled": "fetch, cat, ls, extract and inspect take --manifest FILE; fetch takes --digest, too.",
    "layer-not-image": "Download it with {repository} --digest {digest}",
    "no-such-platform": "Choose one with --platform.",
    "too-many-manifests": "Use --platform.",
    "blob-too-large": "--max-bytes sets the limit.",
    "layers-too-large": "--max-bytes sets the limit.",
    "not-archivable": "Use --format oci.",
    "no-region": "Or use --region.",
    "no-stack": "Name it with --stack, and its region with --region.",
    "no-token-store": "Name a stack with --stack, or a store with --store.",
    "no-token": "`ecr-layers token list` lists them.",
    "token-unconfirmed": "`ecr-layers token list` shows it.",
    "tokens-taken": "Use --overwrite to replace them.",
    "no-log-group": "Name it with --log-group.",
    "no-layer": "Or name one with --repository and --digest; with make, REPOSITORY= and DIGEST=.",
}
_RESUME = "Run it again to resume."


def status_of(error: ClientError) -> int:
    """Return the exit status of an error."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), FAILED)


def text_of(error: ClientError, *, is_verbose: bool) -> str:
    """Return an error as one line."""
    parts = [str(error), _HINTS.get(error.code, "").format(**error.fields)]
    if error.fields.get("can_resume"):
        parts.append(_RESUME)
    if is_verbose:
        parts.append(_details(error))
    return " ".join(part for part in parts if part)


def show(error: ClientError, *, is_verbose: bool, is_json: bool) -> int:
    """Write an error to the standard error, and return the exit status."""
    status = status_of(error)
    message = text_of(error, is_verbose=is_verbose)
    if is_json:
        document = {"event": "error", "code": error.code, "message": message, "exitStatus": status}
        tell(json.dumps({**document, **_plain(error.fields)}), prefix="")
    else:
        tell(message)
    return status


def tell(message: str, *, prefix: str = "ecr-layers: ") -> None:
    """Write a line to the standard error; if that fails, nobody can be told."""
    with suppress(OSError, ValueError):
        print(f"{prefix}{message}", file=sys.stderr, flush=True)


def _details(error: ClientError) -> str:
    names = {"s3_code": "S3 code", "s3_request_id": "S3 request id", "request_id": "request id"}
    found = [f"{name} {error.fields[key]}" for key, name in names.items() if error.fields.get(key)]
    return f"({', '.join([f'code {error.code}', *found])})"


def _plain(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if isinstance(value, str | int | list)}
