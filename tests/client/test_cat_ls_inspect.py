"""`ecr-layers cat`, `ls` and `inspect`, against the local service."""

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecr_layers import Client, ClientError, IntegrityError, Manifest
from local.oci_layout import OciLayout
from local.service import local_service
from tests.archives import descriptor_of, file, gzipped, link, special, tar, zstd
from tests.client.commanding import REPOSITORY, Command, add_image, command
from tests.client.fetching import blob_in
from tests.client.looking import owned
from tests.commands import CLIENT, ROOT
from tests.layouts import EMPTY, OCI_MANIFEST, Descriptor, LayoutWriter, for_platform

__all__ = ["command"]

BINARY = bytes(range(256)) * 1000
CONFIG = {
    "os": "linux",
    "architecture": "amd64",
    "created": "2026-01-02T03:04:05Z",
    "config": {
        "Entrypoint": ["/bin/app", "--now"],
        "Cmd": [],
        "WorkingDir": "/srv",
        "User": "app",
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"version": "1.2", "evil": "\x1b[2J\nforged"},
        "Env": ["PASSWORD=hunter2"],
    },
}


LISTED = [
    gzipped(tar(file("etc/motd", b"hello"), owned(file("bin/app"), mode=0o755, uid=1000, gid=50, mtime=1_700_000_000))),
    tar(link("app", "bin/app"), file("evil\x1b[2J\n\\", b""), special("dev/null", tarfile.CHRTYPE)),
]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("layout")
    writer = LayoutWriter(directory)
    layers = [
        gzipped(tar(file("usr/lib/os-release", b"ID=old\n"), file("bin/app", BINARY), file("gone", b"x"))),
        zstd.compress(tar(file("usr/lib/os-release", b"ID=new\n"), link("etc/os-release", "../usr/lib/os-release"))),
        tar(file(".wh.gone"), file("srv/x", b"1")),
    ]
    writer.name(add_image(writer, CONFIG, layers), "1.2")
    writer.name(add_image(writer, CONFIG, LISTED), "listed")
    others = [for_platform(add_image(writer, CONFIG | {"architecture": each}, []), each) for each in ("amd64", "arm64")]
    index = writer.index(others)
    writer.name(index, "index")
    writer.name(writer.index([writer.index([index, others[0]]), index]), "nested")
    broken = add_image(writer, {}, [gzipped(tar(file("broken", b"1")))])
    writer.name(broken, "broken")
    damage(writer, broken)
    subject = {"mediaType": OCI_MANIFEST, "digest": others[0]["digest"], "size": others[0]["size"]}
    writer.name(writer.artifact("text/plain", subject, b"an artifact"), "artifact")
    config = writer.blob(b"no JSON", EMPTY)
    artifact = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    writer.name(writer.document(OCI_MANIFEST, artifact), "no-json")
    writer.write()
    return directory


def damage(writer: LayoutWriter, image: Descriptor) -> None:
    """Change a layer so that nothing but its digest tells: the time in gzip's header."""
    (layer,) = json.loads(blob_in(writer.directory, image["digest"]).read_bytes())["layers"]
    path = blob_in(writer.directory, layer["digest"])
    content = bytearray(path.read_bytes())
    content[4] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def service(layout: Path) -> Iterator[Client]:
    with (
        local_service({REPOSITORY: OciLayout(layout)}, write_log=lambda _: None) as running,
        Client(running.url) as client,
    ):
        yield client


@pytest.fixture
def url(service: Client) -> str:
    return service.url


def test_a_file_is_printed_as_it_is(url: str) -> None:
    command = [*CLIENT, "cat", "--url", url, f"{REPOSITORY}:1.2", "/bin/app"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert result.stdout == BINARY
    assert not result.stderr


def test_a_layer_with_another_digest_is_not_believed(service: Client) -> None:
    with pytest.raises(IntegrityError):
        service.image(f"{REPOSITORY}:broken").read("/broken")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["1.2", "/nowhere"], 1, "The image has no /nowhere."),
        (["1.2", "/bin/app/x"], 1, "The image has no /bin/app/x: /bin/app isn't a directory."),
        (["artifact", "/x"], 1, "isn't a readable tar archive"),
        (["none", "/x"], 1, "none"),
        (["1.2", "/bin/app", "--max-bytes", "1K"], 1, "more than 1000 bytes"),
        (["1.2", "/x", "--platform", "arm64"], 2, "is for linux/amd64, not for linux/arm64."),
        (["1.2", "/x", "--platform", "pdp11"], 2, "'pdp11' isn't a platform"),
        (["1.2", "/x", "--manifest", "/nowhere"], 2, "Can't read the manifest from /nowhere"),
        (["1.2", "/x", "--max-bytes", "1X"], 2, "a number of bytes"),
        (["1.2"], 2, "Expected IMAGE and PATH"),
    ],
)
def test_what_can_not_be_printed_is_one_line_and_a_status(
    url: str, arguments: list[str], status: int, message: str, command: Command
) -> None:
    result = command("cat", "--url", url, f"{REPOSITORY}:{arguments[0]}", *arguments[1:])
    assert (result.status, result.output) == (status, "")
    assert message in result.error
    assert "X-Amz" not in result.error
    assert result.error.count("\n") == 1
    assert result.error.startswith("ecr-layers: ")


def printing(url: str, arguments: list[str], output: Any) -> tuple[int, bytes]:
    """Run a command in a process of its own with this output; return its exit status and what it says of errors."""
    command = [*CLIENT, *arguments, "--url", url]
    result = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, timeout=60, check=False)
    return result.returncode, result.stderr


