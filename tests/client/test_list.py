"""`ecr-layers ls` lists the files that a container would see."""

import json
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ecr_layers import ClientError, FileInfo, ImageFiles, Kind
from tests.archives import Layers, directory, extension, file, gzipped, hard_link, header, link, record, special, tar
from tests.client.commanding import REPOSITORY, Command, command, serving
from tests.client.random_images import random_layer, unpacked_by_tar, unpacked_by_umoci

__all__ = ["command"]


def listed(*layers: bytes, path: str = "/") -> list[FileInfo]:
    """Return the files of an image with these layers, the lowest first."""
    of = Layers(layers)
    return list(ImageFiles(of.descriptors, of.open).walk(path))


def paths(*layers: bytes, path: str = "/") -> list[str]:
    return [each.path for each in listed(*layers, path=path)]


def only(*layers: bytes) -> FileInfo:
    (found,) = listed(*layers)
    return found


def owned(name: str, kind: bytes = tarfile.REGTYPE, **members: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    for each, value in members.items():
        setattr(info, each, value)
    return info, b""


def test_files_are_listed_by_name_each_directory_before_its_entries() -> None:
    layer = tar(file("usr/bin/b"), file("usr/bin/a"), directory("etc"), file("z"))
    assert paths(layer) == ["/etc", "/usr", "/usr/bin", "/usr/bin/a", "/usr/bin/b", "/z"]
    assert paths(layer, path="usr/bin") == ["/usr/bin", "/usr/bin/a", "/usr/bin/b"]
    assert paths(layer, path="/z") == ["/z"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([tar(file("a"), file("b")), tar(file(".wh.a"))], ["/b"]),
        ([tar(file("d/a"), file("d/b")), tar(file("d/.wh.a"))], ["/d", "/d/b"]),
        ([tar(file("d/a")), tar(file("d/.wh..wh..opq"), file("d/b"))], ["/d", "/d/b"]),
        ([tar(file("d/a")), tar(file(".wh..wh..opq"), file("b"))], ["/b"]),
        ([tar(file("d/a")), tar(file("d"))], ["/d"]),
        ([tar(file("d")), tar(file("d/a"))], ["/d", "/d/a"]),
        ([tar(file("d/a")), tar(file(".wh.d")), tar(file("d/b"))], ["/d", "/d/b"]),
        ([tar(file("d")), tar(file("d/.wh.a"))], ["/d"]),
        ([tar(file("x/.wh.a"))], []),
        ([tar(file("a/.."), file("../b"), file("/c"))], ["/b", "/c"]),
        ([tar()], []),
        ([], []),
    ],
)
def test_whiteouts_hide_files_of_lower_layers(layers: Sequence[bytes], expected: list[str]) -> None:
    assert paths(*layers) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (tarfile.REGTYPE, Kind.FILE),
        (tarfile.AREGTYPE, Kind.FILE),
        (tarfile.CONTTYPE, Kind.FILE),
        (tarfile.DIRTYPE, Kind.DIRECTORY),
        (tarfile.CHRTYPE, Kind.CHARACTER_DEVICE),
        (tarfile.BLKTYPE, Kind.BLOCK_DEVICE),
        (tarfile.FIFOTYPE, Kind.PIPE),
        (b"Z", Kind.OTHER),
    ],
)
def test_every_kind_of_entry_is_listed(kind: bytes, expected: Kind) -> None:
    assert only(tar(special("a", kind))).kind is expected


def test_links_are_listed_with_their_targets() -> None:
    found = {each.path: each for each in listed(tar(file("f", b"12"), link("s", "f"), hard_link("h", "f")))}
    assert (found["/s"].kind, found["/s"].target) == (Kind.SYMBOLIC_LINK, "f")
    assert (found["/h"].kind, found["/h"].size, found["/h"].target) == (Kind.FILE, 2, "")


