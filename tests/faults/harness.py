"""Invokes the real handler against servers that fail, from a seed, and checks each answer.

Whatever ECR and S3 do: an answer is a row of the error table, in time, within its bounds, and no secret is written.
After each fault one request is served well.
"""

import hashlib
import io
import json
import logging
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any, TextIO, cast
from unittest.mock import patch
from urllib.parse import quote

import boto3

from layer_resolver.ecr import create_client
from layer_resolver.errors import ERROR_TABLE, ResolverError
from layer_resolver.function_url import LARGEST_ANSWER_BYTES
from layer_resolver.handler import create_handler, is_function_url_event
from layer_resolver.observability import logger
from layer_resolver.settings import Settings
from tests.faults.server import (
    Behaviour,
    FaultServer,
    HttpRequest,
    Respond,
    answer,
    close,
    fault_server,
    transport_faults,
)
from tests.unit.fakes import Context, eventbridge_event, function_url_event

LARGEST_ERROR_BYTES = 16 * 1024
"""The largest body of an error."""

ALLOWANCE_SECONDS = 10.0
"""How late an answer may be on a busy machine. A server that hangs does so for twice as long."""

LONGEST_LINE = 32 * 1024
"""How many bytes a line of the log may have."""

SIGNATURE = "5f0c2a1b9d3e4f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8"
TOKEN = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQ=="
SECRETS = (
    SIGNATURE,
    TOKEN,
    quote(TOKEN, safe=""),
    quote(quote(TOKEN, safe=""), safe=""),
    TOKEN.replace("=", "\\u003d"),
)

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = b"layer" * 1000


def digest_of(content: bytes) -> str:
    """Return the digest of a blob or manifest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def config_of(tag: str) -> bytes:
    """Return the config of an image, of which each tag names another."""
    config = {"Labels": {"version": tag}}
    return json.dumps({"os": "linux", "architecture": "amd64", "config": config}).encode()


def manifest_of(tag: str) -> str:
    """Return the manifest of the image that a tag names."""
    config = config_of(tag)
    media_types = (
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    )
    described, layer = (
        {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
        for media_type, content in zip(media_types, (config, LAYER), strict=True)
    )
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": [layer]})


TAGS = [f"1.{number}" for number in range(500)]
"""More than the function keeps the configs of."""

LAYER_DIGEST = digest_of(LAYER)
MANIFEST = manifest_of(TAGS[0])
MANIFEST_DIGEST = digest_of(MANIFEST.encode())
BLOBS = {digest_of(content): content for content in (LAYER, *map(config_of, TAGS))}


class BrokenPromiseError(AssertionError):
    """The function did what it must never do."""


@dataclass
class Report:
    """What a run came to: how often each outcome came, by status and code, and each behaviour of a server was met."""

    outcomes: Counter[str] = field(default_factory=Counter)
    behaviours: Counter[str] = field(default_factory=Counter)


# What ECR answers


def url_of(digest: str, s3_port: int) -> str:
    """Return a download URL of the form that ECR gives, to the server in S3's place."""
    signed_at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return (
        f"http://localhost:{s3_port}/{digest.replace(':', '/')}?X-Amz-Security-Token={quote(TOKEN, safe='')}"
        f"&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={signed_at}&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
        f"&X-Amz-Credential=ASIAEXAMPLE&X-Amz-Signature={SIGNATURE}"
    )


def good_answer(request: HttpRequest, s3_port: int) -> dict[str, Any]:
    """Return what ECR answers to a call."""
    action = request.headers["x-amz-target"].rpartition(".")[2]
    asked = json.loads(request.body)
    if action == "GetDownloadUrlForLayer":
        return {"downloadUrl": url_of(asked["layerDigest"], s3_port), "layerDigest": asked["layerDigest"]}
    if action == "BatchGetImage":
        (image_id,) = asked["imageIds"]
        stored = manifest_of(image_id.get("imageTag", TAGS[0]))
        image = {
            "imageId": {"imageDigest": digest_of(stored.encode()), **image_id},
            "imageManifest": stored,
            "imageManifestMediaType": OCI_MANIFEST,
        }
        return {"images": [image], "failures": []}
    if action == "ListImages":
        return {"imageIds": [{"imageTag": "1.0"}, {"imageTag": "latest"}]}
    return {"referrers": [{"digest": MANIFEST_DIGEST, "mediaType": OCI_MANIFEST, "size": 7, "artifactType": "a/b"}]}


