"""`ecr-layers fetch` and `ecr-layers url` as a user and a script see them."""

import io
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from ecr_layers import BlobState, Progress, Saved
from ecr_layers.cli.progress import TerminalDisplay
from tests.client.commanding import Command, Result, command
from tests.client.faulty_s3 import Fault
from tests.client.fetching import Fetching, files_in
from tests.client.small_parts import QUICK, REPOSITORY

__all__ = ["command"]

IMAGE = f"{REPOSITORY}:image"
SECRETS = re.compile(r"X-Amz-|Signature|https?://localhost", re.IGNORECASE)


@pytest.fixture(autouse=True)
def origin(service_with_images: Fetching, monkeypatch: pytest.MonkeyPatch) -> Fetching:
    """Return the service, which the environment names."""
    monkeypatch.setattr("ecr_layers.cli.options.Retries", lambda **_: QUICK)
    monkeypatch.setenv("ECR_LAYERS_URL", service_with_images.url)
    return service_with_images


def test_fetch_writes_plain_lines_where_there_is_no_terminal(
    origin: Fetching, tmp_path: Path, command: Command
) -> None:
    result = command("fetch", IMAGE, "-o", str(tmp_path))
    assert (result.status, result.output) == (0, "")
    *blobs, last = result.error.splitlines()
    line = re.compile(r"sha256:[0-9a-f]{64} finished \([0-9.]+ (bytes|kB), [123] of 3 blobs\)")
    assert (len(blobs), all(map(line.fullmatch, blobs))) == (3, True), blobs
    assert last.startswith(f"{tmp_path}: image {origin.images['image']['digest']} 3 blobs, ")
    *blobs, last = command("fetch", IMAGE, "-o", str(tmp_path)).error.splitlines()
    assert "present (" in blobs[0]
    assert blobs[0].endswith(f"1 of {len(blobs)} blobs)")


def test_fetch_with_json_writes_an_object_a_line(origin: Fetching, tmp_path: Path, command: Command) -> None:
    result = command("fetch", f"{REPOSITORY}:foreign", "-o", str(tmp_path), "--json")
    assert (result.status, result.error) == (0, "")
    events = [json.loads(line) for line in result.output.splitlines()]
    own, foreign = (each["digest"] for each in origin.layers("foreign"))
    assert {"event": "blob", "digest": own, "size": 9, "loadedBytes": 9, "state": "finished"} in events
    assert events[-1]["event"] == "fetched"
    assert events[-1]["digest"] == origin.images["foreign"]["digest"]
    assert own in events[-1]["blobs"]
    assert events[-1]["foreignLayers"] == [foreign]


