"""Real clients of registries log in with a pull token at the edge, pull through it, and say why they may not."""

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from ecr_layers.ops.pull_tokens import PullToken
from ecr_layers.ops.token_store import TokenStore
from local.edge import CALLER, CALLER_ARN, DISTRIBUTION_ARN, EdgeConfiguration, RunningEdge, local_edge
from local.oci_layout import OciLayout
from local.s3 import create_s3_app
from local.service import EVERYTHING, FunctionUrl, local_service
from tests.commands import ROOT
from tests.e2e.clients import PULLS, Credentials, containerd_with, digests_in, log_in, skopeo, syft
from tests.e2e.emulator import wait_until
from tests.loopback import resolve_localhost_names

REGISTRY = (ROOT / "docs" / "registry.md").read_text()

PASSWORD = "0123456789abcdef"
GOOD, WRONG, EXPIRED, OUT_OF_SCOPE = ("ci", PASSWORD), ("ci", "wrong"), ("expired", PASSWORD), ("narrow", PASSWORD)
REFUSED = {
    WRONG: "The name or password of the pull token is wrong, or it was revoked.",
    EXPIRED: "The pull token has expired. Ask for a new one.",
    OUT_OF_SCOPE: "The token is not for this repository. Ask for one that is.",
}
"""What the edge says to the credentials that it refuses."""

DOCUMENTED = {
    "containerd": "containerd 1.6",
    "docker-registry with credentials in its URL": "docker-registry as a cache",
    "oras-py": "oras-py",
    "regctl": "regctl",
}
"""Clients that print something else, and what docs/registry.md calls them."""

