"""The function in the real runtime client, behind `make serve`."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from local.__main__ import main
from tests.commands import ROOT, Server, client_command, serving
from tests.e2e.emulator import wait_until
from tests.unit.fakes import SECRETS


def children_of(pid: int) -> list[int]:
    """Return the process's children, from what Linux says of each of its threads."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def test_a_layer_is_resolved_downloaded_and_has_its_digest(server: Server, layer: dict[str, str]) -> None:
    answer = httpx.get(f"{server.url}/download-url", params=layer)
    assert answer.status_code == 200
    assert answer.json()["expiresAt"].endswith("Z")
    content = httpx.get(answer.json()["downloadUrl"]).content
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == layer["layerDigest"]


def test_the_real_process_prints_no_warning_and_no_secret(layer: dict[str, str], new_layer: dict[str, str]) -> None:
    # A server of its own: others log what other tests send.
    with serving() as server:
        assert httpx.get(f"{server.url}/download-url", params=layer).status_code == 200
        for fault in (
            {"error": "AccessDeniedException", "message": "see https://b.s3.amazonaws.com/k?X-Amz-Signature=0123"},
            {"body": "<html>https://b.s3.amazonaws.com/k?X-Amz-Signature=0123</html>", "times": 3},
            {"closeConnection": True, "times": 3},
        ):
            httpx.put(f"{server.ecr_url}/_faults", json=[fault]).raise_for_status()
            assert httpx.get(f"{server.url}/download-url", params=new_layer, timeout=20).status_code >= 400
    assert any('"route":"GET /download-url"' in line for line in server.log)
    for line in server.log:
        assert line.startswith("{"), line
        assert not any(secret in line for secret in SECRETS)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"error": "RepositoryNotFoundException"}, 404, "RepositoryNotFoundException"),
        ({"error": "ThrottlingException", "times": 3}, 429, "ThrottlingException"),
        ({"closeConnection": True, "times": 3}, 504, "RequestTimeoutException"),
        ({"body": "nonsense", "status": 418}, 500, "InternalError"),
    ],
)
def test_each_way_that_ecr_fails_has_its_answer(
    server: Server, new_layer: dict[str, str], fault: dict[str, object], status: int, code: str
) -> None:
    httpx.put(f"{server.ecr_url}/_faults", json=[fault]).raise_for_status()
    answer = httpx.get(f"{server.url}/download-url", params=new_layer, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["requestId"] == answer.headers["x-amzn-requestid"]


def test_throttling_that_passes_is_not_noticed(server: Server, new_layer: dict[str, str]) -> None:
    httpx.put(f"{server.ecr_url}/_faults", json=[{"error": "ThrottlingException", "times": 2}]).raise_for_status()
    answer = httpx.get(f"{server.url}/download-url", params=new_layer, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (404, "LayersNotFoundException")


def test_a_layer_that_was_resolved_needs_ecr_no_more(server: Server, layer: dict[str, str]) -> None:
    first = httpx.get(f"{server.url}/download-url", params=layer, timeout=20).raise_for_status()
    httpx.put(f"{server.ecr_url}/_faults", json=[{"error": "ServerException", "times": 100}]).raise_for_status()
    assert httpx.get(f"{server.url}/download-url", params=layer, timeout=20).json() == first.json()


def test_a_silent_ecr_is_a_504_before_lambda_ends_the_function(server: Server, new_layer: dict[str, str]) -> None:
    httpx.put(f"{server.ecr_url}/_faults", json=[{"delaySeconds": 60, "times": 100}]).raise_for_status()
    answer = httpx.get(f"{server.url}/download-url", params=new_layer, timeout=30)
    assert (answer.status_code, answer.json()["retryable"]) == (504, True)


def test_with_the_edge_one_token_is_printed_once_and_lets_in_until_it_is_revoked(tmp_path: Path) -> None:
    with serving("--edge", "--token", "team/*", "--public", "public/*", "--registries", "210987654321") as server:
        name, password = server.token
        assert "\n".join(server.output).count(password) == 1
        children = children_of(server.process.pid)
        (line,) = [line for line in server.output if line.startswith("  export AWS_ENDPOINT_URL=")]
        environment = dict(pair.split("=", 1) for pair in line.split()[1:])
        assert httpx.get(f"{server.url}/v2/").status_code == 401
        tags = [f"{server.url}/v2/{repository}/tags/list" for repository in ("team/app", "210987654321/team/app")]
        assert [httpx.get(url, auth=(name, password)).status_code for url in tags] == [200, 403]
        assert httpx.get(f"{server.url}/v2/public/none/tags/list").status_code == 404
        file = tmp_path / "token"
        scope = "210987654321/team/*"
        created = client_command("token", "create", "other", "--repositories", scope, "-o", str(file), **environment)
        assert created.returncode == 0, created.stderr
        other = file.read_text().strip().split(":")
        assert [httpx.get(url, auth=(other[0], other[1])).status_code for url in tags] == [403, 200]
        usage = json.loads(client_command("token", "usage", "--json", **environment).stdout)
        assert sorted((each["token"], each["repository"]) for each in usage) == [
            (name, "team/app"),
            ("other", "210987654321/team/app"),
        ]
        assert client_command("token", "revoke", name, **environment).returncode == 0
        assert httpx.get(f"{server.url}/v2/", auth=(name, password)).status_code == 401
        assert server.stop() == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not any("Traceback" in line or password in line for line in server.log)


def test_without_node_the_edge_is_one_clear_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "local.edge", None)
    assert main(["serve", "--edge", "--port", "0"]) == 2
    assert capsys.readouterr() == ("", "The edge needs Node, which `make serve EDGE=1` installs.\n")


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_a_request_under_way_is_answered_and_holds_nothing_up(
    signal_number: signal.Signals,
) -> None:
    answers: list[int] = []
    with serving() as server:
        children = children_of(server.process.pid)
        assert children
        (line,) = [line for line in server.output if "/download-url?" in line]
        url = line.strip().removeprefix("curl ").strip("'")
        httpx.put(f"{server.ecr_url}/_faults", json=[{"delaySeconds": 60, "times": 100}]).raise_for_status()
        request = threading.Thread(target=lambda: answers.append(httpx.get(url, timeout=30).status_code))
        request.start()
        wait_until(lambda: httpx.get(f"{server.ecr_url}/_calls").json())
        # Otherwise the answer would come after a minute.
        assert server.stop(signal_number) == 0
        request.join()
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)
    assert answers == [502]
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not any("Traceback" in line for line in server.log)


