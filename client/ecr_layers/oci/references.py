"""Names of repositories, images and blobs."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from ecr_layers.errors import UsageError

# OCI Image Specification, "Registered Algorithms". Nothing else becomes a file name.
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
# The union of ECR's API reference and its service model, as in the service.
_NAME_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:(?P<registry>[0-9]{{12}})/)?(?P<name>{_NAME_PART}(?:/{_NAME_PART})*)")
_LONGEST_REPOSITORY = 256 + 13
# OCI Distribution Specification, "Pulling manifests".
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_ECR_HOST = re.compile(r"(?P<account>[0-9]{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+")
# A registry's host has a dot or a port, or is localhost: https://pkg.go.dev/github.com/distribution/reference
_HOST = re.compile(
    r"localhost(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
    r"(?::[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5}"
)


def is_digest(text: str) -> bool:
    """Tell whether a text is a sha256 or sha512 digest."""
    return _DIGEST.fullmatch(text) is not None


def checked_digest(text: str) -> str:
    """Return a digest from a user.

    Raises:
        UsageError: If it isn't a digest.
    """
    if not is_digest(text):
        raise UsageError(
            f"{text[:150]!r} isn't a digest; expected sha256:<64 hex digits> or sha512:<128 hex digits>.",
            code="invalid-digest",
        )
    return text


def hasher(digest: str) -> Any:
    """Return a new hash object of a digest's algorithm."""
    return hashlib.new(digest.partition(":")[0])


def digest_of(content: bytes, like: str = "sha256:") -> str:
    """Return the digest of bytes, with the algorithm of another digest."""
    found = hasher(like)
    found.update(content)
    return f"{found.name}:{found.hexdigest()}"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry.

    Attributes:
        name: Its name, such as `team/app`.
        registry_id: The AWS account of the registry; None for the service's own.
    """

    name: str
    registry_id: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Repository":
        """Parse `team/app` or `123456789012/team/app`.

        Raises:
            UsageError: If it isn't a valid name.
        """
        match = _REPOSITORY.fullmatch(text) if len(text) <= _LONGEST_REPOSITORY else None
        if match is None:
            raise UsageError(
                f"{text[:100]!r} isn't a repository name. Use a name such as team/app, or 123456789012/team/app for "
                "another account's registry.",
                code="invalid-repository",
            )
        return cls(match["name"], match["registry"])

    def __str__(self) -> str:
        return self.name if self.registry_id is None else f"{self.registry_id}/{self.name}"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image of a repository.

    Attributes:
        repository: The repository.
        tag: Its tag; None if it was named by a digest only.
        digest: The digest of its manifest or index; None if it was named by a tag. A digest overrides the tag.
        host: The registry's host, if the name had one.
    """

    repository: Repository
    tag: str | None = None
    digest: str | None = None
    host: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ImageReference":
        """Parse `team/app`, `team/app:1.2` or `team/app@sha256:…`, also as other tools write them.

        `docker://` in front is ignored. The host of an ECR registry becomes its account id. Without tag and digest, the
        tag is `latest`.

        Raises:
            UsageError: If it isn't a valid image name.
        """
        host, path = split_host(text.removeprefix("docker://"))
        ecr = _ECR_HOST.fullmatch(host or "")
        named, at, digest = path.partition("@")
        name, colon, tag = named.partition(":")
        if at:
            checked_digest(digest)
        if colon and not _TAG.fullmatch(tag):
            raise UsageError(
                f"{tag[:150]!r} isn't a tag. Name an image as team/app:TAG or team/app@sha256:….", code="invalid-tag"
            )
        repository = Repository.parse(f"{ecr['account']}/{name}" if ecr else name)
        return cls(repository, tag or (None if at else "latest"), digest or None, None if ecr else host)

    @property
    def name(self) -> str:
        """The digest, or else the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"


def split_host(text: str) -> tuple[str | None, str]:
    """Split the host of a registry from an image's name; None if the name has no host."""
    first, slash, rest = text.partition("/")
    return (first, rest) if slash and _HOST.fullmatch(first) else (None, text)
