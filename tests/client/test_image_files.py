"""The files of an image are those that a container has, whatever its layers do."""

import io
import tarfile
from collections.abc import Sequence
from typing import Any

import pytest

from ecr_layers import ClientError, ImageFiles, Kind
from tests.archives import (
    Layers,
    descriptor_of,
    directory,
    extension,
    file,
    gzipped,
    hard_link,
    header,
    link,
    record,
    tar,
    zstd,
)
from tests.client.looking import Member, listed, owned, paths, read

Files = dict[str, bytes | None]


def found_in(*layers: bytes) -> Files:
    """Return the contents of an image's files by their paths; None for directories and links."""
    return {each.path: read(each.path, *layers) if each.kind is Kind.FILE else None for each in listed(*layers)}


@pytest.mark.parametrize("path", ["/etc/motd", "etc/motd", "//etc/./motd", "/etc/../etc/motd"])
@pytest.mark.parametrize("name", ["./etc/motd", "/etc/motd", "etc//motd", "../etc/motd", "x/../etc/motd"])
def test_a_path_and_a_name_in_an_archive_start_from_the_root(path: str, name: str) -> None:
    assert read(path, tar(file(name, b"hello"))) == b"hello"


@pytest.mark.parametrize("compress", [lambda archive: archive, gzipped, zstd.compress])
def test_plain_gzip_and_zstd_layers_are_read_to_their_ends_so_that_their_digests_are_verified(compress: Any) -> None:
    layer = compress(tar(file("a", b"1")) + bytes(5_000_000))
    raw = io.BytesIO(layer)
    raw.close = lambda: None  # type: ignore[method-assign]
    files = ImageFiles([descriptor_of(layer)], lambda _: io.BufferedReader(raw))
    assert list(files.read("/a")) == [b"1"]
    assert raw.tell() == len(layer)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read_with_its_attributes(form: int) -> None:
    name = "/".join(["directory"] * 20) + "/file"
    layer = tar(owned(file(name, b"1"), mode=0o640, uid=5, gid=6, mtime=7), form=form)
    assert read(name, layer) == b"1"
    found = listed(layer)[-1].attributes
    assert (found.mode, found.uid, found.gid, found.mtime) == (0o640, 5, 6, 7)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_gnu_and_pax_archives_may_be_long_and_in_any_script(form: int) -> None:
    name = "/".join(["verzeichnis-äöü"] * 30) + "/δ"
    layer = tar(file(name, b"1"), link("l", name), form=form)
    assert read("/" + name, layer) == read("/l", layer) == b"1"


