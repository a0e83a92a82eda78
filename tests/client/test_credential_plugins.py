"""What docker and kubelet run by themselves: the credential helper, and the credential provider plugin."""

import io
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from starlette.responses import Response

from ecr_layers import __version__
from ecr_layers.cli import main, plugins
from ecr_layers.login.id_tokens import variable_of
from tests.client.keyless import KeylessService, id_token, refusal, service

__all__ = ["service"]

# Of KEP-4412 and https://kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1/
REQUEST = {
    "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
    "kind": "CredentialProviderRequest",
    "image": "registry.example.com/team/app:1.2",
    "serviceAccountToken": "TOKEN",
    "serviceAccountAnnotations": {},
}


class Job:
    """A GitLab job, in which programs of the client run; in this process, which takes less time."""

    def __init__(
        self, service: KeylessService, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.service = service
        self.cache = home / ".cache" / "ecr-layers" / "logins.json"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name, value in (("HOME", str(home)), ("GITLAB_CI", "true")):
            monkeypatch.setenv(name, value)
        for name in ("GITHUB_ACTIONS", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"):
            monkeypatch.delenv(name, raising=False)
        self.has_claims(job_id="1")

    @property
    def cached(self) -> dict[str, Any]:
        cached: dict[str, Any] = json.loads(self.cache.read_text())
        return cached

    def has_claims(self, **claims: Any) -> None:
        self._monkeypatch.setenv(variable_of(self.service.host), self.service.id_token(**claims))

    def helper(self, action: str, given: str = "") -> tuple[int, str]:
        """Return status and output of the credential helper."""
        status, output, errors = self._run(plugins.docker, action, given=given or self.service.host)
        assert errors == ""
        return status, output

    def kubelet(self, **changes: Any) -> tuple[int, str, str]:
        """Return status, output and errors of kubelet's plugin."""
        return self._run(plugins.kubelet, given=json.dumps({**REQUEST, **changes}))

    def _run(self, program: Callable[[], NoReturn], *arguments: str, given: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["program", *arguments])
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        with pytest.raises(SystemExit) as end:
            program()
        output, errors = self._capsys.readouterr()
        return int(end.value.code or 0), output.strip(), errors.strip()


@pytest.fixture
def job(
    service: KeylessService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Job:
    return Job(service, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("form", ["{}\n", "http://{}", "https://{}/v2/"])
def test_docker_gets_a_token_for_its_name_of_the_registry(job: Job, form: str) -> None:
    server = form.format(job.service.host)
    status, output = job.helper("get", server)
    assert status == 0
    assert json.loads(output) == {"ServerURL": server.strip(), "Username": "keyless", "Secret": job.service.issued}


def test_a_token_is_kept_until_a_minute_before_it_expires_for_its_owner_only(job: Job) -> None:
    first = job.helper("get")
    assert job.helper("get") == first
    assert len(job.service.received) == 1
    assert stat.S_IMODE(job.cache.stat().st_mode) == 0o600
    (entry,) = job.cached.values()
    assert abs(entry["expiresAt"] - job.cache.stat().st_mtime - 3540) < 60
    job.cache.write_text(json.dumps({key: {**each, "expiresAt": 1} for key, each in job.cached.items()}))
    job.helper("get")
    assert len(job.service.received) == 2
    job.service.seconds = 60
    job.helper("erase")
    job.helper("get")
    job.helper("get")
    assert len(job.service.received) == 4


def test_a_kept_token_is_for_jobs_with_the_same_claims_only(job: Job) -> None:
    for project, moment, logins in (("1", 1, 1), ("1", 3, 1), ("2", 3, 2)):
        job.has_claims(project_id=project, iat=moment, exp=moment + 1, nbf=moment, jti=str(moment))
        job.helper("get")
        assert len(job.service.received) == logins


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b'{"a": {}}', b"\xff"])
def test_a_malformed_cache_is_replaced(job: Job, content: bytes) -> None:
    job.cache.parent.mkdir(parents=True)
    job.cache.write_bytes(content)
    assert job.helper("get")[0] == 0
    assert len(job.cached) == 1


def test_a_cache_that_can_not_be_written_costs_a_login_each_time(job: Job, tmp_path: Path) -> None:
    (tmp_path / ".cache").write_text("in the way")
    for _ in range(2):
        assert job.helper("get")[0] == 0
    assert len(job.service.received) == 2


def test_logging_out_of_a_registry_forgets_its_tokens_alone(job: Job) -> None:
    job.helper("get")
    assert json.loads(job.helper("list")[1]) == {job.service.host: "keyless"}
    assert job.helper("erase", "other.example.com") == (0, "")
    assert len(job.cached) == 1
    assert job.helper("erase", f"https://{job.service.host}") == (0, "")
    assert json.loads(job.helper("list")[1]) == {}


def test_errors_go_where_docker_reads_them_in_one_line(job: Job) -> None:
    job.service.answer = refusal(401, "No rule matches.")
    status, output = job.helper("get")
    assert (status, output.count("\n")) == (1, 0)
    assert "refused the ID token: No rule matches." in output
    assert job.service.id_token(job_id="1") not in output
    # Docker goes on without credentials then.
    job.service.answer = Response("no", 404)
    assert job.helper("get") == (1, "credentials not found in native keychain")
    assert job.helper("store", "{}") == (1, "docker-credential-ecr-layers logs in by itself. Leave docker login out.")
    assert job.helper("other")[0] == 1
    assert job.helper("get", "not a host")[0] == 1


def test_login_leaves_the_token_to_its_own_helper(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"credHelpers": {job.service.host: "ecr-layers"}}))
    assert main(["login", job.service.url]) == 0
    assert capsys.readouterr().err.endswith(": docker-credential-ecr-layers\n")
    assert job.service.issued not in config.read_text()


@pytest.mark.parametrize(
    ("program", "arguments", "output"),
    [
        ("docker-credential-ecr-layers", ["version"], f"docker-credential-ecr-layers {__version__}\n"),
        ("docker-credential-ecr-layers", [], "Expected get, store, erase, list or version.\n"),
        ("ecr-layers-kubelet", [], "ecr-layers-kubelet: kubelet's request isn't a JSON object.\n"),
    ],
)
def test_the_programs_are_installed_with_the_client(program: str, arguments: list[str], output: str) -> None:
    command = [str(Path(sys.executable).parent / program), *arguments]
    result = subprocess.run(command, input="{", capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (int("version" not in arguments), output)


def test_kubelet_gets_credentials_for_the_registry_and_how_long_to_keep_them(job: Job) -> None:
    token = job.service.id_token(sub="system:serviceaccount:team:app")
    status, output, errors = job.kubelet(image=f"{job.service.host}/team/app:1.2", serviceAccountToken=token)
    assert (status, errors) == (0, "")
    assert json.loads(output) == {
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry",
        "cacheDuration": "3540s",
        "auth": {job.service.host: {"username": "keyless", "password": job.service.issued}},
    }
    assert job.service.received == [token]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1"}, "Set apiVersion to credentialprovider."),
        ({"kind": "Other"}, "Expected a CredentialProviderRequest."),
        ({"serviceAccountToken": ""}, "kubelet sent no service account token. Set tokenAttributes"),
        ({"serviceAccountToken": id_token("other")}, "Request it with the audience registry.example.com."),
    ],
)
def test_kubelet_is_told_what_is_wrong_in_one_line(job: Job, changes: dict[str, Any], message: str) -> None:
    status, output, errors = job.kubelet(**changes)
    assert (status, output, errors.count("\n")) == (1, "", 0)
    assert message in errors
