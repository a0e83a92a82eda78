"""The JSON routes of the function URL, and problem details (RFC 9457)."""

from collections.abc import Mapping
from typing import Any, TypeVar

from layer_resolver.backend import IMAGE_DIGEST_ADVICE, Backend
from layer_resolver.errors import INVALID_PARAMETER, NOT_ENABLED, ResolverError, Subject
from layer_resolver.function_url import Request, Response, Route
from layer_resolver.models import (
    INDEX_MEDIA_TYPES,
    MANIFEST_MEDIA_TYPES,
    DigestedConfigRequest,
    DigestedImageRequest,
    DownloadUrlRequest,
    DownloadUrlsRequest,
    LayerBatch,
    Repository,
    StoredManifest,
    TaggedConfigRequest,
    TaggedImageRequest,
)
from layer_resolver.validation import parse_json, parse_request

Tagged = TypeVar("Tagged")
Digested = TypeVar("Digested")

LARGEST_MANIFEST = 4 * 1024 * 1024
"""How many bytes ECR allows a manifest; https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html"""

DEEPEST_INDEX = 4
"""How many indexes, each of which names the next, may lead to an image."""


class HttpApi:
    """Answers the JSON routes.

    Args:
        backend: What it asks.
    """

    headers: Mapping[str, str] = {}
    advice: Mapping[str, str] = {}

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.routes = (
            Route("/download-url", {"GET": self._get_download_url, "POST": self._post_download_url}),
            Route("/download-urls", {"POST": self._post_download_urls}),
            Route("/images/download-urls", {"GET": self._get_image_download_urls}),
            Route("/images/config", {"GET": self._get_image_config}),
            Route("/openapi.json", {"GET": _get_openapi}),
            Route("/healthz", {"GET": _get_health}),
        )

    def error_status(self, error: ResolverError) -> int:
        """Return the status of an error."""
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
            return Response.json(self._backend.resolver.resolve_one(batch, request.invocation).wire())
        except ResolverError as error:
            self._backend.point_to_images([error], request.invocation, IMAGE_DIGEST_ADVICE)
            raise

    def _post_download_urls(self, request: Request) -> Response:
        content_type = request.content_type
        if content_type in MANIFEST_MEDIA_TYPES or content_type in INDEX_MEDIA_TYPES:
            return self._many(_batch_of_posted_manifest(request), request)
        if request.query:
            raise ResolverError(
                INVALID_PARAMETER,
                "A request by digests has its fields in the body and no query. To post an image manifest, set "
                f"Content-Type to its media type, one of {', '.join(MANIFEST_MEDIA_TYPES)}.",
            )
        wanted = parse_request(parse_json(request.text()), DownloadUrlsRequest)
        return self._many(LayerBatch.of_digests(wanted.repository, wanted.layer_digests), request)

    def _many(self, batch: LayerBatch, request: Request, **more: str) -> Response:
        resolution = self._backend.resolver.resolve(batch, request.invocation)
        if resolution.fault is not None:
            raise resolution.fault
        self._backend.point_to_images(resolution.failures, request.invocation, IMAGE_DIGEST_ADVICE)
        return Response.json({**resolution.wire(request.invocation.request_id), **more})

    def _get_image_download_urls(self, request: Request) -> Response:
        from layer_resolver.manifests import batch_of_image  # noqa: PLC0415

        wanted = _wanted_image(request, TaggedImageRequest, DigestedImageRequest)
        manifest = self._manifest(wanted, request)
        return self._many(
            batch_of_image(manifest, Subject(wanted.repository, "image", manifest.digest)),
            request,
            imageDigest=manifest.digest,
            imageManifest=manifest.content.decode(),
            imageManifestMediaType=manifest.media_type,
        )

    def _get_image_config(self, request: Request) -> Response:
        from layer_resolver.manifests import config_answer, manifest_with_config  # noqa: PLC0415

        wanted = _wanted_image(request, TaggedConfigRequest, DigestedConfigRequest)
        manifest = self._manifest(wanted, request)
        subject = Subject(wanted.repository, "image", manifest.digest)
        config = manifest_with_config(manifest, subject).config
        blob = Subject(wanted.repository, "layer", config.digest)
        content = self._backend.resolver.use_url(
            LayerBatch.of(wanted.repository, [config.layer()]),
            request.invocation,
            lambda url: self._backend.blobs.config(blob, url, request.invocation.deadline),
        )
        return Response.json(config_answer(manifest, content, subject, include_env=wanted.include_env == "true"))

    def _manifest(self, wanted: TaggedImageRequest | DigestedImageRequest, request: Request) -> StoredManifest:
        """Return the image manifest that is asked for: for an index, that of the platform."""
        from layer_resolver.manifests import digest_for_platform  # noqa: PLC0415

        if not self._backend.settings.image_pull:
            raise ResolverError(NOT_ENABLED, "This service does not read images. Ask its operator to set imagePull.")
        request.invocation.record_image(wanted.repository, wanted.reference)
        repository, reference = wanted.repository, wanted.reference
        manifest = self._backend.images.manifest(repository, reference, request.invocation)
        for _ in range(DEEPEST_INDEX):
            if not manifest.is_index:
                return manifest
            index = Subject(repository, "image", manifest.digest)
            reference = digest_for_platform(manifest, wanted.platform, index)
            manifest = self._backend.images.manifest(repository, reference, request.invocation)
        if not manifest.is_index:
            return manifest
        raise ResolverError(
            INVALID_PARAMETER,
            f"The image is behind more than {DEEPEST_INDEX} indexes. Ask for it by its imageDigest.",
        )


def _wanted_image(request: Request, tagged: type[Tagged], digested: type[Digested]) -> Tagged | Digested:
    """Return the image that a query asks for, by its tag or by its digest."""
    if ("imageTag" in request.query) == ("imageDigest" in request.query):
        raise ResolverError(INVALID_PARAMETER, "Name the image by either imageTag or imageDigest.")
    if "imageDigest" in request.query:
        return parse_request(request.query, digested)
    return parse_request(request.query, tagged)


def _batch_of_posted_manifest(request: Request) -> LayerBatch:
    # This loads pydantic, which no other route of the default service needs.
    from layer_resolver.manifests import batch_of_manifest, index_refused  # noqa: PLC0415

    document = request.text(LARGEST_MANIFEST)
    if request.content_type in INDEX_MEDIA_TYPES:
        raise index_refused(document)
    return batch_of_manifest(document, request.content_type, parse_request(request.query, Repository))


def _get_openapi(_: Request) -> Response:
    from layer_resolver.openapi import openapi_document  # noqa: PLC0415

    return Response.json(openapi_document())


def _get_health(_: Request) -> Response:
    return Response.json({"status": "ok"})
