"""`ecr-layers ls` lists the files that a container would see."""

import json
import tarfile
from collections.abc import Iterator

import pytest

from tests.archives import Layers, file, gzipped, link, special, tar
from tests.client.commanding import REPOSITORY, Command, command, serving
from tests.client.looking import owned

__all__ = ["command"]

LAYERS = [
    gzipped(tar(file("etc/motd", b"hello"), owned(file("bin/app"), mode=0o755, uid=1000, gid=50, mtime=1_700_000_000))),
    tar(link("app", "bin/app"), file("evil\x1b[2J\n\\", b""), special("dev/null", tarfile.CHRTYPE)),
]
LOWEST = Layers(LAYERS).descriptors[0].digest


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("layout"), {"1": LAYERS}) as url:
        yield url


def test_files_are_printed_for_people(url: str, command: Command) -> None:
    short = command("ls", "--url", url, f"{REPOSITORY}:1")
    assert short.status == 0, short.error
    # A terminal would obey control characters.
    expected = ["/app", "/bin", "/bin/app", "/dev", "/dev/null", "/etc", "/etc/motd", r"/evil\x1b[2J\n\\"]
    assert short.output.splitlines() == expected
    long = command("ls", "-l", "--url", url, f"{REPOSITORY}:1").output.splitlines()
    assert long[0].startswith("lrw-r--r-- 0:0 ")
    assert long[0].endswith(" 1970-01-01 00:00:00 /app -> bin/app")
    assert long[2].split() == ["-rwxr-xr-x", "1000:50", "0", "2023-11-14", "22:13:20", "/bin/app"]
    assert long[4].startswith("crw-r--r--")
    by_layer = command("ls", "--layers", "--url", url, f"{REPOSITORY}:1", "/etc")
    assert by_layer.output == f"{LOWEST}  /etc\n{LOWEST}  /etc/motd\n"


def test_json_is_printed_for_programs(url: str, command: Command) -> None:
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
        "layer": LOWEST,
    }


def test_a_path_that_the_image_lacks_fails_the_command(url: str, command: Command) -> None:
    result = command("ls", "--url", url, f"{REPOSITORY}:1", "/nothing")
    assert (result.status, result.output) == (1, "")
    assert "The image has no /nothing" in result.error
