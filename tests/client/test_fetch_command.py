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
from ecr_layers.cli import main
from ecr_layers.cli.progress import TerminalDisplay
from tests.client.faulty_s3 import Fault
from tests.client.fetching import Fetching, files_in
from tests.client.small_parts import QUICK, REPOSITORY

SECRETS = re.compile(r"X-Amz-|Signature|https?://localhost", re.IGNORECASE)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecr_layers.cli.options.Retries", lambda **_: QUICK)


def test_fetch_writes_plain_lines_where_there_is_no_terminal(
    service_with_images: Fetching, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "--url", service_with_images.url, f"{REPOSITORY}:image", "-o", str(tmp_path)]) == 0
    output, errors = capsys.readouterr()
    assert output == ""
    lines = errors.splitlines()
    assert len(lines) == 4
    assert all(
        re.fullmatch(r"sha256:[0-9a-f]{64} finished \([0-9.]+ (bytes|kB), [123] of 3 blobs\)", line)
        for line in lines[:3]
    ), lines
    assert lines[3].startswith(f"{tmp_path}: image {service_with_images.images['image']['digest']} 3 blobs, ")
    assert main(["fetch", "--url", service_with_images.url, f"{REPOSITORY}:image", "-o", str(tmp_path)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "present (" in lines[0]
    assert lines[0].endswith(f"1 of {len(lines) - 1} blobs)")


def test_fetch_with_json_writes_an_object_a_line(
    service_with_images: Fetching, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["fetch", "--url", service_with_images.url, f"{REPOSITORY}:foreign", "-o", str(tmp_path), "--json"]) == 0
    )
    output, errors = capsys.readouterr()
    assert errors == ""
    events = [json.loads(line) for line in output.splitlines()]
    own, foreign = (each["digest"] for each in service_with_images.layers("foreign"))
    assert {"event": "blob", "digest": own, "size": 9, "loadedBytes": 9, "state": "finished"} in events
    assert events[-1]["event"] == "fetched"
    assert events[-1]["digest"] == service_with_images.images["foreign"]["digest"]
    assert own in events[-1]["blobs"]
    assert events[-1]["foreignLayers"] == [foreign]


def test_fetch_with_quiet_writes_nothing(
    service_with_images: Fetching, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "--url", service_with_images.url, f"{REPOSITORY}:image", "-o", str(tmp_path), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_service_may_come_from_the_environment_and_options_stand_anywhere(
    service_with_images: Fetching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = service_with_images.url
    named = ["fetch", "--quiet", "--url", url, "-o", str(tmp_path / "a"), f"{REPOSITORY}:image", "--connections", "2"]
    assert main(named) == 0
    monkeypatch.setenv("ECR_LAYERS_URL", url)
    assert main(["fetch", "--quiet", f"{REPOSITORY}:image", "-o", str(tmp_path / "b")]) == 0
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")


def test_a_manifest_and_digests_are_taken_from_the_command_line(service_with_images: Fetching, tmp_path: Path) -> None:
    url = service_with_images.url
    file = tmp_path / "manifest.json"
    file.write_bytes(service_with_images.blob(service_with_images.images["large"]["digest"]))
    assert (
        main(["fetch", "--url", url, REPOSITORY, "--manifest", str(file), "-o", str(tmp_path / "app"), "--quiet"]) == 0
    )
    assert len(files_in(tmp_path / "app")) == 7
    digests = [each["digest"] for each in service_with_images.layers("large")]
    options = [word for digest in digests for word in ("--digest", digest)]
    assert main(["fetch", "--url", url, REPOSITORY, *options, "-o", str(tmp_path / "blobs"), "--quiet"]) == 0
    assert files_in(tmp_path / "blobs") == {digest.replace(":", "/") for digest in digests}


def test_url_prints_the_download_url_and_nothing_else(
    service_with_images: Fetching, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["url", "--url", service_with_images.url, REPOSITORY, service_with_images.large]) == 0
    output, errors = capsys.readouterr()
    answer = httpx.get(output.strip(), headers={"Range": "bytes=0-99"}, trust_env=False)
    assert answer.content == service_with_images.blob(service_with_images.large)[:100]
    assert errors == ""


WRONG: dict[str, tuple[list[str], str]] = {
    "no target": (["--url", "URL", "team/app"], "Name the target with -o PATH."),
    "no image": (["-o", "x"], "Expected IMAGE, got 0 arguments."),
    "a manifest of several": (
        ["--url", "URL", "team/app", "team/b", "--manifest", "m", "-o", "x"],
        "Name one image only with --manifest, --name and --format files.",
    ),
    "a bad service": (["--url", "not a service", "team/app", "-o", "x"], "'not a service' isn't a valid service URL."),
    "a bad repository": (["--url", "URL", "Team/App", "-o", "x"], "'Team/App' isn't a repository name."),
    "a whole name": (
        ["--url", "URL", "1.dkr.ecr.eu-west-1.amazonaws.com:443/team/app", "-o", "x"],
        "is in the registry 1.dkr.ecr.eu-west-1.amazonaws.com:443, but the service is",
    ),
    "a bad tag": (["--url", "URL", "team/app:-1", "-o", "x"], "'-1' isn't a tag."),
    "a bad digest": (["--url", "URL", "team/app@sha256:00", "-o", "x"], "'sha256:00' isn't a digest;"),
    "a digest of capital letters": (["--url", "URL", f"team/app@sha256:{'A' * 64}", "-o", "x"], "isn't a digest;"),
    "a digest that leads out": (
        ["--url", "URL", "team/app", "--digest", "sha256:../../x", "-o", "x"],
        "isn't a digest;",
    ),
    "a tag with digests": (
        ["--url", "URL", "team/app:1", "--digest", f"sha256:{'0' * 64}", "-o", "x"],
        "With --digest, name a repository only",
    ),
    "a bad platform": (
        ["--url", "URL", "team/app:index", "--platform", "pdp11", "-o", "x"],
        "'pdp11' isn't a platform;",
    ),
    "a manifest that is missing": (
        ["--url", "URL", "team/app", "--manifest", "/nowhere", "-o", "x"],
        "Can't read the manifest from /nowhere",
    ),
    "a platform and a manifest": (
        ["--url", "URL", "team/app", "--manifest", "m", "--platform", "linux/arm64", "-o", "x"],
        "Use only one of --platform, --all-platforms and --manifest.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_command_line_is_one_line_and_status_2(
    service_with_images: Fetching,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = WRONG[case]
    assert main(["fetch", *(word.replace("URL", service_with_images.url) for word in arguments)]) == 2
    output, errors = capsys.readouterr()
    assert message in errors
    assert (output, errors.count("\n")) == ("", 1)
    assert not files_in(tmp_path)


Failing = tuple[Callable[[Fetching], list[str]], list[Fault], int, str]

FAILURES: dict[str, Failing] = {
    "no such image": (lambda _: ["team/app:nope"], [], 1, "There is no image nope in repository team/app."),
    "no such repository": (lambda _: ["team/nope"], [], 1, "There is no repository team/nope"),
    "a layer's digest in an image's place": (
        lambda origin: [f"team/app@{origin.large}"],
        [],
        1,
        "is a layer's digest, not an image's. Download it with team/app --digest sha256:",
    ),
    "an image's digest in a layer's place": (
        lambda origin: ["team/app", "--digest", origin.images["image"]["digest"]],
        [],
        1,
        "is an image's digest, not a layer's: use team/app@sha256:",
    ),
    "S3 refuses": (
        lambda _: ["team/app:large"],
        [Fault("expired", times=1000)],
        1,
        "couldn't be downloaded: S3 answered 403 AccessDenied",
    ),
    "S3 breaks": (
        lambda _: ["team/app:large"],
        [Fault("reset", times=1000)],
        1,
        "couldn't be downloaded: the connection broke",
    ),
    "wrong bytes": (
        lambda _: ["team/app:large"],
        [Fault("wrong", times=1000)],
        3,
        "Digest mismatch after two downloads",
    ),
    "a redirect": (lambda _: ["team/app:large"], [Fault("redirect", times=1000)], 1, "there are more than 3 redirects"),
    "too large": (lambda _: ["team/app:large", "--max-bytes", "1K"], [], 1, "over the limit of 1000."),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_one_line_with_its_status_and_shows_no_url(
    service_with_images: Fetching,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    case: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")
    words, service_with_images.s3.faults, status, message = FAILURES[case]
    arguments = [*words(service_with_images), "-o", str(tmp_path / "app"), "--quiet"]
    assert main(["fetch", "--url", service_with_images.url, *arguments]) == status
    output, errors = capsys.readouterr()
    assert message in errors
    assert (output, errors.count("\n")) == ("", 1)
    assert not SECRETS.search(errors)
    shown = [
        record for record in caplog.records if record.name.startswith(("urllib3", "httpx", "httpcore", "ecr_layers"))
    ]
    assert shown
    assert not [record for record in shown if "X-Amz-Signature" in record.getMessage()]


def test_a_terminal_shows_a_line_for_each_blob_and_one_for_all() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=20)
    bars = Bars(console=console)
    display = TerminalDisplay(bars)
    for number in range(30):
        digest = f"sha256:{number:064x}"
        display.update(Progress(digest, 100, 0, BlobState.WAITING))
    assert [task.description for task in bars.tasks] == ["total"]
    for number in range(30):
        digest = f"sha256:{number:064x}"
        display.update(Progress(digest, 100, 50, BlobState.LOADING))
        display.update(Progress(digest, 100, 100, BlobState.FINISHED if number else BlobState.LOADING))
    total, first, *others = bars.tasks
    assert (total.completed, total.total) == (3000, 3000)
    assert first.visible
    assert first.description == "sha256:000000000000"
    assert not any(task.visible for task in others), "blobs that are there give way to others"


def test_a_terminal_shows_what_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    display = TerminalDisplay(Bars(console=Console(file=io.StringIO(), force_terminal=True)))
    display.finish(Saved(Path("app"), "sha256:00", ("sha256:01",), 2_000_000, 1_000, "1.2", ("sha256:02",)))
    assert capsys.readouterr().err.splitlines() == [
        "Skipped the foreign layer sha256:02, which the registry doesn't have.",
        "app: 1.2 sha256:00 1 blob, 2.0 MB downloaded, 1.0 kB already present",
    ]


def test_help_lists_examples_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "ecr-layers fetch team/app:1.2 -o app/" in shown
    assert re.search(r"^ *exit status:$", shown, re.MULTILINE)
    assert main(["help", "fetch"]) == 0
    assert capsys.readouterr().out == shown


def test_a_docker_archive_needs_the_name_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for output in (".", "/", str(tmp_path)):
        arguments = ["team/app", "--url", "http://127.0.0.1:1", "--format", "docker-archive", "-o", output]
        assert main(["fetch", *arguments]) == 2
        assert capsys.readouterr().err == (
            f"ecr-layers: {output} is a directory, but a docker-archive is a file. Use a name such as -o app.tar.\n"
        )
