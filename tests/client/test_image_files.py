"""A file of an image is the one that a container has, whatever its layers do."""

import io
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecr_layers import ClientError
from ecr_layers.files.image_files import ImageFiles
from tests.archives import (
    Layers,
    descriptor_of,
    directory,
    extension,
    file,
    gzipped,
    hard_link,
    link,
    record,
    special,
    tar,
    zstd,
)
from tests.client.random_images import PATHS as PATHS_OF_RANDOM_IMAGES
from tests.client.random_images import random_layer as random_layer_in_any_order
from tests.client.random_images import read as read_or_none
from tests.client.random_images import read_below, unpacked_by_tar, unpacked_by_umoci
from tests.commands import tool
from tests.layouts import OCI_CONFIG, OCI_MANIFEST, LayoutWriter


def read(path: str, *layers: bytes) -> bytes:
    """Return a file of an image with these layers, the lowest first."""
    of = Layers(layers)
    return b"".join(ImageFiles(of.descriptors, of.open).read(path))


@pytest.mark.parametrize("path", ["/etc/os-release", "etc/os-release", "//etc/./os-release", "/etc/../etc/os-release"])
def test_a_file_is_found_by_its_path(path: str) -> None:
    assert read(path, tar(file("etc/os-release", b"NAME=x\n"))) == b"NAME=x\n"


@pytest.mark.parametrize("name", ["etc/motd", "./etc/motd", "/etc/motd", "etc//motd", "../etc/motd", "x/../etc/motd"])
def test_a_name_in_an_archive_is_one_below_the_root(name: str) -> None:
    assert read("/etc/motd", tar(file(name, b"hello"))) == b"hello"


@pytest.mark.parametrize("compress", [lambda archive: archive, gzipped, zstd.compress])
def test_plain_gzip_and_zstd_layers_are_read(compress: Any) -> None:
    assert read("/a", compress(tar(file("a", b"1")))) == b"1"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read(form: int) -> None:
    name = "/".join(["directory"] * 20) + "/file"
    assert read(name, tar(file(name, b"1"), form=form)) == b"1"


def test_names_of_gnu_and_pax_archives_may_be_long_and_in_any_script() -> None:
    name = "/".join(["verzeichnis-äöü"] * 30) + "/δ"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert read("/" + name, tar(file(name, b"1"), link("l", name), form=form)) == b"1"
        assert read("/l", tar(file(name, b"1"), link("l", name), form=form)) == b"1"


def test_the_newest_layer_decides_and_no_other_is_read() -> None:
    layers = Layers([tar(file("a", b"old"), file("b", b"b")), tar(file("a", b"new")), tar(file("c"))])
    assert b"".join(ImageFiles(layers.descriptors, layers.open).read("/a")) == b"new"
    assert layers.opened == [2, 1]


def test_the_last_of_two_members_with_one_name_decides() -> None:
    assert read("/a", tar(file("a", b"1"), file("a", b"2"))) == b"2"


@pytest.mark.parametrize("compress", [lambda archive: archive, gzipped, zstd.compress])
def test_a_layer_is_read_to_its_end_so_that_its_digest_is_verified(compress: Any) -> None:
    layer = compress(tar(file("a", b"1")) + bytes(5_000_000))
    raw = io.BytesIO(layer)
    raw.close = lambda: None  # type: ignore[method-assign]
    files = ImageFiles([descriptor_of(layer)], lambda _: io.BufferedReader(raw))
    assert list(files.read("/a")) == [b"1"]
    assert raw.tell() == len(layer)


@pytest.mark.parametrize(
    ("layers", "path"),
    [
        ([tar(file("a", b"1")), tar(file(".wh.a"))], "/a"),
        ([tar(file("d/a", b"1")), tar(file(".wh.d"))], "/d/a"),
        ([tar(file("d/a", b"1")), tar(file("d/.wh..wh..opq"))], "/d/a"),
        ([tar(file("d/a", b"1")), tar(file(".wh..wh..opq"))], "/d/a"),
        ([tar(file("d/a", b"1")), tar(file("d", b"no directory"))], "/d/a"),
        ([tar(file("d/a", b"1")), tar(file("d", b"no directory")), tar(directory("d"))], "/d/a"),
        ([tar(file("d/a", b"1")), tar(file(".wh.d"), file("d/b", b"2"))], "/d/a"),
        ([tar(file("d/a", b"1")), tar(file(".wh.d")), tar(directory("d"))], "/d/a"),
        ([tar(file("a", b"1"))], "/b"),
        ([tar(file("a", b"1"))], "/a/b"),
        ([tar(file("a", b"1"))], "/a/.."),
        ([tar(link("a", "nowhere"))], "/a"),
        ([], "/a"),
        ([tar()], "/a"),
        ([tar(file(".wh.a", b"1"))], "/.wh.a"),
    ],
)
def test_what_is_not_in_the_image_is_an_error(layers: Sequence[bytes], path: str) -> None:
    with pytest.raises(ClientError, match=f"The image has no {path}"):
        read(path, *layers)


