"""`ecr-layers extract` writes the files that a container would see, and nothing outside its target."""

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from ecr_layers import Client, ClientError, FileInfo, ImageFiles, TargetError, UsageError
from ecr_layers.files.extraction import keeping
from ecr_layers.files.targets import DirectoryTarget, TarTarget
from tests.archives import Layers, directory, extension, file, gzipped, hard_link, header, link, record, special, tar
from tests.client.commanding import REPOSITORY, Command, command, serving
from tests.client.machine_files import machine_layers
from tests.client.random_images import random_layer, unpacked_by_tar, unpacked_by_umoci
from tests.commands import CLIENT, ROOT, tool

__all__ = ["command"]


RANDOM_IMAGES = 400
"""How many random images are compared with other tools; 400 take a few minutes."""


def extracted(target: Path, *layers: bytes, paths: Sequence[str] = (), keeps_owner: bool = False) -> list[str]:
    """Extract an image with these layers, and return the paths that were left out."""
    of = Layers(layers)
    with DirectoryTarget(target, keeps_owner=keeps_owner) as into:
        left_out = ImageFiles(of.descriptors, of.open).extract(into, *paths)
    return [each.path for each in left_out]


def archived(*layers: bytes) -> bytes:
    of, out = Layers(layers), io.BytesIO()
    with TarTarget(out) as into:
        ImageFiles(of.descriptors, of.open).extract(into)
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


def with_mode(member: tuple[tarfile.TarInfo, bytes], mode: int, **members: int) -> tuple[tarfile.TarInfo, bytes]:
    info, content = member
    info.mode = mode
    for name, value in members.items():
        setattr(info, name, value)
    return info, content


def test_all_files_are_extracted_with_whiteouts_applied(tmp_path: Path) -> None:
    layers = [tar(file("d/a", b"old"), file("d/gone"), file("x/y")), tar(file("d/a", b"new"), file("d/.wh.gone"))]
    assert extracted(tmp_path / "out", *layers, tar(file("x/.wh..wh..opq"))) == []
    assert below(tmp_path / "out") == ["d", "d/a", "x"]
    assert (tmp_path / "out/d/a").read_bytes() == b"new"


def test_files_and_directories_are_extracted_below_their_paths(tmp_path: Path) -> None:
    layer = tar(
        file("etc/a", b"1"), file("etc/b/c", b"2"), file("usr/bin/app", b"3"), file("other"), link("bin", "usr/bin")
    )
    extracted(tmp_path, layer, paths=["/etc/b", "bin/app", "/etc"])
    assert below(tmp_path) == ["etc", "etc/a", "etc/b", "etc/b/c", "usr", "usr/bin", "usr/bin/app"]


def test_modes_and_times_are_those_of_the_image_without_set_id_bits(tmp_path: Path) -> None:
    members = [
        with_mode(directory("d"), 0o2555, mtime=1_600_000_000),
        with_mode(file("d/a", b"1"), 0o6751, mtime=1_700_000_000),
        with_mode(directory("t"), 0o1777),
    ]
    extracted(tmp_path, tar(*members))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"d": 0o555, "a": 0o751, "t": 0o1777}
    assert (tmp_path / "d").stat().st_mtime == 1_600_000_000
    assert (tmp_path / "d/a").stat().st_mtime == 1_700_000_000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can set owners")
def test_owners_and_set_id_bits_are_set_if_asked_for(tmp_path: Path) -> None:
    members = [
        with_mode(file("a", b"1"), 0o4755, uid=1234, gid=567),
        with_mode(link("l", "a"), 0o777, uid=1, gid=2),
        with_mode(directory("d"), 0o2755, uid=3, gid=4),
    ]
    extracted(tmp_path, tar(*members), keeps_owner=True)
    found = {path.name: path.lstat() for path in tmp_path.iterdir()}
    assert {name: (each.st_uid, each.st_gid) for name, each in found.items()} == {
        "a": (1234, 567),
        "l": (1, 2),
        "d": (3, 4),
    }
    assert (stat.S_IMODE(found["a"].st_mode), stat.S_IMODE(found["d"].st_mode)) == (0o4755, 0o2755)


