"""The function without Lambda: a fake ECR client, events, and what the handler writes."""

import hashlib
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import botocore.session
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from layer_resolver.models import MANIFEST_MEDIA_TYPES
from layer_resolver.observability import logger

SHAPE_FOR = botocore.session.get_session().get_service_model("ecr").shape_for
INPUT_SHAPE = SHAPE_FOR("GetDownloadUrlForLayerRequest")
OCI_MANIFEST, DOCKER_MANIFEST = MANIFEST_MEDIA_TYPES
SECRETS = ("X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential")


def digest(number: int = 1) -> str:
    """Return a digest that is as long as a real one."""
    return f"sha256:{number:064x}"


def download_url(layer_digest: str) -> str:
    """Return a URL of the form that ECR gives."""
    return (
        f"https://prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com/{layer_digest[7:]}"
        "?X-Amz-Security-Token=IQoJb3JpZ2lu&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20261123T100000Z"
        "&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
        "&X-Amz-Credential=ASIAEXAMPLE%2F20261123%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=0123456789abcdef"
    )


def url_signed_now(_: str) -> str:
    """Return a URL that the cache keeps, in place of `download_url`."""
    return f"https://b.s3.us-east-1.amazonaws.com/?X-Amz-Date={datetime.now(UTC):%Y%m%dT%H%M%SZ}&X-Amz-Expires=3600"


def ecr_error(code: str, message: str = "message", status: int = 400) -> ClientError:
    """Return the exception that boto3 raises for an error answer of ECR."""
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetDownloadUrlForLayer",
    )


@dataclass(frozen=True)
class FakeMeta:
    """What a client says of itself."""

    partition: str = "aws"
    endpoint_url: str = "https://api.ecr.us-east-1.amazonaws.com"


Answering = Exception | float | Callable[[], object]


@dataclass
class FakeEcr:
    """Implements what the function uses of the ECR client; botocore's service model checks each call.

    Attributes:
        url_of: Returns the download URL of a digest, in place of `download_url`.
        answers: What a digest is answered with: an exception, or what to do (or seconds to wait) before the URL.
        url_padding: How much longer the URLs are than they need to be, in characters.
        calls: The parameters of each call for a layer.
        images: Content and media type of the manifest that a tag or a digest names.
        image_failure: The failure code of images that are not there.
        image_error: What calls about images raise.
        image_calls: The parameters of each call about images.
        page: How many tags and referrers are given at a time.
    """

    answers: dict[str, Answering] = field(default_factory=dict)
    answer: Answering = 0.0
    url_of: Callable[[str], str] | None = None
    url_padding: int = 0
    calls: list[dict[str, str]] = field(default_factory=list)
    images: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    image_failure: str | None = "ImageNotFound"
    image_error: Exception | None = None
    image_calls: list[dict[str, Any]] = field(default_factory=list)
    page: int = 2
    referrers: list[dict[str, Any]] = field(default_factory=list)
    meta: FakeMeta = field(default_factory=FakeMeta)
    under_way: int = 0
    most_under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get_download_url_for_layer(self, **parameters: str) -> dict[str, str]:
        validate_parameters(parameters, INPUT_SHAPE)
        with self._lock:
            self.calls.append(parameters)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            answer = self.answers.get(parameters["layerDigest"], self.answer)
            if isinstance(answer, Exception):
                raise answer
            if callable(answer):
                answer()
            else:
                time.sleep(answer)
            url = (self.url_of or download_url)(parameters["layerDigest"]) + "0" * self.url_padding
            return {"downloadUrl": url, "layerDigest": parameters["layerDigest"]}
        finally:
            with self._lock:
                self.under_way -= 1

    def batch_get_image(self, **parameters: Any) -> dict[str, Any]:
        self._record("BatchGetImageRequest", parameters)
        images, failures = [], []
        for image_id in parameters["imageIds"]:
            found = self.images.get(image_id.get("imageTag") or image_id["imageDigest"])
            if found is not None:
                images.append(_image(image_id, *found))
            elif self.image_failure:
                failures.append({"imageId": image_id, "failureCode": self.image_failure})
        return {"images": images, "failures": failures}

    def list_image_referrers(self, **parameters: Any) -> dict[str, Any]:
        self._record("ListImageReferrersRequest", parameters)
        types = parameters.get("filter", {}).get("artifactTypes")
        found = [each for each in self.referrers if types is None or each.get("artifactType") in types]
        return self._page_of("referrers", found, parameters)

    def list_images(self, **parameters: Any) -> dict[str, Any]:
        """Give images in no order; those without a tag unless only those with one are asked for."""
        self._record("ListImagesRequest", parameters)
        tags = [reference for reference in self.images if ":" not in reference]
        found = [{"imageTag": tag} for tag in tags]
        if parameters.get("filter", {}).get("tagStatus") != "TAGGED":
            found += [{"imageDigest": digest()}]
        return self._page_of("imageIds", found, parameters)

    def _record(self, shape: str, parameters: dict[str, Any]) -> None:
        validate_parameters(parameters, SHAPE_FOR(shape))
        self.image_calls.append(parameters)
        if self.image_error is not None:
            raise self.image_error

    def _page_of(self, name: str, found: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[str, Any]:
        token = parameters.get("nextToken", "0")
        if not re.fullmatch("[0-9]{1,9}", token):
            raise ecr_error("InvalidParameterException", "Invalid parameter at 'nextToken'")
        start, end = int(token), int(token) + self.page
        return {name: found[start:end]} | ({"nextToken": str(end)} if end < len(found) else {})


def _image(image_id: dict[str, str], content: bytes, media_type: str) -> dict[str, Any]:
    true_digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {
        "imageId": {"imageDigest": true_digest} | image_id,
        "imageManifest": content.decode(),
        "imageManifestMediaType": media_type,
    }


class Context(LambdaContext):
    """The context that Lambda gives with each invocation."""

    def __init__(self, remaining_milliseconds: int = 15_000) -> None:
        self._function_name = "ecr-layer-resolver"
        self._memory_limit_in_mb = 512
        self._invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:ecr-layer-resolver:live"
        self._aws_request_id = "f7a5c1de-0000-4000-8000-000000000000"
        self._remaining_milliseconds = remaining_milliseconds

    # The class that Powertools has for type checkers declares it as a static method, which it is not in Lambda.
    def get_remaining_time_in_millis(self) -> int:  # type: ignore[override]
        return self._remaining_milliseconds


@dataclass(frozen=True)
class Answer:
    """What the function answered to a request."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The code of the error that it is, under `/v2` the only one of the OCI document."""
        document = self.json
        (error,) = document.get("errors", [document])
        return str(error["code"])


def function_url_event(
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    body: str | None = None,
    *,
    content_type: str | None = None,
    is_base64_encoded: bool = False,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what the function reads of a function URL's event (payload format 2.0); `events` has whole ones."""
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "&".join(f"{name}={value}" for name, value in (query or {}).items()),
        "headers": {"host": "abc.lambda-url.us-east-1.on.aws"}
        | ({"content-type": content_type} if content_type else {})
        | dict(headers or {}),
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "203.0.113.7"},
            "requestId": "9e5d8b70-0000-4000-8000-000000000000",
        },
        "isBase64Encoded": is_base64_encoded,
    }
    if query:
        event["queryStringParameters"] = dict(query)
    if body is not None:
        event["body"] = body
    return event