@pytest.mark.parametrize(
    ("layers", "path"),
    [
        ([tar(file("a", b"old")), tar(file(".wh.a"), file("a", b"1"))], "/a"),
        ([tar(file("d/x")), tar(file("d/a", b"1"), file("d/.wh..wh..opq"))], "/d/a"),
        ([tar(file("d/a", b"1")), tar(directory("d"), file("d/b", b"2"))], "/d/a"),
        ([tar(file("d", b"file")), tar(file("d/a", b"1"))], "/d/a"),
        ([tar(file("a", b"1")), tar(file(".wh..wh.plnk")), tar(file(".wh..wh.aufs"))], "/a"),
        ([tar(link("d", "e"), file("e/a", b"1")), tar(file("e/b"))], "/d/a"),
    ],
)
def test_what_a_layer_adds_is_there_whatever_it_removes(layers: Sequence[bytes], path: str) -> None:
    assert read(path, *layers) == b"1"


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ([link("a", "b"), file("b", b"1")], "/a"),
        ([link("a", "/b"), file("b", b"1")], "/a"),
        ([file("usr/lib/os-release", b"1"), link("etc/os-release", "../usr/lib/os-release")], "/etc/os-release"),
        ([link("lib", "usr/lib"), file("usr/lib/x", b"1")], "/lib/x"),
        ([link("lib", "usr/lib"), file("lib/x", b"1")], "/usr/lib/x"),
        ([link("a", "../../../../b"), file("b", b"1")], "/a"),
        ([link("d/a", "/../../etc/b"), file("etc/b", b"1")], "/d/a"),
        ([link("x", "d/e"), file("d/f", b"1"), directory("d/e")], "/x/../f"),
        ([link("a", "b"), link("b", "c"), link("c", "d"), file("d", b"1")], "/a"),
        ([file("b", b"1"), hard_link("a", "b")], "/a"),
        ([file("b", b"1"), hard_link("a", "/b"), hard_link("c", "./a")], "/c"),
    ],
)
def test_links_are_followed_inside_the_image(members: Any, path: str) -> None:
    assert read(path, tar(*members)) == b"1"
    assert read(path, gzipped(tar(*members)), tar(file("other"))) == b"1"


def test_a_link_leads_through_all_layers() -> None:
    layers = [tar(file("usr/lib/x", b"old")), tar(link("lib", "usr/lib")), tar(file("usr/lib/x", b"1"))]
    assert read("/lib/x", *layers) == b"1"


def test_a_directory_of_a_newer_layer_is_in_the_place_of_a_link() -> None:
    layers = [tar(link("d", "e"), file("e/a", b"1")), tar(file("d/b", b"2"))]
    assert read("/d/b", *layers) == b"2"
    with pytest.raises(ClientError, match="has no /d/a"):
        read("/d/a", *layers)


def test_a_hard_link_is_to_the_file_of_its_own_time() -> None:
    layers = [tar(file("b", b"1"), hard_link("a", "b")), tar(file("b", b"2"))]
    assert read("/a", *layers) == b"1"


@pytest.mark.parametrize(
    "members",
    [
        [link("a", "a")],
        [link("a", "b"), link("b", "a")],
        [link("a", "a/a")],
        [hard_link("a", "a")],
        [link(f"l{number}", f"l{number + 1}") for number in range(60)] + [link("a", "l0"), file("l60", b"1")],
        [link("a", "/".join(["a"] * 1000))],
    ],
)
def test_a_circle_of_links_is_an_error(members: Any) -> None:
    with pytest.raises(ClientError, match=r"/a: too many links, or a loop|has no /a"):
        read("/a", tar(*members))


@pytest.mark.parametrize("path", ["/", "", "/d", "/d/", "/..", "/l"])
def test_a_directory_is_an_error(path: str) -> None:
    with pytest.raises(ClientError, match="is a directory"):
        read(path, tar(file("d/a"), link("l", "d")))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_or_a_pipe_is_an_error(kind: bytes) -> None:
    with pytest.raises(ClientError, match="is a device or a pipe"):
        read("/a", tar(special("a", kind), file("b", b"1")))


