"""The routes of a read-only OCI Distribution registry, under `/v2`, and its errors.

docs/registry.md describes them. The specification is
https://github.com/opencontainers/distribution-spec/blob/main/spec.md.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from layer_resolver import errors, models
from layer_resolver.blobs import BlobReader
from layer_resolver.errors import Repository, ResolverError, Subject
from layer_resolver.function_url import Api, Request, Response, Route
from layer_resolver.images import ImageReader
from layer_resolver.invocation import Invocation
from layer_resolver.models import LayerBatch
from layer_resolver.resolver import LayerUrlResolver
from layer_resolver.settings import Settings

MOST_TAGS_A_PAGE = 1000
"""The most tags on a page, whatever `n` is."""

MANIFEST_SECONDS = 365 * 24 * 3600
"""How long a client may keep a manifest requested by digest, in seconds: it never changes."""

MOST_ARTIFACT_TYPES = 5
"""How many artifact types one request may filter by; ECR takes no more."""

# CloudFront can be set to keep redirects, and would serve stale ones, with expired URLs, while the function fails.
# Source: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/Expiration.html
_NEVER_STALE = "no-store, stale-if-error=0"

# Several parameters of one name arrive joined by commas, which a media type can't have (RFC 6838, section 4.2).
_ARTIFACT_TYPE = re.compile(r"[!-+\--~]{1,255}")


class RegistryApi(Api):
    """Answers requests under `/v2`."""

    headers: Mapping[str, str] = {"Docker-Distribution-Api-Version": "registry/2.0"}
    advice: Mapping[str, str] = {
        errors.ROUTE_NOT_FOUND.code: "There is no such path. A registry has /v2/<repository>/manifests/<reference>, "
        "/v2/<repository>/blobs/<digest>, /v2/<repository>/tags/list and /v2/<repository>/referrers/<digest>.",
        errors.METHOD_NOT_ALLOWED.code: "This is a read-only registry: push to ECR itself.",
    }

    def __init__(self, resolver: LayerUrlResolver, images: ImageReader, blobs: BlobReader, settings: Settings) -> None:
        self._resolver = resolver
        self._images = images
        self._blobs = blobs
        self._settings = settings
        self.routes = (
            Route("/v2/<name>/blobs/<digest>", {"GET": self._get_blob, "HEAD": self._head_blob}),
            Route("/v2/<name>/manifests/<reference>", {"GET": self._get_manifest}),
            Route("/v2/<name>/tags/list", {"GET": self._get_tags}),
            Route("/v2/<name>/referrers/<digest>", {"GET": self._get_referrers}),
            Route("/v2/", {"GET": lambda *_: Response.json({})}),
            Route("/v2", {"GET": lambda *_: Response.json({})}),
            Route("/v2/_catalog", {"GET": _get_catalog}),
            # Uploads are refused as pushes, not as unknown routes.
            Route("/v2/<name>/blobs/uploads/", {}),
            Route("/v2/<name>/blobs/uploads/<session>", {}),
        )

    def error_answer(self, error: ResolverError, request_id: str) -> Response:
        """Return an error in the form of the specification, section "Error Codes"."""
        kind = error.kind
        detail = {"code": kind.code, "retryable": kind.retryable, "requestId": request_id, **error.extensions}
        entry = {"code": kind.registry_code, "message": error.detail, "detail": detail}
        return Response.json({"errors": [entry]}, status=kind.registry_http_status)

    def _get_blob(self, _: Request, invocation: Invocation, name: str, digest: str) -> Response:
        repository = self._layer(name, digest).repository
        resolution = self._resolver.resolve(LayerBatch.of_digests(repository, [digest]), invocation)
        advice = f"Get /v2/{name}/manifests/{digest}."
        self._images.explain_missing(repository, resolution.failures, invocation, advice)
        url = resolution.only().download_url
        return Response(307, {"Location": url, "Docker-Content-Digest": digest, "Cache-Control": _NEVER_STALE})

    def _head_blob(self, _: Request, invocation: Invocation, name: str, digest: str) -> Response:
        size = self._resolver.use_url(self._layer(name, digest), invocation, self._blobs.size)
        headers = {
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
        }
        return Response(200, headers)

    def _layer(self, name: str, digest: str) -> Subject:
        repository = self._repository(name)
        _check_digest(digest)
        return Subject(repository, "layer", digest)

    def _get_manifest(self, request: Request, invocation: Invocation, name: str, reference: str) -> Response:
        """Return a manifest; HEAD gets its body too, from which the platform takes the length."""
        repository = self._repository(name)
        if ":" in reference:
            _check_digest(reference)
        if not self._settings.image_pull:
            raise ResolverError(
                errors.NOT_ENABLED, "This registry serves blobs only. Ask its operator to set imagePull."
            )
        manifest = self._images.manifest(repository, reference, invocation)
        if not _can_read(request.header("accept"), manifest.media_type):
            raise ResolverError(
                errors.IMAGE_NOT_FOUND,
                f"The image has the media type {manifest.media_type}, which the Accept header excludes.",
                subject=Subject(repository, "image", reference),
            )
        headers = {
            "Content-Type": manifest.media_type,
            "Docker-Content-Digest": manifest.digest,
            "ETag": f'"{manifest.digest}"',
        }
        if reference == manifest.digest:
            headers["Cache-Control"] = f"private, max-age={MANIFEST_SECONDS}, immutable"
        if _is_known(request.header("if-none-match"), manifest.digest):
            return Response(304, headers)
        invocation.gives_image = True
        return Response(200, headers, manifest.content.decode())

    def _get_tags(self, request: Request, invocation: Invocation, name: str) -> Response:
        repository = self._repository(name)
        if not self._settings.list_tags:
            raise ResolverError(errors.NOT_ENABLED, "This registry lists no tags. Ask its operator to set listTags.")
        count = _page_length(request.query.get("n"))
        tags = self._images.tags(repository, request.query.get("last", ""), invocation)
        page = tags[:count]
        headers = {}
        if page and len(page) < len(tags):
            headers["Link"] = f'</v2/{quote(name)}/tags/list?n={count}&last={quote(page[-1])}>; rel="next"'
        return Response.json({"name": name, "tags": page}, headers)

    def _get_referrers(self, request: Request, invocation: Invocation, name: str, digest: str) -> Response:
        repository = self._repository(name)
        _check_digest(digest)
        if not self._settings.image_pull:
            raise ResolverError(errors.REFERRERS_NOT_READ)
        types, token = _artifact_types(request.query.get("artifactType", "")), request.query.get("nextToken") or None
        found = self._images.referrers(repository, digest, types, token, invocation)
        headers = {"Content-Type": models.INDEX_MEDIA_TYPES[0]}
        if types:
            headers["OCI-Filters-Applied"] = "artifactType"
        if found.next_token is not None:
            # Joined by commas, because the edge lets no parameter through twice.
            query = urlencode(({"artifactType": ",".join(types)} if types else {}) | {"nextToken": found.next_token})
            headers["Link"] = f'</v2/{quote(name)}/referrers/{digest}?{query}>; rel="next"'
        index = {"schemaVersion": 2, "mediaType": models.INDEX_MEDIA_TYPES[0], "manifests": found.descriptors}
        return Response.json(index, headers)

    def _repository(self, name: str) -> Repository:
        """Return the repository in a path, and its registry if an allowed account id comes first."""
        first, _, rest = name.partition("/")
        named = {"repositoryName": name}
        if rest and first in self._settings.allowed_registries:
            named = {"registryId": first, "repositoryName": rest}
        return models.parse_request(named, models.RepositoryRequest).repository


def _get_catalog(*_: object) -> Response:
    raise ResolverError(errors.NOT_ENABLED, "This registry doesn't list its repositories.")


def _check_digest(digest: str) -> None:
    if not models.is_registered_digest(digest):
        expected = "sha256:<64 lower-case hex digits> or sha512:<128 lower-case hex digits>"
        raise ResolverError(errors.INVALID_DIGEST, f"The digest must be {expected}.")


def _can_read(accept: str, media_type: str) -> bool:
    """Tell whether a client may be able to read a media type.

    Registries serve what they have, because clients that name OCI's types read Docker's too. Three things aren't
    served: a type that the client excludes (`q=0`), an index to a client that names only manifests, and the reverse.
    """
    weights = _weights(accept)
    # The most specific range decides (RFC 9110, section 12.5.1).
    ranges = (media_type.lower(), f"{media_type.lower().partition('/')[0]}/*", "*/*")
    weight = next((weights[each] for each in ranges if each in weights), None)
    if weight is not None:
        return weight > 0
    accepted = {media_range for media_range, weight in weights.items() if weight > 0}
    same, others = models.MANIFEST_MEDIA_TYPES, models.INDEX_MEDIA_TYPES
    if media_type in models.INDEX_MEDIA_TYPES:
        same, others = others, same
    return accepted.isdisjoint(others) or not accepted.isdisjoint(same)


def _weights(accept: str) -> dict[str, float]:
    """Return the weight of each media range of an Accept header (RFC 9110, section 12.5.1)."""
    weights = {}
    for part in accept.lower().split(","):
        media_range, *parameters = (each.strip() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        weights[media_range] = float(quality) if re.fullmatch(r"[01](?:\.[0-9]{0,3})?", quality) else 1.0
    return weights


def _is_known(if_none_match: str, digest: str) -> bool:
    """Tell whether a client already has the manifest (RFC 9110, section 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return not tags.isdisjoint({f'"{digest}"', digest, "*"})


def _page_length(count: str | None) -> int:
    """Return a page's length: the requested one, up to the limit."""
    if count is None:
        return MOST_TAGS_A_PAGE
    if not re.fullmatch(r"[0-9]+", count):
        raise ResolverError(errors.INVALID_PAGINATION)
    # Python refuses to read numbers of thousands of digits; five exceed the limit.
    return min(int(count.lstrip("0")[:5] or "0"), MOST_TAGS_A_PAGE)


def _artifact_types(value: str) -> list[str]:
    """Return the artifact types to filter by; none for all."""
    # A plus arrives as a space, unless the client encodes it; a media type has no spaces.
    types = value.replace(" ", "+").split(",") if value else []
    if len(types) > MOST_ARTIFACT_TYPES or not all(map(_ARTIFACT_TYPE.fullmatch, types)):
        raise ResolverError(errors.INVALID_ARTIFACT_TYPE)
    return types