def test_only_the_layers_that_are_needed_are_read() -> None:
    layers = Layers([tar(file("d/a")), tar(file("d/.wh..wh..opq"), file("d/b", b"1")), tar(file("c"))])
    files = ImageFiles(layers.descriptors, layers.open)
    assert b"".join(files.read("/c")) == b""
    assert layers.opened == [2]
    assert [each.path for each in files.walk("/d")] == ["/d", "/d/b"]
    assert b"".join(files.read("/d/b")) == b"1"
    assert layers.opened[:2] == [2, 1]
    assert 0 not in layers.opened


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], {}),
        ([tar()], {}),
        ([tar(file("z"), file("d/b", b"1"), file("d/a"))], {"/d": None, "/d/a": b"", "/d/b": b"1", "/z": b""}),
        ([tar(file("a", b"1"), file("a", b"2"))], {"/a": b"2"}),
        ([tar(file("a", b"1"), file("b")), tar(file("a", b"2")), tar(file("c"))], {"/a": b"2", "/b": b"", "/c": b""}),
        ([tar(file("a/.."), file("../b"), file("/c"))], {"/b": b"", "/c": b""}),
        # Whiteouts
        ([tar(file("a"), file("b")), tar(file(".wh.a"))], {"/b": b""}),
        ([tar(file("d/a"), file("d/b")), tar(file("d/.wh.a"))], {"/d": None, "/d/b": b""}),
        ([tar(file("d/a")), tar(file(".wh.d"))], {}),
        ([tar(file("d/a")), tar(file(".wh.d")), tar(directory("d"))], {"/d": None}),
        ([tar(file("d/a")), tar(file("d/.wh..wh..opq"), file("d/b"))], {"/d": None, "/d/b": b""}),
        ([tar(file("d/a")), tar(file(".wh..wh..opq"), file("b"))], {"/b": b""}),
        ([tar(file("a", b"1")), tar(file(".wh..wh.plnk")), tar(file(".wh..wh.aufs"))], {"/a": b"1"}),
        ([tar(file("x/.wh.a"))], {}),
        ([tar(file(".wh.a", b"1"))], {}),
        ([tar(file("d")), tar(file("d/.wh.a"), file("c"))], {"/c": b"", "/d": b""}),
        ([tar(file("d"), file("d/.wh.a"))], {"/d": b""}),
        # What a layer adds is there, whatever it removes.
        ([tar(file("d/a")), tar(file(".wh.d"), file("d/b"))], {"/d": None, "/d/b": b""}),
        ([tar(file("d/x")), tar(file("d/a"), file("d/.wh..wh..opq"))], {"/d": None, "/d/a": b""}),
        # Files, directories and links in each other's place
        ([tar(file("d/a")), tar(directory("d"), file("d/b"))], {"/d": None, "/d/a": b"", "/d/b": b""}),
        ([tar(file("d/a")), tar(file("d"))], {"/d": b""}),
        ([tar(file("d/a")), tar(file("d")), tar(directory("d"))], {"/d": None}),
        ([tar(file("d/a")), tar(file("d"), directory("d"))], {"/d": None}),
        ([tar(file("d")), tar(file("d/a"))], {"/d": None, "/d/a": b""}),
        # A hard link is to the file of its own time.
        ([tar(file("a", b"1")), tar(hard_link("b", "a"), file("a", b"2"))], {"/a": b"2", "/b": b"1"}),
        (
            [tar(file("a", b"1"), hard_link("b", "a"), file("a", b"2"), hard_link("c", "a"), hard_link("d", "b"))],
            {"/a": b"2", "/b": b"1", "/c": b"2", "/d": b"1"},
        ),
    ],
)
def test_an_image_has_what_its_layers_leave(layers: Sequence[bytes], expected: Files) -> None:
    found = found_in(*layers)
    assert found == expected
    assert list(found) == sorted(found)
    # A single file is looked for in another way than all are listed.
    for gone in {path for layer in layers for path in paths(layer)} - expected.keys():
        with pytest.raises(ClientError, match=f"The image has no {gone}"):
            read(gone, *layers)


@pytest.mark.parametrize("path", ["/b", "/a/b", "/a/..", "/.wh.a", "/a/../b", "/b/../b", "/l", "/x/../l"])
def test_a_path_needs_every_directory_on_it(path: str) -> None:
    with pytest.raises(ClientError, match=f"The image has no {path}"):
        read(path, tar(file("a", b"1"), link("l", "a/../a"), link("x", "nowhere"), file(".wh.a")))


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ([file("usr/lib/os-release", b"1"), link("etc/os-release", "../usr/lib/os-release")], "/etc/os-release"),
        ([link("lib", "usr/lib"), file("lib/x", b"1")], "/usr/lib/x"),
        ([link("a", "../../../../b"), file("b", b"1")], "/a"),
        ([link("d/a", "/../../etc/b"), file("etc/b", b"1")], "/d/a"),
        ([link("d/l", "/e"), file("d/l/x", b"1")], "/e/x"),
        ([link("x", "d/e"), file("d/f", b"1"), directory("d/e")], "/x/../f"),
        ([file("b", b"1"), hard_link("a", "/b"), hard_link("c", "./a")], "/c"),
    ],
)
def test_links_are_followed_inside_the_image(members: list[Member], path: str) -> None:
    assert read(path, tar(*members)) == b"1"
    assert read(path, gzipped(tar(*members)), tar(file("other"))) == b"1"


def test_links_are_followed_through_all_layers() -> None:
    layers = [tar(file("usr/lib/x", b"old")), tar(link("lib", "usr/lib")), tar(file("usr/lib/x", b"1"))]
    assert read("/lib/x", *layers) == b"1"
    assert paths(*layers, path="/lib") == ["/usr/lib", "/usr/lib/x"]
    assert paths(*layers, path="/lib/..") == ["/usr", "/usr/lib", "/usr/lib/x"]