def well(s3_port: int) -> Respond:
    """Return how ECR answers when all is well."""
    return lambda request: answer(200, json.dumps(good_answer(request, s3_port)).encode(), name="well")


# Values that take the place of any member of an answer.
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**400, 1.5, "", " ", [], {}, [None], [[]], "\ud800", "\0", "a\r\nX-Injected: yes", "☃" * 20,
    "a" * 70_000, "javascript:alert(1)", "file:///etc/passwd", "//example.com/a", "https://", "https://example.com/a",
    "https://user@s3.us-east-1.amazonaws.com/a", f" https://b.s3.us-east-1.amazonaws.com/a?X-Amz-Signature={SIGNATURE}",
    f"https://evil.example/?X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={TOKEN}", "http://169.254.169.254/latest",
    "https://b.s3.us-east-1.amazonaws.com/a\r\nSet-Cookie: a=b", "https://[::1", "https://a:99999/", TOKEN,
)  # fmt: skip


def mutated(document: Any, choose: random.Random) -> Any:
    """Return an answer in which something, at any depth, is missing, doubled, or something else."""
    if isinstance(document, dict) and document and choose.random() < 0.8:
        name = choose.choice(list(document))
        changed = dict(document)
        if choose.random() < 0.15:
            del changed[name]
        else:
            changed[name] = mutated(changed[name], choose)
        return changed
    if isinstance(document, list) and document and choose.random() < 0.6:
        return [mutated(document[0], choose), *document[1:], *([document[0]] if choose.random() < 0.2 else [])]
    if isinstance(document, str) and choose.random() < 0.3:
        return document[: choose.randrange(len(document) + 1)] + choose.choice(["", "\n", "\x7f", TOKEN, "é"])
    return choose.choice(ODD_VALUES)


ECR_CODES = sorted(code for kind in ERROR_TABLE.values() for code in kind.ecr_codes)
STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 418, 429, 500, 501, 502, 503, 504, 507, 599)


def ecr_fault(request: HttpRequest, s3_port: int, choose: random.Random) -> Behaviour:
    """Return one of the ways in which ECR can fail."""
    good = good_answer(request, s3_port)
    body = json.dumps(good).encode()
    message = f"not at {url_of(LAYER_DIGEST, s3_port)} with Authorization: Bearer {TOKEN}"
    kind = choose.randrange(7)
    if kind in {0, 6}:
        return choose.choice(transport_faults(body, choose))
    if kind == 1:
        document = {"__type": choose.choice([*ECR_CODES, "Something.New#Odd", "x" * 3000]), "message": message}
        return answer(choose.choice(STATUSES), json.dumps(document).encode(), name="an error of ECR's")
    if kind == 2:
        garbage = choose.choice(
            [b"<html>" + message.encode(), b"", b"[" * 50_000, b"\xff\xfe", b"null", b'"text"', b"{}"]
        )
        headers = (
            ("Retry-After: 3600", "x-amzn-errortype: " + choose.choice(ECR_CODES)) if choose.random() < 0.5 else ()
        )
        return answer(choose.choice([200, *STATUSES]), garbage, *headers, name="a garbage body")
    if kind == 3:
        location = choose.choice([f"http://localhost:{s3_port}/", "http://169.254.169.254/", "file:///etc/passwd", "%"])
        return answer(choose.choice([301, 302, 303, 307, 308]), b"", f"Location: {location}", name="a redirect")
    document = mutated(good, choose)
    return answer(200, json.dumps(document).encode(), name="an answer that is not ECR's")


def s3_answer(request: HttpRequest) -> Behaviour:
    """Return what S3 answers."""
    path = request.line.split(" ")[1].partition("?")[0]
    content = BLOBS.get(path.removeprefix("/").replace("/", ":"), LAYER)
    if request.headers.get("range") == "bytes=0-0":
        return answer(206, content[:1], f"Content-Range: bytes 0-0/{len(content)}", name="a part")
    return answer(200, content, name="a blob")


