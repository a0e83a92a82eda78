"""Writes tar archives of all kinds for tests, right ones and hostile ones."""

import gzip
import hashlib
import io
import sys
import tarfile
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ecr_layers.oci.manifests import Descriptor

zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def file(name: str, content: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    """Return a regular file."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    """Return a symbolic link, or another kind of link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """Return a hard link."""
    return link(name, target, tarfile.LNKTYPE)


def directory(name: str) -> tuple[tarfile.TarInfo, bytes]:
    """Return a directory."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info, b""


def special(name: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    """Return a device or a pipe."""
    info = tarfile.TarInfo(name)
    info.type = kind
    return info, b""


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def header(name: str, kind: bytes, size: int) -> bytes:
    """Return a single header, which may claim anything."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    """Return content with what fills it up to a whole number of blocks."""
    return content + b"\0" * (-len(content) % tarfile.BLOCKSIZE)


def extension(kind: bytes, content: bytes) -> bytes:
    """Return an extension header with its content."""
    return header("extension", kind, len(content)) + padded(content)


def record(keyword: str, value: str) -> bytes:
    """Return a record of a pax header."""
    rest = f" {keyword}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def gzipped(archive: bytes) -> bytes:
    """Return an archive as most layers are."""
    return gzip.compress(archive, compresslevel=1, mtime=0)


def descriptor_of(layer: bytes, **members: Any) -> Descriptor:
    """Return the descriptor of a layer."""
    return Descriptor(f"sha256:{hashlib.sha256(layer).hexdigest()}", len(layer), "", **members)


class Layers:
    """Layers in memory.

    Attributes:
        descriptors: Their descriptors, the lowest first.
        opened: The numbers of those that have been opened, the lowest being 0.
    """

    def __init__(self, layers: Sequence[bytes]) -> None:
        self.descriptors = [descriptor_of(layer) for layer in layers]
        self.opened: list[int] = []
        self._layers = layers

    def open(self, descriptor: Descriptor) -> io.BufferedReader:
        """Open a layer."""
        number = self.descriptors.index(descriptor)
        self.opened.append(number)
        return io.BufferedReader(io.BytesIO(self._layers[number]))
