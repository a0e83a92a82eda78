"""Random images with whiteouts and links in every order, and what GNU tar and umoci unpack of them."""

import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.archives import directory, file, hard_link, link, tar
from tests.client.looking import add_archives
from tests.commands import tool
from tests.layouts import LayoutWriter

PATHS = [*"abc", *(f"{first}/{second}" for first in "abc" for second in ("a", "a/a", "b", "b/a"))]
TARGETS = ["a", "b", "c", "a/b", "../a", "../b", "/b", "."]


def random_layer(random: Random, *, removes: bool) -> bytes:
    """Return an archive of members in any order, one name perhaps several times."""
    kinds = ["file", "file", "directory", "link", "hard link", *(["removed", "opaque"] * removes)]
    members = []
    for _ in range(random.randint(1, 9)):
        path = random.choice(PATHS)
        if removes:
            # Builders write the directories above each file; without them, a lower layer's link would be followed.
            members += [directory(path[:end]) for end in (1, 3) if end < len(path)]
        members += _members(random, random.choice(kinds), path)
    for info, _ in members:
        info.mode, info.mtime = random.choice([0o700, 0o755, 0o751, 0o644 | 0o100]), random.randrange(2**31)
    return tar(*members)


def _members(random: Random, kind: str, path: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    above, _, name = path.rpartition("/")
    made = {
        "file": lambda: [file(path, random.randbytes(4).hex().encode())],
        "directory": lambda: [directory(path)],
        "link": lambda: [link(path, random.choice(TARGETS))],
        "hard link": lambda: [hard_link(path, random.choice(PATHS))],
        "removed": lambda: [file(f"{above}/.wh.{name}".lstrip("/"))],
        "opaque": lambda: [directory(path), file(f"{path}/.wh..wh..opq")],
    }
    return made[kind]()


def unpacked_by_tar(archive: bytes, target: Path) -> bool:
    """Unpack an archive, and tell whether tar found it good."""
    target.mkdir()
    command = [tool("tar"), "--extract", "--no-same-owner", "--directory", str(target)]
    return subprocess.run(command, input=archive, capture_output=True, timeout=60, check=False).returncode == 0


def unpacked_by_umoci(layers: Sequence[bytes], work: Path) -> Path | None:
    """Unpack an image, and return its root; None if umoci refuses it."""
    writer = LayoutWriter(work / "layout")
    writer.name(add_archives(writer, layers), "x")
    writer.write()
    command = [tool("umoci"), "unpack", "--rootless", "--image", f"{work}/layout:x", f"{work}/bundle"]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return work / "bundle" / "rootfs" if result.returncode == 0 else None


def read_below(root: Path, path: str) -> bytes | None:
    """Return a file as a process whose root is `root` reads it; None if there is none."""
    inside, waiting, links = [root], path.split("/")[::-1], 0
    while waiting:
        part = waiting.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            inside = inside[:-1] or inside
            continue
        place = inside[-1] / part
        if place.is_symlink():
            links += 1
            if links > 40:
                return None
            target = str(place.readlink())
            inside = inside[:1] if target.startswith("/") else inside
            waiting += target.split("/")[::-1]
        elif place.is_dir():
            inside = [*inside, place]
        else:
            return place.read_bytes() if place.is_file() and not any(waiting) else None
    return None