def test_a_sparse_file_is_an_error_and_those_behind_it_are_found() -> None:
    sparse = extension(tarfile.XHDTYPE, record("GNU.sparse.major", "1") + record("GNU.sparse.name", "s"))
    archive = sparse + tar(file("GNUSparseFile.0/s", b"x" * 700), file("a", b"1"))
    assert read("/a", archive) == b"1"
    with pytest.raises(ClientError, match="/s is a sparse file"):
        read("/s", archive)


def test_a_file_that_was_kept_is_not_loaded_again() -> None:
    members = [link("etc/os-release", "../usr/lib/os-release"), file("usr/lib/os-release", b"1")]
    layers = Layers([gzipped(tar(*members)), tar(file("other"))])
    assert b"".join(ImageFiles(layers.descriptors, layers.open).read("/etc/os-release")) == b"1"
    assert layers.opened == [1, 0]


def test_a_large_file_is_read_again_and_never_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecr_layers.files.layers.KEPT_BYTES", 1000)
    content = bytes(range(256)) * 4000
    layers = Layers([gzipped(tar(file("a", content), file("b", b"2")))])
    chunks = list(ImageFiles(layers.descriptors, layers.open).read("/a"))
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) <= 256 * 1024
    assert layers.opened == [0, 0]


def test_a_foreign_layer_is_an_error_only_if_it_has_to_be_read() -> None:
    layers = Layers([tar(file("a", b"1")), tar(file("b", b"2"))])

    def open_layer(layer: Any) -> Any:
        if layer == layers.descriptors[0]:
            raise ClientError("it is elsewhere")
        return layers.open(layer)

    files = ImageFiles(layers.descriptors, open_layer)
    assert b"".join(files.read("/b")) == b"2"
    with pytest.raises(ClientError, match="it is elsewhere"):
        files.read("/a")


# The model of the same: layers are unpacked one upon the other, into dictionaries.

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS = st.lists(st.sampled_from(["a", "b", "c", "..", ""]), min_size=1, max_size=3).map("/".join)
CONTENTS = st.binary(min_size=1, max_size=3)
MEMBERS = st.one_of(
    st.tuples(st.just("file"), PATHS, CONTENTS),
    st.tuples(st.just("directory"), PATHS, st.just(b"")),
    st.tuples(st.just("link"), PATHS, TARGETS.filter(bool)),
    st.tuples(st.just("whiteout"), PATHS, st.just(b"")),
    st.tuples(st.just("opaque"), PATHS, st.just(b"")),
)


@dataclass
class Unpacked:
    """A file system in memory: a directory is a dictionary, a file bytes, a link text."""

    root: dict[str, Any] = field(default_factory=dict)

    def parent(self, path: str) -> tuple[dict[str, Any], str]:
        *above, name = path.split("/")
        place = self.root
        for part in above:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        return place, name

    def apply(self, layer: Sequence[tuple[str, str, Any]]) -> None:
        """Unpack a layer: what it removes first, as it is about lower layers alone, and then what it adds."""
        for kind, path, _ in layer:
            if kind not in {"whiteout", "opaque"}:
                continue
            place, name = self.parent(path)
            if kind == "whiteout":
                place.pop(name, None)
            elif isinstance(place.get(name), dict):
                place[name].clear()
            else:
                place[name] = {}
        for kind, path, content in layer:
            place, name = self.parent(path)
            if kind in {"file", "link"}:
                place[name] = content
            elif kind in {"directory", "opaque"} and not isinstance(place.get(name), dict):
                place[name] = {}

    def read(self, path: str) -> bytes | None:
        inside, waiting, links = [self.root], path.split("/")[::-1], 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                inside = inside[:-1] or inside
            elif part:
                entry = inside[-1].get(part)
                if isinstance(entry, str):
                    links += 1
                    inside = inside[:1] if entry.startswith("/") else inside
                    waiting += entry.split("/")[::-1]
                elif isinstance(entry, dict):
                    inside = [*inside, entry]
                else:
                    return entry if not any(waiting) and links < 40 else None
            if links >= 40:
                return None
        return None


def has_simple_form(layer: Sequence[tuple[str, str, Any]]) -> bool:
    """Tell whether no name of a layer is another's beginning unless that is a directory, and none is there twice."""
    leaves = [path for kind, path, _ in layer if kind in {"file", "link", "whiteout"}]
    paths = [path for _, path, _ in layer]
    return len(set(paths)) == len(paths) and not any(
        other.startswith(f"{leaf}/") for leaf in leaves for other in paths if other != leaf
    )


