"""Layers with a table of contents are read in part, and give the same files as the whole layer.

The layers in `tables/` were written by stargz-snapshotter's library (one with several files in a gzip member), by
skopeo 1.9 as zstd:chunked, and by SOCI 0.16.1, all from one archive.
"""

import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecr_layers import Client, ClientError, FileInfo, ImageFiles, IntegrityError
from ecr_layers.files.compression import Allowance
from ecr_layers.files.tables import MalformedTableError, Table
from ecr_layers.files.targets import TarTarget
from ecr_layers.files.toc import read_toc
from ecr_layers.files.ztoc import Ztoc
from ecr_layers.oci.manifests import Descriptor
from tests.archives import descriptor_of, file, gzipped, tar, zstd
from tests.client.commanding import REPOSITORY, Command, command, serving_layout
from tests.layouts import OCI_CONFIG, OCI_MANIFEST, LayoutWriter

__all__ = ["command"]

TABLES = Path(__file__).parent / "tables"
ESTARGZ = "containerd.io/snapshot/stargz/toc.digest"
OLD, NEW = "io.containers.zstd-chunked.", "io.github.containers.zstd-chunked."
ANNOTATIONS = {
    "estargz.tar.gz": {ESTARGZ: "sha256:f43e7fc3056ab75975c555a5b1291230d6b02d0834e1bfbe75c8648d782a9462"},
    "estargz-shared.tar.gz": {ESTARGZ: "sha256:393ee89f6f9476b89deddef8b4f1035bdac38051762f3e11193f8219166071f2"},
    "zstd-chunked.tar.zst": {
        f"{OLD}manifest-checksum": "sha256:2dd03a2f0f41993fc38aefa7894b8489a5cd6a0700d4c0567d9fea5b352419b7",
        f"{OLD}manifest-position": "40085:572:2394:1",
    },
    "soci.tar.gz": {},
}
SOCI_INDEX = "application/vnd.amazon.soci.index.v2+json"
ZTOC = gzip.decompress((TABLES / "soci.ztoc.gz").read_bytes())


class CountingFile(io.BytesIO):
    """A layer that adds the places of the bytes that are read to a set."""

    def __init__(self, content: bytes, was_read: set[int]) -> None:
        super().__init__(content)
        self._was_read = was_read

    def readinto(self, buffer: Any, /) -> int:
        start = self.tell()
        count = super().readinto(buffer)
        self._was_read.update(range(start, start + count))
        return count


@dataclass
class Indexed:
    """A layer with a table, and the bytes that were read of it."""

    content: bytes
    annotations: Mapping[str, str]
    ztoc: bytes | None = None
    was_read: set[int] = field(default_factory=set)

    @property
    def descriptor(self) -> Descriptor:
        return descriptor_of(self.content, annotations=self.annotations)

    def open(self, _: Descriptor | None = None) -> io.BufferedReader:
        return io.BufferedReader(CountingFile(self.content, self.was_read), 512)

    def files(self, max_bytes: int = 10**8, *, is_whole: bool = False) -> ImageFiles:
        def table(layer: Descriptor, allowance: Allowance) -> Table | None:
            return Ztoc(layer, self.ztoc, self.open) if self.ztoc else read_toc(layer, self.open, allowance)

        return ImageFiles([self.descriptor], self.open, max_bytes, None if is_whole else table)


def layer(name: str) -> Indexed:
    content = (TABLES / name).read_bytes()
    return Indexed(content, ANNOTATIONS[name], ZTOC if name.startswith("soci") else None)


