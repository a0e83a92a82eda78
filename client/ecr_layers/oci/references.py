"""The names of repositories, images and blobs, as a user writes them."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from ecr_layers.errors import UsageError

# OCI Image Specification, "Registered Algorithms". Nothing else becomes the name of a file.
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
# What ECR's API reference and its service model admit together, as the service does.
_NAME_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:(?P<registry>[0-9]{{12}})/)?(?P<name>{_NAME_PART}(?:/{_NAME_PART})*)")
_LONGEST_REPOSITORY = 256 + 13
# OCI Distribution Specification, "Pulling manifests".
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


def is_digest(text: str) -> bool:
    """Tell whether a text is a digest of an algorithm that is known here: sha256 or sha512."""
    return _DIGEST.fullmatch(text) is not None


def checked_digest(text: str) -> str:
    """Return a digest that a user wrote.

    Raises:
        UsageError: If it is not a digest.
    """
    if not is_digest(text):
        raise UsageError(f"{text!r} is no digest. One is 'sha256:' and 64 hexadecimal digits, or 'sha512:' and 128.")
    return text


def hasher(digest: str) -> Any:
    """Return the hash object of a digest's algorithm; its `hexdigest` is to be what follows the colon."""
    return hashlib.new(digest.partition(":")[0])


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry.

    Attributes:
        name: Its name, such as `team/app`.
        registry_id: The AWS account of the registry, None for the service's own.
    """

    name: str
    registry_id: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Repository":
        """Return the repository that a user wrote, `team/app` or `123456789012/team/app`.

        Raises:
            UsageError: If it is not the name of a repository.
        """
        match = _REPOSITORY.fullmatch(text) if len(text) <= _LONGEST_REPOSITORY else None
        if match is None:
            raise UsageError(
                f"{text[:100]!r} is no repository. Give its name without a registry, such as team/app, or with the "
                "registry's account id in front, such as 123456789012/team/app."
            )
        return cls(match["name"], match["registry"])

    def __str__(self) -> str:
        return self.name if self.registry_id is None else f"{self.registry_id}/{self.name}"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image of a repository.

    Attributes:
        repository: The repository.
        tag: Its tag, None if it was named by a digest alone.
        digest: The digest of its manifest or index, None if it was named by a tag alone. With both, the digest decides.
    """

    repository: Repository
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ImageReference":
        """Return the image that a user wrote: `team/app`, `team/app:1.2`, `team/app@sha256:…`, or with both.

        Without a tag and a digest the tag is `latest`.

        Raises:
            UsageError: If it is not the reference of an image.
        """
        named, at, digest = text.partition("@")
        name, colon, tag = named.partition(":")
        if at:
            checked_digest(digest)
        if colon and not _TAG.fullmatch(tag):
            raise UsageError(f"{tag[:150]!r} is no tag. Name an image as team/app:TAG or team/app@sha256:….")
        if not at and not colon:
            tag = "latest"
        return cls(Repository.parse(name), tag or None, digest or None)

    @property
    def name(self) -> str:
        """What names the image in its repository: the digest, or else the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"