def test_a_directory_of_a_newer_layer_is_in_the_place_of_a_link() -> None:
    layers = [tar(link("d", "e"), file("e/a", b"1")), tar(file("d/b", b"2"))]
    assert read("/d/b", *layers) == b"2"
    with pytest.raises(ClientError, match="has no /d/a"):
        read("/d/a", *layers)


@pytest.mark.parametrize(
    "target", ["lib/x", "abs/lib/x", "usr/../usr/lib/x", "../../usr/lib/x", "up/lib/x", "usr/lib/./x", "lib/../lib/x"]
)
def test_a_hard_link_is_found_through_the_links_of_its_layer(target: str) -> None:
    links = [link("lib", "usr/lib"), link("abs", "/usr"), link("up", "usr/lib/..")]
    assert read("/a", tar(file("usr/lib/x", b"1"), *links, hard_link("a", target))) == b"1"
    assert read("/a", tar(file("usr/lib/x", b"1")), tar(*links, hard_link("a", target))) == b"1"


@pytest.mark.parametrize("target", ["loop/x", "usr/lib/y", "usr/lib/x/y", "usr", "a"])
def test_a_hard_link_to_nothing_is_listed_and_cannot_be_read(target: str) -> None:
    layer = tar(file("usr/lib/x", b"1"), link("loop", "loop"), hard_link("a", target))
    found = listed(layer, path="/")[0]
    assert (found.path, found.kind, found.target) == ("/a", Kind.HARD_LINK, target)
    with pytest.raises(ClientError, match=r"has no /a|is a directory|too many"):
        read("/a", layer)


def test_a_hard_link_to_a_relative_link_leads_on_from_its_own_folder() -> None:
    members = [file("x/name", b"x"), link("x/l", "name"), file("y/name", b"y"), hard_link("y/l", "x/l")]
    assert read("/y/l", tar(*members)) == b"y"
    assert read("/y/l", tar(*members[:3]), tar(members[3])) == b"y"


@pytest.mark.parametrize(
    "layers",
    [
        [tar(link("a", "a"))],
        [tar(link("a", "b"), link("b", "a"))],
        [tar(link("a", "a/a"))],
        [tar(link("a", "/".join(["a"] * 1000)))],
        [tar(hard_link("a", "a"))] * 1000,
    ],
)
def test_a_circle_of_links_is_an_error(layers: list[bytes]) -> None:
    with pytest.raises(ClientError, match=r"/a: too many links, or a loop|has no /a"):
        read("/a", *layers)


def test_as_many_links_are_followed_as_in_linux() -> None:
    links = [link(f"l{number}", f"l{number + 1}") for number in range(40)]
    assert read("/l0", tar(*links, file("l40", b"1"))) == b"1"
    with pytest.raises(ClientError, match="too many links"):
        read("/l0", tar(*links, link("l40", "l41"), file("l41", b"1")))


@pytest.mark.parametrize("path", ["/", "", "/d/", "/..", "/l0", "/l1", "/l2", "/l3"])
def test_a_directory_is_an_error(path: str) -> None:
    links = [link(f"l{number}", target) for number, target in enumerate(["d", "/", "..", "d/."])]
    with pytest.raises(ClientError, match="is a directory"):
        read(path, tar(file("d/a"), *links))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (tarfile.REGTYPE, Kind.FILE),
        (tarfile.AREGTYPE, Kind.FILE),
        (tarfile.CONTTYPE, Kind.FILE),
        (tarfile.CHRTYPE, Kind.CHARACTER_DEVICE),
        (tarfile.BLKTYPE, Kind.BLOCK_DEVICE),
        (tarfile.FIFOTYPE, Kind.PIPE),
        (b"Z", Kind.OTHER),
    ],
)
def test_every_kind_of_entry_is_listed_and_only_files_are_read(kind: bytes, expected: Kind) -> None:
    info, content = file("a", b"1" * (expected is Kind.FILE))
    info.type = kind
    layer = tar((info, content), file("b", b"2"))
    assert [each.kind for each in listed(layer)] == [expected, Kind.FILE]
    if expected is Kind.FILE:
        assert read("/a", layer) == b"1"
        return
    with pytest.raises(ClientError, match="is a device or a pipe"):
        read("/a", layer)


