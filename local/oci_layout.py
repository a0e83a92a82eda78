"""Reads an OCI image layout: which images it has, which blobs these refer to, and what refers to an image.

A layout may come from anywhere, so no link is followed, and only regular files are read.
"""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ecr_layers.errors import ClientError
from ecr_layers.oci.documents import mapping
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import is_digest
from ecr_layers.store.layout import INDEX, REFERENCE_NAME, VERSION, LayoutIndex

__all__ = ["REFERENCE_NAME", "LayoutError", "OciLayout", "files_in"]

OpenFile = Callable[[str], BinaryIO | None]
"""Opens a file by its path in a layout, such as `blobs/sha256/0123…`; returns None without one."""

_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


class LayoutError(Exception):
    """A directory is not an OCI image layout, or a broken one; the message is one line that says what to do."""


def files_in(directory: Path) -> OpenFile:
    """Return what opens the regular files in a directory. Links, and files behind one, don't count."""
    root = directory.resolve()

    def open_file(name: str) -> BinaryIO | None:
        path = root / name
        return path.open("rb") if path.resolve() == path and path.is_file() else None

    return open_file


class OciLayout:
    """An OCI image layout, read once when it is opened.

    Args:
        path: Its directory.
        open_file: Opens its files if they are elsewhere; `path` is only a name then.

    Attributes:
        name: Its name in messages.
        manifests: Every manifest and index that `index.json` leads to, by digest.
        tags: Digest of the manifest that each tag names. A name that can't be a tag is left out.
        referenced_blobs: Size in bytes of every config and layer that an image refers to, by digest.
        referrers: The manifests whose subject has a digest, by that digest.

    Raises:
        LayoutError: If it isn't a layout, or a manifest, a config or a layer of it is missing or damaged.
    """

    def __init__(self, path: Path, open_file: OpenFile | None = None) -> None:
        self.name = str(path)
        self.manifests: dict[str, Manifest] = {}
        self.tags: dict[str, str] = {}
        self.referenced_blobs: dict[str, int] = {}
        self.referrers: dict[str, list[Manifest]] = {}
        if open_file is None and not path.is_dir():
            raise LayoutError(f"{path}: there is no such directory. Give the directory of an OCI image layout.")
        self._open_file = open_file or files_in(path)
        try:
            self._read()
        except ClientError as error:
            raise LayoutError(f"{path}: {error} Copy the image anew.") from None
        except OSError as error:
            raise LayoutError(f"{path}: {error.filename} can't be read: {error.strerror}.") from None

    def open_blob(self, digest: str) -> BinaryIO | None:
        """Open a blob, referenced or not; None without."""
        return self._open_file(f"blobs/{digest.replace(':', '/')}") if is_digest(digest) else None

    def has_blob(self, digest: str) -> bool:
        """Tell whether the layout has a blob, referenced or not."""
        return self._size(digest) is not None

    def _read(self) -> None:
        self._content(VERSION)
        index = LayoutIndex(self._content(INDEX), f"{self.name}/{INDEX}")
        for descriptor in map(Descriptor.parse, index.entries):
            self._existing_size(descriptor.digest)
            self._read_manifests(descriptor)
            tag = descriptor.annotations.get(REFERENCE_NAME, "")
            if _TAG.fullmatch(tag):
                self.tags[tag] = descriptor.digest
        for manifest in self.manifests.values():
            subject = mapping(json.loads(manifest.content).get("subject")).get("digest")
            if isinstance(subject, str):
                self.referrers.setdefault(subject, []).append(manifest)

    def _content(self, name: str) -> bytes:
        file = self._open_file(name)
        if file is None:
            raise LayoutError(f"{self.name} is not an OCI image layout: it lacks the file {name}.")
        with file:
            return file.read()

    def _read_manifests(self, descriptor: Descriptor) -> None:
        """Read a manifest with all that it leads to, each once."""
        waiting = [descriptor]
        while waiting:
            entry = waiting.pop()
            file = None if entry.digest in self.manifests else self.open_blob(entry.digest)
            # An index may name images that were not copied along, such as those of other platforms.
            if file is None:
                continue
            with file:
                manifest = Manifest.parse(file.read(), entry.media_type or None, entry.digest)
            self.manifests[entry.digest] = manifest
            for blob in manifest.blobs:
                self._add_blob(blob)
            waiting += reversed(manifest.manifests)

    def _add_blob(self, blob: Descriptor) -> None:
        if blob.urls and not self.has_blob(blob.digest):
            return
        size = self._existing_size(blob.digest)
        if size != blob.size:
            raise LayoutError(
                f"{self.name}: blob {blob.digest} has {size} bytes, but its descriptor says {blob.size}. "
                "Copy the image anew."
            )
        self.referenced_blobs[blob.digest] = size

    def _existing_size(self, digest: str) -> int:
        size = self._size(digest)
        if size is None:
            raise LayoutError(
                f"{self.name}: blob {digest} is missing or a link. Copy the image anew, files instead of links."
            )
        return size

    def _size(self, digest: str) -> int | None:
        file = self.open_blob(digest)
        if file is None:
            return None
        with file:
            return file.seek(0, io.SEEK_END)