def listed(files: ImageFiles) -> list[FileInfo]:
    return [replace(each, offset=0) for each in files.walk()]


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_a_table_lists_the_files_of_the_whole_layer(name: str) -> None:
    found = layer(name)
    by_table = listed(found.files())
    assert len(found.was_read) < len(found.content) / 10
    assert by_table == listed(found.files(is_whole=True))
    assert dict(next(each for each in by_table if each.path == "/usr/bin/cap").attributes.xattrs) == {
        "user.note": b"value"
    }


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_a_file_is_read_without_the_rest_of_the_layer(name: str) -> None:
    found = layer(name)
    assert b"".join(found.files().read("/etc/b")) == b"hello"
    assert len(found.was_read) < len(found.content) - 5_000


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_an_archive_is_extracted_by_the_table_as_from_the_whole_layer(name: str) -> None:
    found, archives = layer(name), []
    for files in (found.files(), found.files(is_whole=True)):
        out = io.BytesIO()
        with TarTarget(out) as target:
            assert files.extract(target) == ()
        archives.append(out.getvalue())
    assert archives[0] == archives[1]


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_other_bytes_than_the_table_says_are_an_error(name: str) -> None:
    found = layer(name)
    place = len(found.content) // 2
    found.content = found.content[:place] + bytes([found.content[place] ^ 1]) + found.content[place + 1 :]
    with pytest.raises(ClientError) as error:
        list(found.files().read("/big"))
    assert isinstance(error.value, IntegrityError) or error.value.code == "unreadable-layer"


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_contents_read_by_a_table_count_against_the_limit(name: str) -> None:
    with pytest.raises(ClientError) as error:
        list(layer(name).files(max_bytes=50_000).read("/big"))
    assert error.value.code == "layers-too-large"


WRONG = f"sha256:{'0' * 64}"
POSITION = f"{OLD}manifest-position"


@pytest.mark.parametrize(
    ("name", "annotations"),
    [
        ("estargz.tar.gz", {ESTARGZ: WRONG}),
        ("estargz.tar.gz", {ESTARGZ: "nonsense"}),
        ("soci.tar.gz", {ESTARGZ: WRONG}),
        ("zstd-chunked.tar.zst", {f"{OLD}manifest-checksum": WRONG}),
        ("zstd-chunked.tar.zst", {POSITION: "0:10:10:1"}),
        ("zstd-chunked.tar.zst", {POSITION: "40085:572:999999999999:1"}),
        ("zstd-chunked.tar.zst", {POSITION: "999999999:572:2394:1"}),
        ("zstd-chunked.tar.zst", {POSITION: "40085:572:2394:2"}),
        ("zstd-chunked.tar.zst", {POSITION: "x"}),
    ],
)
def test_a_table_that_cannot_be_used_is_left_for_the_whole_layer(name: str, annotations: Mapping[str, str]) -> None:
    found = layer(name)
    found.annotations = {**found.annotations, **annotations}
    found.ztoc = None
    assert listed(found.files()) == listed(found.files(is_whole=True))
    assert len(found.was_read) == len(found.content)


def test_a_table_of_soci_for_another_layer_is_not_used() -> None:
    other = Indexed(gzipped(tar(file("a", b"1"))), {}, ZTOC)
    assert [each.path for each in other.files().walk()] == ["/a"]


def chunked(table: bytes) -> Indexed:
    """Return a zstd:chunked layer with a table that says anything."""
    archive = zstd.compress(tar(file("a", b"1")))
    compressed = zstd.compress(table)
    frame = b"\x50\x2a\x4d\x18" + len(compressed).to_bytes(4, "little") + compressed
    return Indexed(
        archive + frame,
        {
            f"{NEW}manifest-checksum": f"sha256:{hashlib.sha256(compressed).hexdigest()}",
            f"{NEW}manifest-position": f"{len(archive) + 8}:{len(compressed)}:{len(table)}:1",
        },
    )


ONE = {"name": "b", "type": "reg", "size": 1, "offset": 0, "digest": WRONG}


@pytest.mark.parametrize(
    "table",
    [
        [],
        {"version": 2, "entries": []},
        {"version": 1, "entries": {}},
        {"version": 1, "entries": [{}]},
        {"version": 1, "entries": [{"type": "chunk", "name": "a"}]},
        {"version": 1, "entries": [ONE | {"digest": ""}]},
        {"version": 1, "entries": [ONE | {"offset": 10**9}]},
        {"version": 1, "entries": [ONE | {"size": 10**12}]},
        {"version": 1, "entries": [ONE | {"chunkSize": 5}]},
        {"version": 1, "entries": [ONE | {"chunkOffset": 5}]},
        {"version": 1, "entries": [ONE, {"type": "chunk", "name": "c", "chunkOffset": 1}]},
        {"version": 1, "entries": [ONE | {"xattrs": {"a": "no base64"}}]},
        b"{",
        b"[" * 100_000,
    ],
)
def test_a_table_that_contradicts_itself_is_left_for_the_whole_layer(table: object) -> None:
    content = table if isinstance(table, bytes) else json.dumps(table).encode()
    assert [each.path for each in chunked(content).files().walk()] == ["/a"]


