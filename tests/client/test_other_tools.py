"""`extract`, `ls` and `cat` have the files that GNU tar and umoci unpack."""

import io
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from ecr_layers import ClientError
from tests.client.looking import archived, entries, extracted, listed, read
from tests.client.random_images import PATHS, random_layer, read_below, unpacked_by_tar, unpacked_by_umoci
from tests.commands import tool

RANDOM_IMAGES = 150
"""How many random images are made; the other tools find about a fifth of them good."""

# On Debian: links; time zones with links of both kinds; a program with two names, and some with set-ID bits.
OFTEN_THERE = ("/etc/alternatives", "/usr/share/zoneinfo/Europe", "/usr/share/zoneinfo/US", "/usr/share/doc/bash")
PROGRAMS = ("sh", "perl", "perl5.36.0", "perl5.40.1", "su", "passwd", "chage", "ssh-agent", "mount")


def read_or_none(path: str, layers: Sequence[bytes]) -> bytes | None:
    try:
        return read(path, *layers)
    except ClientError:
        return None


def assert_same(layers: Sequence[bytes], ours: Path, unpacked: Path) -> None:
    assert entries(ours) == entries(unpacked)
    for path in PATHS:
        assert read_or_none(path, layers) == read_below(unpacked, path), path
    # An archive of the files has the same as a directory.
    again = ours.with_name("again")
    assert unpacked_by_tar(archived(*layers), again)
    assert entries(again) == entries(unpacked)


def test_gnu_tar_unpacks_the_same_files_of_random_layers(tmp_path: Path) -> None:
    compared = 0
    for seed in range(RANDOM_IMAGES):
        layer, work = random_layer(Random(seed), removes=False), tmp_path / str(seed)
        # Neither tool takes an archive with a hard link to nothing, which is left out.
        if not extracted(work / "ours", layer) and unpacked_by_tar(layer, work / "tar"):
            assert_same([layer], work / "ours", work / "tar")
            compared += 1
    assert compared > 20


def test_umoci_unpacks_the_same_files_of_random_images(tmp_path: Path) -> None:
    compared = 0
    for seed in range(RANDOM_IMAGES):
        random, work = Random(seed), tmp_path / str(seed)
        layers = [random_layer(random, removes=True) for _ in range(random.randint(2, 4))]
        if not extracted(work / "ours", *layers) and (root := unpacked_by_umoci(layers, work)) is not None:
            assert_same(layers, work / "ours", root)
            compared += 1
    assert compared > 15


@pytest.fixture(scope="module")
def machine_layers() -> list[bytes]:
    """Return an archive of the Python installation, and one of links and programs, with their owners."""
    python = [str(Path(sys.executable).absolute()), str(Path(sysconfig.get_path("stdlib")) / "json")]
    programs = [found for name in PROGRAMS if (found := shutil.which(name))]
    others = [path for path in OFTEN_THERE if Path(path).exists()]
    return [packed("posix", python), packed("gnu", [*others, *programs, python[0]])]


def packed(form: str, paths: list[str]) -> bytes:
    command = [tool("tar"), "--create", f"--format={form}", "--directory=/", *(path.lstrip("/") for path in paths)]
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout


def entries_without_set_id_bits(root: Path) -> dict[str, tuple[object, ...]]:
    """Leave out the bits that `ecr-layers` never sets in a directory."""
    for path in root.rglob("*"):
        if not path.is_symlink() and path.is_file():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o1777)
    return entries(root)


def test_gnu_tar_and_umoci_unpack_the_same_of_this_machines_files(tmp_path: Path, machine_layers: list[bytes]) -> None:
    for number, layer in enumerate(machine_layers):
        assert unpacked_by_tar(layer, tmp_path / f"tar-{number}")
        assert extracted(tmp_path / str(number), layer) == []
        found = entries(tmp_path / str(number))
        assert len(found) > 5
        assert found == entries_without_set_id_bits(tmp_path / f"tar-{number}")
    root = unpacked_by_umoci(machine_layers, tmp_path)
    assert root is not None
    assert extracted(tmp_path / "out", *machine_layers) == []
    assert entries(tmp_path / "out") == entries_without_set_id_bits(root)


def attributes_in(archive: bytes) -> dict[str, tuple[int, ...]]:
    """Return the owner, mode and time of everything in an archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        return {each.name: (each.uid, each.gid, each.mode, int(each.mtime)) for each in members}


def test_this_machines_files_keep_owners_modes_and_times(machine_layers: list[bytes]) -> None:
    for layer in machine_layers:
        known, found = attributes_in(layer), attributes_in(archived(layer))
        # The directories above the packed files aren't in GNU tar's archive, and don't have to be.
        assert {name: found[name] for name in known} == known
        seen = {each.path[1:]: each.attributes for each in listed(layer)}
        assert {name: (seen[name].uid, seen[name].gid, seen[name].mode) for name in known} == {
            name: each[:3] for name, each in known.items()
        }