def s3_fault(request: HttpRequest, choose: random.Random) -> Behaviour:
    """Return one of the ways in which S3 can fail."""
    kind = choose.randrange(5)
    error = f"<Error><Code>X</Code><Message>{SIGNATURE} {TOKEN}</Message></Error>".encode()
    if kind == 0:
        return choose.choice(transport_faults(b"a" * choose.randrange(1, 2000), choose))
    if kind == 1:
        return answer(choose.choice([*STATUSES, 416]), error, "Retry-After: 3600", name="an error of S3's")
    if kind == 2:
        value = choose.choice(
            ["bytes 0-0/*", "bytes 0-0/", "bytes 0-0/-1", f"bytes 0-0/{'9' * 30}", "bytes */7", "x", ""]
        )
        return answer(206, b"a", f"Content-Range: {value}", name="an odd range")
    if kind == 3:
        return answer(choose.choice([301, 307]), b"", "Location: http://169.254.169.254/", name="a redirect of S3's")
    return answer(
        choose.choice([200, 206]), choose.choice([b"", b"x", config_of(TAGS[0]), b"a" * 9_000_000]), name="another blob"
    )


# What is asked


def any_digest(choose: random.Random) -> str:
    """Return a digest that was most likely never asked for, so that the cache has no URL of it."""
    return f"sha256:{choose.getrandbits(256):064x}"


def requests(choose: random.Random) -> list[tuple[dict[str, Any], int]]:
    """Return well-formed events, with the status that each has when all is well; 0 is a result."""
    repository, layer, tag = {"repositoryName": "team/app"}, any_digest(choose), {"imageTag": choose.choice(TAGS)}
    batch = repository | {"layerDigests": [any_digest(choose) for _ in range(choose.randrange(1, 70))]}
    manifest = function_url_event("POST", "/download-urls", repository, body=MANIFEST, content_type=OCI_MANIFEST)
    return [
        (function_url_event("GET", "/download-url", repository | {"layerDigest": layer}), 200),
        (function_url_event("POST", "/download-urls", body=json.dumps(batch)), 200),
        (function_url_event("GET", f"/v2/team/app/blobs/{layer}"), 307),
        (function_url_event("HEAD", f"/v2/team/app/blobs/{layer}"), 200),
        (function_url_event("GET", "/v2/team/app/manifests/1.0"), 200),
        (function_url_event("HEAD", f"/v2/team/app/manifests/{MANIFEST_DIGEST}"), 200),
        (function_url_event("GET", "/v2/team/app/tags/list"), 200),
        (function_url_event("GET", f"/v2/team/app/referrers/{MANIFEST_DIGEST}"), 200),
        (function_url_event("GET", "/images/download-urls", repository | tag), 200),
        (function_url_event("GET", "/images/config", repository | tag), 200),
        (manifest, 200),
        (eventbridge_event(repository | {"layerDigests": [layer, any_digest(choose)]}), 0),
        (repository | {"layerDigest": layer}, 0),
    ]


# What is checked


@dataclass
class Outcome:
    """What came of an invocation: an answer over HTTP, a result, or an error that Lambda acts on."""

    status: int
    code: str
    answered: Any
    seconds: float
    written: str


def invoke(handler: Callable[..., Any], event: Any, remaining_milliseconds: int = 15_000) -> Outcome:
    """Invoke the handler, and catch what it writes and raises.

    Raises:
        BrokenPromiseError: If it raises what it must not.
    """
    written = io.StringIO()
    stream = cast("logging.StreamHandler[TextIO]", logger.registered_handler)
    stream.setStream(written)
    started = time.monotonic()
    try:
        with redirect_stdout(written), redirect_stderr(written):
            answered = handler(event, Context(remaining_milliseconds))
    except ResolverError as error:
        if error.__cause__ is not None or is_function_url_event(event):
            raise BrokenPromiseError(f"raised {error!r}") from error
        return Outcome(
            error.kind.http_status, error.kind.code, str(error), time.monotonic() - started, written.getvalue()
        )
    except Exception as error:
        raise BrokenPromiseError(f"raised {error!r}") from error
    seconds = time.monotonic() - started
    if "statusCode" not in answered:
        return Outcome(0, "", answered, seconds, written.getvalue())
    return Outcome(answered["statusCode"], _code_of(answered), answered, seconds, written.getvalue())


def _code_of(answered: dict[str, Any]) -> str:
    if answered["statusCode"] < 400:
        return ""
    document = json.loads(answered["body"])
    return str(document["code"] if "code" in document else document["errors"][0]["detail"]["code"])


_STATUSES_OF_ROWS = {code: {kind.http_status, kind.registry_http_status} for code, kind in ERROR_TABLE.items()}
_HEADER_VALUE = re.compile(r"[ -~]*")