def test_a_hard_link_is_the_file_of_its_layer_or_a_lower_one() -> None:
    layers = [tar(file("f", b"1")), tar(hard_link("h", "f")), tar(file("f", b"new"))]
    found = {each.path: each for each in listed(*layers)}
    assert (found["/h"].size, found["/h"].layer) == (1, Layers(layers).descriptors[0].digest)
    assert only(tar(hard_link("h", "gone"))).kind is Kind.HARD_LINK
    assert only(tar(hard_link("h", "h"))).target == "h"


def test_links_in_the_path_are_followed_inside_the_image() -> None:
    layer = tar(file("usr/lib/x"), link("lib", "usr/lib"), link("up", "../../usr"))
    assert paths(layer, path="/lib") == paths(layer, path="/up/lib") == ["/usr/lib", "/usr/lib/x"]
    assert paths(layer, path="/lib/..") == ["/usr", "/usr/lib", "/usr/lib/x"]


def test_a_missing_path_is_an_error() -> None:
    with pytest.raises(ClientError, match="The image has no /b"):
        listed(tar(file("a")), path="/b")


def test_a_file_has_the_owner_mode_and_time_of_its_newest_layer() -> None:
    old = tar(owned("a", mode=0o600, uid=1, gid=2, mtime=3))
    new = tar(owned("a", mode=0o4755, uid=70_000, gid=2**31, mtime=1_700_000_000))
    found = only(old, new).attributes
    assert (found.mode, found.uid, found.gid, found.mtime) == (0o4755, 70_000, 2**31, 1_700_000_000)


def test_a_directory_has_the_attributes_of_the_newest_layer_that_lists_it() -> None:
    layers = [tar(owned("d", tarfile.DIRTYPE, mode=0o700)), tar(file("d/a"))]
    found = listed(*layers)[0]
    assert (found.attributes.mode, found.layer) == (0o700, Layers(layers).descriptors[0].digest)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_attributes_are_read_in_every_form_of_tar(form: int) -> None:
    found = only(tar(owned("a", mode=0o640, uid=5, gid=6, mtime=7), form=form)).attributes
    assert (found.mode, found.uid, found.gid, found.mtime) == (0o640, 5, 6, 7)


def test_times_may_have_fractions_and_be_before_1970() -> None:
    assert only(tar(owned("a", mtime=1.25))).attributes.mtime == 1.25
    assert only(tar(owned("a", mtime=-5), form=tarfile.GNU_FORMAT)).attributes.mtime == -5


@pytest.mark.parametrize(
    ("keyword", "value"), [("mtime", "soon"), ("mtime", "9" * 15), ("uid", "-1"), ("gid", "9" * 10), ("uid", "root")]
)
def test_malformed_attributes_are_zero(keyword: str, value: str) -> None:
    archive = extension(tarfile.XHDTYPE, record(keyword, value)) + header("a", tarfile.REGTYPE, 0) + bytes(1024)
    found = only(archive).attributes
    assert (found.uid, found.gid, found.mtime) == (0, 0, 0)


def test_only_the_layers_that_are_needed_are_read() -> None:
    layers = Layers([tar(file("d/a")), tar(file("d/.wh..wh..opq"), file("d/b")), tar(file("c"))])
    files = ImageFiles(layers.descriptors, layers.open)
    assert [each.path for each in files.walk("/d")] == ["/d", "/d/b"]
    assert layers.opened == [2, 1]
    assert [each.path for each in files.walk("/c")] == ["/c"]
    assert layers.opened == [2, 1]


def test_thousands_of_nested_directories_are_listed() -> None:
    deep = "/".join("d" * 2000)
    assert len(paths(tar(file(deep)))) == 2000


def test_paths_that_no_container_can_open_are_left_out() -> None:
    deep = "/".join("d" * 1000)
    links = [link("l0", deep), *(link(f"l{number}", f"l{number - 1}/{deep}") for number in range(1, 5))]
    assert max(map(len, paths(tar(directory(deep), *links, file("l4/x"))))) <= 4096