def test_owners_need_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="Only root can set the owners"):
        DirectoryTarget(tmp_path, keeps_owner=True)


def test_hard_links_are_links_in_the_image_also_across_layers(tmp_path: Path) -> None:
    layers = [tar(file("z", b"1"), hard_link("a", "z")), tar(hard_link("d/b", "z")), tar(file(".wh.z"))]
    extracted(tmp_path, *layers)
    assert {(tmp_path / name).stat().st_ino for name in ("a", "d/b")} == {(tmp_path / "a").stat().st_ino}
    assert (tmp_path / "a").stat().st_nlink == 2
    assert (tmp_path / "d/b").read_bytes() == b"1"


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
def test_no_name_and_no_link_leads_out_of_the_target(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], *, is_split: bool
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    layers = [tar(each) for each in members] if is_split else [tar(*members)]
    extracted(tmp_path / "a" / "out", *layers)
    assert below(tmp_path / "a") == sorted(["out", *(f"out/{each}" for each in below(tmp_path / "a" / "out"))])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "secret"]
    assert (tmp_path / "secret").stat().st_nlink == 1
    assert not any(path.is_file() and path.read_bytes() == b"secret" for path in (tmp_path / "a/out").iterdir())


def test_links_that_lead_out_are_extracted_but_never_followed(tmp_path: Path) -> None:
    extracted(tmp_path / "out", tar(link("absolute", "/etc/passwd"), link("up", "../../x")))
    assert (tmp_path / "out/absolute").readlink() == Path("/etc/passwd")
    assert (tmp_path / "out/up").readlink() == Path("../../x")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, b"Z"])
def test_devices_and_unknown_entries_are_left_out_of_a_directory(tmp_path: Path, kind: bytes) -> None:
    layer = tar(special("dev/x", kind), hard_link("h", "dev/x"), file("a"))
    assert extracted(tmp_path, layer) == ["/dev/x", "/h"]
    assert below(tmp_path) == ["a", "dev"]


def test_a_pipe_is_made_with_its_mode_and_its_hard_links(tmp_path: Path) -> None:
    member = with_mode(special("run/p", tarfile.FIFOTYPE), 0o4640, mtime=1_700_000_000)
    assert extracted(tmp_path, tar(member, hard_link("q", "run/p"))) == []
    status = (tmp_path / "run/p").stat()
    assert (stat.S_ISFIFO(status.st_mode), stat.S_IMODE(status.st_mode)) == (True, 0o640)
    assert (status.st_mtime, status.st_nlink) == (1_700_000_000, 2)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_an_archive_keeps_devices_pipes_and_extended_attributes(kind: bytes) -> None:
    device, (attributed, content) = special("dev/x", kind), file("a", b"1")
    device[0].devmajor, device[0].devminor = (8, 70_000) if kind != tarfile.FIFOTYPE else (0, 0)
    attributed.pax_headers = {"SCHILY.xattr.security.capability": "\1\0\0\udcff", "SCHILY.xattr.user.x": "\u00e4"}
    with tarfile.open(fileobj=io.BytesIO(archived(tar(device, (attributed, content))))) as archive:
        found, attributes = archive.getmember("dev/x"), archive.getmember("a").pax_headers
    assert (found.type, found.devmajor, found.devminor) == (kind, device[0].devmajor, device[0].devminor)
    assert {name: value for name, value in attributes.items() if "xattr" in name} == attributed.pax_headers


def test_sparse_files_and_hard_links_to_nothing_are_left_out(tmp_path: Path) -> None:
    sparse = extension(tarfile.XHDTYPE, record("GNU.sparse.major", "1")) + header("s", tarfile.REGTYPE, 0)
    assert extracted(tmp_path, sparse + tar(hard_link("h", "gone"))) == ["/h", "/s"]
    assert below(tmp_path) == []


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE])
def test_every_kind_of_file_is_extracted(tmp_path: Path, kind: bytes) -> None:
    info, content = file("a", b"content")
    info.type = kind
    extracted(tmp_path, tar((info, content)))
    assert (tmp_path / "a").read_bytes() == b"content"


