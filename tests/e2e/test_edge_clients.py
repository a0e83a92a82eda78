"""Real clients of registries log in with a pull token at the edge, pull through it, and say why they may not."""

import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import oras.client
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from ecr_layers.ops.pull_tokens import PullToken
from ecr_layers.ops.token_store import TokenStore
from local.edge import CALLER, CALLER_ARN, DISTRIBUTION_ARN, EdgeConfiguration, RunningEdge, local_edge
from local.oci_layout import OciLayout
from local.s3 import create_s3_app
from local.sample_image import write_sample_image
from local.service import EVERYTHING, FunctionUrl, local_service
from tests.commands import CLIENT, ROOT, tool
from tests.e2e.emulator import wait_until
from tests.e2e.mirrors import mirror
from tests.loopback import resolve_localhost_names
from tests.programs import assert_has_all_blobs, attempt, run

SYFT = Path(sys.prefix) / "tools" / "syft" / "bin" / "syft"
GO_CLIENTS = Path(sys.prefix) / "tools" / "go-clients"
REGISTRY = (ROOT / "docs" / "registry.md").read_text()

PASSWORD = "0123456789abcdef"
GOOD, WRONG, EXPIRED, OUT_OF_SCOPE = ("ci", PASSWORD), ("ci", "wrong"), ("expired", PASSWORD), ("narrow", PASSWORD)
REFUSED = {
    WRONG: "The name or password of the pull token is wrong, or it was revoked.",
    EXPIRED: "The pull token has expired. Ask for a new one.",
    OUT_OF_SCOPE: "The token is not for this repository. Ask for one that is.",
}
"""What the edge says to the credentials that it refuses."""

Credentials = tuple[str, str]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> OciLayout:
    directory = tmp_path_factory.mktemp("sample")
    write_sample_image(directory)
    return OciLayout(directory)


@pytest.fixture(scope="module")
def log() -> list[str]:
    return []


@pytest.fixture(scope="module")
def clients_of_s3() -> Iterator[list[str]]:
    """Return the user agents of all requests to S3."""
    seen: list[str] = []

    def recording(*arguments: Any) -> ASGIApp:
        app = create_s3_app(*arguments)

        async def record(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(dict(scope["headers"]).get(b"user-agent", b"").decode())
            await app(scope, receive, send)

        return record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("local.aws.create_s3_app", recording)
        yield seen


@pytest.fixture(scope="module")
def edge(layout: OciLayout, log: list[str], clients_of_s3: list[str]) -> Iterator[RunningEdge]:
    """Run the edge in front of a function URL that takes signed requests alone, and renames headers.

    It serves layers too, so clients need no other host than the edge's.
    """
    function_url = FunctionUrl(caller=CALLER, caller_arn=CALLER_ARN, renames_headers=True, edge_serves_layers=True)
    opted_into = {**EVERYTHING, "EDGE_DISTRIBUTION_ARN": DISTRIBUTION_ARN}
    with (
        local_service(
            {"team/app": layout, "public/app": layout},
            function_url=function_url,
            opted_into=opted_into,
            write_log=log.append,
        ) as service,
        local_edge(
            service.url, EdgeConfiguration(public_repositories=("public/*",), layers_origin=service.aws.s3_url)
        ) as edge,
    ):
        for name, scope, days in (("ci", "team/*", 1), ("expired", "team/*", -1), ("narrow", "team/other", 1)):
            edge.store.put(name, token(name, scope, days).value(PASSWORD))
        yield edge
    # Nobody but the edge asked S3 for a layer; the function reads blobs' sizes and configs.
    assert "Amazon CloudFront" in clients_of_s3
    assert {each.partition("/")[0] for each in clients_of_s3} <= {"Amazon CloudFront", "python-urllib3"}


def test_the_function_logs_the_token_and_the_client_and_nobody_can_pass_for_another(
    edge: RunningEdge, layout: OciLayout, log: list[str]
) -> None:
    digest = next(iter(layout.referenced_blobs))
    headers = {"x-ecr-layers-token": "another", "cloudfront-viewer-address": "198.51.100.9:1"}
    with httpx.Client(auth=GOOD, headers=headers, timeout=30, trust_env=False) as client:
        assert client.get(f"{edge.url}/v2/team/app/blobs/{digest}").status_code == 307
    line = wait_until(lambda: next((json.loads(line) for line in log if digest in line and "callerKind" in line), None))
    assert (line["callerKind"], line["caller"], line["sourceIp"]) == ("token", "ci", "127.0.0.1")


@pytest.fixture
def registry(edge: RunningEdge) -> str:
    return edge.url.removeprefix("http://")


@pytest.fixture
def image(registry: str) -> str:
    return f"{registry}/team/app:latest"


def token(name: str, scope: str, days: int = 1) -> PullToken:
    now = datetime.now(UTC)
    return PullToken(name, (scope,), now + timedelta(days=days), now)


def refusal(*command: str | Path, **environment: str) -> str:
    """Return what a command says that fails."""
    result = attempt(*command, **environment)
    assert result.returncode != 0
    assert PASSWORD not in result.stdout + result.stderr
    return result.stderr


def documented_words(client: str) -> list[str]:
    """Return what docs/registry.md says that a client prints in place of the edge's message."""
    section = REGISTRY.partition("\n### When a token is refused\n")[2].partition("\n## ")[0]
    (row,) = re.findall(rf"^\| {re.escape(client)} \| (.*) \|$", section, re.MULTILINE)
    return re.findall(r"`([^`]+)`", row)


def test_the_document_has_the_messages_of_the_edge() -> None:
    assert all(f" | `{message}` |\n" in REGISTRY for message in REFUSED.values())


def docker_config(directory: Path, registry: str, credentials: Credentials) -> Path:
    """Write what `docker login` writes, and return its directory."""
    directory.mkdir(exist_ok=True)
    encoded = base64.b64encode(":".join(credentials).encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {registry: {"auth": encoded}}}))
    return directory


