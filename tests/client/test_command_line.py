"""The command line as its users know it from other tools."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ecr_layers import UsageError, __version__
from ecr_layers.cli import COMMANDS
from ecr_layers.cli.errors import EXIT_STATUSES
from ecr_layers.cli.options import ByteCount, Duration
from ecr_layers.oci.references import ImageReference
from tests.client.commanding import Command, command
from tests.client.fetching import Fetching, files_in
from tests.client.small_parts import REPOSITORY
from tests.commands import CLIENT, ROOT, client_command

__all__ = ["command"]

IMAGE = f"{REPOSITORY}:image"


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return where a configuration file would be, of which there is none."""
    monkeypatch.delenv("ECR_LAYERS_URL", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "ecr-layers" / "config.toml"


def test_the_version_is_the_packages(command: Command) -> None:
    assert command("--version").output == f"ecr-layers {__version__}\n"
    assert f'version = "{__version__}"' in (ROOT / "client" / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_explained(name: str, command: Command) -> None:
    shown = command(name, "-h")
    assert shown.status == 0
    assert shown.output.startswith(f"Usage: ecr-layers {name} ")
    assert command("help", name) == shown


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
    service_with_images: Fetching, configuration: Path, command: Command
) -> None:
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f'url = "{service_with_images.url}"\n')
    assert command("inspect", IMAGE).status == 0
    configuration.write_text("url = ")
    assert command("inspect", IMAGE).status == 2


def test_names_from_other_tools_work_and_a_service_in_front_still_does(
    service_with_images: Fetching, command: Command
) -> None:
    url, host = service_with_images.url, service_with_images.url.removeprefix("http://")
    for name in (f"docker://{host}/{IMAGE}", f"{host}/{IMAGE}"):
        assert command("inspect", "--url", url, name).status == 0
    result = command("inspect", url, IMAGE, "--json")
    assert json.loads(result.output)["imageDigest"] == service_with_images.images["image"]["digest"]
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
        refused = command("fetch", "team/app", "--url", "http://127.0.0.1:1", "-o", "x", f"--max-bytes={text}")
        assert (refused.status, "isn't a number of bytes" in refused.error) == (2, True)


def test_errors_are_json_with_json(service_with_images: Fetching, command: Command) -> None:
    result = command("inspect", "--json", "--url", service_with_images.url, "team/app:nope")
    error = json.loads(result.error)
    assert (error["event"], error["code"], error["exitStatus"]) == ("error", "ImageNotFoundException", 1)
    assert result.status == 1


def test_targets_are_written_as_skopeo_writes_them(
    service_with_images: Fetching, tmp_path: Path, command: Command
) -> None:
    image = ["--url", service_with_images.url, IMAGE, "--quiet"]
    assert command("fetch", *image, "-o", f"oci:{tmp_path}/app:x").status == 0
    assert '"org.opencontainers.image.ref.name": "x:latest"' not in (tmp_path / "app" / "index.json").read_text()
    assert command("fetch", *image, "-o", f"docker-archive:{tmp_path}/app.tar").status == 0
    standard_output = [*CLIENT, "fetch", *image, "--format", "docker-archive", "-o", "-"]
    result = subprocess.run(standard_output, cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert result.stdout == (tmp_path / "app.tar").read_bytes()


def test_a_name_with_a_digest_is_no_name_for_a_target(service_with_images: Fetching, tmp_path: Path) -> None:
    digest = service_with_images.images["image"]["digest"]
    with service_with_images.service() as service, pytest.raises(UsageError, match="has a digest"):
        service.image(IMAGE).save(tmp_path, name=f"team/app@{digest}")


def test_an_index_means_this_machines_platform_unless_all_are_named(
    service_with_images: Fetching, tmp_path: Path, command: Command
) -> None:
    image = ["--url", service_with_images.url, f"{REPOSITORY}:index", "--quiet"]
    assert command("fetch", *image, "-o", str(tmp_path / "one")).status == 0
    assert command("fetch", *image, "-o", str(tmp_path / "all"), "--all-platforms").status == 0
    assert len(files_in(tmp_path / "all")) > 2 * len(files_in(tmp_path / "one"))


def in_a_shell(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `ecr-layers` in a shell."""
    return subprocess.run(
        ["sh", "-c", words.replace("ecr-layers", f"{sys.executable} -m ecr_layers")],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("kilobytes", [30_000, 60_000, 110_000])
def test_little_memory_is_one_line_of_error_or_enough(
    service_with_images: Fetching, tmp_path: Path, kilobytes: int
) -> None:
    image = f"{REPOSITORY}:large --url {service_with_images.url} --quiet"
    result = in_a_shell(f"ulimit -v {kilobytes}; ecr-layers fetch {image} -o {tmp_path}/app")
    assert result.returncode in {0, 1}
    assert result.stderr.count("\n") == result.returncode, result.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("fetch IMAGE -o TARGET --json >/dev/full", 4, "The output can't be written: No space"),
        ("inspect IMAGE >&-", 4, "The output can't be written: standard output is closed."),
        ("fetch IMAGE -o TARGET 2>&-", 0, ""),
        ("fetch IMAGE --url http://127.0.0.1:1 -o TARGET", 1, "the connection was refused"),
        ("fetch IMAGE --url https://no.such.invalid -o TARGET", 1, "the host name can't be resolved"),
        ("fetch --nope", 2, "ecr-layers: No such option"),
        ("nope", 2, "ecr-layers: No such command 'nope'."),
        ("inspect IMAGE --url http://service.example.com", 2, "HTTP_PROXY isn't a proxy's URL"),
    ],
)
def test_whatever_a_shell_does_there_is_no_traceback(
    service_with_images: Fetching, tmp_path: Path, words: str, status: int, message: str
) -> None:
    words = words.replace("IMAGE", IMAGE).replace("TARGET", str(tmp_path / "app"))
    result = in_a_shell(f"ecr-layers {words}", ECR_LAYERS_URL=service_with_images.url, http_proxy="http://h:notaport")
    assert "Traceback" not in result.stderr
    assert result.returncode == status, result.stderr
    assert message.lower() in result.stderr.lower()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_that_would_hash_for_minutes(
    service_with_images: Fetching, tmp_path: Path, number: signal.Signals
) -> None:
    digest = service_with_images.large
    blob = tmp_path / "blobs" / digest.replace(":", "/")
    blob.parent.mkdir(parents=True)
    with blob.open("wb") as file:
        # Nothing of it is on the disk, and it takes minutes to hash.
        file.truncate(200_000_000_000)
    arguments = ["--url", service_with_images.url, REPOSITORY, "--digest", digest, "-o", str(tmp_path / "blobs")]
    command = [*CLIENT, "fetch", *arguments, "--json"]
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
