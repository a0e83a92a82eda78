"""An archive that somebody made to do harm costs one line of error, and neither memory nor time."""

import random
import struct
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecr_layers import ClientError
from ecr_layers.files import tree
from tests.archives import directory, extension, file, gzipped, header, link, padded, record, tar, zstd
from tests.client.looking import read

MIB = 1024 * 1024
END = bytes(1024)


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Fail if what is done needs more memory, in bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_an_extension_header_of_many_megabytes_is_refused(kind: bytes) -> None:
    bomb = gzipped(header("extension", kind, 4096 * MIB) + bytes(16 * MIB))
    with memory_below(8 * MIB), pytest.raises(ClientError, match="an extension header has 4294967296 bytes"):
        read("/a", bomb)


@pytest.mark.parametrize(
    "long_name",
    [
        extension(tarfile.XHDTYPE, record("path", "n" * 900_000)),
        extension(tarfile.XHDTYPE, record("path", "n/" * 450_000)),
        extension(tarfile.XHDTYPE, record("linkpath", "n/" * 450_000)),
        extension(tarfile.GNUTYPE_LONGNAME, b"n/" * 450_000),
        extension(tarfile.GNUTYPE_LONGNAME, b"n" * 300),
    ],
)
def test_a_member_whose_name_no_file_system_takes_is_passed_over(long_name: bytes) -> None:
    archive = long_name + header("x", tarfile.SYMTYPE, 0) + tar(file("a", b"1"))
    with memory_below(16 * MIB):
        assert read("/a", archive) == b"1"


def test_thousands_of_extension_headers_in_a_row_take_no_memory_and_no_recursion() -> None:
    globals_ = extension(tarfile.XGLTYPE, record("comment", "x")) * 1500
    own = extension(tarfile.XHDTYPE, record("comment", "x")) * 1500
    layer = gzipped(globals_ + own + tar(file("a", b"1")))
    with memory_below(8 * MIB):
        assert read("/a", layer) == b"1"


def test_attributes_of_many_names_are_forgotten_with_their_member() -> None:
    many = b"".join(record(f"SCHILY.xattr.user.{number}", "x") for number in range(1000))
    layer = (extension(tarfile.XHDTYPE, many) + header("x", tarfile.REGTYPE, 0)) * 10 + tar(file("a", b"1"))
    with memory_below(MIB):
        assert read("/a", layer) == b"1"


@pytest.mark.parametrize("compress", [gzipped, zstd.compress])
def test_what_decompresses_to_more_than_is_allowed_is_refused(compress: object) -> None:
    bomb = compress(header("big", tarfile.REGTYPE, 24 * MIB) + bytes(24 * MIB))  # type: ignore[operator]
    assert len(bomb) < MIB
    with memory_below(8 * MIB), pytest.raises(ClientError, match="more than 20000000 bytes"):
        read("/a", bomb, max_bytes=20_000_000)


def test_all_layers_together_may_have_so_many_bytes() -> None:
    layer = tar(file("x", bytes(10_000)))
    assert len(layer) == 20_480
    with pytest.raises(ClientError, match="more than 20000 bytes"):
        read("/a", tar(file("a", b"1")), layer, layer, max_bytes=20_000)


def test_a_zstandard_layer_that_asks_for_more_memory_than_is_common_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 28}
    compressor = zstd.ZstdCompressor(options=options)
    layer = compressor.compress(tar(file("a", b"1"))) + compressor.flush()
    with pytest.raises(ClientError, match="is damaged"):
        read("/a", layer)


