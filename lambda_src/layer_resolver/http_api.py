"""The JSON routes of the function URL, and problem details (RFC 9457)."""

from pathlib import Path

from layer_resolver import errors, models
from layer_resolver.blobs import BlobReader
from layer_resolver.errors import ResolverError, Subject
from layer_resolver.function_url import LARGEST_ANSWER_BYTES, Api, Request, Response, Route
from layer_resolver.images import ImageReader, config_result, index_refused, manifest_with_config
from layer_resolver.invocation import Invocation
from layer_resolver.models import LayerBatch, parse_json, parse_request
from layer_resolver.resolver import LEAST_BYTES_OF_AN_ENTRY, LayerUrlResolver, Resolution

LARGEST_MANIFEST = 4 * 1024 * 1024
"""How many bytes ECR allows a manifest; https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html"""

_OPENAPI = Path(__file__).parent / "openapi.json"


class HttpApi(Api):
    """Answers the JSON routes."""

    def __init__(self, resolver: LayerUrlResolver, images: ImageReader, blobs: BlobReader) -> None:
        self._resolver = resolver
        self._images = images
        self._blobs = blobs
        openapi = Response(200, {"Content-Type": "application/json"}, _OPENAPI.read_text())
        self.routes = (
            Route("/download-url", {"GET": self._answer_download_url, "POST": self._answer_download_url}),
            Route("/download-urls", {"POST": self._post_download_urls}),
            Route("/images/download-urls", {"GET": self._get_image_download_urls}),
            Route("/images/config", {"GET": self._get_image_config}),
            Route("/openapi.json", {"GET": lambda *_: openapi}),
            Route("/healthz", {"GET": lambda *_: Response.json({"status": "ok"})}),
        )

    def error_answer(self, error: ResolverError, request_id: str) -> Response:
        """Return an error as a problem details object (RFC 9457)."""
        kind = error.kind
        problem = {
            "type": f"urn:problem-type:ecr-layer-resolver:{kind.code}",
            "title": kind.title,
            "status": kind.http_status,
            "detail": error.detail,
            "code": kind.code,
            "retryable": kind.retryable,
            "requestId": request_id,
            **error.extensions,
        }
        return Response.json(problem, {"Content-Type": "application/problem+json"}, status=kind.http_status)

    def _answer_download_url(self, request: Request, invocation: Invocation) -> Response:
        fields = parse_json(request.text()) if request.method == "POST" else request.query
        wanted = parse_request(fields, models.DownloadUrlRequest)
        batch = LayerBatch.of_digests(wanted.repository, [wanted.layer_digest])
        return Response.json(self._resolve(batch, invocation).only().wire())

    def _post_download_urls(self, request: Request, invocation: Invocation) -> Response:
        if request.content_type in {*models.MANIFEST_MEDIA_TYPES, *models.INDEX_MEDIA_TYPES}:
            batch = _batch_of_posted_manifest(request)
        elif request.query:
            raise ResolverError(
                errors.INVALID_PARAMETER,
                "A request by digests has its fields in the body and no query. To post an image manifest, set "
                f"Content-Type to its media type, one of {', '.join(models.MANIFEST_MEDIA_TYPES)}.",
            )
        else:
            wanted = parse_request(parse_json(request.text()), models.DownloadUrlsRequest)
            batch = LayerBatch.of_digests(wanted.repository, wanted.layer_digests)
        return Response.json(self._resolve(batch, invocation).wire(invocation.request_id))

    def _resolve(self, batch: LayerBatch, invocation: Invocation) -> Resolution:
        resolution = self._resolver.resolve(batch, invocation)
        self._images.explain_missing(batch.repository, resolution.failures, invocation)
        return resolution

    def _get_image_download_urls(self, request: Request, invocation: Invocation) -> Response:
        wanted = parse_request(request.query, models.ImageRequest)
        manifest, platform = self._image(wanted, invocation)
        batch = LayerBatch.of_manifest(wanted.repository, manifest.read(models.ImageManifest))
        if len(batch.layers) * LEAST_BYTES_OF_AN_ENTRY > LARGEST_ANSWER_BYTES:
            problem = f"{manifest.subject} has {len(batch.layers)} layers, more than one answer holds."
            advice = "Get the manifest from ECR."
            raise ResolverError(errors.RESULT_TOO_LARGE, f"{problem} {advice}", subject=manifest.subject)
        resolution = self._resolve(batch, invocation)
        invocation.gives_image = True
        answer = {
            **resolution.wire(invocation.request_id),
            "imageDigest": manifest.digest,
            "imageManifest": manifest.content.decode(),
            "imageManifestMediaType": manifest.media_type,
        }
        return Response.json(answer | platform)

    def _get_image_config(self, request: Request, invocation: Invocation) -> Response:
        wanted = parse_request(request.query, models.ImageConfigRequest)
        manifest, platform = self._image(wanted, invocation)
        image = manifest_with_config(manifest)
        blob = Subject(wanted.repository, "layer", image.config.digest)
        content = self._resolver.use_url(blob, invocation, self._blobs.config)
        result = config_result(image, content, manifest.subject, include_env=wanted.include_env == "true")
        return Response.json(result.wire() | platform)

    def _image(
        self, wanted: models.ImageRequest, invocation: Invocation
    ) -> tuple[models.StoredManifest, dict[str, str]]:
        """Return the image manifest, and the answer's field for the platform chosen from an index."""
        if not self._images.is_enabled:
            raise ResolverError(errors.NOT_ENABLED, "This service reads no images. Ask its operator to set imagePull.")
        manifest, platform = self._images.image(wanted.repository, wanted.reference, wanted.platform, invocation)
        return manifest, {} if platform is None else {"imagePlatform": platform}


def _batch_of_posted_manifest(request: Request) -> LayerBatch:
    document = request.text(LARGEST_MANIFEST)
    if request.content_type in models.INDEX_MEDIA_TYPES:
        raise index_refused(document)
    manifest = models.parse_request(document, models.PostedManifest)
    if manifest.media_type not in {None, request.content_type}:
        # A document read as one type here and as another elsewhere is a known attack (CVE-2021-41190).
        raise ResolverError(
            errors.INVALID_PARAMETER,
            "The manifest's mediaType and the request's Content-Type differ. Make them agree.",
        )
    return LayerBatch.of_manifest(parse_request(request.query, models.RepositoryRequest).repository, manifest)
