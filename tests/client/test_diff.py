"""`ecr-layers diff` tells how the files, configs and layers of two images differ."""

import filecmp
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ecr_layers import Client, ClientError, ImageFiles, diff
from ecr_layers.files.comparison import FilesDiff, diff_files
from ecr_layers.files.targets import DirectoryTarget
from ecr_layers.registry.service import Service
from tests.archives import Layers, directory, extension, file, gzipped, hard_link, header, link, record, special, tar
from tests.client.commanding import REPOSITORY, Command, add_image, command, serving_layout
from tests.client.random_images import random_layer
from tests.layouts import LayoutWriter

__all__ = ["command"]

Member = tuple[tarfile.TarInfo, bytes]


def files_of(*layers: bytes) -> ImageFiles:
    of = Layers(layers)
    return ImageFiles(of.descriptors, of.open)


def compared(first: Sequence[bytes], second: Sequence[bytes]) -> FilesDiff:
    return diff_files(files_of(*first), files_of(*second))


def changed(first: Member, second: Member) -> tuple[str, ...]:
    """Return what differs between two members with one name; empty for nothing."""
    found = compared([tar(first)], [tar(second)])
    assert not (found.added)
    assert not (found.removed)
    return found.changed[0].aspects if found.changed else ()


def owned(member: Member, **members: int) -> Member:
    for name, value in members.items():
        setattr(member[0], name, value)
    return member


def test_added_and_removed_files_are_told() -> None:
    first = [tar(file("a"), file("d/x"), file("gone/y"))]
    found = compared(first, [*first, tar(file("d/.wh.x"), file("d/new"), file(".wh.gone"), file("d.e"))])
    assert [each.path for each in found.added] == ["/d/new", "/d.e"]
    assert [each.path for each in found.removed] == ["/d/x", "/gone", "/gone/y"]
    assert not found.changed


@pytest.mark.parametrize(
    ("first", "second", "aspects"),
    [
        (file("a", b"1"), file("a", b"2"), ("content",)),
        (file("a", b"1"), file("a", b"12"), ("content",)),
        (file("a", b""), file("a", b""), ()),
        (file("a", b"1"), owned(file("a", b"1"), mtime=5), ()),
        (file("a", b"1"), owned(file("a", b"1"), mode=0o600), ("mode",)),
        (file("a", b"1"), owned(file("a", b"2"), uid=1, mode=0o600), ("mode", "owner", "content")),
        (directory("a"), owned(directory("a"), gid=1), ("owner",)),
        (link("a", "b"), link("a", "c"), ("target",)),
        (link("a", "b"), owned(link("a", "b"), mode=0o777), ()),
        (file("a", b"1"), directory("a"), ("type",)),
        (file("a", b"1"), link("a", "b"), ("type",)),
        (special("a", tarfile.CHRTYPE), special("a", tarfile.BLKTYPE), ("type",)),
        (special("a", tarfile.FIFOTYPE), special("a", tarfile.FIFOTYPE), ()),
        (hard_link("a", "b"), hard_link("a", "c"), ("target",)),
    ],
)
def test_what_differs_in_a_file_is_told(first: Member, second: Member, aspects: tuple[str, ...]) -> None:
    assert changed(first, second) == aspects


def test_a_sparse_file_of_another_layer_counts_as_changed() -> None:
    sparse = extension(tarfile.XHDTYPE, record("GNU.sparse.major", "1")) + header("s", tarfile.REGTYPE, 0)
    assert not compared([sparse + tar()], [sparse + tar()]).changed
    assert [each.aspects for each in compared([sparse + tar()], [sparse + tar(file("a"))]).changed] == [("content",)]


def test_hard_links_are_compared_by_their_contents() -> None:
    found = compared(
        [tar(file("a", b"1"), hard_link("b", "a"))], [tar(file("a", b"2"), hard_link("b", "a"), file("c", b"1"))]
    )
    assert [(each.path, each.aspects) for each in found.changed] == [("/a", ("content",)), ("/b", ("content",))]


def test_a_hard_link_to_another_file_of_the_same_layer_is_a_change() -> None:
    base = tar(file("a", b"1"), file("b", b"2"))
    found = compared([base], [base, tar(hard_link("a", "b"))])
    assert [(each.path, each.aspects) for each in found.changed] == [("/a", ("content",))]


def test_contents_of_a_layer_in_common_are_not_read_again() -> None:
    base = tar(file("a", b"1"), file("b", b"2"))
    first, second = Layers([base]), Layers([base, tar(file("c", b"3"))])
    diff_files(ImageFiles(first.descriptors, first.open), ImageFiles(second.descriptors, second.open))
    assert (first.opened, second.opened) == ([0], [1, 0])


def test_the_differences_are_those_of_the_extracted_trees(tmp_path: Path) -> None:
    random, pairs = Random(22), 0
    for number in range(60):
        base = [random_layer(random, removes=True) for _ in range(2)]
        images = [[*base, random_layer(random, removes=True)] for _ in range(2)]
        roots = [tmp_path / f"{number}-{which}" for which in (1, 2)]
        # Hard links to nothing are listed, but can't be extracted.
        if any(extracted(root, layers) for root, layers in zip(roots, images, strict=True)):
            continue
        pairs += 1
        found = compared(*images)
        first, second = ({f"/{path.relative_to(root)}": path for path in root.rglob("*")} for root in roots)
        assert {each.path for each in found.added} == second.keys() - first.keys()
        assert {each.path for each in found.removed} == first.keys() - second.keys()
        differing = {path for path in first.keys() & second.keys() if differ(first[path], second[path])}
        assert {each.path for each in found.changed if set(each.aspects) - {"mode"}} == differing, number
    assert pairs > 10


