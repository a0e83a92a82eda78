"""A job logs in with the ID token of its platform, and docker, podman and the client find the login.

Docker and kubelet can have it log in by themselves, with a credential helper and a credential provider plugin.
"""

import base64
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ecr_layers import __version__
from ecr_layers.cli import plugins
from ecr_layers.login import id_tokens
from ecr_layers.registry.authentication import Authentication
from local.server import running
from tests.client.commanding import Command, Result, command
from tests.client.keyless import KeylessService, id_token, refusal, service
from tests.client.operating import forget_credentials, lead_to

__all__ = ["command", "service"]

PLATFORMS = ("ACTIONS_", "AWS_", "CI_", "DOCKER_", "ECR_LAYERS_", "GITHUB_", "GITLAB_", "REGISTRY_AUTH_FILE", "XDG_")

# Of KEP-4412 and https://kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1/
REQUEST = {
    "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
    "kind": "CredentialProviderRequest",
    "image": "registry.example.com/team/app:1.2",
    "serviceAccountToken": "TOKEN",
    "serviceAccountAnnotations": {},
}


class Job:
    """A job outside all platforms, with a home directory of its own, in which programs of the client run.

    They run in this process, which takes less time.
    """

    def __init__(
        self,
        service: KeylessService,
        command: Command,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.service = service
        self.command = command
        self.home = home
        self.config = home / ".docker" / "config.json"
        self.cache = home / ".cache" / "ecr-layers" / "logins.json"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name in list(os.environ):
            if name.startswith(PLATFORMS):
                monkeypatch.delenv(name)
        forget_credentials(monkeypatch)
        self.has(HOME=str(home), PATH=f"{home}:{os.environ['PATH']}")

    def has(self, **environment: str) -> None:
        """Set environment variables."""
        for name, value in environment.items():
            self._monkeypatch.setenv(name, value)

    def is_gitlabs(self, **claims: Any) -> None:
        """Have the job run on GitLab, with an ID token of these claims."""
        self.has(GITLAB_CI="true", **{id_tokens.variable_of(self.service.host): self.service.id_token(**claims)})

    def configure_docker(self, content: str) -> None:
        self.config.parent.mkdir()
        self.config.write_text(content)

    def add_helper(self, script: str) -> None:
        helper = self.home / "docker-credential-test"
        helper.write_text(f"#!/bin/sh\n{script}\n")
        helper.chmod(0o755)

    @property
    def cached(self) -> dict[str, Any]:
        cached: dict[str, Any] = json.loads(self.cache.read_text())
        return cached

    def login(self, *arguments: str) -> Result:
        return self.command("login", self.service.url, *arguments)

    def login_with(self, text: str, *arguments: str) -> Result:
        """Log in with an ID token from a file."""
        file = self.home / "id-token"
        file.write_text(text)
        return self.login("--id-token-file", str(file), *arguments)

    def login_from_file(self, *arguments: str) -> Result:
        """Log in with the ID token that the service takes, from a file."""
        return self.login_with(f"{self.service.id_token()}\n", *arguments)

    def helper(self, action: str, given: str = "") -> tuple[int, str]:
        """Return status and output of the credential helper."""
        status, output, errors = self._run(plugins.docker, action, given=given or self.service.host)
        assert errors == ""
        return status, output

    def kubelet(self, **changes: Any) -> tuple[int, str, str]:
        """Return status, output and errors of kubelet's plugin."""
        return self._run(plugins.kubelet, given=json.dumps({**REQUEST, **changes}))

    def _run(self, program: Callable[[], NoReturn], *arguments: str, given: str) -> tuple[int, str, str]:
        self.has_input(given)
        self._monkeypatch.setattr(sys, "argv", ["program", *arguments])
        with pytest.raises(SystemExit) as end:
            program()
        output, errors = self._capsys.readouterr()
        return int(end.value.code or 0), output.strip(), errors.strip()

    def has_input(self, text: str) -> None:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.fixture
def job(
    service: KeylessService,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Job:
    return Job(service, command, tmp_path, monkeypatch, capsys)


@pytest.fixture
def gitlab_job(job: Job) -> Job:
    job.is_gitlabs(job_id="1")
    return job


def login_in(path: Path, host: str) -> str:
    """Return the login for a host in a file of docker or podman."""
    return base64.b64decode(json.loads(path.read_text())["auths"][host]["auth"]).decode()


def test_a_github_job_requests_a_token_for_the_services_host(job: Job) -> None:
    answers: list[Response] = []

    def issue(request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer runner-secret"
        assert request.query_params["api-version"] == "2.0"
        return answers[0] if answers else JSONResponse({"value": id_token(request.query_params["audience"], run_id=1)})

    with running(Starlette(routes=[Route("/id", issue)])) as url:
        job.has(GITHUB_ACTIONS="true", ACTIONS_ID_TOKEN_REQUEST_URL=f"{url}/id?api-version=2.0")
        assert "Add `permissions: {id-token: write}` to it." in job.login().error
        job.has(ACTIONS_ID_TOKEN_REQUEST_TOKEN="runner-secret")
        result = job.login()
        assert (result.status, result.output) == (0, "")
        assert result.error == f"Logged in to {job.service.host} for 60 minutes: {job.config}\n"
        assert job.service.received == [job.service.id_token(run_id=1)]
        answers.append(Response("runner-secret", 403))
        result = job.login("--verbose")
    assert result.status == 1
    assert "GitHub Actions issued no ID token: it answered HTTP 403." in result.error
    assert "runner-secret" not in result.error


def test_a_gitlab_job_has_the_token_in_a_variable_named_after_the_host(job: Job) -> None:
    job.has(GITLAB_CI="true")
    variable = id_tokens.variable_of(job.service.host)
    assert f"The environment variable {variable} isn't set." in job.login().error
    job.is_gitlabs(job_id="1")
    assert job.login().status == 0
    job.has(OTHER=job.service.id_token(job_id="2"))
    assert job.login("--id-token-variable", "OTHER").status == 0
    assert job.service.received == [job.service.id_token(job_id="1"), job.service.id_token(job_id="2")]


def test_a_hosts_variable_is_the_one_that_other_tools_use() -> None:
    assert id_tokens.variable_of("registry.example.com") == "REGISTRY_EXAMPLE_COM_ID_TOKEN"
    assert id_tokens.variable_of("9-registry.example.com:5000") == "__REGISTRY_EXAMPLE_COM_5000_ID_TOKEN"


def test_a_token_may_come_from_a_file_the_standard_input_or_a_pods_volume(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert job.login_from_file().status == 0
    job.has_input(f"{job.service.id_token(piped=1)}\n")
    assert job.login("--id-token-file", "-").status == 0
    monkeypatch.setattr(id_tokens, "PROJECTED_TOKEN", job.home / "id-token")
    assert job.login().status == 0
    assert job.service.received == [job.service.id_token(), job.service.id_token(piped=1), job.service.id_token()]


def test_aws_issues_a_token_for_the_role_or_the_account_is_told_how_to(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[str] = []

    async def answer(request: Request) -> Response:
        body = parse_qs((await request.body()).decode())
        assert (body["Action"], body["SigningAlgorithm"]) == (["GetWebIdentityToken"], ["RS256"])
        if errors:
            content = f"<ErrorResponse><Error><Code>{errors[-1]}</Code><Message>No.</Message></Error></ErrorResponse>"
            return Response(content, 403, media_type="text/xml")
        token = id_token(body["Audience.member.1"], sub="arn:aws:iam::123456789012:role/build")
        content = (
            '<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>'
            f"<WebIdentityToken>{token}</WebIdentityToken></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>"
        )
        return Response(content, media_type="text/xml")

    with running(Starlette(routes=[Route("/", answer, methods=["POST"])])) as url:
        lead_to(url, monkeypatch)
        assert job.login().status == 0
        assert job.service.received == [id_token([job.service.host], sub="arn:aws:iam::123456789012:role/build")]
        for code, message in (
            ("OutboundWebIdentityFederationDisabledException", "aws iam enable-outbound-web-identity-federation"),
            ("AccessDenied", "AWS denied GetWebIdentityToken to your credentials"),
        ):
            errors.append(code)
            result = job.login()
            assert (result.status, result.error.count("\n")) == (2, 1)
            assert message in result.error


def test_without_a_token_or_with_two_nothing_is_sent(job: Job) -> None:
    assert f"Found no ID token for {job.service.host}" in job.login().error
    result = job.login("--id-token-file", "-", "--id-token-variable", "TOKEN")
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert "Use only one of --id-token-file and --id-token-variable." in result.error
    assert not job.service.received


@pytest.mark.parametrize("further", ["other.example.com", ["other.example.com"], None])
def test_a_token_for_another_audience_stays_here(job: Job, further: Any) -> None:
    audience = [job.service.host, *further] if isinstance(further, list) else further
    result = job.login_with(id_token(audience))
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert f"Request it with the audience {job.service.host}." in result.error
    assert not job.service.received


@pytest.mark.parametrize("text", ["", "ci:password", "a.b.c", "e30.W10.e30", f"e30.{'e' * 9000}.e30", "é.é.é"])
def test_what_is_no_id_token_is_refused_without_its_text(job: Job, text: str) -> None:
    result = job.login_with(text)
    assert result.status == 2
    assert result.error == "ecr-layers: The ID token isn't a JSON Web Token of at most 8192 characters.\n"
    assert not job.service.received


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refusal(401, "It has expired."), "HOST refused the ID token: It has expired."),
        (Response("no", 403), "refused the ID token: its claims have to match one of the operator's trustRules."),
        (Response("no", 404), "HOST has no keyless login. The operator has to set trustRules"),
        (JSONResponse({"token": "a b"}), "The token endpoint's answer has no token."),
        (Response("<html>"), "Unexpected answer: this isn't the service's API."),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(job: Job, answer: Response, message: str) -> None:
    job.service.answers = [answer]
    result = job.login_from_file()
    assert (result.status, result.error.count("\n")) == (1, 1)
    assert message.replace("HOST", job.service.host) in result.error
    assert not job.config.exists()


def test_a_service_that_is_busy_is_asked_again(job: Job) -> None:
    job.service.answers = [refusal(503, "Try again later."), Response("", 502)]
    assert job.login_from_file().status == 0
    assert len(job.service.received) == 3
    job.service.answers = [refusal(503, "Try again later.", **{"Retry-After": "3600"})]
    result = job.login_from_file()
    assert (result.status, result.error) == (1, "ecr-layers: Try again later.\n")


def test_a_token_is_in_no_error(job: Job) -> None:
    token = job.service.id_token()
    encoded = base64.b64encode(f"keyless:{token}".encode()).decode()
    job.service.answers = [refusal(401, f"{token} Basic {encoded}")]
    result = job.login_from_file("--verbose")
    assert token not in result.error
    assert encoded not in result.error


def test_tokens_go_over_https_only(job: Job) -> None:
    job.has(TOKEN=id_token("registry.example.com"))
    result = job.command("login", "http://registry.example.com", "--id-token-variable", "TOKEN")
    assert result.status == 2
    assert "Credentials are sent over HTTPS only" in result.error


def test_a_printed_login_is_what_the_clients_token_file_takes(job: Job) -> None:
    result = job.login_from_file("--print")
    assert (result.output, result.error) == (f"keyless:{job.service.issued}\n", "")
    assert not job.config.exists()
    assert Authentication(token=result.output).of(job.service.url) is not None


def test_the_client_uses_the_login(job: Job) -> None:
    job.login_from_file()
    authorize = Authentication(environment=os.environ).of(job.service.url)
    assert authorize is not None
    basic = authorize("GET", job.service.url, b"")["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(basic).decode() == f"keyless:{job.service.issued}"


def test_files_keep_what_they_have_and_are_for_their_owner(job: Job) -> None:
    (job.home / "dotfiles").mkdir()
    job.config.parent.mkdir()
    job.config.symlink_to(job.home / "dotfiles" / "docker.json")
    others = {"other.example.com": {"auth": "b3RoZXI6eA=="}, f"https://{job.service.host}/v1/": {"auth": "b2xkOng="}}
    job.config.write_text(json.dumps({"auths": others, "detachKeys": "ctrl-e", "psFormat": "ü"}))
    job.config.chmod(0o644)
    assert job.login_from_file().status == 0
    written = json.loads(job.config.read_text())
    assert (written["detachKeys"], written["psFormat"]) == ("ctrl-e", "ü")
    assert written["auths"].keys() == {"other.example.com", job.service.host}
    assert stat.S_IMODE(job.config.stat().st_mode) == 0o600
    assert job.config.is_symlink()
    assert len(list(job.home.rglob("*.json"))) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".docker/config.json", "{"),
        (".docker/config.json", '{"auths": []}'),
        (".docker/config.json", "[" * 100_000),
        (".config/containers/auth.json", "\xff"),
    ],
)
def test_a_malformed_file_is_refused_and_nothing_is_written(job: Job, name: str, content: str) -> None:
    file = job.home / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode("latin-1"))
    result = job.login_from_file()
    assert result.status == 2
    assert f"{file} is malformed. Repair it, or move it away; nothing was written." in result.error
    assert file.read_bytes() == content.encode("latin-1")
    assert list(job.home.rglob("*.json")) == [file]


def test_a_file_that_can_not_be_written_is_said(job: Job) -> None:
    (job.home / ".docker").write_text("in the way")
    result = job.login_from_file()
    assert result.status == 4
    assert f"Can't write {job.config}: " in result.error


def test_podmans_file_gets_the_login_where_podman_reads_it_first(job: Job) -> None:
    (job.home / "run").mkdir()
    job.has(XDG_RUNTIME_DIR=str(job.home / "run"), DOCKER_CONFIG=str(job.home / "docker"))
    older = job.home / ".config" / "containers" / "auth.json"
    older.parent.mkdir(parents=True)
    older.write_text(json.dumps({"auths": {job.service.host: {"auth": "b2xkOng="}}}))
    assert job.login_from_file().status == 0
    for file in (job.home / "run" / "containers" / "auth.json", job.home / "docker" / "config.json", older):
        assert login_in(file, job.service.host) == f"keyless:{job.service.issued}"
    job.has(REGISTRY_AUTH_FILE=str(job.home / "auth.json"))
    assert job.login_from_file().status == 0
    assert login_in(job.home / "auth.json", job.service.host) == f"keyless:{job.service.issued}"


@pytest.mark.parametrize("setting", ['{"credsStore": "test"}', '{"credHelpers": {"HOST": "test"}}'])
def test_a_credential_helper_gets_the_login_and_the_file_does_not(job: Job, setting: str) -> None:
    job.configure_docker(setting.replace("HOST", job.service.host))
    job.add_helper(f'echo "$1" >> {job.home}/asked; cat > "{job.home}/$1"')
    assert job.login_from_file().error.endswith(": docker-credential-test\n")
    assert json.loads((job.home / "store").read_text()) == {
        "ServerURL": job.service.host,
        "Username": "keyless",
        "Secret": job.service.issued,
    }
    assert json.loads(job.config.read_text())["auths"] == {job.service.host: {}}
    assert job.command("logout", job.service.url).status == 0
    assert (job.home / "erase").read_text() == job.service.host
    assert json.loads(job.config.read_text())["auths"] == {}
    assert (job.home / "asked").read_text() == "store\nerase\n"
    job.add_helper("cat; exit 3")
    failed = job.login_from_file()
    assert failed.status == 2
    assert "docker-credential-test failed with status 3." in failed.error
    assert job.service.issued not in failed.error


def test_logging_out_removes_the_login_alone(job: Job) -> None:
    others = {"auths": {"other.example.com": {"auth": "b3RoZXI6eA=="}}}
    job.configure_docker(json.dumps(others))
    job.login_from_file()
    logged_out = job.command("logout", job.service.url)
    assert logged_out.error == f"Logged out of {job.service.host}: {job.config}\n"
    assert json.loads(job.config.read_text()) == others
    assert job.command("logout", job.service.url).error == f"You aren't logged in to {job.service.host}.\n"


@pytest.mark.parametrize("form", ["{}\n", "http://{}", "https://{}/v2/"])
def test_docker_gets_a_token_for_its_name_of_the_registry(gitlab_job: Job, form: str) -> None:
    server = form.format(gitlab_job.service.host)
    status, output = gitlab_job.helper("get", server)
    assert status == 0
    assert json.loads(output) == {
        "ServerURL": server.strip(),
        "Username": "keyless",
        "Secret": gitlab_job.service.issued,
    }


def test_a_token_is_kept_until_a_minute_before_it_expires_for_its_owner_only(gitlab_job: Job) -> None:
    first = gitlab_job.helper("get")
    assert gitlab_job.helper("get") == first
    assert len(gitlab_job.service.received) == 1
    assert stat.S_IMODE(gitlab_job.cache.stat().st_mode) == 0o600
    (entry,) = gitlab_job.cached.values()
    assert abs(entry["expiresAt"] - gitlab_job.cache.stat().st_mtime - 3540) < 60
    gitlab_job.cache.write_text(json.dumps({key: {**each, "expiresAt": 1} for key, each in gitlab_job.cached.items()}))
    gitlab_job.helper("get")
    assert len(gitlab_job.service.received) == 2
    gitlab_job.service.seconds = 60
    gitlab_job.helper("erase")
    gitlab_job.helper("get")
    gitlab_job.helper("get")
    assert len(gitlab_job.service.received) == 4


def test_a_kept_token_is_for_jobs_with_the_same_claims_only(gitlab_job: Job) -> None:
    for project, moment, logins in (("1", 1, 1), ("1", 3, 1), ("2", 3, 2)):
        gitlab_job.is_gitlabs(project_id=project, iat=moment, exp=moment + 1, nbf=moment, jti=str(moment))
        gitlab_job.helper("get")
        assert len(gitlab_job.service.received) == logins


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b'{"a": {}}', b"\xff"])
def test_a_malformed_cache_is_replaced(gitlab_job: Job, content: bytes) -> None:
    gitlab_job.cache.parent.mkdir(parents=True)
    gitlab_job.cache.write_bytes(content)
    assert gitlab_job.helper("get")[0] == 0
    assert len(gitlab_job.cached) == 1