def test_options_stand_anywhere_and_with_quiet_nothing_is_written(
    origin: Fetching, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("fetch", "--quiet", IMAGE, "-o", str(tmp_path / "a")) == Result(0, "", "")
    monkeypatch.delenv("ECR_LAYERS_URL")
    named = ("--quiet", "--url", origin.url, "-o", str(tmp_path / "b"), IMAGE, "--connections", "2")
    assert command("fetch", *named) == Result(0, "", "")
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")


def test_a_manifest_and_digests_are_taken_from_the_command_line(
    origin: Fetching, tmp_path: Path, command: Command
) -> None:
    file = tmp_path / "manifest.json"
    file.write_bytes(origin.blob(origin.images["large"]["digest"]))
    assert command("fetch", REPOSITORY, "--manifest", str(file), "-o", str(tmp_path / "app")).status == 0
    assert len(files_in(tmp_path / "app")) == 7
    digests = [each["digest"] for each in origin.layers("large")]
    options = [word for digest in digests for word in ("--digest", digest)]
    assert command("fetch", REPOSITORY, *options, "-o", str(tmp_path / "blobs")).status == 0
    assert files_in(tmp_path / "blobs") == {digest.replace(":", "/") for digest in digests}


def test_url_prints_the_download_url_and_nothing_else(origin: Fetching, command: Command) -> None:
    result = command("url", REPOSITORY, origin.large)
    assert (result.status, result.error) == (0, "")
    answer = httpx.get(result.output.strip(), headers={"Range": "bytes=0-99"}, trust_env=False)
    assert answer.content == origin.blob(origin.large)[:100]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("team/app", "Name the target with -o PATH."),
        ("-o x", "Expected IMAGE, got 0 arguments."),
        ("team/app team/b --manifest m -o x", "Name one image only with --manifest, --name and --format files."),
        ("team/app -o x --url ftp://example.com", "isn't a valid service URL."),
        ("Team/App -o x", "'Team/App' isn't a repository name."),
        (
            "1.dkr.ecr.eu-west-1.amazonaws.com:443/team/app -o x",
            "is in the registry 1.dkr.ecr.eu-west-1.amazonaws.com:443, but the service is",
        ),
        ("docker.io/team/app -o x", "is in the registry docker.io, but the service is"),
        ("team/app:-1 -o x", "'-1' isn't a tag."),
        ("team/app@sha256:00 -o x", "'sha256:00' isn't a digest;"),
        (f"team/app@sha256:{'A' * 64} -o x", "isn't a digest;"),
        ("team/app --digest sha256:../../x -o x", "isn't a digest;"),
        (f"team/app:1 --digest sha256:{'0' * 64} -o x", "With --digest, name a repository only"),
        ("team/app:index --platform pdp11 -o x", "'pdp11' isn't a platform;"),
        ("team/app --manifest /nowhere -o x", "Can't read the manifest from /nowhere"),
        (
            "team/app --manifest m --platform linux/arm64 -o x",
            "Use only one of --platform, --all-platforms and --manifest.",
        ),
        ("team/app --max-bytes=1.5G -o x", "isn't a number of bytes"),
        ("team/app --limit-rate 0 -o x", "'0' is less than 1."),
        ("team/app -o oci:", "Name the target with -o PATH."),
        ("team/app:image -o -", "Only archives can be written to the standard output."),
        ("team/app --format docker-archive -o .", ". is a directory, but a docker-archive is a file. Use a name such"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, arguments: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("fetch", *arguments.split())
    assert message in result.error
    assert (result.status, result.output, result.error.count("\n")) == (2, "", 1)
    assert not files_in(tmp_path)


@pytest.mark.parametrize(
    ("words", "fault", "status", "message"),
    [
        (lambda _: ["team/app:nope"], None, 1, "There is no image nope in repository team/app."),
        (lambda _: ["team/nope"], None, 1, "There is no repository team/nope"),
        (
            lambda origin: [f"team/app@{origin.large}"],
            None,
            1,
            "is a layer's digest, not an image's. Download it with team/app --digest sha256:",
        ),
        (
            lambda origin: ["team/app", "--digest", origin.images["image"]["digest"]],
            None,
            1,
            "is an image's digest, not a layer's: use team/app@sha256:",
        ),
        (lambda _: ["team/app:large", "--max-bytes", "1K"], None, 1, "over the limit of 1000."),
        (lambda _: ["team/app:large"], "expired", 1, "couldn't be downloaded: S3 answered 403 AccessDenied"),
        (lambda _: ["team/app:large", "-v"], "expired", 1, "(code url-refused, S3 code AccessDenied)\n"),
        (lambda _: ["team/app:large"], "reset", 1, "couldn't be downloaded: the connection broke"),
        (lambda _: ["team/app:large"], "redirect", 1, "there are more than 3 redirects"),
        (lambda _: ["team/app:large"], "wrong", 3, "Digest mismatch after two downloads"),
    ],
)
def test_a_failure_is_one_line_with_its_status_and_shows_no_url(
    origin: Fetching,
    tmp_path: Path,
    command: Command,
    caplog: pytest.LogCaptureFixture,
    words: Callable[[Fetching], list[str]],
    fault: str | None,
    status: int,
    message: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")
    origin.s3.faults = [Fault(fault, times=1000)] if fault else []
    result = command("fetch", *words(origin), "-o", str(tmp_path / "app"), "--quiet")
    assert message in result.error
    assert (result.status, result.output, result.error.count("\n")) == (status, "", 1)
    assert not SECRETS.search(result.error)
    shown = [each for each in caplog.records if each.name.startswith(("urllib3", "httpx", "httpcore", "ecr_layers"))]
    assert shown
    assert not [record for record in shown if "X-Amz-Signature" in record.getMessage()]


def test_a_terminal_shows_a_line_for_each_blob_and_one_for_all() -> None:
    bars = Bars(console=Console(file=io.StringIO(), force_terminal=True, width=100, height=20))
    display = TerminalDisplay(bars)
    digests = [f"sha256:{number:064x}" for number in range(30)]
    for digest in digests:
        display.update(Progress(digest, 100, 0, BlobState.WAITING))
    assert [task.description for task in bars.tasks] == ["total"]
    for digest in digests:
        display.update(Progress(digest, 100, 50, BlobState.LOADING))
        display.update(Progress(digest, 100, 100, BlobState.LOADING if digest == digests[0] else BlobState.FINISHED))
    total, first, *others = bars.tasks
    assert (total.completed, total.total) == (3000, 3000)
    assert (first.visible, first.description) == (True, "sha256:000000000000")
    assert not any(task.visible for task in others), "blobs that are there give way to others"


def test_a_terminal_shows_what_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    display = TerminalDisplay(Bars(console=Console(file=io.StringIO(), force_terminal=True)))
    display.finish(Saved(Path("app"), "sha256:00", ("sha256:01",), 2_000_000, 1_000, "1.2", ("sha256:02",)))
    assert capsys.readouterr().err.splitlines() == [
        "Skipped the foreign layer sha256:02, which the registry doesn't have.",
        "app: 1.2 sha256:00 1 blob, 2.0 MB downloaded, 1.0 kB already present",
    ]