def test_a_target_with_files_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(TargetError, match="isn't empty"):
        extracted(tmp_path, tar(file("mine", b"1")))
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    of = Layers([tar(file("a", b"1"))])
    with DirectoryTarget(tmp_path / "out", keeps_owner=False) as into:
        (tmp_path / "out/a").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(TargetError, match="Can't write /a: File exists"):
            ImageFiles(of.descriptors, of.open).extract(into)
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_that_appears_meanwhile_is_not_followed(tmp_path: Path) -> None:
    of = Layers([tar(file("d/a", b"1"))])
    (tmp_path / "elsewhere").mkdir()
    with DirectoryTarget(tmp_path / "out", keeps_owner=False) as into:
        (tmp_path / "out/d").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(TargetError, match="Can't write /d"):
            ImageFiles(of.descriptors, of.open).extract(into)
    assert below(tmp_path / "elsewhere") == []


def test_a_name_that_the_file_system_cannot_hold_is_one_line_of_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="File name too long"):
        extracted(tmp_path, tar(file("\u00e4" * 200)))


def test_a_tree_of_any_depth_is_extracted_with_its_modes(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 300)
    members = [with_mode(directory(deep[: 2 * depth + 1]), 0o500) for depth in range(300)]
    extracted(tmp_path / "out", tar(*members, file(f"{deep}/a", b"1")))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("d")}
    assert (modes, (tmp_path / "out" / deep / "a").read_bytes()) == ({0o500}, b"1")


def test_a_directory_that_is_moved_meanwhile_is_not_left_upwards(tmp_path: Path) -> None:
    of = Layers([tar(file("d/e/a", b"1"), file("z", b"2"))])
    with DirectoryTarget(tmp_path / "out", keeps_owner=False) as into:
        one, other = ImageFiles(of.descriptors, of.open).walk("/d/e/a"), ImageFiles(of.descriptors, of.open).walk("/z")
        into.add_link(replace(next(one), target="x"))
        (tmp_path / "out/d/e").rename(tmp_path / "e")
        with pytest.raises(TargetError, match="moved meanwhile"):
            into.add_link(replace(next(other), target="x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "out"]


def test_a_file_larger_than_the_limit_of_the_process_is_one_line_of_error(tmp_path: Path, url: str) -> None:
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))\n"
        "from ecr_layers.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["extract", "--url", url, f"{REPOSITORY}:large", "-o", str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr.count("\n")) == (4, 1)
    assert "File too large" in result.stderr


def test_names_that_differ_by_case_only_are_not_mixed_up(tmp_path: Path) -> None:
    (tmp_path / "probe").touch()
    clashes = (tmp_path / "PROBE").exists()
    layer = tar(file("A", b"1"), file("a", b"2"))
    if clashes:
        with pytest.raises(TargetError, match="File exists"):
            extracted(tmp_path / "out", layer)
    else:
        extracted(tmp_path / "out", layer)
        assert [(tmp_path / "out" / name).read_bytes() for name in "Aa"] == [b"1", b"2"]


def test_a_bomb_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    of = Layers([gzipped(tar(file("a", bytes(50_000_000))))])
    with (
        DirectoryTarget(tmp_path / "out", keeps_owner=False) as into,
        pytest.raises(ClientError, match="more than 1000000 bytes after decompression"),
    ):
        ImageFiles(of.descriptors, of.open, 1_000_000).extract(into)
    assert below(tmp_path / "out") == []


def test_a_target_that_cannot_be_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TargetError, match=r"Can't write .*file"):
        extracted(tmp_path / "file", tar())


def test_nothing_is_written_if_a_layer_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(ClientError):
        extracted(tmp_path, gzipped(tar(file("a", bytes(100_000))))[:-200], tar(file("b")))
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


def test_gnu_tar_extracts_the_same(tmp_path: Path) -> None:
    compared = 0
    for seed in range(RANDOM_IMAGES):
        archive = random_layer(Random(seed), removes=False)
        if unpacked_by_tar(archive, tmp_path / f"tar-{seed}"):
            compared += 1
            extracted(tmp_path / str(seed), archive)
            assert entries(tmp_path / str(seed)) == entries(tmp_path / f"tar-{seed}"), seed
    assert compared > 10