@pytest.mark.parametrize(
    "layers",
    [
        [tar(*(file(f"f{number}") for number in range(1001)))],
        [tar(*(file(f"{number}/" * 600 + "x") for number in range(2)))],
        [tar(*(file(f"d/.wh.{number}") for number in range(1001)))],
        [tar(*(file(f"f{number}") for number in range(300)))] * 4,
        [tar(*(link(f"l{number}", "t" * 4000) for number in range(30)))],
    ],
    ids=["files", "directories", "whiteouts", "layers", "text"],
)
def test_more_than_can_be_kept_in_mind_is_refused(layers: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_ENTRIES", 1000)
    monkeypatch.setattr(tree, "MOST_TEXT", 100_000)
    with pytest.raises(ClientError, match="too many files"):
        read("/a", *layers)


def test_files_behind_mazes_of_links_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_STEPS", 20_000)
    maze = [directory("d"), *(link(f"l{number}", "d/../" * 700 + f"l{number + 1}") for number in range(30))]
    with pytest.raises(ClientError, match="too many links"):
        read("/a", tar(*maze, *(file(f"l0/f{number}") for number in range(100))))


@pytest.mark.parametrize(
    "archive",
    [
        b"x",
        b"no archive at all" * 1000,
        tar(file("a", b"1"))[:700],
        header("a", tarfile.REGTYPE, 5000) + bytes(512),
        extension(tarfile.XHDTYPE, record("path", "a")) + END,
        extension(tarfile.XHDTYPE, b"1 a=b\n") + header("x", tarfile.REGTYPE, 0),
        extension(tarfile.XHDTYPE, b"99999999 path=a\n") + header("x", tarfile.REGTYPE, 0),
        extension(tarfile.XHDTYPE, b"-9 path=a\n") + header("x", tarfile.REGTYPE, 0),
        extension(tarfile.XHDTYPE, b"0 path=a\n") + header("x", tarfile.REGTYPE, 0),
        extension(tarfile.XHDTYPE, b"path") + header("x", tarfile.REGTYPE, 0),
        extension(tarfile.XHDTYPE, record("size", "-5")) + header("x", tarfile.REGTYPE, 0),
        extension(tarfile.XHDTYPE, record("size", "9" * 5000)) + header("x", tarfile.REGTYPE, 0),
        extension(tarfile.XHDTYPE, record("size", "1e3")) + header("x", tarfile.REGTYPE, 0),
        header("a", tarfile.REGTYPE, -1024),
        header("a", tarfile.REGTYPE, 2**62),
        header("a", tarfile.XHDTYPE, -512),
        gzipped(tar(file("b", random.Random(0).randbytes(100_000))))[:-60_000],
        gzipped(b"x" * 2000),
        b"\x50\x2a\x4d\x18" + struct.pack("<I", 2**31) + bytes(100),
        zstd.compress(tar(file("b", random.Random(0).randbytes(100_000))))[:-60_000],
    ],
)
def test_what_is_no_archive_is_one_line_of_error(archive: bytes) -> None:
    with pytest.raises(ClientError) as error:
        read("/a", archive)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(("magic", "name"), [(b"BZh91AY", "bzip2"), (b"\xfd7zXZ\0", "xz")])
def test_other_compressions_are_called_by_their_names(magic: bytes, name: str) -> None:
    with pytest.raises(ClientError, match=f"is compressed with {name}"):
        read("/a", magic + bytes(100))


def test_an_old_sparse_file_with_an_endless_map_takes_no_memory() -> None:
    head = bytearray(header("s", tarfile.GNUTYPE_SPARSE, 0))
    head[482] = 1
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    block = bytes(504) + b"\1" + bytes(7)
    layer = gzipped(bytes(head) + block * 20_000 + bytes(512) + tar(file("a", b"1")))
    with memory_below(8 * MIB):
        assert read("/a", layer) == b"1"


def test_what_has_no_content_is_not_believed_to_have_some() -> None:
    odd = [header("d", tarfile.DIRTYPE, 700), header("l", tarfile.SYMTYPE, 700), header("c", tarfile.CHRTYPE, 700)]
    assert read("/a", b"".join(odd) + tar(file("a", b"1"))) == b"1"


def test_the_size_of_a_pax_header_goes_before_the_members_own() -> None:
    member = extension(tarfile.XHDTYPE, record("size", "600")) + header("b", tarfile.REGTYPE, 0) + padded(b"b" * 600)
    assert read("/b", member + tar(file("a", b"1"))) == b"b" * 600
    assert read("/a", member + tar(file("a", b"1"))) == b"1"


def test_a_name_that_a_terminal_would_obey_is_not_printed() -> None:
    with pytest.raises(ClientError) as error:
        read("/\x1b[2J\n", tar(file("a", b"1")))
    assert str(error.value).isprintable()


VALID = extension(tarfile.XGLTYPE, record("comment", "x")) + tar(
    file("etc/x" * 30, b"1" * 600), link("a", "etc/" + "y" * 200), directory("d"), file("d/.wh.b"), file("b", b"2")
)


@settings(max_examples=150)
@given(st.data())
def test_damage_anywhere_is_an_error_or_goes_unnoticed(data: st.DataObject) -> None:
    plain = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    for layer in (bytes(plain), gzipped(bytes(plain))):
        try:
            read("/a", layer, max_bytes=100 * MIB)
        except ClientError as error:
            assert str(error).isprintable()  # noqa: PT017


@settings(max_examples=100)
@given(st.binary(max_size=2000), st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"]))
def test_any_bytes_are_an_error_or_an_archive(content: bytes, start: bytes) -> None:
    with pytest.raises(ClientError):
        read("/a", start + content)