def test_a_table_may_leave_out_what_is_not_known() -> None:
    table = {"version": 1, "entries": [{"name": "x", "type": "dir", "modtime": "never", "uid": -1, "mode": True}]}
    (found,) = chunked(json.dumps(table).encode()).files().walk()
    assert (found.path, found.attributes.uid, found.attributes.mtime) == ("/x", 0, 0)


@settings(max_examples=100)
@given(st.data())
def test_damage_anywhere_in_a_table_of_soci_is_an_error_or_goes_unnoticed(data: st.DataObject) -> None:
    damaged = bytearray(ZTOC)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, 4000), st.integers(0, len(damaged) - 1)))
        damaged[place] = data.draw(st.integers(0, 255))
    found = layer("soci.tar.gz")
    try:
        table = Ztoc(found.descriptor, bytes(damaged), found.open)
        with table.contents(Allowance(10**8)) as content:
            for member in table.members:
                content.skip_to(member.offset)
                assert len(b"".join(content.chunks(member.size))) == member.size
    except ClientError as error:
        assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize("length", [0, 3, 100, len(ZTOC) // 2])
def test_a_table_of_soci_that_ends_early_is_malformed(length: int) -> None:
    found = layer("soci.tar.gz")
    with pytest.raises(MalformedTableError):
        Ztoc(found.descriptor, ZTOC[:length], found.open)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve images as `soci convert` writes them: one with its index, one whose index wasn't copied, and eStargz."""
    writer = LayoutWriter(tmp_path_factory.mktemp("layout"))
    content = (TABLES / "soci.tar.gz").read_bytes()
    config = writer.document(OCI_CONFIG, {"os": "linux", "architecture": "amd64"})
    blob = writer.blob(content)
    table = writer.blob(ZTOC, "application/octet-stream")
    soci = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": SOCI_INDEX,
        "config": writer.blob(b"{}", SOCI_INDEX),
        "layers": [table | {"annotations": {"com.amazon.soci.image-layer-digest": blob["digest"]}}],
    }
    index = writer.document(OCI_MANIFEST, soci)
    writer.name(index)
    stargz = writer.blob((TABLES / "estargz.tar.gz").read_bytes()) | {"annotations": ANNOTATIONS["estargz.tar.gz"]}
    for tag, digest, layer in (("indexed", index["digest"], blob), ("lost", WRONG, blob), ("estargz", "", stargz)):
        annotations = {"com.amazon.soci.index-digest": digest}
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
        writer.name(writer.document(OCI_MANIFEST, document | {"annotations": annotations}), tag)
    with serving_layout(writer) as served:
        yield served


@pytest.mark.parametrize("tag", ["indexed", "lost", "estargz"])
def test_commands_print_the_same_with_and_without_tables(url: str, command: Command, tag: str) -> None:
    image = f"{REPOSITORY}:{tag}"
    for arguments in (("ls", image, "-l"), ("cat", image, "/etc/a"), ("ls", image, "/usr", "--json")):
        by_table = command(*arguments, "--url", url)
        assert (by_table.status, by_table.error) == (0, "")
        assert by_table == command(*arguments, "--url", url, "--whole-layers")


def test_a_program_extracts_by_the_table_what_the_whole_layer_has(url: str) -> None:
    with Client(url) as client:
        image = client.image(f"{REPOSITORY}:indexed")
        by_table, whole = io.BytesIO(), io.BytesIO()
        image.extract_tar(by_table, "/etc", "/big")
        image.extract_tar(whole, "/etc", "/big", whole_layers=True)
    assert by_table.getvalue() == whole.getvalue()