# More than Python keeps in memory, and less.
@pytest.mark.parametrize("arguments", [["cat", f"{REPOSITORY}:1.2", "/bin/app"], ["inspect", f"{REPOSITORY}:1.2"]])
def test_nobody_reading_on_is_a_status_without_a_word_and_a_full_output_a_line(url: str, arguments: list[str]) -> None:
    unread, output = os.pipe()
    os.close(unread)
    with os.fdopen(output, "wb") as pipe:
        assert printing(url, arguments, pipe) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        found = printing(url, arguments, full)
    assert found == (4, b"ecr-layers: The output can't be written: No space left on device.\n")


def test_files_are_listed_for_people(url: str, command: Command) -> None:
    short = command("ls", "--url", url, f"{REPOSITORY}:listed")
    assert short.status == 0, short.error
    # A terminal would obey control characters.
    expected = ["/app", "/bin", "/bin/app", "/dev", "/dev/null", "/etc", "/etc/motd", r"/evil\x1b[2J\n\\"]
    assert short.output.splitlines() == expected
    long = command("ls", "-l", "--url", url, f"{REPOSITORY}:listed").output.splitlines()
    assert long[0].startswith("lrw-r--r-- 0:0 ")
    assert long[0].endswith(" 1970-01-01 00:00:00 /app -> bin/app")
    assert long[2].split() == ["-rwxr-xr-x", "1000:50", "0", "2023-11-14", "22:13:20", "/bin/app"]
    assert long[4].startswith("crw-r--r--")
    digest = descriptor_of(LISTED[0]).digest
    by_layer = command("ls", "--layers", "--url", url, f"{REPOSITORY}:listed", "/etc")
    assert by_layer.output == f"{digest}  /etc\n{digest}  /etc/motd\n"


def test_files_are_listed_for_programs(url: str, command: Command) -> None:
    result = command("ls", "--json", "--url", url, f"{REPOSITORY}:listed", "bin/app")
    assert json.loads(result.output) == {
        "path": "/bin/app",
        "type": "file",
        "mode": "0755",
        "uid": 1000,
        "gid": 50,
        "size": 0,
        "mtime": 1_700_000_000,
        "target": None,
        "layer": descriptor_of(LISTED[0]).digest,
    }


def test_a_path_that_the_image_lacks_cannot_be_listed(url: str, command: Command) -> None:
    result = command("ls", "--url", url, f"{REPOSITORY}:listed", "/nothing")
    assert (result.status, result.output) == (1, "")
    assert "The image has no /nothing" in result.error


def test_an_image_is_inspected_for_people(url: str, command: Command) -> None:
    result = command("inspect", "--url", url, f"{REPOSITORY}:1.2")
    assert result.status == 0, result.error
    lines = dict(line.split(maxsplit=1) for line in result.output.splitlines()[:4])
    assert lines["Platform"] == "linux/amd64"
    assert 'Entrypoint   ["/bin/app", "--now"]' in result.output
    assert "version=1.2" in result.output
    assert "hunter2" not in result.output
    # What a terminal would obey is not printed.
    assert "\x1b" not in result.output
    assert "evil=?[2J?forged" in result.output


def test_an_image_is_inspected_for_scripts(url: str, layout: Path, command: Command) -> None:
    result = command("inspect", "--url", url, f"{REPOSITORY}:1.2", "--json", "--env")
    document = json.loads(result.output)
    manifest = json.loads(blob_in(layout, document["imageDigest"]).read_bytes())
    assert document["layers"] == manifest["layers"]
    assert document["size"] == sum(layer["size"] for layer in manifest["layers"])
    assert document["labels"] == CONFIG["config"]["Labels"]  # type: ignore[index]
    assert document["env"] == ["PASSWORD=hunter2"]
    assert (document["entrypoint"], document["cmd"]) == (["/bin/app", "--now"], [])
    assert (document["user"], document["workingDir"], document["exposedPorts"]) == ("app", "/srv", ["80/tcp"])
    assert document["platforms"] == []


@pytest.mark.parametrize("tag", ["index", "nested"])
def test_an_index_is_inspected_with_its_platforms(url: str, tag: str, command: Command) -> None:
    result = command("inspect", "--url", url, f"{REPOSITORY}:{tag}", "--platform", "linux/arm64", "--json")
    document = json.loads(result.output)
    assert (document["platform"], document["platforms"]) == ("linux/arm64", ["linux/amd64", "linux/arm64"])


def test_an_artifact_is_inspected_as_far_as_it_says_something(service: Client, command: Command) -> None:
    document = json.loads(command("inspect", "--url", service.url, f"{REPOSITORY}:artifact", "--json").output)
    assert (document["platform"], [layer["mediaType"] for layer in document["layers"]]) == (None, ["text/plain"])
    with pytest.raises(ClientError, match="isn't a JSON object"):
        _ = service.image(f"{REPOSITORY}:no-json").config


def test_a_manifest_is_enough_for_a_service_that_gives_out_layers_alone(layout: Path, command: Command) -> None:
    path = blob_in(layout, OciLayout(layout).tags["1.2"])
    with (
        local_service({REPOSITORY: OciLayout(layout)}, opted_into={}, write_log=lambda _: None) as running,
        Client(running.url) as service,
    ):
        refused = command("cat", "--url", running.url, f"{REPOSITORY}:1.2", "/etc/os-release")
        assert (refused.status, "--manifest FILE" in refused.error) == (1, True)
        manifest = Manifest.parse(path.read_bytes())
        assert service.image(f"{REPOSITORY}:1.2", manifest=manifest).read("/etc/os-release") == b"ID=new\n"
        printed = command("inspect", "--url", running.url, f"{REPOSITORY}:1.2", "--manifest", str(path))
        assert "version=1.2" in printed.output
