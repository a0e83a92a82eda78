"""`ecr-layers diff` tells how the files, configs and layers of two images differ."""

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from ecr_layers import Client, ClientError, ImageFiles, diff
from ecr_layers.files.comparison import FilesDiff, diff_files
from tests.archives import Layers, directory, extension, file, gzipped, hard_link, header, link, record, special, tar
from tests.client.commanding import Command, add_image, command
from tests.client.faulty_s3 import FaultyS3
from tests.client.fetching import served
from tests.client.looking import Member, entries, extracted, files_of, owned
from tests.client.random_images import random_layer
from tests.client.small_parts import REPOSITORY
from tests.layouts import LayoutWriter

__all__ = ["command"]


def compared(first: Sequence[bytes], second: Sequence[bytes]) -> FilesDiff:
    return diff_files(files_of(*first), files_of(*second))


def test_added_and_removed_files_are_told() -> None:
    first = [tar(file("a"), file("d/x"), file("d.e"), file("gone/y"))]
    found = compared(first, [*first, tar(file("d/.wh.x"), file("d/new"), file(".wh.gone"), file("d.f"))])
    assert [each.path for each in found.added] == ["/d/new", "/d.f"]
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
    found = compared([tar(first)], [tar(second)])
    assert (found.added, found.removed) == ((), ())
    assert [each.aspects for each in found.changed] == ([aspects] if aspects else [])


def test_a_sparse_file_of_another_layer_counts_as_changed() -> None:
    sparse = extension(tarfile.XHDTYPE, record("GNU.sparse.major", "1")) + header("s", tarfile.REGTYPE, 0)
    assert not compared([sparse + tar()], [sparse + tar()]).changed
    assert [each.aspects for each in compared([sparse + tar()], [sparse + tar(file("a"))]).changed] == [("content",)]


def test_hard_links_are_compared_by_their_contents() -> None:
    base = tar(file("a", b"1"), hard_link("b", "a"), file("c", b"2"))
    other = tar(file("a", b"2"), hard_link("b", "a"), file("c", b"2"))
    for layers, expected in (([other], ["/a", "/b"]), ([base, tar(hard_link("a", "c"))], ["/a"])):
        found = compared([base], layers)
        assert [(each.path, each.aspects) for each in found.changed] == [(path, ("content",)) for path in expected]


def test_contents_of_a_layer_in_common_are_not_read_again() -> None:
    base = tar(file("a", b"1"), file("b", b"2"))
    first, second = Layers([base]), Layers([base, tar(file("c", b"3"))])
    diff_files(ImageFiles(first.descriptors, first.open), ImageFiles(second.descriptors, second.open))
    assert (first.opened, second.opened) == ([0], [1, 0])


def test_the_differences_are_those_of_the_extracted_trees(tmp_path: Path) -> None:
    random, pairs = Random(22), 0
    for number in range(40):
        base = [random_layer(random, removes=True) for _ in range(2)]
        images = base, [*base, random_layer(random, removes=True)]
        roots = [tmp_path / f"{number}-{which}" for which in (1, 2)]
        # Hard links to nothing are listed, but can't be extracted.
        if any(extracted(root, *layers) for root, layers in zip(roots, images, strict=True)):
            continue
        pairs += 1
        found = compared(*images)
        first, second = map(contents_in, roots)
        assert {each.path for each in found.added} == second.keys() - first.keys()
        assert {each.path for each in found.removed} == first.keys() - second.keys()
        differing = {path for path in first.keys() & second.keys() if first[path] != second[path]}
        assert {each.path for each in found.changed if set(each.aspects) - {"mode"}} == differing, number
    assert pairs > 10


def contents_in(root: Path) -> dict[str, object]:
    """Return the types, targets and contents of all files in a directory."""
    return {f"/{path}": entry[: 1 if entry[0] == "directory" else 2] for path, entry in entries(root).items()}


BASE = gzipped(tar(file("etc/motd", b"hello"), file("gone")))
NEW = gzipped(tar(file("etc/motd", b"HELLO"), file(".wh.gone"), file("evil\x1b")))
OLD_CONFIG = {"os": "linux", "architecture": "amd64", "config": {"Cmd": ["a"], "Env": ["PASSWORD=hunter2"]}}
NEW_CONFIG = {"os": "linux", "architecture": "amd64", "config": {"Cmd": ["b\x1b"], "Env": [], "Labels": {"v": "2"}}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultyS3, str]]:
    writer = LayoutWriter(tmp_path_factory.mktemp("origin") / "layout")
    writer.name(add_image(writer, OLD_CONFIG, [BASE]), "1")
    writer.name(add_image(writer, NEW_CONFIG, [BASE, NEW, NEW]), "2")
    writer.name(add_image(writer, NEW_CONFIG, [BASE]), "3")
    writer.write()
    with served(writer.directory) as found:
        yield found


@pytest.fixture
def client(running: tuple[FaultyS3, str]) -> Iterator[Client]:
    with Client(running[1]) as client:
        yield client


def test_the_command_marks_files_and_hides_environment_variables(client: Client, command: Command) -> None:
    result = command("diff", "--url", client.url, f"{REPOSITORY}:1", f"{REPOSITORY}:2")
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


def test_the_command_prints_json_for_programs(client: Client, command: Command) -> None:
    result = command("diff", "--json", "--env", "--url", client.url, f"{REPOSITORY}:1", f"{REPOSITORY}:2")
    document = json.loads(result.output)
    base, new = Layers([BASE, NEW]).descriptors
    assert document["layersInCommon"] == [base.digest]
    assert document["newLayers"] == [{"digest": new.digest, "size": len(NEW)}]
    assert document["config"]["env"] == [["PASSWORD=hunter2"], []]
    assert document["added"] == [{"path": "/evil\x1b", "size": 0}]
    assert document["changed"] == [{"path": "/etc/motd", "aspects": ["content"]}]
    assert document["removed"] == [{"path": "/gone", "size": 0}]


def test_images_with_the_same_layers_differ_in_their_configs_alone(
    client: Client, running: tuple[FaultyS3, str]
) -> None:
    running[0].forget()
    first, second = (client.image(f"{REPOSITORY}:{tag}") for tag in "13")
    found = diff(first, second)
    assert (found.added, found.changed, found.removed) == ((), (), ())
    assert found.config["cmd"] == (("a",), ("b\x1b",))
    asked = {each.digest for each in running[0].asked}
    assert asked == {each.manifest.config.digest for each in (first, second) if each.manifest.config}


def test_each_layer_is_loaded_once_for_both_images_of_which_the_second_costs_what_is_new(
    client: Client, running: tuple[FaultyS3, str]
) -> None:
    running[0].forget()
    first, second = (client.image(f"{REPOSITORY}:{tag}") for tag in "12")
    config = second.manifest.config
    assert config
    assert diff(first, second).new_bytes == len(NEW) + config.size
    layers = {each.digest for each in Layers([BASE, NEW]).descriptors}
    assert sorted(each.digest for each in running[0].asked if each.digest in layers) == sorted(layers)
    assert diff(first, first).new_bytes == 0


def test_an_image_that_is_missing_fails_the_command(client: Client, command: Command) -> None:
    result = command("diff", "--url", client.url, f"{REPOSITORY}:1", f"{REPOSITORY}:none")
    assert (result.status, result.output) == (1, "")


def test_too_large_layers_are_an_error(client: Client) -> None:
    with pytest.raises(ClientError, match="more than 10 bytes"):
        diff(client.image(f"{REPOSITORY}:1"), client.image(f"{REPOSITORY}:2"), max_bytes=10)