def test_a_cache_that_can_not_be_written_costs_a_login_each_time(gitlab_job: Job) -> None:
    (gitlab_job.home / ".cache").write_text("in the way")
    for _ in range(2):
        assert gitlab_job.helper("get")[0] == 0
    assert len(gitlab_job.service.received) == 2


def test_logging_out_of_a_registry_forgets_its_tokens_alone(gitlab_job: Job) -> None:
    gitlab_job.helper("get")
    assert json.loads(gitlab_job.helper("list")[1]) == {gitlab_job.service.host: "keyless"}
    assert gitlab_job.helper("erase", "other.example.com") == (0, "")
    assert len(gitlab_job.cached) == 1
    assert gitlab_job.helper("erase", f"https://{gitlab_job.service.host}") == (0, "")
    assert json.loads(gitlab_job.helper("list")[1]) == {}


def test_errors_go_where_docker_reads_them_in_one_line(gitlab_job: Job) -> None:
    gitlab_job.service.answers = [refusal(401, "No rule matches.")]
    status, output = gitlab_job.helper("get")
    assert (status, output.count("\n")) == (1, 0)
    assert "refused the ID token: No rule matches." in output
    assert gitlab_job.service.id_token(job_id="1") not in output
    # Docker goes on without credentials then.
    gitlab_job.service.answers = [Response("no", 404)]
    assert gitlab_job.helper("get") == (1, "credentials not found in native keychain")
    assert gitlab_job.helper("store", "{}") == (
        1,
        "docker-credential-ecr-layers logs in by itself. Leave docker login out.",
    )
    assert gitlab_job.helper("other")[0] == 1
    assert gitlab_job.helper("get", "not a host")[0] == 1


def test_login_leaves_the_token_to_its_own_helper(gitlab_job: Job) -> None:
    gitlab_job.configure_docker(json.dumps({"credHelpers": {gitlab_job.service.host: "ecr-layers"}}))
    result = gitlab_job.login()
    assert (result.status, result.error.endswith(": docker-credential-ecr-layers\n")) == (0, True)
    assert gitlab_job.service.issued not in gitlab_job.config.read_text()


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