def written(layer: Sequence[tuple[str, str, Any]]) -> bytes:
    members = []
    for kind, path, content in layer:
        above, _, name = path.rpartition("/")
        match kind:
            case "file":
                members.append(file(path, content))
            case "directory":
                members.append(directory(path))
            case "link":
                members.append(link(path, content))
            case "whiteout":
                members.append(file(f"{above}/.wh.{name}".lstrip("/")))
            case "opaque":
                members += [directory(path), file(f"{path}/.wh..wh..opq")]
    return tar(*members)


@settings(max_examples=200)
@given(st.lists(st.lists(MEMBERS, max_size=5).filter(has_simple_form), min_size=1, max_size=4), PATHS)
def test_a_path_leads_to_what_unpacking_all_layers_would_have_there(
    layers: list[list[tuple[str, str, Any]]], path: str
) -> None:
    unpacked = Unpacked()
    for layer in layers:
        unpacked.apply(layer)
    expected = unpacked.read(path)
    try:
        found = read(path, *map(written, layers))
    except ClientError:
        found = None
    assert found == expected


def random_layer(random: Random) -> Iterator[tuple[str, str, Any]]:
    """Yield members without links: files that are in the place of directories, directories, and what is removed."""
    taken: set[str] = set()
    for _ in range(12):
        path = "/".join(random.choice("abc") for _ in range(random.randint(1, 3)))
        if any(path == each or path.startswith(f"{each}/") or each.startswith(f"{path}/") for each in taken):
            continue
        taken.add(path)
        # umoci makes no directory in the place of a file unless the archive has it.
        yield from (("directory", path[:end], b"") for end in (1, 3) if end < len(path))
        yield random.choice(["file"] * 4 + ["directory", "whiteout", "opaque"]), path, random.randbytes(20)


def test_umoci_unpacks_the_same_files(tmp_path: Path) -> None:
    random = Random(14)
    layers = [list(random_layer(random)) for _ in range(8)]
    writer = LayoutWriter(tmp_path / "layout")
    archives = [written(layer) for layer in layers]
    config = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [descriptor_of(each).digest for each in archives]},
    }
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": writer.document(OCI_CONFIG, config),
        "layers": [writer.blob(gzipped(archive)) for archive in archives],
    }
    writer.name(writer.document(OCI_MANIFEST, document), "x")
    writer.write()
    command = [tool("umoci"), "unpack", "--rootless", "--image", f"{tmp_path}/layout:x", f"{tmp_path}/bundle"]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    rootfs = tmp_path / "bundle" / "rootfs"
    unpacked = {str(path.relative_to(rootfs)) for path in rootfs.rglob("*") if path.is_file() and not path.is_symlink()}
    named = {path for layer in layers for kind, path, _ in layer if kind == "file"}
    assert unpacked
    assert unpacked < named
    for path in named:
        if path in unpacked:
            assert read(path, *archives) == (rootfs / path).read_bytes()
        else:
            with pytest.raises(ClientError):
                read(path, *archives)


def test_gnu_tar_unpacks_the_same_files_of_archives_in_any_order(tmp_path: Path) -> None:
    compared = 0
    for seed in range(120):
        archive = random_layer_in_any_order(Random(seed), removes=False)
        root = tmp_path / str(seed)
        if not unpacked_by_tar(archive, root):
            continue
        compared += 1
        for path in PATHS_OF_RANDOM_IMAGES:
            assert read_or_none([archive], path) == read_below(root, path), (seed, path)
    assert compared > 20


def test_umoci_unpacks_the_same_files_of_images_in_any_order(tmp_path: Path) -> None:
    compared = 0
    for seed in range(120):
        random = Random(seed)
        layers = [random_layer_in_any_order(random, removes=True) for _ in range(random.randint(2, 4))]
        (tmp_path / str(seed)).mkdir()
        root = unpacked_by_umoci(layers, tmp_path / str(seed))
        if root is None:
            continue
        compared += 1
        for path in PATHS_OF_RANDOM_IMAGES:
            assert read_or_none(layers, path) == read_below(root, path), (seed, path)
    assert compared > 10


def test_a_hard_link_is_the_file_that_its_target_is_at_its_place() -> None:
    members = [file("a", b"1"), hard_link("b", "a"), file("a", b"2"), hard_link("c", "a"), hard_link("d", "b")]
    assert [read(path, tar(*members)) for path in "abcd"] == [b"2", b"1", b"2", b"1"]
    lower = tar(file("a", b"old"))
    assert read("b", lower, tar(hard_link("b", "a"), file("a", b"new"))) == b"old"


def test_a_hard_link_to_a_relative_link_leads_on_from_its_own_folder() -> None:
    members = [file("x/name", b"x"), link("x/l", "name"), file("y/name", b"y"), hard_link("y/l", "x/l")]
    assert read("/y/l", tar(*members)) == b"y"
    assert read("/y/l", tar(*members[:3]), tar(members[3])) == b"y"