def attributes_on_disk(root: Path) -> dict[str, tuple[object, ...]]:
    """Return the files below a directory, as `ls` lists them."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        name = f"/{path.relative_to(root)}"
        if path.is_symlink():
            found[name] = (Kind.SYMBOLIC_LINK, str(path.readlink()), int(status.st_mtime))
        elif path.is_dir():
            found[name] = (Kind.DIRECTORY,)
        else:
            found[name] = (Kind.FILE, status.st_size, stat.S_IMODE(status.st_mode), int(status.st_mtime))
    return found


def attributes_listed(layers: Sequence[bytes]) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for each in listed(*layers):
        if each.kind is Kind.SYMBOLIC_LINK:
            found[each.path] = (each.kind, each.target, each.attributes.mtime)
        elif each.kind is Kind.DIRECTORY:
            found[each.path] = (each.kind,)
        else:
            found[each.path] = (each.kind, each.size, each.attributes.mode, each.attributes.mtime)
    return found


def test_gnu_tar_unpacks_the_entries_that_are_listed(tmp_path: Path) -> None:
    compared = 0
    for seed in range(60):
        archive = random_layer(Random(seed), removes=False)
        if unpacked_by_tar(archive, tmp_path / str(seed)):
            compared += 1
            assert attributes_listed([archive]) == attributes_on_disk(tmp_path / str(seed)), seed
    assert compared > 10


def test_umoci_unpacks_the_entries_that_are_listed(tmp_path: Path) -> None:
    compared = 0
    for seed in range(60):
        random = Random(seed)
        layers = [random_layer(random, removes=True) for _ in range(random.randint(2, 4))]
        (tmp_path / str(seed)).mkdir()
        root = unpacked_by_umoci(layers, tmp_path / str(seed))
        if root is not None:
            compared += 1
            assert attributes_listed(layers) == attributes_on_disk(root), seed
    assert compared > 5


LAYERS = [
    gzipped(tar(file("etc/motd", b"hello"), owned("bin/app", mode=0o755, uid=1000, gid=50, mtime=1_700_000_000))),
    tar(link("app", "bin/app"), file("evil\x1b[2J\n\\", b""), special("dev/null", tarfile.CHRTYPE)),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serving(tmp_path_factory.mktemp("layout"), {"1": LAYERS}) as url:
        yield url


def test_the_command_prints_a_path_a_line_with_escaped_control_characters(url: str, command: Command) -> None:
    result = command("ls", "--url", url, f"{REPOSITORY}:1")
    assert result.status == 0, result.error
    expected = ["/app", "/bin", "/bin/app", "/dev", "/dev/null", "/etc", "/etc/motd", r"/evil\x1b[2J\n\\"]
    assert result.output.splitlines() == expected


def test_the_command_prints_mode_owner_size_time_and_target(url: str, command: Command) -> None:
    lines = command("ls", "-l", "--url", url, f"{REPOSITORY}:1").output.splitlines()
    assert lines[0].startswith("lrw-r--r-- 0:0 ")
    assert lines[0].endswith(" 1970-01-01 00:00:00 /app -> bin/app")
    assert lines[2].split() == ["-rwxr-xr-x", "1000:50", "0", "2023-11-14", "22:13:20", "/bin/app"]
    assert lines[4].startswith("crw-r--r--")


def test_the_command_prints_the_layer_of_each_file(url: str, command: Command) -> None:
    result = command("ls", "--layers", "--url", url, f"{REPOSITORY}:1", "/etc")
    digest = Layers(LAYERS).descriptors[0].digest
    assert result.output == f"{digest}  /etc\n{digest}  /etc/motd\n"


def test_the_command_prints_json_for_programs(url: str, command: Command) -> None:
    result = command("ls", "--json", "--url", url, f"{REPOSITORY}:1", "bin/app")
    assert json.loads(result.output) == {
        "path": "/bin/app",
        "type": "file",
        "mode": "0755",
        "uid": 1000,
        "gid": 50,
        "size": 0,
        "mtime": 1_700_000_000,
        "target": None,
        "layer": Layers(LAYERS).descriptors[0].digest,
    }


def test_a_path_that_the_image_lacks_fails_the_command(url: str, command: Command) -> None:
    result = command("ls", "--url", url, f"{REPOSITORY}:1", "/nothing")
    assert (result.status, result.output) == (1, "")
    assert "The image has no /nothing" in result.error
