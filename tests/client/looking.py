"""Looks into images that are made of given layers."""

import io
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path

from ecr_layers import FileInfo, ImageFiles
from ecr_layers.files.targets import DirectoryTarget, TarTarget
from tests.archives import Layers, descriptor_of, gzipped
from tests.client.commanding import add_image
from tests.layouts import Descriptor, LayoutWriter

Member = tuple[tarfile.TarInfo, bytes]


def files_of(*layers: bytes, max_bytes: int = 1024**3) -> ImageFiles:
    """Return the files of an image with these layers, the lowest first."""
    of = Layers(layers)
    return ImageFiles(of.descriptors, of.open, max_bytes)


def read(path: str, *layers: bytes, max_bytes: int = 1024**3) -> bytes:
    return b"".join(files_of(*layers, max_bytes=max_bytes).read(path))


def listed(*layers: bytes, path: str = "/") -> list[FileInfo]:
    return list(files_of(*layers).walk(path))


def paths(*layers: bytes, path: str = "/") -> list[str]:
    return [each.path for each in listed(*layers, path=path)]


def extracted(target: Path, *layers: bytes, paths: Sequence[str] = (), keeps_owner: bool = False) -> list[str]:
    """Extract an image, and return the paths that were left out."""
    with DirectoryTarget(target, keeps_owner=keeps_owner) as into:
        return [each.path for each in files_of(*layers).extract(into, *paths)]


def archived(*layers: bytes) -> bytes:
    """Return an archive of an image's files."""
    out = io.BytesIO()
    with TarTarget(out) as into:
        files_of(*layers).extract(into)
    return out.getvalue()


def below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def entries(root: Path) -> dict[str, tuple[object, ...]]:
    """Return all that a directory has: types, modes, times, contents, targets, and which files are the same one."""
    found: dict[str, tuple[object, ...]] = {}
    names: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        name, status = str(path.relative_to(root)), path.lstat()
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()), int(status.st_mtime))
        elif path.is_dir():
            found[name] = ("directory", stat.S_IMODE(status.st_mode))
        else:
            first = names.setdefault(status.st_ino, name)
            mode = stat.S_IMODE(status.st_mode)
            found[name] = ("file", path.read_bytes(), mode, int(status.st_mtime), first)
    return found


def owned(member: Member, **members: float) -> Member:
    """Return a member with other attributes."""
    for name, value in members.items():
        setattr(member[0], name, value)
    return member


def add_archives(writer: LayoutWriter, archives: Sequence[bytes], **members: object) -> Descriptor:
    """Write an image of archives whose config has their digests, as tools want it that unpack or load it."""
    diff_ids = [descriptor_of(each).digest for each in archives]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}, **members}
    return add_image(writer, config, [gzipped(each) for each in archives])
