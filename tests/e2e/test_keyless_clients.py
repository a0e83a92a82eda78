"""Keyless login at an edge with trust rules: an OIDC token in, and images out."""

import base64
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from ecr_layers.ops.pull_tokens import PullToken
from local.edge import CALLER, CALLER_ARN, DISTRIBUTION_ARN, EdgeConfiguration, RunningEdge, local_edge
from local.oci_layout import OciLayout
from local.sample_image import write_sample_image
from local.service import EVERYTHING, FunctionUrl, local_service
from local.token_exchange import local_token_exchange
from tests.commands import tool
from tests.e2e.emulator import wait_until
from tests.e2e.mirrors import mirror
from tests.oidc_issuer import Issuer, new_key, running_issuer
from tests.programs import assert_has_all_blobs, attempt, run

GO_CLIENTS = Path(sys.prefix) / "tools" / "go-clients"
PASSWORD = "0123456789abcdef"
CLAIMS = {"repository_owner_id": "1234", "repository_id": "5678"}


@dataclass(frozen=True)
class Keyless:
    """An edge that trusts an issuer.

    Attributes:
        edge: The edge.
        issuer: The issuer.
        log: What both functions write.
    """

    edge: RunningEdge
    issuer: Issuer
    log: list[str]

    @property
    def host(self) -> str:
        return self.edge.url.removeprefix("http://")

    def short_token(self) -> str:
        """Return what an OIDC token is exchanged for."""
        answer = httpx.get(
            f"{self.edge.url}/token", auth=("oidc", self.issuer.token(self.host)), timeout=30, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def password(self, kind: str) -> tuple[str, str]:
        """Return a name and a password of a kind."""
        if kind == "short token":
            return "ci", self.short_token()
        return ("oidc", self.issuer.token(self.host)) if kind == "OIDC token" else ("pull", PASSWORD)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> OciLayout:
    directory = tmp_path_factory.mktemp("sample")
    write_sample_image(directory)
    return OciLayout(directory)


@pytest.fixture(scope="module")
def keyless(layout: OciLayout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyless]:
    log: list[str] = []
    with (
        running_issuer(tmp_path_factory.mktemp("issuer"), new_key("first")) as issuer,
        local_service(
            {"team/app": layout, "other/app": layout, "public/app": layout},
            function_url=FunctionUrl(caller=CALLER, caller_arn=CALLER_ARN, renames_headers=True),
            opted_into={**EVERYTHING, "EDGE_DISTRIBUTION_ARN": DISTRIBUTION_ARN},
            write_log=log.append,
        ) as service,
        local_token_exchange(
            json.dumps({"ci": {"issuer": issuer.url, "claims": CLAIMS, "repositories": ["team/*"]}}),
            log.append,
            environment={"SSL_CERT_FILE": str(issuer.ca_file)},
        ) as exchange,
        local_edge(
            service.url, EdgeConfiguration(public_repositories=("public/*",), exchange_origin=exchange.url)
        ) as edge,
    ):
        exchange.rotate_keys(edge.store)
        now = datetime.now(UTC)
        edge.store.put("pull", PullToken("pull", ("team/*",), now + timedelta(days=1), now).value(PASSWORD))
        yield Keyless(edge, issuer, log)
    # Nothing of a token reaches a log.
    assert not [line for line in log if "eyJ" in line or PASSWORD in line]


KINDS = ("short token", "OIDC token", "pull token")


def docker_config(directory: Path, host: str, credentials: tuple[str, str]) -> Path:
    directory.mkdir()
    encoded = base64.b64encode(":".join(credentials).encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {host: {"auth": encoded}}}))
    return directory


@pytest.mark.parametrize("kind", KINDS)
def test_skopeo_logs_in_and_copies(keyless: Keyless, layout: OciLayout, tmp_path: Path, kind: str) -> None:
    name, password = keyless.password(kind)
    file = tmp_path / "auth.json"
    run(tool("skopeo"), "login", "--tls-verify=false", "--authfile", file, "-u", name, "-p", password, keyless.host)
    source = f"docker://{keyless.host}/team/app:latest"
    run(tool("skopeo"), "copy", "--authfile", file, "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}")
    assert_has_all_blobs(tmp_path / "copy", layout)