class TestSkopeo:
    def login(self, registry: str, credentials: Credentials, file: Path) -> tuple[str | Path, ...]:
        name, password = credentials
        options = ("--tls-verify=false", "--authfile", file, "-u", name, "-p", password)
        return (tool("skopeo"), "login", *options, registry)

    def test_logs_in_and_copies(self, registry: str, image: str, layout: OciLayout, tmp_path: Path) -> None:
        file = tmp_path / "auth.json"
        assert run(*self.login(registry, GOOD, file)) == "Login Succeeded!\n"
        options = ("--authfile", file, "--src-tls-verify=false")
        run(tool("skopeo"), "copy", *options, f"docker://{image}", f"dir:{tmp_path / 'copy'}")
        assert_has_all_blobs(tmp_path / "copy", layout)

    @pytest.mark.parametrize("credentials", [WRONG, EXPIRED])
    def test_does_not_log_in(self, registry: str, tmp_path: Path, credentials: Credentials) -> None:
        (words,) = documented_words("skopeo login")
        assert words in refusal(*self.login(registry, credentials, tmp_path / "auth.json"))

    @pytest.mark.parametrize("credentials", [WRONG, EXPIRED, OUT_OF_SCOPE])
    def test_is_told_why_it_may_not_copy(
        self, registry: str, image: str, tmp_path: Path, credentials: Credentials
    ) -> None:
        options = ("--src-creds", ":".join(credentials), "--src-tls-verify=false")
        message = refusal(tool("skopeo"), "copy", *options, f"docker://{image}", f"dir:{tmp_path / 'copy'}")
        assert REFUSED[credentials] in message

    def test_is_told_to_log_in(self, image: str, tmp_path: Path) -> None:
        options = ("--src-no-creds", "--src-tls-verify=false")
        message = refusal(tool("skopeo"), "copy", *options, f"docker://{image}", f"dir:{tmp_path / 'copy'}")
        assert "Log in with the name and the password of a pull token." in message