@pytest.mark.parametrize("target", ["/", ".", "..", "d/..", "d/."])
def test_a_link_to_a_directory_that_is_known_is_one(target: str) -> None:
    members = [file("d/a", b"1"), link("l", target)]
    with pytest.raises(ClientError, match="is a directory"):
        read("/l", tar(*members))
    assert read("/l/a" if target == "d/." else "/l/d/a", tar(*members)) == b"1"


def test_as_many_links_are_followed_as_in_linux() -> None:
    links = [link(f"l{number}", f"l{number + 1}") for number in range(40)]
    assert read("/l0", tar(*links, file("l40", b"1"))) == b"1"
    with pytest.raises(ClientError, match="too many links"):
        read("/l0", tar(*links, link("l40", "l41"), file("l41", b"1")))


@pytest.mark.parametrize("path", ["/a/../b", "/b/../b", "/l"])
def test_a_path_needs_every_directory_on_it(path: str) -> None:
    with pytest.raises(ClientError, match=r"has no"):
        read(path, tar(file("b", b"1"), link("l", "a/../b")))


def test_a_thousand_layers_of_hard_links_are_an_error() -> None:
    layers = [tar(hard_link("a", "a")) for _ in range(1000)]
    with pytest.raises(ClientError, match="too many links"):
        read("/a", *layers)


def test_a_whiteout_below_a_file_changes_nothing() -> None:
    assert read("/a", tar(file("a", b"1")), tar(file("a/.wh.b"), file("c"))) == b"1"
    assert read("/a", tar(file("a", b"1"), file("a/.wh.b"))) == b"1"


def test_a_directory_after_a_file_of_its_name_has_nothing_of_lower_layers() -> None:
    with pytest.raises(ClientError, match="has no /a/x"):
        read("/a/x", tar(file("a/x", b"1")), tar(file("a"), directory("a")))


def with_checksum(header: bytes, *, is_signed: bool = False) -> bytes:
    spaced = header[:148] + b" " * 8 + header[156:]
    checksum = sum(each - 256 * (is_signed and each > 127) for each in spaced)
    return header[:148] + b"%06o\0 " % checksum + header[156:]


def test_checksums_of_signed_bytes_and_binary_sizes_are_read() -> None:
    archive = tar(file("\u00e4", b"1"), form=tarfile.GNU_FORMAT)
    assert read("/\u00e4", with_checksum(archive[:512], is_signed=True) + archive[512:]) == b"1"
    binary = archive[:124] + b"\x80" + (1).to_bytes(11, "big") + archive[136:512]
    assert read("/\u00e4", with_checksum(binary) + archive[512:]) == b"1"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (124, b"9" * 11 + b"\0", "a header has a malformed number"),
        (124, b"\xff" * 12, "a header has a malformed number"),
        (0, b"x", "a header has a wrong checksum"),
    ],
)
def test_a_damaged_header_is_an_error(place: int, value: bytes, message: str) -> None:
    archive = tar(file("a", b"1"))
    header = archive[:place] + value + archive[place + len(value) : 512]
    with pytest.raises(ClientError, match=message):
        read("/a", (header if place == 0 else with_checksum(header)) + archive[512:])


def test_a_directory_of_the_oldest_form_has_a_slash_at_its_end() -> None:
    archive = tar(file("d/", b""))
    old = with_checksum(archive[:156] + b"\0" + archive[157:512])
    assert read("/d/a", old + tar(file("d/a", b"1"))) == b"1"


@pytest.mark.parametrize(
    "target", ["lib/x", "abs/lib/x", "usr/../usr/lib/x", "../../usr/lib/x", "up/lib/x", "usr/lib/./x", "lib/../lib/x"]
)
def test_a_hard_link_is_found_through_the_links_of_its_layer(target: str) -> None:
    links = [link("lib", "usr/lib"), link("abs", "/usr"), link("up", "usr/lib/..")]
    assert read("/a", tar(file("usr/lib/x", b"1"), *links, hard_link("a", target))) == b"1"
    assert read("/a", tar(file("usr/lib/x", b"1")), tar(*links, hard_link("a", target))) == b"1"


@pytest.mark.parametrize("target", ["loop/x", "usr/lib/y", "usr/lib/x/y", "usr"])
def test_a_hard_link_to_nothing_is_an_error(target: str) -> None:
    with pytest.raises(ClientError, match=r"has no /a|is a directory|too many"):
        read("/a", tar(file("usr/lib/x", b"1"), link("loop", "loop"), hard_link("a", target)))