def check(outcome: Outcome) -> None:
    """Check what every answer has to be, whatever was asked and whatever happened.

    Raises:
        BrokenPromiseError: If it is not.
    """
    _check_that(outcome.status < 400 or outcome.status in _STATUSES_OF_ROWS.get(outcome.code, set()), "no row", outcome)
    encoded = json.dumps(outcome.answered)
    _check_that(len(encoded) <= LARGEST_ANSWER_BYTES + 64 * 1024, "the answer is too large", outcome)
    if outcome.status >= 400:
        size = len(outcome.answered["body"] if isinstance(outcome.answered, dict) else outcome.answered)
        _check_that(size <= LARGEST_ERROR_BYTES, "the error is too large", outcome)
        _check_that(not any(secret in encoded for secret in SECRETS), "a secret is in an error", outcome)
    if isinstance(outcome.answered, dict) and "headers" in outcome.answered:
        values = outcome.answered["headers"].values()
        _check_that(all(_HEADER_VALUE.fullmatch(value) for value in values), "a header has no such value", outcome)
    for line in outcome.written.splitlines():
        _check_that(len(line.encode(errors="replace")) <= LONGEST_LINE, "a line is too long", outcome)
        _check_that(isinstance(json.loads(line), dict), "a line is not JSON", outcome)
    for described in described_errors(outcome.written):
        # What ECR says and nobody knows is an internal error; a mistake of the function's own would be one as well.
        is_known = described["code"] != "InternalError" or described["cause"]["type"] == "ClientError"
        _check_that(is_known, "the function failed by itself", outcome)
    lowered = outcome.written.lower()
    _check_that(not any(secret.lower() in lowered for secret in SECRETS), "a secret is written", outcome)


def described_errors(written: str) -> Iterator[dict[str, Any]]:
    """Yield the errors that the log tells of."""
    for line in map(json.loads, written.splitlines()):
        yield from (line["error"],) if "error" in line else ()
        yield from line.get("failures", ())


def _check_that(is_so: bool, problem: str, outcome: Outcome) -> None:
    if not is_so:
        raise BrokenPromiseError(
            f"{problem}: {outcome.status} {outcome.code} {str(outcome.answered)[:600]} {outcome.written[:600]}"
        )


# The runs


def _environment(ecr_port: int, **more: str) -> AbstractContextManager[object]:
    variables = {
        "AWS_ENDPOINT_URL_ECR": f"http://127.0.0.1:{ecr_port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    return patch.dict(os.environ, variables | more)


def new_client(service: str = "ecr", **options: Any) -> Any:
    """Return the function's client of a service, from the environment as it is now."""
    boto3.setup_default_session()
    return create_client(service, **options)


def run(seed: int, count: int) -> Report:
    """Invoke the function `count` times against servers that fail, each time followed by a request that is served well.

    Args:
        seed: What everything follows from, but times.
        count: How many faulty invocations there are.

    Raises:
        BrokenPromiseError: If the function does what it must not; the message has the number of the invocation.
    """
    report = Report()
    with fault_server(lambda _: close()) as ecr, fault_server(s3_answer) as s3, _environment(ecr.port):
        handler = create_handler(new_client(), Settings(image_pull=True, list_tags=True, stack_name="faults"))
        for number in range(count):
            choose = random.Random(f"{seed} {number}")
            try:
                _invoke_with_faults(handler, ecr, s3, choose, report)
                _invoke_well(handler, ecr, s3, choose)
            except BrokenPromiseError as error:
                raise BrokenPromiseError(f"seed {seed}, invocation {number}: {error}") from error
    return report


PLACES = ("ECR", "S3", "credentials", "TLS")
"""Where a fault of a connection can be: at ECR, at S3, where SnapStart's environments get credentials, and before the
connection to ECR is encrypted."""


def run_each_alone(place: str) -> Report:
    """Invoke the function with each fault of a connection alone, while the size of a blob is asked for.

    Args:
        place: Where the faults are, one of `PLACES`.

    Raises:
        BrokenPromiseError: If the function does what it must not.
    """
    report, choose = Report(), random.Random(1)
    body = b"not JSON" if place == "credentials" else b'{"downloadUrl": "x"}'
    with (
        fault_server(lambda _: close()) as ecr,
        fault_server(s3_answer) as s3,
        fault_server(credentials_for_minutes) as other,
    ):
        ecr.respond = well(s3.port)
        failing = {"ECR": ecr, "S3": s3}.get(place, other)
        with _environment(ecr.port, **_elsewhere(place, other.port)):
            handler = create_handler(new_client(), Settings())
            for behaviour in transport_faults(body, choose):
                if place == "credentials":
                    # A client keeps the credentials that it has, and these soon expire.
                    other.respond = credentials_for_minutes
                    handler = create_handler(new_client(), Settings())
                failing.respond = lambda _, behaviour=behaviour: behaviour  # type: ignore[misc]
                failing.greeting = behaviour if place == "TLS" else None
                event = function_url_event("HEAD", f"/v2/team/app/blobs/{any_digest(choose)}")
                outcome = invoke(handler, event, remaining_milliseconds=800)
                report.behaviours[behaviour.name] += 1
                _check_that(outcome.seconds <= ALLOWANCE_SECONDS, f"{behaviour.name}: too late", outcome)
                _check_that(outcome.status in {200, 502, 503, 504}, behaviour.name, outcome)
                check(outcome)
                for server in (ecr, s3, other):
                    server.drop_connections()
    return report


def credentials_for_minutes(_: HttpRequest) -> Behaviour:
    """Answer as Lambda's endpoint for credentials; botocore asks again when they have 10 minutes or less."""
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300))
    given = {"AccessKeyId": "AKIAEXAMPLE", "SecretAccessKey": "secret", "Token": "t", "Expiration": expires}
    return answer(200, json.dumps(given).encode(), name="credentials")


