"""The command line as its users know it from other tools."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ecr_layers import UsageError, __version__
from ecr_layers.cli import COMMANDS, main
from ecr_layers.cli.errors import EXIT_STATUSES
from ecr_layers.cli.options import ByteCount, Duration
from ecr_layers.oci.references import ImageReference
from tests.client.faulty_s3 import Fault
from tests.client.fetching import Fetching, files_in
from tests.client.small_parts import QUICK, REPOSITORY
from tests.commands import CLIENT, ROOT, client_command

CLIENT_PROJECT = (ROOT / "client" / "pyproject.toml").read_text()


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("ECR_LAYERS_URL", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("ecr_layers.cli.options.Retries", lambda **_: QUICK)
    return tmp_path / "config" / "ecr-layers" / "config.toml"


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ecr-layers {__version__}\n"
    assert f'version = "{__version__}"' in CLIENT_PROJECT


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "-h"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: ecr-layers {command} ")
    assert main(["help", command]) == 0
    assert capsys.readouterr().out == shown


def test_help_and_document_have_the_same_exit_statuses() -> None:
    documented = re.findall(r"^\| ([0-9, ]+) \| .+ \|$", (ROOT / "docs" / "client.md").read_text(), re.MULTILINE)
    numbers = {number for row in documented for number in re.findall(r"[0-9]+", row)}
    assert numbers == set(re.findall(r"\b[0-9]+\b", EXIT_STATUSES))


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_completion_script_names_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_ECR_LAYERS_COMPLETE" in capsys.readouterr().out


def test_options_are_completed() -> None:
    environment = {"_ECR_LAYERS_COMPLETE": "bash_complete", "COMP_WORDS": "ecr-layers fetch --plat", "COMP_CWORD": "2"}
    assert "plain,--platform" in client_command(**environment).stdout


def test_the_service_comes_from_a_configuration_file(service_with_images: Fetching, no_configuration: Path) -> None:
    no_configuration.parent.mkdir(parents=True)
    no_configuration.write_text(f'url = "{service_with_images.url}"\n')
    assert main(["inspect", f"{REPOSITORY}:image"]) == 0
    no_configuration.write_text("url = ")
    assert main(["inspect", f"{REPOSITORY}:image"]) == 2


def test_a_service_in_front_of_the_image_still_works_with_a_note(
    service_with_images: Fetching, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", service_with_images.url, f"{REPOSITORY}:image", "--json"]) == 0
    output, errors = capsys.readouterr()
    assert json.loads(output)["imageDigest"] == service_with_images.images["image"]["digest"]
    assert errors.startswith("ecr-layers: note: naming the service as an argument is deprecated. Use --url http://")


def test_names_from_other_tools_work(service_with_images: Fetching, capsys: pytest.CaptureFixture[str]) -> None:
    host = service_with_images.url.removeprefix("http://")
    for name in (f"docker://{host}/{REPOSITORY}:image", f"{host}/{REPOSITORY}:image"):
        assert main(["inspect", "--url", service_with_images.url, name]) == 0
    assert main(["inspect", "--url", service_with_images.url, f"docker.io/{REPOSITORY}:image"]) == 2
    assert "is in the registry docker.io, but the service is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "repository", "tag", "host"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1.2", "123456789012/team/app", "1.2", None),
        ("docker://123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app", "123456789012/app", "latest", None),
        ("123456789012.dkr-ecr.eu-west-1.on.aws/app", "123456789012/app", "latest", None),
        ("registry.example.com:5000/team/app:1.2", "team/app", "1.2", "registry.example.com:5000"),
        ("localhost/app", "app", "latest", "localhost"),
        ("team/app", "team/app", "latest", None),
        ("123456789012/team/app:1", "123456789012/team/app", "1", None),
    ],
)
def test_hosts_are_told_from_repositories(text: str, repository: str, tag: str, host: str | None) -> None:
    reference = ImageReference.parse(text)
    assert (str(reference.repository), reference.tag, reference.host) == (repository, tag, host)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2000", 2000),
        ("2k", 2000),
        ("2KB", 2000),
        ("2KiB", 2048),
        ("3M", 3 * 10**6),
        ("3 MiB", 3 * 2**20),
        ("1g", 10**9),
    ],
)
def test_sizes_have_decimal_and_binary_units(text: str, count: int) -> None:
    assert ByteCount().convert(text, None, None) == count


@pytest.mark.parametrize("text", ["", "-1", "1X", "iB", "1iB", "1.5G"])
def test_other_sizes_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "team/app", "--url", "http://127.0.0.1:1", "-o", "x", f"--max-bytes={text}"]) == 2
    assert "isn't a number of bytes" in capsys.readouterr().err


def test_durations_have_units() -> None:
    assert [Duration().convert(each, None, None) for each in ("90", "90s", "2m", "1h")] == [90, 90, 120, 3600]


def test_errors_are_json_with_json(service_with_images: Fetching, capsys: pytest.CaptureFixture[str]) -> None:
    service_with_images.s3.faults = [Fault("expired", times=1000)]
    arguments = ["--url", service_with_images.url, f"{REPOSITORY}:large", "-o", "/tmp/never"]
    assert main(["inspect", "--json", "--url", service_with_images.url, "team/app:nope"]) == 1
    error = json.loads(capsys.readouterr().err)
    assert (error["event"], error["code"], error["exitStatus"]) == ("error", "ImageNotFoundException", 1)
    assert main(["fetch", "--progress=none", "--max-bytes", "1", *arguments]) == 1
    assert capsys.readouterr().err.startswith("ecr-layers: ")


def test_verbose_errors_have_s3s_code(
    service_with_images: Fetching, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service_with_images.s3.faults = [Fault("expired", times=1000)]
    arguments = ["--url", service_with_images.url, f"{REPOSITORY}:large", "-o", str(tmp_path), "--quiet"]
    assert main(["fetch", "-v", *arguments]) == 1
    assert capsys.readouterr().err.endswith("(code url-refused, S3 code AccessDenied)\n")


@pytest.mark.parametrize("target", ["", "oci:", "docker-archive:"])
def test_a_target_needs_a_name(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fetch", "team/app", "--url", "http://127.0.0.1:1", "-o", target]) == 2
    assert not files_in(tmp_path)


def test_targets_are_written_as_skopeo_writes_them(service_with_images: Fetching, tmp_path: Path) -> None:
    image = ["--url", service_with_images.url, f"{REPOSITORY}:image", "--quiet"]
    assert main(["fetch", *image, "-o", f"oci:{tmp_path}/app:x"]) == 0
    assert '"org.opencontainers.image.ref.name": "x:latest"' not in (tmp_path / "app" / "index.json").read_text()
    assert main(["fetch", *image, "-o", f"docker-archive:{tmp_path}/app.tar"]) == 0
    assert (tmp_path / "app.tar").stat().st_size > 0


def test_an_archive_goes_to_the_standard_output(service_with_images: Fetching, tmp_path: Path) -> None:
    image = ["--url", service_with_images.url, f"{REPOSITORY}:image"]
    command = [*CLIENT, "fetch", *image, "--format", "docker-archive", "-o", "-"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert main(["fetch", *image, "--quiet", "-o", f"docker-archive:{tmp_path}/app.tar"]) == 0
    assert result.stdout == (tmp_path / "app.tar").read_bytes()
    assert main(["fetch", *image, "-o", "-"]) == 2


def test_an_index_means_this_machines_platform_unless_all_are_named(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    image = ["--url", service_with_images.url, f"{REPOSITORY}:index", "--quiet"]
    assert main(["fetch", *image, "-o", str(tmp_path / "one")]) == 0
    assert main(["fetch", *image, "-o", str(tmp_path / "all"), "--all-platforms"]) == 0
    assert len(files_in(tmp_path / "all")) > 2 * len(files_in(tmp_path / "one"))


SHELL: dict[str, tuple[str, int, str]] = {
    "a full output": (
        "fetch IMAGE -o TARGET --json >/dev/full",
        4,
        "The output can't be written: No space",
    ),
    "a closed output": ("inspect IMAGE >&-", 4, "The output can't be written: standard output is closed."),
    "a closed error output": ("fetch IMAGE -o TARGET 2>&-", 0, ""),
    "no network": ("fetch IMAGE --url http://127.0.0.1:1 -o TARGET", 1, "the connection was refused"),
    "no host": ("fetch IMAGE --url https://no.such.invalid -o TARGET", 1, "the host name can't be resolved"),
    "an unknown option": ("fetch --nope", 2, "ecr-layers: No such option"),
    "an unknown command": ("nope", 2, "ecr-layers: No such command 'nope'."),
    "a wrong proxy": ("inspect IMAGE --url http://service.example.com", 2, "HTTP_PROXY isn't a proxy's URL"),
}


def in_a_shell(command: str, environment: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    words = ["sh", "-c", command]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("kilobytes", [30_000, 60_000, 110_000])
def test_little_memory_is_one_line_of_error_or_enough(
    service_with_images: Fetching, tmp_path: Path, kilobytes: int
) -> None:
    image = f"{REPOSITORY}:large --url {service_with_images.url} --quiet"
    command = f"ulimit -v {kilobytes}; {sys.executable} -m ecr_layers fetch {image} -o {tmp_path}/app"
    result = in_a_shell(command)
    assert result.returncode in {0, 1}
    assert result.stderr.count("\n") == result.returncode, result.stderr


@pytest.mark.parametrize("case", SHELL)
def test_whatever_a_shell_does_there_is_no_traceback(service_with_images: Fetching, tmp_path: Path, case: str) -> None:
    words, status, message = SHELL[case]
    image = f"{REPOSITORY}:image" if "--url" in words else f"{REPOSITORY}:image --url {service_with_images.url}"
    command = f"{sys.executable} -m ecr_layers {words}".replace("IMAGE", image).replace("TARGET", str(tmp_path / "app"))
    environment = os.environ | ({"http_proxy": "http://h:notaport"} if case == "a wrong proxy" else {})
    result = in_a_shell(command, environment)
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
    command = [*CLIENT, "fetch", "--url", service_with_images.url, REPOSITORY, "--digest", digest, "-o"]
    # A test run may ignore the signal, as nohup does with SIGHUP, and the command would inherit that.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            [*command, str(tmp_path / "blobs"), "--json"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
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


def test_a_name_with_a_digest_is_no_name_for_a_target(service_with_images: Fetching, tmp_path: Path) -> None:
    digest = service_with_images.images["image"]["digest"]
    with service_with_images.service() as service, pytest.raises(UsageError, match="has a digest"):
        service.image(f"{REPOSITORY}:image").save(tmp_path, name=f"team/app@{digest}")