def test_a_token_is_good_from_its_creation_to_its_revocation_while_the_edge_runs(
    edge: RunningEdge, image: str, layout: OciLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_localhost_names(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT_KEYVALUESTORE", edge.store_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    copy = (tool("skopeo"), "copy", "--src-creds", f"new:{PASSWORD}", "--src-tls-verify=false", f"docker://{image}")
    assert REFUSED[WRONG] in refusal(*copy, f"dir:{tmp_path / 'before'}")
    TokenStore.open(edge.store.arn).add(token("new", "team/app"), PASSWORD)
    run(*copy, f"dir:{tmp_path / 'copy'}")
    assert_has_all_blobs(tmp_path / "copy", layout)
    TokenStore.open(edge.store.arn).revoke("new")
    assert REFUSED[WRONG] in refusal(*copy, f"dir:{tmp_path / 'after'}")


class TestDockerRegistry:
    """As a pull-through cache; versions before 3 take credentials for Basic from the URL alone."""

    def mirror(self, registry: str, credentials: Credentials, directory: Path) -> AbstractContextManager[str]:
        return mirror(f"http://{':'.join(credentials)}@{registry}", credentials, directory)

    def test_mirrors_an_image(self, registry: str, layout: OciLayout, tmp_path: Path) -> None:
        with self.mirror(registry, GOOD, tmp_path) as address:
            source = f"docker://{address}/team/app:latest"
            run(tool("skopeo"), "copy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}")
        assert_has_all_blobs(tmp_path / "copy", layout)

    @pytest.mark.parametrize("credentials", [WRONG, OUT_OF_SCOPE])
    def test_knows_no_image_that_the_token_is_not_for(
        self, registry: str, tmp_path: Path, credentials: Credentials
    ) -> None:
        with self.mirror(registry, credentials, tmp_path) as address:
            source = f"docker://{address}/team/app:latest"
            message = refusal(tool("skopeo"), "copy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}")
        (words,) = documented_words("docker-registry as a cache")
        assert words in message


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
class TestContainerd:
    def hosts(self, directory: Path, registry: str, content: str = "") -> Path:
        """Write a hosts.toml, and return the directory that has those of all hosts."""
        file = directory / registry / "hosts.toml"
        file.parent.mkdir(parents=True)
        file.write_text(content or f'[host."http://{registry}"]\n  capabilities = ["pull", "resolve"]\n')
        return directory

    def test_fetches_an_image(
        self, ctr: tuple[str, ...], registry: str, image: str, layout: OciLayout, tmp_path: Path
    ) -> None:
        hosts = self.hosts(tmp_path, registry)
        run(*ctr, "fetch", "--hosts-dir", hosts, "--user", ":".join(GOOD), image)
        assert {*layout.referenced_blobs, layout.tags["latest"]} <= set(run(*ctr, "ls", "--quiet").split())

    def test_takes_the_credentials_from_hosts_toml_too(
        self, ctr: tuple[str, ...], registry: str, image: str, tmp_path: Path
    ) -> None:
        (documented,) = re.findall(r"```toml\n([^`]*authorization[^`]*)```", REGISTRY)
        encoded = base64.b64encode(":".join(GOOD).encode()).decode()
        content = documented.replace("https://registry.example.com", f"http://{registry}")
        hosts = self.hosts(tmp_path, registry, content.replace("Y2k6UEFTU1dPUkQ=", encoded))
        run(*ctr, "fetch", "--hosts-dir", hosts, image)

    @pytest.mark.parametrize("credentials", [WRONG, EXPIRED, OUT_OF_SCOPE])
    def test_says_the_status(
        self, ctr: tuple[str, ...], registry: str, image: str, tmp_path: Path, credentials: Credentials
    ) -> None:
        hosts = self.hosts(tmp_path, registry)
        message = refusal(*ctr, "fetch", "--hosts-dir", hosts, "--user", ":".join(credentials), image)
        unauthorized, forbidden = documented_words("containerd 1.6")
        assert (forbidden if credentials == OUT_OF_SCOPE else unauthorized) in message


class TestPublicRepository:
    """Clients that were asked to log in, and have no credentials, go on without."""

    def test_skopeo_copies_it(self, registry: str, layout: OciLayout, tmp_path: Path) -> None:
        source = f"docker://{registry}/public/app:latest"
        run(tool("skopeo"), "copy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}")
        assert_has_all_blobs(tmp_path / "copy", layout)

    @pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
    def test_containerd_fetches_it(self, ctr: tuple[str, ...], registry: str) -> None:
        run(*ctr, "fetch", "--plain-http", f"{registry}/public/app:latest")

    def test_oras_py_gets_its_manifest(self, registry: str) -> None:
        client = oras.client.OrasClient(hostname=registry, insecure=True, auth_backend="basic")
        assert client.get_manifest(f"{registry}/public/app:latest")["schemaVersion"] == 2


class TestOrasPy:
    def client(self, registry: str, credentials: Credentials, directory: Path) -> oras.client.OrasClient:
        client = oras.client.OrasClient(hostname=registry, insecure=True, auth_backend="basic")
        client.login(
            hostname=registry,
            username=credentials[0],
            password=credentials[1],
            config_path=str(directory / "oras.json"),
        )
        return client

    def test_gets_the_manifest_and_every_blob(
        self, registry: str, image: str, layout: OciLayout, tmp_path: Path
    ) -> None:
        client = self.client(registry, GOOD, tmp_path)
        manifest = client.get_manifest(client.get_container(image))
        for descriptor in [manifest["config"], *manifest["layers"]]:
            file = tmp_path / descriptor["digest"].partition(":")[2]
            client.download_blob(client.get_container(image), descriptor["digest"], str(file))
        assert_has_all_blobs(tmp_path, layout)

    @pytest.mark.parametrize("credentials", [WRONG, EXPIRED, OUT_OF_SCOPE])
    def test_says_the_status(self, registry: str, image: str, tmp_path: Path, credentials: Credentials) -> None:
        client = self.client(registry, credentials, tmp_path)
        with pytest.raises(Exception, match="|".join(documented_words("oras-py"))):
            client.get_manifest(client.get_container(image))


class TestSyft:
    """An older go-containerregistry."""

    def scan(self, image: str, configuration: Path) -> tuple[tuple[str | Path, ...], dict[str, str]]:
        environment = {
            "SYFT_REGISTRY_INSECURE_USE_HTTP": "true",
            "SYFT_CHECK_FOR_APP_UPDATE": "false",
            "DOCKER_CONFIG": str(configuration),
        }
        return (SYFT, f"registry:{image}", "--output=json"), environment

    def test_reads_every_layer(self, registry: str, image: str, layout: OciLayout, tmp_path: Path) -> None:
        command, environment = self.scan(image, docker_config(tmp_path, registry, GOOD))
        metadata = json.loads(run(*command, **environment))["source"]["metadata"]
        assert metadata["manifestDigest"] == layout.tags["latest"]
        assert len(metadata["layers"]) == 4

    def test_takes_the_secret_that_kubernetes_takes(self, registry: str, image: str, tmp_path: Path) -> None:
        (secret,) = re.findall(r"^  \.dockerconfigjson: '(.*)'$", REGISTRY, re.MULTILINE)
        content = secret.replace("registry.example.com", registry).replace("PASSWORD", PASSWORD)
        (tmp_path / "config.json").write_text(content)
        command, environment = self.scan(image, tmp_path)
        run(*command, **environment)

    def test_is_told_why_it_may_not(self, registry: str, image: str, tmp_path: Path) -> None:
        command, environment = self.scan(image, docker_config(tmp_path, registry, EXPIRED))
        assert REFUSED[EXPIRED] in refusal(*command, **environment)


class TestEcrLayers:
    def fetch(self, edge: RunningEdge, credentials: Credentials, directory: Path) -> tuple[str | Path, ...]:
        (directory / "token").write_text(":".join(credentials))
        options = ("--token-file", directory / "token", "--output", directory / "copy")
        return (*CLIENT, "fetch", "--url", edge.url, "team/app:latest", *options)

    def test_fetches_an_image(self, edge: RunningEdge, layout: OciLayout, tmp_path: Path) -> None:
        run(*self.fetch(edge, GOOD, tmp_path))
        assert_has_all_blobs(tmp_path / "copy" / "blobs" / "sha256", layout)

    @pytest.mark.parametrize("credentials", [WRONG, EXPIRED, OUT_OF_SCOPE])
    def test_is_told_why_it_may_not(self, edge: RunningEdge, tmp_path: Path, credentials: Credentials) -> None:
        assert refusal(*self.fetch(edge, credentials, tmp_path)) == f"ecr-layers: {REFUSED[credentials]}\n"


def go_client(name: str) -> Path:
    path = GO_CLIENTS / name
    if not path.is_file() and not os.environ.get("CI"):
        pytest.skip(f"{name} is not built: `make test` builds it where there is Go")
    return path


class TestCrane:
    def test_logs_in_and_pulls(self, registry: str, image: str, tmp_path: Path) -> None:
        environment = {"DOCKER_CONFIG": str(tmp_path)}
        name, password = GOOD
        run(go_client("crane"), "auth", "login", registry, "-u", name, "-p", password, "--insecure", **environment)
        run(go_client("crane"), "pull", "--insecure", "--format=oci", image, tmp_path / "copy", **environment)
        run(go_client("crane"), "validate", "--insecure", "--remote", image, **environment)

    @pytest.mark.parametrize("credentials", [WRONG, EXPIRED, OUT_OF_SCOPE])
    def test_is_told_why_it_may_not(self, registry: str, image: str, tmp_path: Path, credentials: Credentials) -> None:
        environment = {"DOCKER_CONFIG": str(docker_config(tmp_path, registry, credentials))}
        message = refusal(go_client("crane"), "pull", "--insecure", image, tmp_path / "image.tar", **environment)
        assert REFUSED[credentials] in message


class TestOras:
    def test_logs_in_and_copies(self, registry: str, image: str, tmp_path: Path) -> None:
        file, (name, password) = tmp_path / "auth.json", GOOD
        options = ("--plain-http", "-u", name, "-p", password, "--registry-config", file)
        assert "Login Succeeded" in run(go_client("oras"), "login", *options, registry)
        source = ("--from-plain-http", "--from-registry-config", file, image)
        run(go_client("oras"), "copy", *source, "--to-oci-layout", f"{tmp_path / 'copy'}:latest")

    @pytest.mark.parametrize("credentials", [WRONG, EXPIRED, OUT_OF_SCOPE])
    def test_is_told_why_it_may_not(self, registry: str, image: str, tmp_path: Path, credentials: Credentials) -> None:
        options = ("--from-plain-http", "--from-username", credentials[0], "--from-password", credentials[1])
        target = f"{tmp_path / 'copy'}:latest"
        message = refusal(go_client("oras"), "copy", *options, image, "--to-oci-layout", target)
        assert REFUSED[credentials] in message


class TestRegctl:
    def environment(self, registry: str, credentials: Credentials, directory: Path) -> dict[str, str]:
        environment = {"REGCTL_CONFIG": str(directory / "regctl.json")}
        name, password = credentials
        # Both look whether anybody may pull, and fail after they have written if nobody may.
        attempt(go_client("regctl"), "registry", "set", "--tls=disabled", registry, **environment)
        attempt(go_client("regctl"), "registry", "login", registry, "-u", name, "-p", password, **environment)
        return environment

    def test_logs_in_and_copies(self, registry: str, image: str, tmp_path: Path) -> None:
        environment = self.environment(registry, GOOD, tmp_path)
        run(go_client("regctl"), "image", "copy", image, f"ocidir://{tmp_path / 'copy'}:latest", **environment)

    @pytest.mark.parametrize("credentials", [WRONG, EXPIRED, OUT_OF_SCOPE])
    def test_says_that_it_may_not(self, registry: str, image: str, tmp_path: Path, credentials: Credentials) -> None:
        environment = self.environment(registry, credentials, tmp_path)
        target = f"ocidir://{tmp_path / 'copy'}:latest"
        message = refusal(go_client("regctl"), "image", "copy", image, target, **environment)
        (words,) = documented_words("regctl")
        assert words in message


def test_nothing_of_a_token_reaches_the_log(log: list[str]) -> None:
    assert any('"route":"GET /v2/<name>/blobs/<digest>"' in line for line in log)
    secrets = [PASSWORD, *(base64.b64encode(f"{name}:{PASSWORD}".encode()).decode() for name in ("ci", "narrow"))]
    assert not any(secret in line for line in log for secret in secrets)