def test_umoci_extracts_the_same(tmp_path: Path) -> None:
    compared = 0
    for seed in range(RANDOM_IMAGES):
        random = Random(seed)
        layers = [random_layer(random, removes=True) for _ in range(random.randint(2, 4))]
        (tmp_path / f"umoci-{seed}").mkdir()
        root = unpacked_by_umoci(layers, tmp_path / f"umoci-{seed}")
        if root is not None:
            compared += 1
            extracted(tmp_path / str(seed), *layers)
            assert entries(tmp_path / str(seed)) == entries(root), seed
    assert compared > 5


def test_gnu_tar_reads_the_archive_as_the_directory(tmp_path: Path) -> None:
    for seed in range(30):
        random = Random(seed)
        layers = [random_layer(random, removes=True) for _ in range(random.randint(1, 4))]
        extracted(tmp_path / str(seed), *layers)
        (tmp_path / f"tar-{seed}").mkdir()
        command = [tool("tar"), "--extract", "--preserve-permissions", "--directory", str(tmp_path / f"tar-{seed}")]
        subprocess.run(command, input=archived(*layers), timeout=60, check=True)
        assert entries(tmp_path / f"tar-{seed}") == entries(tmp_path / str(seed)), seed


def entries_without_set_id_bits(root: Path) -> dict[str, tuple[object, ...]]:
    """Leave out the bits that `ecr-layers` never sets in a directory."""
    for path in root.rglob("*"):
        if not path.is_symlink() and path.is_file():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o1777)
    return entries(root)


def attributes_in(archive: bytes) -> dict[str, tuple[int, ...]]:
    """Return the owner, mode and time of everything in an archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        return {each.name: (each.uid, each.gid, each.mode, int(each.mtime)) for each in members}


def test_this_machines_files_are_extracted_as_by_gnu_tar(tmp_path: Path) -> None:
    for number, layer in enumerate(machine_layers()):
        assert unpacked_by_tar(layer, tmp_path / f"tar-{number}")
        assert extracted(tmp_path / str(number), layer) == []
        found = entries(tmp_path / str(number))
        assert len(found) > 5
        assert found == entries_without_set_id_bits(tmp_path / f"tar-{number}")


def test_this_machines_files_are_extracted_as_by_umoci(tmp_path: Path) -> None:
    layers = machine_layers()
    root = unpacked_by_umoci(layers, tmp_path)
    assert root is not None
    assert extracted(tmp_path / "out", *layers) == []
    assert entries(tmp_path / "out") == entries_without_set_id_bits(root)


def test_this_machines_files_keep_owners_modes_and_times_in_an_archive() -> None:
    for layer in machine_layers():
        packed, found = attributes_in(layer), attributes_in(archived(layer))
        # The directories above the packed files aren't in GNU tar's archive, and don't have to be.
        assert {name: found[name] for name in packed} == packed
        of = Layers([layer])
        listed = {each.path[1:]: each.attributes for each in ImageFiles(of.descriptors, of.open).walk()}
        assert {name: (listed[name].uid, listed[name].gid, listed[name].mode) for name in packed} == {
            name: each[:3] for name, each in packed.items()
        }


def test_an_archive_keeps_owners_modes_and_names_of_any_bytes() -> None:
    name = "d/\udcff\u00e4"
    layer = tar(with_mode(file(name, b"1"), 0o4755, uid=5, gid=70_000, mtime=7), form=tarfile.GNU_FORMAT)
    with tarfile.open(fileobj=io.BytesIO(archived(layer))) as archive:
        found = archive.getmember(name)
    assert (found.mode, found.uid, found.gid, found.mtime, found.size) == (0o4755, 5, 70_000, 7, 1)


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


def test_a_target_that_is_not_empty_fails_the_command(url: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"")
    result = command("extract", "--url", url, f"{REPOSITORY}:1", "-o", str(tmp_path))
    assert (result.status, "isn't empty" in result.error) == (4, True)


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