def test_links_are_listed_with_their_targets_and_hard_links_as_their_files() -> None:
    layers = [tar(file("f", b"12"), link("s", "f")), tar(hard_link("h", "f")), tar(file("f", b"new"))]
    found = {each.path: each for each in listed(*layers)}
    assert (found["/s"].kind, found["/s"].target) == (Kind.SYMBOLIC_LINK, "f")
    assert (found["/h"].kind, found["/h"].size, found["/h"].target) == (Kind.FILE, 2, "")
    assert found["/h"].layer == Layers(layers).descriptors[0].digest


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


def test_a_layer_that_cannot_be_opened_is_an_error_only_if_it_has_to_be_read() -> None:
    layers = Layers([tar(file("a", b"1")), tar(file("b", b"2"))])

    def open_layer(layer: Any) -> Any:
        if layer == layers.descriptors[0]:
            raise ClientError("it is elsewhere")
        return layers.open(layer)

    files = ImageFiles(layers.descriptors, open_layer)
    assert b"".join(files.read("/b")) == b"2"
    with pytest.raises(ClientError, match="it is elsewhere"):
        files.read("/a")


def test_attributes_are_those_of_the_newest_layer_that_lists_the_file() -> None:
    old = tar(owned(file("a"), mode=0o600, uid=1, gid=2, mtime=3), owned(directory("d"), mode=0o700), file("e/x"))
    new = tar(owned(file("a"), mode=0o4755, uid=70_000, gid=2**31, mtime=1_700_000_000), file("d/x"), file("e/y"))
    found = {each.path: each for each in listed(old, new)}
    of_file = found["/a"].attributes
    assert (of_file.mode, of_file.uid, of_file.gid, of_file.mtime) == (0o4755, 70_000, 2**31, 1_700_000_000)
    assert (found["/d"].attributes.mode, found["/d"].layer) == (0o700, descriptor_of(old).digest)
    assert found["/e"].layer == descriptor_of(old).digest


def test_times_may_have_fractions_and_be_before_1970() -> None:
    assert listed(tar(owned(file("a"), mtime=1.25)))[0].attributes.mtime == 1.25
    assert listed(tar(owned(file("a"), mtime=-5), form=tarfile.GNU_FORMAT))[0].attributes.mtime == -5


@pytest.mark.parametrize(
    ("keyword", "value"), [("mtime", "soon"), ("mtime", "9" * 15), ("uid", "-1"), ("gid", "9" * 10), ("uid", "root")]
)
def test_malformed_attributes_are_zero(keyword: str, value: str) -> None:
    (found,) = listed(extension(tarfile.XHDTYPE, record(keyword, value)) + header("a", tarfile.REGTYPE, 0))
    assert (found.attributes.uid, found.attributes.gid, found.attributes.mtime) == (0, 0, 0)


def test_paths_that_no_container_can_open_are_left_out() -> None:
    assert len(paths(tar(file("/".join("d" * 2000))))) == 2000
    deep = "/".join("d" * 1000)
    links = [link("l0", deep), *(link(f"l{number}", f"l{number - 1}/{deep}") for number in range(1, 5))]
    assert max(map(len, paths(tar(directory(deep), *links, file("l4/x"))))) <= 4096


def with_checksum(header: bytes, *, is_signed: bool = False) -> bytes:
    spaced = header[:148] + b" " * 8 + header[156:]
    checksum = sum(each - 256 * (is_signed and each > 127) for each in spaced)
    return header[:148] + b"%06o\0 " % checksum + header[156:]


def test_checksums_of_signed_bytes_binary_sizes_and_directories_of_the_oldest_form_are_read() -> None:
    archive = tar(file("\u00e4", b"1"), form=tarfile.GNU_FORMAT)
    assert read("/\u00e4", with_checksum(archive[:512], is_signed=True) + archive[512:]) == b"1"
    binary = archive[:124] + b"\x80" + (1).to_bytes(11, "big") + archive[136:512]
    assert read("/\u00e4", with_checksum(binary) + archive[512:]) == b"1"
    named_by_a_slash = tar(file("d/", b""))
    old = with_checksum(named_by_a_slash[:156] + b"\0" + named_by_a_slash[157:512])
    assert read("/d/a", old + tar(file("d/a", b"1"))) == b"1"


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