def extracted(root: Path, layers: Sequence[bytes]) -> bool:
    """Extract an image, and tell whether something was left out."""
    with DirectoryTarget(root, keeps_owner=False) as into:
        return bool(files_of(*layers).extract(into))


def differ(first: Path, second: Path) -> bool:
    """Tell whether types, targets or contents of two files differ."""
    if first.is_symlink() or second.is_symlink():
        return not (first.is_symlink() and second.is_symlink() and first.readlink() == second.readlink())
    if first.is_dir() or second.is_dir():
        return first.is_dir() != second.is_dir()
    return not filecmp.cmp(first, second, shallow=False)


BASE = gzipped(tar(file("etc/motd", b"hello"), file("gone")))
NEW = gzipped(tar(file("etc/motd", b"HELLO"), file(".wh.gone"), file("evil\x1b")))
OLD_CONFIG = {"os": "linux", "architecture": "amd64", "config": {"Cmd": ["a"], "Env": ["PASSWORD=hunter2"]}}
NEW_CONFIG = {"os": "linux", "architecture": "amd64", "config": {"Cmd": ["b\x1b"], "Env": [], "Labels": {"v": "2"}}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    writer = LayoutWriter(tmp_path_factory.mktemp("layout"))
    writer.name(add_image(writer, OLD_CONFIG, [BASE]), "1")
    writer.name(add_image(writer, NEW_CONFIG, [BASE, NEW, NEW]), "2")
    writer.name(add_image(writer, NEW_CONFIG, [BASE]), "3")
    with serving_layout(writer) as url:
        yield url


def test_the_command_marks_files_and_hides_environment_variables(url: str, command: Command) -> None:
    result = command("diff", "--url", url, f"{REPOSITORY}:1", f"{REPOSITORY}:2")
    assert result.status == 0, result.error
    lines = result.output.splitlines()
    assert lines[0].startswith("Layers  1 in common, 1 new, ")
    assert lines[1:] == [
        r'Config  cmd: ["a"] -> ["b\u001b"]',
        'Config  labels: {} -> {"v": "2"}',
        r"A  /evil\x1b",
        "C  /etc/motd  (content)",
        "D  /gone",
    ]


def test_the_command_prints_json_for_programs(url: str, command: Command) -> None:
    result = command("diff", "--json", "--env", "--url", url, f"{REPOSITORY}:1", f"{REPOSITORY}:2")
    document = json.loads(result.output)
    base, new = Layers([BASE, NEW]).descriptors
    assert document["layersInCommon"] == [base.digest]
    assert document["newLayers"] == [{"digest": new.digest, "size": len(NEW)}]
    assert document["config"]["env"] == [["PASSWORD=hunter2"], []]
    assert document["added"] == [{"path": "/evil\x1b", "size": 0}]
    assert document["changed"] == [{"path": "/etc/motd", "aspects": ["content"]}]
    assert document["removed"] == [{"path": "/gone", "size": 0}]


def test_the_second_image_costs_its_new_layers_and_its_config(url: str) -> None:
    with Client(url) as client:
        first, second = (client.image(f"{REPOSITORY}:{tag}") for tag in "12")
        assert second.manifest.config
        assert diff(first, second).new_bytes == len(NEW) + second.manifest.config.size
        assert diff(first, first).new_bytes == 0


def test_images_with_the_same_layers_differ_in_their_configs_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "open_layer", lambda *_, **__: pytest.fail("a layer is read"))
    with Client(url) as client:
        found = diff(client.image(f"{REPOSITORY}:1"), client.image(f"{REPOSITORY}:3"))
    assert (found.added, found.changed, found.removed) == ((), (), ())
    assert found.config["cmd"] == (("a",), ("b\x1b",))


def test_each_layer_is_loaded_once_for_both_images(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    open_layer = Service.open_layer

    def watched(self: Service, repository: Any, digest: str, *size: Any, **options: Any) -> object:
        opened.append(digest)
        return open_layer(self, repository, digest, *size, **options)

    monkeypatch.setattr(Service, "open_layer", watched)
    with Client(url) as client:
        diff(client.image(f"{REPOSITORY}:1"), client.image(f"{REPOSITORY}:2"))
    assert sorted(opened) == sorted({each.digest for each in Layers([BASE, NEW]).descriptors})


def test_an_image_that_is_missing_fails_the_command(url: str, command: Command) -> None:
    result = command("diff", "--url", url, f"{REPOSITORY}:1", f"{REPOSITORY}:none")
    assert (result.status, result.output) == (1, "")


def test_too_large_layers_are_an_error(url: str) -> None:
    with Client(url) as client, pytest.raises(ClientError, match="more than 10 bytes"):
        diff(client.image(f"{REPOSITORY}:1"), client.image(f"{REPOSITORY}:2"), max_bytes=10)
