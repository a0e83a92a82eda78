"""The JSON routes of the function URL, and problem details (RFC 9457)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layer_resolver import errors
from layer_resolver.blobs import BlobReader
from layer_resolver.errors import ResolverError, Subject
from layer_resolver.function_url import LARGEST_ANSWER_BYTES, Request, Response, Route
from layer_resolver.images import ImageReader, config_result, index_refused, manifest_with_config
from layer_resolver.models import (
    INDEX_MEDIA_TYPES,
    MANIFEST_MEDIA_TYPES,
    DownloadUrlRequest,
    DownloadUrlsRequest,
    ImageConfigRequest,
    ImageManifest,
    ImageRequest,
    Layer,
    LayerBatch,
    PostedManifest,
    RepositoryRequest,
    StoredManifest,
    parse_document,
    parse_json,
    parse_request,
    parse_stored,
)
from layer_resolver.resolver import LEAST_BYTES_OF_A_LAYER, LayerUrlResolver, Resolution

LARGEST_MANIFEST = 4 * 1024 * 1024
"""How many bytes ECR allows a manifest; https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html"""

_OPENAPI = Path(__file__).parent / "openapi.json"


class HttpApi:
    """Answers the JSON routes."""

    headers: Mapping[str, str] = {}
    advice: Mapping[str, str] = {}

    def __init__(self, resolver: LayerUrlResolver, images: ImageReader, blobs: BlobReader) -> None:
        self._resolver = resolver
        self._images = images
        self._blobs = blobs
        self._openapi = _OPENAPI.read_text()
        self.routes = (
            Route("/download-url", {"GET": self._get_download_url, "POST": self._post_download_url}),
            Route("/download-urls", {"POST": self._post_download_urls}),
            Route("/images/download-urls", {"GET": self._get_image_download_urls}),
            Route("/images/config", {"GET": self._get_image_config}),
            Route("/openapi.json", {"GET": self._get_openapi}),
            Route("/healthz", {"GET": _get_health}),
        )

    def error_status(self, error: ResolverError) -> int:
        """Return an error's status."""
        return error.kind.http_status

    def error_body(self, error: ResolverError, request_id: str) -> tuple[str, Mapping[str, Any]]:
        """Return an error as a problem details object (RFC 9457)."""
        return "application/problem+json", {
            "type": f"urn:problem-type:ecr-layer-resolver:{error.kind.code}",
            "title": error.kind.title,
            "status": error.kind.http_status,
            "detail": error.detail,
            "code": error.kind.code,
            "retryable": error.kind.retryable,
            "requestId": request_id,
            **error.extensions,
        }

    def _get_download_url(self, request: Request) -> Response:
        return self._one(parse_request(request.query, DownloadUrlRequest), request)

    def _post_download_url(self, request: Request) -> Response:
        return self._one(parse_request(parse_json(request.text()), DownloadUrlRequest), request)

    def _one(self, wanted: DownloadUrlRequest, request: Request) -> Response:
        batch = LayerBatch.of_digests(wanted.repository, [wanted.layer_digest])
        try:
            return Response.json(self._resolver.resolve_one(batch, request.invocation).wire())
        except ResolverError as error:
            self._images.explain_missing(batch.repository, [error], request.invocation)
            raise

    def _post_download_urls(self, request: Request) -> Response:
        content_type = request.content_type
        if content_type in {*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES}:
            batch = _batch_of_posted_manifest(request, content_type)
        elif request.query:
            raise ResolverError(
                errors.INVALID_PARAMETER,
                "A request by digests has its fields in the body and no query. To post an image manifest, set "
                f"Content-Type to its media type, one of {', '.join(MANIFEST_MEDIA_TYPES)}.",
            )
        else:
            wanted = parse_request(parse_json(request.text()), DownloadUrlsRequest)
            batch = LayerBatch.of_digests(wanted.repository, wanted.layer_digests)
        return Response.json(self._resolve(batch, request).wire(request.invocation.request_id))

    def _resolve(self, batch: LayerBatch, request: Request) -> Resolution:
        resolution = self._resolver.resolve(batch, request.invocation)
        self._images.explain_missing(batch.repository, resolution.failures, request.invocation)
        return resolution

    def _get_image_download_urls(self, request: Request) -> Response:
        wanted = parse_request(request.query, ImageRequest)
        manifest, platform, subject = self._image(wanted, request)
        image = parse_stored(manifest.content, ImageManifest, subject, "manifest")
        batch = LayerBatch.of_manifest(wanted.repository, image)
        if len(batch.layers) * LEAST_BYTES_OF_A_LAYER > LARGEST_ANSWER_BYTES:
            detail = f"{subject} has {len(batch.layers)} layers, more than one answer holds. Get the manifest from ECR."
            raise ResolverError(errors.RESULT_TOO_LARGE, detail, subject=subject)
        resolution = self._resolve(batch, request)
        request.invocation.gives_image = True
        answer = {
            **resolution.wire(request.invocation.request_id),
            "imageDigest": manifest.digest,
            "imageManifest": manifest.content.decode(),
            "imageManifestMediaType": manifest.media_type,
        }
        return _image_answer(answer, platform)

    def _get_image_config(self, request: Request) -> Response:
        wanted = parse_request(request.query, ImageConfigRequest)
        manifest, platform, subject = self._image(wanted, request)
        image = manifest_with_config(manifest, subject)
        blob = Subject(subject.repository, "layer", image.config.digest)
        content = self._resolver.use_url(
            LayerBatch.of(wanted.repository, [Layer(image.config.digest)]),
            request.invocation,
            lambda url: self._blobs.config(blob, url, request.invocation.deadline),
        )
        result = config_result(image, content, subject, include_env=wanted.include_env == "true")
        return _image_answer(result.wire(), platform)

    def _image(self, wanted: ImageRequest, request: Request) -> tuple[StoredManifest, str | None, Subject]:
        """Return the image manifest that is asked for, the platform chosen from an index, and the subject of errors."""
        if not self._images.is_enabled:
            raise ResolverError(errors.NOT_ENABLED, "This service reads no images. Ask its operator to set imagePull.")
        repository = wanted.repository
        request.invocation.record_image(repository, wanted.reference)
        manifest, platform = self._images.image(repository, wanted.reference, wanted.platform, request.invocation)
        return manifest, platform, Subject(repository, "image", manifest.digest)

    def _get_openapi(self, _: Request) -> Response:
        return Response(200, {"Content-Type": "application/json"}, self._openapi)


def _batch_of_posted_manifest(request: Request, content_type: str) -> LayerBatch:
    document = request.text(LARGEST_MANIFEST)
    if content_type in INDEX_MEDIA_TYPES:
        raise index_refused(document)
    manifest = parse_document(document, PostedManifest)
    if manifest.media_type not in {None, content_type}:
        # A document read as one type here and as another elsewhere is a known attack (CVE-2021-41190).
        raise ResolverError(
            errors.INVALID_PARAMETER,
            "The manifest's mediaType and the request's Content-Type differ. Make them agree.",
        )
    return LayerBatch.of_manifest(parse_request(request.query, RepositoryRequest).repository, manifest)


def _image_answer(answer: dict[str, Any], platform: str | None) -> Response:
    return Response.json(answer if platform is None else {**answer, "imagePlatform": platform})


def _get_health(_: Request) -> Response:
    return Response.json({"status": "ok"})
