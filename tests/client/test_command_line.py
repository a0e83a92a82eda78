"""The command line as its users and scripts know it from other tools, `ecr-layers fetch` and `url` above all."""

import io
import json
import logging
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from ecr_layers import BlobState, Progress, Saved, UsageError, __version__
from ecr_layers.cli import COMMANDS
from ecr_layers.cli.errors import EXIT_STATUSES
from ecr_layers.cli.options import ByteCount, Duration
from ecr_layers.cli.progress import TerminalDisplay
from ecr_layers.oci.references import ImageReference
from ecr_layers.transfer.rates import RateLimit
from tests.client.commanding import Command, Result, command
from tests.client.faulty_s3 import Fault, Kind
from tests.client.fetching import Fetching, files_in
from tests.client.small_parts import QUICK, REPOSITORY
from tests.commands import CLIENT, ROOT, client_command
from tests.programs import attempt

__all__ = ["command"]

IMAGE = f"{REPOSITORY}:image"
SECRETS = re.compile(r"X-Amz-|Signature|https?://localhost", re.IGNORECASE)


@pytest.fixture(autouse=True)
def origin(origin: Fetching, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fetching:
    """Return the service, which the environment names and no configuration file does."""
    monkeypatch.setattr("ecr_layers.cli.options.Retries", lambda **_: QUICK)
    monkeypatch.setenv("ECR_LAYERS_URL", origin.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return origin


def test_the_version_is_printed(command: Command) -> None:
    assert command("--version").output == f"ecr-layers {__version__}\n"


@pytest.mark.parametrize("name", [*COMMANDS, "token create"])
def test_each_command_is_explained(name: str, command: Command) -> None:
    shown = command(*name.split(), "-h")
    assert shown.status == 0
    assert shown.output.startswith(f"Usage: ecr-layers {name} ")
    assert command("help", *name.split()) == shown


def test_help_lists_examples_and_the_documented_exit_statuses(command: Command) -> None:
    shown = command("fetch", "--help").output
    assert "ecr-layers fetch team/app:1.2 -o app/" in shown
    assert re.search(r"^ *exit status:$", shown, re.MULTILINE)
    documented = re.findall(r"^\| ([0-9, ]+) \| .+ \|$", (ROOT / "docs" / "client.md").read_text(), re.MULTILINE)
    numbers = {number for row in documented for number in re.findall(r"[0-9]+", row)}
    assert numbers == set(re.findall(r"\b[0-9]+\b", EXIT_STATUSES))


def test_commands_and_options_are_completed(command: Command) -> None:
    assert "_ECR_LAYERS_COMPLETE" in command("completion", "zsh").output
    environment = {"_ECR_LAYERS_COMPLETE": "bash_complete", "COMP_WORDS": "ecr-layers fetch --plat", "COMP_CWORD": "2"}
    assert "plain,--platform" in client_command(**environment).stdout


def test_the_service_comes_from_a_configuration_file(
    origin: Fetching, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ECR_LAYERS_URL")
    file = tmp_path / "config" / "ecr-layers" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'url = "{origin.url}"\n')
    assert command("inspect", IMAGE).status == 0
    file.write_text("url = ")
    assert command("inspect", IMAGE).status == 2


def test_names_from_other_tools_work_and_a_service_in_front_still_does(origin: Fetching, command: Command) -> None:
    host = origin.url.removeprefix("http://")
    for name in (f"docker://{host}/{IMAGE}", f"{host}/{IMAGE}"):
        assert command("inspect", name).status == 0
    result = command("inspect", origin.url, IMAGE, "--json")
    assert json.loads(result.output)["imageDigest"] == origin.images["image"]["digest"]
    assert result.error.startswith("ecr-layers: note: naming the service as an argument is deprecated. Use --url http:")


@pytest.mark.parametrize(
    ("text", "repository", "tag", "host"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1.2", "123456789012/team/app", "1.2", None),
        ("docker://123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app", "123456789012/app", "latest", None),
        ("123456789012.dkr-ecr.eu-west-1.on.aws/app", "123456789012/app", "latest", None),
        ("registry.example.com:5000/team/app:1.2", "team/app", "1.2", "registry.example.com:5000"),
        ("localhost/app", "app", "latest", "localhost"),
        ("123456789012/team/app:1", "123456789012/team/app", "1", None),
    ],
)
def test_hosts_are_told_from_repositories(text: str, repository: str, tag: str, host: str | None) -> None:
    reference = ImageReference.parse(text)
    assert (str(reference.repository), reference.tag, reference.host) == (repository, tag, host)


def test_sizes_have_decimal_and_binary_units_and_durations_have_units(command: Command) -> None:
    sizes = {"2000": 2000, "2k": 2000, "2KB": 2000, "2KiB": 2048, "3 MiB": 3 * 2**20, "1g": 10**9}
    assert {text: ByteCount().convert(text, None, None) for text in sizes} == sizes
    durations = {"90": 90, "90s": 90, "2m": 120, "1h": 3600}
    assert {text: Duration().convert(text, None, None) for text in durations} == durations
    for text in ("", "-1", "1X", "iB", "1iB"):
        refused = command("fetch", "team/app", "-o", "x", f"--max-bytes={text}")
        assert (refused.status, "isn't a number of bytes" in refused.error) == (2, True)


def test_errors_are_json_with_json(command: Command) -> None:
    result = command("inspect", "--json", "team/app:nope")
    error = json.loads(result.error)
    assert (error["event"], error["code"], error["exitStatus"]) == ("error", "ImageNotFoundException", 1)
    assert result.status == 1


def test_targets_are_written_as_skopeo_writes_them(tmp_path: Path, command: Command) -> None:
    image = [IMAGE, "--quiet"]
    assert command("fetch", *image, "-o", f"oci:{tmp_path}/app:x").status == 0
    assert '"org.opencontainers.image.ref.name": "x:latest"' not in (tmp_path / "app" / "index.json").read_text()
    assert command("fetch", *image, "-o", f"docker-archive:{tmp_path}/app.tar").status == 0
    standard_output = [*CLIENT, "fetch", *image, "--format", "docker-archive", "-o", "-"]
    result = subprocess.run(standard_output, cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert result.stdout == (tmp_path / "app.tar").read_bytes()


def test_a_name_with_a_digest_is_no_name_for_a_target(origin: Fetching, tmp_path: Path) -> None:
    digest = origin.images["image"]["digest"]
    with origin.service() as service, pytest.raises(UsageError, match="has a digest"):
        service.image(IMAGE).save(tmp_path, name=f"team/app@{digest}")


def test_an_index_means_this_machines_platform_unless_all_are_named(tmp_path: Path, command: Command) -> None:
    image = [f"{REPOSITORY}:index", "--quiet"]
    assert command("fetch", *image, "-o", str(tmp_path / "one")).status == 0
    assert command("fetch", *image, "-o", str(tmp_path / "all"), "--all-platforms").status == 0
    assert len(files_in(tmp_path / "all")) > 2 * len(files_in(tmp_path / "one"))


def in_a_shell(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `ecr-layers` in a shell."""
    return attempt("sh", "-c", words.replace("ecr-layers", f"{sys.executable} -m ecr_layers"), **environment)


@pytest.mark.parametrize("kilobytes", [30_000, 60_000, 110_000])
def test_little_memory_is_one_line_of_error_or_enough(tmp_path: Path, kilobytes: int) -> None:
    result = in_a_shell(f"ulimit -v {kilobytes}; ecr-layers fetch {REPOSITORY}:large --quiet -o {tmp_path}/app")
    assert result.returncode in {0, 1}
    assert result.stderr.count("\n") == result.returncode, result.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("fetch IMAGE -o TARGET --json >/dev/full", 4, "The output can't be written: No space"),
        ("inspect IMAGE >&-", 4, "The output can't be written: standard output is closed."),
        ("fetch IMAGE -o TARGET 2>&-", 0, ""),
        ("fetch IMAGE --url https://no.such.invalid -o TARGET", 1, "the host name can't be resolved"),
        ("fetch --nope", 2, "ecr-layers: No such option"),
        ("nope", 2, "ecr-layers: No such command 'nope'."),
        ("inspect IMAGE --url http://service.example.com", 2, "HTTP_PROXY isn't a proxy's URL"),
    ],
)
def test_whatever_a_shell_does_there_is_no_traceback(tmp_path: Path, words: str, status: int, message: str) -> None:
    words = words.replace("IMAGE", IMAGE).replace("TARGET", str(tmp_path / "app"))
    result = in_a_shell(f"ecr-layers {words}", http_proxy="http://h:notaport")
    assert "Traceback" not in result.stderr
    assert result.returncode == status, result.stderr
    assert message.lower() in result.stderr.lower()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_that_would_hash_for_minutes(
    origin: Fetching, tmp_path: Path, number: signal.Signals
) -> None:
    digest = origin.large
    blob = tmp_path / "blobs" / digest.replace(":", "/")
    blob.parent.mkdir(parents=True)
    with blob.open("wb") as file:
        # Nothing of it is on the disk, and it takes minutes to hash.
        file.truncate(200_000_000_000)
    command = [*CLIENT, "fetch", REPOSITORY, "--digest", digest, "-o", str(tmp_path / "blobs"), "--json"]
    # A test run may ignore the signal, as nohup does with SIGHUP, and the command would inherit that.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(number, before)
    with process:
        assert process.stdout is not None
        while "verifying" not in process.stdout.readline():
            pass
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert errors == "ecr-layers: Stopped. Run it again to resume.\n"


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
        ("1.dkr.ecr.eu-west-1.amazonaws.com:443/team/app -o x", "is in the registry 1.dkr.ecr.eu-west-1.amazonaws.com"),
        ("docker.io/team/app -o x", "is in the registry docker.io, but the service is"),
        ("team/app:-1 -o x", "'-1' isn't a tag."),
        ("team/app@sha256:00 -o x", "'sha256:00' isn't a digest;"),
        (f"team/app@sha256:{'A' * 64} -o x", "isn't a digest;"),
        ("team/app --digest sha256:../../x -o x", "isn't a digest;"),
        (f"team/app:1 --digest sha256:{'0' * 64} -o x", "With --digest, name a repository only"),
        ("team/app:index --platform pdp11 -o x", "'pdp11' isn't a platform;"),
        ("team/app --manifest /nowhere -o x", "Can't read the manifest from /nowhere"),
        ("team/app --manifest m --platform linux/arm64 -o x", "Use only one of --platform, --all-platforms and"),
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
        ("team/app:nope", None, 1, "There is no image nope in repository team/app."),
        ("team/nope", None, 1, "There is no repository team/nope"),
        ("team/app@LAYER", None, 1, "is a layer's digest, not an image's. Download it with team/app --digest sha256:"),
        ("team/app --digest IMAGE", None, 1, "is an image's digest, not a layer's: use team/app@sha256:"),
        ("team/app:large --max-bytes 1K", None, 1, "over the limit of 1000."),
        ("team/app:large", "expired", 1, "couldn't be downloaded: S3 answered 403 AccessDenied"),
        ("team/app:large -v", "expired", 1, "(code url-refused, S3 code AccessDenied)\n"),
        ("team/app:large", "reset", 1, "couldn't be downloaded: the connection broke"),
        ("team/app:large", "redirect", 1, "there are more than 3 redirects"),
        ("team/app:large", "wrong", 3, "Digest mismatch after two downloads"),
    ],
)
def test_a_failure_is_one_line_with_its_status_and_shows_no_url(
    origin: Fetching,
    tmp_path: Path,
    command: Command,
    caplog: pytest.LogCaptureFixture,
    words: str,
    fault: Kind | None,
    status: int,
    message: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")
    origin.s3.faults = [Fault(fault, times=1000)] if fault else []
    words = words.replace("LAYER", origin.large).replace("IMAGE", origin.images["image"]["digest"])
    result = command("fetch", *words.split(), "-o", str(tmp_path / "app"), "--quiet")
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


@pytest.mark.parametrize("arguments", [("fetch", "-o", "out"), ("cat", "/a"), ("extract", "-o", "out"), ("ls",)])
def test_commands_take_a_limit_of_the_rate_which_counts_every_byte(
    origin: Fetching, tmp_path: Path, command: Command, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []
    monkeypatch.setattr(RateLimit, "wait", lambda _, count: waited.append(count))
    monkeypatch.chdir(tmp_path)
    name, *rest = arguments
    result = command(name, IMAGE, *rest, "--limit-rate", "500k")
    assert result.status == 0, result.error
    assert sum(waited) >= sum(each["size"] for each in origin.layers("image"))
