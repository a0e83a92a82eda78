"""`ecr-layers extract` writes the files that a container would see, and nothing outside its target."""

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ecr_layers import Client, ClientError, FileInfo, ImageFiles, TargetError, UsageError
from ecr_layers.files.extraction import keeping
from ecr_layers.files.targets import DirectoryTarget
from tests.archives import Layers, directory, extension, file, gzipped, hard_link, header, link, record, special, tar
from tests.client.commanding import REPOSITORY, Command, command, serving
from tests.client.looking import Member, archived, below, extracted, files_of, owned
from tests.commands import CLIENT, ROOT

__all__ = ["command"]


def test_files_and_directories_are_extracted_below_their_paths(tmp_path: Path) -> None:
    layer = tar(
        file("etc/a", b"1"), file("etc/b/c", b"2"), file("usr/bin/app", b"3"), file("other"), link("bin", "usr/bin")
    )
    extracted(tmp_path, layer, paths=["/etc/b", "bin/app", "/etc"])
    assert below(tmp_path) == ["etc", "etc/a", "etc/b", "etc/b/c", "usr", "usr/bin", "usr/bin/app"]


def test_modes_and_times_are_those_of_the_image_without_set_id_bits(tmp_path: Path) -> None:
    members = [
        owned(directory("d"), mode=0o2555, mtime=1_600_000_000),
        owned(file("d/a", b"1"), mode=0o6751, mtime=1_700_000_000),
        owned(directory("t"), mode=0o1777),
    ]
    extracted(tmp_path, tar(*members))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"d": 0o555, "a": 0o751, "t": 0o1777}
    assert (tmp_path / "d").stat().st_mtime == 1_600_000_000
    assert (tmp_path / "d/a").stat().st_mtime == 1_700_000_000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can set owners")
def test_owners_and_set_id_bits_are_set_if_asked_for(tmp_path: Path) -> None:
    members = [
        owned(file("a", b"1"), mode=0o4755, uid=1234, gid=567),
        owned(link("l", "a"), mode=0o777, uid=1, gid=2),
        owned(directory("d"), mode=0o2755, uid=3, gid=4),
    ]
    extracted(tmp_path, tar(*members), keeps_owner=True)
    found = {path.name: path.lstat() for path in tmp_path.iterdir()}
    owners = {name: (each.st_uid, each.st_gid) for name, each in found.items()}
    assert owners == {"a": (1234, 567), "l": (1, 2), "d": (3, 4)}
    assert (stat.S_IMODE(found["a"].st_mode), stat.S_IMODE(found["d"].st_mode)) == (0o4755, 0o2755)


def test_owners_need_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="Only root can set the owners"):
        DirectoryTarget(tmp_path, keeps_owner=True)


@pytest.mark.parametrize(
    "members",
    [
        [file("../../escaped", b"1")],
        [file("/../escaped", b"1")],
        [file("a/../../escaped", b"1")],
        [link("l", "../.."), file("l/escaped", b"1")],
        [link("l", "/"), file("l/escaped", b"1")],
        [directory("l"), file("l/escaped", b"1"), link("l", "../..")],
        [link("l", "../.."), hard_link("escaped", "l/../../secret")],
        [hard_link("escaped", "../../secret")],
        [hard_link("escaped", "/etc/passwd")],
        [file(".."), file("a/.."), directory("../..")],
    ],
)
@pytest.mark.parametrize("is_split", [False, True])
def test_no_name_and_no_link_leads_out_of_the_target(tmp_path: Path, members: list[Member], *, is_split: bool) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    layers = [tar(each) for each in members] if is_split else [tar(*members)]
    extracted(tmp_path / "a" / "out", *layers)
    assert below(tmp_path / "a") == sorted(["out", *(f"out/{each}" for each in below(tmp_path / "a" / "out"))])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "secret"]
    assert (tmp_path / "secret").stat().st_nlink == 1
    assert not any(path.is_file() and path.read_bytes() == b"secret" for path in (tmp_path / "a/out").iterdir())


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, b"Z"])
def test_what_a_directory_cannot_have_is_left_out(tmp_path: Path, kind: bytes) -> None:
    sparse = extension(tarfile.XHDTYPE, record("GNU.sparse.major", "1")) + header("s", tarfile.REGTYPE, 0)
    others = tar(special("dev/x", kind), hard_link("h", "dev/x"), hard_link("gone", "nothing"), file("a"))
    assert extracted(tmp_path, sparse + others) == ["/dev/x", "/gone", "/h", "/s"]
    assert below(tmp_path) == ["a", "dev"]