def _elsewhere(place: str, port: int) -> dict[str, str]:
    if place == "TLS":
        return {"AWS_ENDPOINT_URL_ECR": f"https://127.0.0.1:{port}"}
    if place == "credentials":
        # As Lambda has it where it restores a snapshot: no keys.
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{port}/credentials",
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_CONFIG_FILE": os.devnull,
        }
    return {}


def _invoke_with_faults(
    handler: Callable[..., Any], ecr: FaultServer, s3: FaultServer, choose: random.Random, report: Report
) -> None:
    # Of all calls of the invocation, some are served well: faults come mixed. S3 is asked when ECR has answered.
    ecr_share, s3_share = choose.choice([(1.0, 1.0), (1.0, 0.0), (0.5, 0.5), (0.2, 0.5), (0.0, 1.0), (0.0, 1.0)])
    seed, lock = choose.random(), threading.Lock()
    numbers = iter(range(1_000_000))
    met: list[str] = []

    def fails(share: float) -> random.Random | None:
        with lock:
            own = random.Random(f"{seed} {next(numbers)}")
        return own if own.random() < share else None

    def failing(share: float, fault: Callable[[HttpRequest, random.Random], Behaviour], otherwise: Respond) -> Respond:
        def respond(request: HttpRequest) -> Behaviour:
            own = fails(share)
            if own is None:
                return otherwise(request)
            behaviour = fault(request, own)
            met.append(behaviour.name)
            return behaviour

        return respond

    ecr.respond = failing(ecr_share, lambda request, own: ecr_fault(request, s3.port, own), well(s3.port))
    s3.respond = failing(s3_share, s3_fault, s3_answer)
    event, _ = choose.choice([each for each in requests(choose) if ecr_share or _asks_s3(each[0])])
    remaining = choose.choice([300, 520, 600, 700, 1200, 1500])
    outcome = invoke(handler, event, remaining)
    ecr.respond = s3.respond = lambda _: close()
    ecr.drop_connections()
    s3.drop_connections()
    report.outcomes[f"{outcome.status} {outcome.code}".strip()] += 1
    report.behaviours.update(met)
    _check_that(outcome.seconds <= remaining / 1000 + ALLOWANCE_SECONDS, "the answer is late", outcome)
    check(outcome)


def _asks_s3(event: dict[str, Any]) -> bool:
    path = str(event.get("rawPath"))
    return path == "/images/config" or ("/blobs/" in path and event["requestContext"]["http"]["method"] == "HEAD")


def _invoke_well(handler: Callable[..., Any], ecr: FaultServer, s3: FaultServer, choose: random.Random) -> None:
    ecr.respond = well(s3.port)
    s3.respond = s3_answer
    event, expected = choose.choice(requests(choose))
    outcome = invoke(handler, event)
    check(outcome)
    _check_that(outcome.status == expected, "a good request is not served well after a fault", outcome)
    if isinstance(outcome.answered, dict) and outcome.answered.get("failures"):
        raise BrokenPromiseError(f"layers fail after a fault: {outcome.answered}")