Send = Callable[..., Answer]
"""Sends a request, as `function_url_event` takes it, and returns the answer."""


def manifest(media_type: str | None = OCI_MANIFEST, **changes: Any) -> dict[str, Any]:
    """Return an image manifest with two layers."""
    return {
        "schemaVersion": 2,
        **({"mediaType": media_type} if media_type else {}),
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(100), "size": 1470},
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(1), "size": 2811},
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": digest(2), "size": 32},
        ],
        "annotations": {"org.example": "kept out of it"},
        **changes,
    }


def eventbridge_event(detail: Any, detail_type: str = "ECR Layer Download URL Request") -> dict[str, Any]:
    """Return the event with which EventBridge invokes a target."""
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": detail_type,
        "source": "com.example.builds",
        "account": "123456789012",
        "time": "2026-11-23T10:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": detail,
    }


class CurrentStdout:
    """Standard output as it is when something is written; pytest gives each test another one."""

    def write(self, text: str) -> None:
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def log_to_current_stdout() -> None:
    """Let Powertools' Logger, which keeps the standard output of when it was made, write to the current one."""
    handler = cast("logging.StreamHandler[TextIO]", logger.registered_handler)
    handler.setStream(cast("TextIO", CurrentStdout()))


Lines = list[dict[str, Any]]


class Output:
    """What the function writes to standard output; each method returns what came since the last call."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def text(self) -> str:
        captured = self._capture.readouterr()
        return captured.out + captured.err

    def lines(self) -> Lines:
        return [json.loads(line) for line in self._capture.readouterr().out.splitlines()]

    def log_and_metrics(self) -> tuple[dict[str, Any], Lines]:
        """Return the one line of the log and the lines of metrics (EMF)."""
        lines = self.lines()
        (log,) = [line for line in lines if "_aws" not in line]
        return log, [line for line in lines if "_aws" in line]

    def log(self) -> dict[str, Any]:
        """Return the one line of the log."""
        return self.log_and_metrics()[0]


def metrics_in(line: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield name, unit and dimensions of each metric in a line."""
    for directive in line.get("_aws", {"CloudWatchMetrics": []})["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            for metric in directive["Metrics"]:
                yield metric["Name"], metric["Unit"], {name: line[name] for name in names}