def test_a_pipe_is_made_with_its_mode_and_its_hard_links(tmp_path: Path) -> None:
    member = owned(special("run/p", tarfile.FIFOTYPE), mode=0o4640, mtime=1_700_000_000)
    assert extracted(tmp_path, tar(member, hard_link("q", "run/p"))) == []
    status = (tmp_path / "run/p").stat()
    assert (stat.S_ISFIFO(status.st_mode), stat.S_IMODE(status.st_mode)) == (True, 0o640)
    assert (status.st_mtime, status.st_nlink) == (1_700_000_000, 2)


@pytest.mark.parametrize(
    ("kind", "major", "minor"), [(tarfile.CHRTYPE, 8, 70_000), (tarfile.BLKTYPE, 8, 70_000), (tarfile.FIFOTYPE, 0, 0)]
)
def test_an_archive_keeps_devices_pipes_and_extended_attributes(kind: bytes, major: int, minor: int) -> None:
    device, attributed = owned(special("dev/x", kind), devmajor=major, devminor=minor), file("a", b"1")
    expected = {"SCHILY.xattr.security.capability": "\1\0\0\udcff", "SCHILY.xattr.user.x": "\u00e4"}
    attributed[0].pax_headers = expected
    with tarfile.open(fileobj=io.BytesIO(archived(tar(device, attributed)))) as archive:
        found, attributes = archive.getmember("dev/x"), archive.getmember("a").pax_headers
    assert (found.type, found.devmajor, found.devminor) == (kind, major, minor)
    assert {name: value for name, value in attributes.items() if "xattr" in name} == expected


def test_an_archive_keeps_owners_modes_and_names_of_any_bytes() -> None:
    name = "d/\udcff\u00e4"
    layer = tar(owned(file(name, b"1"), mode=0o4755, uid=5, gid=70_000, mtime=7), form=tarfile.GNU_FORMAT)
    with tarfile.open(fileobj=io.BytesIO(archived(layer))) as archive:
        found = archive.getmember(name)
    assert (found.mode, found.uid, found.gid, found.mtime, found.size) == (0o4755, 5, 70_000, 7, 1)


@pytest.mark.parametrize("name", ["d", "d/a"])
def test_what_appears_in_the_target_meanwhile_is_neither_replaced_nor_followed(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with DirectoryTarget(tmp_path / "out", keeps_owner=False) as into:
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).symlink_to(elsewhere if name == "d" else elsewhere / "a")
        with pytest.raises(TargetError, match="Can't write /d"):
            files_of(tar(file("d/a", b"1"))).extract(into)
    assert below(elsewhere) == []


def test_a_directory_that_is_moved_meanwhile_is_not_left_upwards(tmp_path: Path) -> None:
    files = files_of(tar(file("d/e/a", b"1"), file("z", b"2")))
    (one,), (other,) = files.walk("/d/e/a"), files.walk("/z")
    with DirectoryTarget(tmp_path / "out", keeps_owner=False) as into:
        into.add_link(replace(one, target="x"))
        (tmp_path / "out/d/e").rename(tmp_path / "e")
        with pytest.raises(TargetError, match="moved meanwhile"):
            into.add_link(replace(other, target="x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "out"]


def test_what_the_file_system_cannot_hold_is_one_line_of_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="File name too long"):
        extracted(tmp_path, tar(file("\u00e4" * 200)))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TargetError, match=r"Can't write .*file"):
        extracted(tmp_path / "file", tar())