def test_the_server_goes_on_when_nobody_reads_its_log() -> None:
    unread, log = os.pipe()
    os.close(unread)
    command = [sys.executable, "-m", "local", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        os.close(log)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().rpartition(" ")[2].strip()
            assert [httpx.get(f"{url}/healthz").status_code for _ in range(3)] == [200, 200, 200]
        finally:
            process.terminate()
        assert process.wait(timeout=20) == 0


def test_nothing_is_left_behind_when_the_server_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving() as server:
        (child,) = children_of(server.process.pid)
        server.stop(signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{child}").exists())
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_one_clear_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"Port {port} of 127.0.0.1 can't be used: ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--layout", "/there/is/none"], "there is no such directory"),
        (["--layout", "tests"], "not an OCI image layout"),
        (["--repository", "UPPER"], "not the name of a repository"),
        (["--repository", "one", "--repository", "two"], "no --layout"),
        (["--layout", "tests", "--repository", "one", "--repository", "two"], "differ"),
        (["--layout", "tests", "--layout", "tests"], "same repository name"),
        (["--layout", "/"], "--repository"),
        (["--token", "team/*"], "need the edge: --edge; with make, EDGE=1"),
        (["--public", "team/*"], "need the edge: --edge; with make, EDGE=1"),
        (["--edge", "--token", "Team/*"], "isn't a scope"),
        (["--edge", "--token", "210987654321/*"], "doesn't serve the registry 210987654321"),
    ],
)
def test_what_can_not_be_served_is_one_clear_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main(["serve", "--port", "0", *arguments]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--nonsense"], ["--registries", "1"], ["--public", ","]])
def test_a_malformed_option_is_refused_with_status_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *arguments])
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err