@pytest.mark.parametrize("kind", KINDS)
def test_skopeo_copies_nothing_that_the_token_is_not_for(keyless: Keyless, tmp_path: Path, kind: str) -> None:
    credentials = ":".join(keyless.password(kind))
    source = f"docker://{keyless.host}/other/app:latest"
    options = ("--src-creds", credentials, "--src-tls-verify=false")
    result = attempt(tool("skopeo"), "copy", *options, source, f"dir:{tmp_path / 'copy'}")
    assert result.returncode != 0
    assert credentials not in result.stdout + result.stderr


def test_skopeo_copies_a_public_image_without_credentials(keyless: Keyless, layout: OciLayout, tmp_path: Path) -> None:
    source = f"docker://{keyless.host}/public/app:latest"
    run(tool("skopeo"), "copy", "--src-no-creds", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}")
    assert_has_all_blobs(tmp_path / "copy", layout)


@pytest.mark.skipif(not (GO_CLIENTS / "crane").exists(), reason="crane isn't built")
@pytest.mark.parametrize("kind", KINDS)
def test_crane_pulls(keyless: Keyless, layout: OciLayout, tmp_path: Path, kind: str) -> None:
    config = docker_config(tmp_path / "docker", keyless.host, keyless.password(kind))
    image = f"{keyless.host}/team/app:latest"
    run(GO_CLIENTS / "crane", "validate", "--insecure", "--remote", image, DOCKER_CONFIG=str(config))


@pytest.mark.skipif(not (GO_CLIENTS / "oras").exists(), reason="oras isn't built")
@pytest.mark.parametrize("kind", KINDS)
def test_oras_copies(keyless: Keyless, layout: OciLayout, tmp_path: Path, kind: str) -> None:
    config = docker_config(tmp_path / "docker", keyless.host, keyless.password(kind))
    target = f"{tmp_path / 'copy'}:latest"
    source = f"{keyless.host}/team/app:latest"
    options = ("--from-plain-http", "--to-oci-layout", "--from-registry-config", config / "config.json")
    run(GO_CLIENTS / "oras", "copy", *options, source, target)


@pytest.mark.skipif(not (GO_CLIENTS / "regctl").exists(), reason="regctl isn't built")
@pytest.mark.parametrize("kind", KINDS)
def test_regctl_copies(keyless: Keyless, layout: OciLayout, tmp_path: Path, kind: str) -> None:
    config = docker_config(tmp_path / "docker", keyless.host, keyless.password(kind))
    environment = {"REGCTL_CONFIG": str(tmp_path / "regctl.json"), "DOCKER_CONFIG": str(config)}
    run(GO_CLIENTS / "regctl", "registry", "set", "--tls=disabled", keyless.host, **environment)
    target = f"ocidir://{tmp_path / 'copy'}:latest"
    run(GO_CLIENTS / "regctl", "image", "copy", f"{keyless.host}/team/app:latest", target, **environment)
    assert layout.referenced_blobs.keys() <= OciLayout(tmp_path / "copy").referenced_blobs.keys()


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
@pytest.mark.parametrize("kind", KINDS)
def test_containerd_fetches(keyless: Keyless, layout: OciLayout, ctr: tuple[str, ...], kind: str) -> None:
    credentials = ":".join(keyless.password(kind))
    run(*ctr, "fetch", "--plain-http", "--user", credentials, f"{keyless.host}/team/app:latest")
    assert {*layout.referenced_blobs, layout.tags["latest"]} <= set(run(*ctr, "ls", "--quiet").split())


@pytest.mark.parametrize("kind", ["short token", "pull token"])
def test_docker_registry_mirrors_an_image(keyless: Keyless, layout: OciLayout, tmp_path: Path, kind: str) -> None:
    with mirror(keyless.edge.url, keyless.password(kind), tmp_path) as address:
        source = f"docker://{address}/team/app:latest"
        run(tool("skopeo"), "copy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}")
    assert_has_all_blobs(tmp_path / "copy", layout)


def test_the_log_names_the_job_and_its_rule(keyless: Keyless, layout: OciLayout) -> None:
    digest = next(iter(layout.referenced_blobs))
    headers = {"Authorization": f"Bearer {keyless.short_token()}"}
    with httpx.Client(headers=headers, timeout=30, trust_env=False) as client:
        assert client.get(f"{keyless.edge.url}/v2/team/app/blobs/{digest}").status_code == 307
    line = wait_until(
        lambda: next((json.loads(each) for each in keyless.log if digest in each and '"callerRule":"ci"' in each), None)
    )
    assert line["caller"] == "oidc:repo:team/app:ref:refs/heads/main"