def test_a_tree_of_any_depth_is_extracted_with_its_modes(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 300)
    members = [owned(directory(deep[: 2 * depth + 1]), mode=0o500) for depth in range(300)]
    extracted(tmp_path / "out", tar(*members, file(f"{deep}/a", b"1")))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("d")}
    assert (modes, (tmp_path / "out" / deep / "a").read_bytes()) == ({0o500}, b"1")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (gzipped(tar(file("a", bytes(50_000_000)))), "more than 1000000 bytes after decompression"),
        (gzipped(tar(file("a", bytes(100_000))))[:-200], "is damaged"),
    ],
)
def test_nothing_is_written_if_a_layer_is_a_bomb_or_damaged(tmp_path: Path, layer: bytes, message: str) -> None:
    files = files_of(layer, tar(file("b")), max_bytes=1_000_000)
    with DirectoryTarget(tmp_path, keeps_owner=False) as into, pytest.raises(ClientError, match=message):
        files.extract(into)
    assert below(tmp_path) == []


def test_each_layer_is_loaded_once(tmp_path: Path) -> None:
    of = Layers([gzipped(tar(file("a", b"1"), file("b", b"2"))), tar(file("c", b"3"))])
    (tmp_path / "kept").mkdir()
    files = ImageFiles(of.descriptors, keeping(of.open, tmp_path / "kept"))
    with DirectoryTarget(tmp_path / "out", keeps_owner=False) as into:
        files.extract(into)
    assert of.opened == [1, 0]


def test_layers_that_cannot_be_kept_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    of = Layers([tar(file("a", b"1"))])
    files = ImageFiles(of.descriptors, keeping(of.open, tmp_path / "missing"))
    with pytest.raises(TargetError, match=r"Can't write .*missing: No such file or directory\. .*set TMPDIR"):
        list(files.walk())


LAYERS = [
    gzipped(tar(file("etc/motd", b"hello"), file("bin/app", b"app"))),
    tar(special("dev/null\n", tarfile.CHRTYPE)),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    images = {"1": LAYERS, "large": [gzipped(tar(file("a", bytes(5000))))]}
    with serving(tmp_path_factory.mktemp("layout"), images) as url:
        yield url


def test_the_command_extracts_to_a_directory_with_a_note(url: str, command: Command, tmp_path: Path) -> None:
    result = command("extract", "--url", url, f"{REPOSITORY}:1", "-o", str(tmp_path / "out"))
    assert (result.status, result.output) == (0, "")
    assert result.error == "ecr-layers: note: left out /dev/null\\n (character device).\n"
    assert below(tmp_path / "out") == ["bin", "bin/app", "dev", "etc", "etc/motd"]


def test_the_command_writes_an_archive_to_a_pipe(url: str) -> None:
    command = [*CLIENT, "extract", "--url", url, f"{REPOSITORY}:1", "/etc", "-o", "-"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True)
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        assert archive.getnames() == ["etc", "etc/motd"]


def test_a_target_that_is_not_empty_fails_the_command_and_stays_as_it_is(
    url: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "etc").write_bytes(b"mine")
    result = command("extract", "--url", url, f"{REPOSITORY}:1", "-o", str(tmp_path))
    assert (result.status, "isn't empty" in result.error) == (4, True)
    assert (below(tmp_path), (tmp_path / "etc").read_bytes()) == (["etc"], b"mine")


def test_a_file_larger_than_the_limit_of_the_process_is_one_line_of_error(tmp_path: Path, url: str) -> None:
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))\n"
        "from ecr_layers.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["extract", "--url", url, f"{REPOSITORY}:large", "-o", str(tmp_path / "out")]
    # The limit would cut bytecode short, too.
    command = [sys.executable, "-B", "-c", program, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr.count("\n")) == (4, 1)
    assert "File too large" in result.stderr


def test_a_program_extracts_an_image_and_learns_what_was_left_out(url: str, tmp_path: Path) -> None:
    with Client(url) as client:
        image = client.image(f"{REPOSITORY}:1")
        left_out: tuple[FileInfo, ...] = image.extract(tmp_path, "/etc", "/dev")
        out = io.BytesIO()
        image.extract_tar(out, "/bin/app")
    assert [each.path for each in left_out] == ["/dev/null\n"]
    assert below(tmp_path) == ["dev", "etc", "etc/motd"]
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert archive.getnames() == ["bin/app"]