CLIENTS = sorted(PULLS.keys() - {"docker-registry"})
REFUSALS = [
    ("skopeo", WRONG),
    *((client, WRONG if client in DOCUMENTED else EXPIRED) for client in CLIENTS),
    *((client, OUT_OF_SCOPE) for client in CLIENTS if client != "syft"),
]


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
def edge(sample: OciLayout, log: list[str], clients_of_s3: list[str]) -> Iterator[RunningEdge]:
    """Run the edge in front of a function URL that takes signed requests alone, and renames headers.

    It serves layers too, so clients need no other host than the edge's.
    """
    function_url = FunctionUrl(caller=CALLER, caller_arn=CALLER_ARN, renames_headers=True, edge_serves_layers=True)
    opted_into = {**EVERYTHING, "EDGE_DISTRIBUTION_ARN": DISTRIBUTION_ARN}
    repositories = {"team/app": sample, "public/app": sample}
    with (
        local_service(repositories, function_url=function_url, opted_into=opted_into, write_log=log.append) as service,
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


@pytest.fixture
def registry(edge: RunningEdge) -> str:
    return edge.url.removeprefix("http://")


@pytest.fixture
def image(registry: str) -> str:
    return f"{registry}/team/app:latest"


def token(name: str, scope: str, days: int = 1) -> PullToken:
    now = datetime.now(UTC)
    return PullToken(name, (scope,), now + timedelta(days=days), now)


def documented_words(client: str) -> list[str]:
    """Return what docs/registry.md says that a client prints in place of the edge's message."""
    section = REGISTRY.partition("\n### When a token is refused\n")[2].partition("\n## ")[0]
    (row,) = re.findall(rf"^\| {re.escape(client)} \| (.*) \|$", section, re.MULTILINE)
    return re.findall(r"`([^`]+)`", row)


def words_of(client: str, credentials: Credentials) -> str:
    """Return what a client prints when the edge refuses credentials."""
    if client not in DOCUMENTED:
        return REFUSED[credentials]
    unauthorized, *forbidden = documented_words(DOCUMENTED[client])
    return forbidden[0] if forbidden and credentials == OUT_OF_SCOPE else unauthorized


@pytest.mark.parametrize("client", [each for each in CLIENTS if each != "syft"])
def test_a_client_logs_in_and_pulls(registry: str, image: str, sample: OciLayout, tmp_path: Path, client: str) -> None:
    log_in(client, registry, GOOD, tmp_path)
    PULLS[client](image, GOOD, tmp_path)
    assert sample.referenced_blobs.keys() <= digests_in(tmp_path / "copy")


@pytest.mark.parametrize(("client", "credentials"), REFUSALS)
def test_a_client_says_why_it_may_not_pull_and_not_its_password(
    image: str, tmp_path: Path, client: str, credentials: Credentials
) -> None:
    with pytest.raises(Exception, match=re.escape(words_of(client, credentials))) as refused:
        PULLS[client](image, credentials, tmp_path)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize("credentials", [WRONG, EXPIRED])
def test_skopeo_does_not_log_in_with_a_token_that_is_refused(
    registry: str, tmp_path: Path, credentials: Credentials
) -> None:
    (words,) = documented_words("skopeo login")
    with pytest.raises(AssertionError, match=words):
        log_in("skopeo", registry, credentials, tmp_path)


def test_skopeo_is_told_to_log_in(image: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"Log in with the name and the password of a pull token\."):
        skopeo(image, None, tmp_path)


@pytest.mark.parametrize("client", ["skopeo", "containerd", "oras-py"])
def test_a_client_pulls_a_public_image_without_credentials(
    registry: str, sample: OciLayout, tmp_path: Path, client: str
) -> None:
    PULLS[client](f"{registry}/public/app:latest", None, tmp_path)
    assert sample.referenced_blobs.keys() <= digests_in(tmp_path / "copy")


def test_syft_reads_every_layer_with_the_secret_that_kubernetes_takes(
    registry: str, image: str, sample: OciLayout, tmp_path: Path
) -> None:
    (secret,) = re.findall(r"^  \.dockerconfigjson: '(.*)'$", REGISTRY, re.MULTILINE)
    content = secret.replace("registry.example.com", registry).replace("PASSWORD", PASSWORD)
    (tmp_path / "config.json").write_text(content)
    metadata = json.loads(syft(image, None, tmp_path))["source"]["metadata"]
    assert metadata["manifestDigest"] == sample.tags["latest"]
    assert len(metadata["layers"]) == 4


def test_containerd_takes_the_credentials_from_hosts_toml_too(
    registry: str, image: str, sample: OciLayout, tmp_path: Path
) -> None:
    (documented,) = re.findall(r"```toml\n([^`]*authorization[^`]*)```", REGISTRY)
    encoded = base64.b64encode(":".join(GOOD).encode()).decode()
    content = documented.replace("https://registry.example.com", f"http://{registry}")
    file = tmp_path / "hosts" / registry / "hosts.toml"
    file.parent.mkdir(parents=True)
    file.write_text(content.replace("Y2k6UEFTU1dPUkQ=", encoded))
    containerd_with("--hosts-dir", tmp_path / "hosts", image, directory=tmp_path)
    assert sample.referenced_blobs.keys() <= digests_in(tmp_path / "copy")


def test_the_document_has_the_messages_of_the_edge() -> None:
    assert all(f" | `{message}` |\n" in REGISTRY for message in REFUSED.values())


def test_a_token_is_good_from_its_creation_to_its_revocation_while_the_edge_runs(
    edge: RunningEdge, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_localhost_names(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT_KEYVALUESTORE", edge.store_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(AssertionError, match=REFUSED[WRONG]):
        skopeo(image, ("new", PASSWORD), tmp_path)
    TokenStore.open(edge.store.arn).add(token("new", "team/app"), PASSWORD)
    skopeo(image, ("new", PASSWORD), tmp_path)
    TokenStore.open(edge.store.arn).revoke("new")
    with pytest.raises(AssertionError, match=REFUSED[WRONG]):
        skopeo(image, ("new", PASSWORD), tmp_path)


def test_the_function_logs_the_token_and_the_client_and_nobody_can_pass_for_another(
    edge: RunningEdge, sample: OciLayout, log: list[str]
) -> None:
    digest = next(iter(sample.referenced_blobs))
    headers = {"x-ecr-layers-token": "another", "cloudfront-viewer-address": "198.51.100.9:1"}
    with httpx.Client(auth=GOOD, headers=headers, timeout=30, trust_env=False) as client:
        assert client.get(f"{edge.url}/v2/team/app/blobs/{digest}").status_code == 307
    line = wait_until(lambda: next((json.loads(line) for line in log if digest in line and "callerKind" in line), None))
    assert (line["callerKind"], line["caller"], line["sourceIp"]) == ("token", "ci", "127.0.0.1")


def test_nothing_of_a_token_reaches_the_log(log: list[str]) -> None:
    assert any('"route":"GET /v2/<name>/blobs/<digest>"' in line for line in log)
    secrets = [PASSWORD, *(base64.b64encode(f"{name}:{PASSWORD}".encode()).decode() for name in ("ci", "narrow"))]
    assert not any(secret in line for line in log for secret in secrets)
