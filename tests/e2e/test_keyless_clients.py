"""Keyless login at an edge with trust rules: an OIDC token in, and images out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from ecr_layers.ops.pull_tokens import PullToken
from local.edge import CALLER, CALLER_ARN, DISTRIBUTION_ARN, EdgeConfiguration, RunningEdge, local_edge
from local.oci_layout import OciLayout
from local.service import EVERYTHING, FunctionUrl, local_service
from local.token_exchange import local_token_exchange
from tests.e2e.clients import PULLS, digests_in, log_in, skopeo
from tests.e2e.emulator import wait_until
from tests.oidc_issuer import Issuer, new_key, running_issuer

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
def keyless(sample: OciLayout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyless]:
    log: list[str] = []
    with (
        running_issuer(tmp_path_factory.mktemp("issuer"), new_key("first")) as issuer,
        local_service(
            {"team/app": sample, "other/app": sample, "public/app": sample},
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
PULLING = [
    (client, kind)
    for client in ("skopeo", "containerd", "docker-registry", "crane", "oras", "regctl")
    for kind in KINDS
    # A cache would need another token when that expires.
    if (client, kind) != ("docker-registry", "OIDC token")
]


@pytest.mark.parametrize(("client", "kind"), PULLING)
def test_a_client_logs_in_and_pulls(
    keyless: Keyless, sample: OciLayout, tmp_path: Path, client: str, kind: str
) -> None:
    credentials = keyless.password(kind)
    log_in(client, keyless.host, credentials, tmp_path)
    PULLS[client](f"{keyless.host}/team/app:latest", credentials, tmp_path)
    assert sample.referenced_blobs.keys() <= digests_in(tmp_path / "copy")


@pytest.mark.parametrize("kind", KINDS)
def test_skopeo_copies_nothing_that_the_token_is_not_for(keyless: Keyless, tmp_path: Path, kind: str) -> None:
    name, password = keyless.password(kind)
    with pytest.raises(AssertionError, match="other/app") as refused:
        skopeo(f"{keyless.host}/other/app:latest", (name, password), tmp_path)
    assert password not in str(refused.value)


def test_skopeo_copies_a_public_image_without_credentials(keyless: Keyless, sample: OciLayout, tmp_path: Path) -> None:
    skopeo(f"{keyless.host}/public/app:latest", None, tmp_path)
    assert sample.referenced_blobs.keys() <= digests_in(tmp_path / "copy")


def test_the_log_names_the_job_and_its_rule(keyless: Keyless, sample: OciLayout) -> None:
    digest = next(iter(sample.referenced_blobs))
    headers = {"Authorization": f"Bearer {keyless.short_token()}"}
    with httpx.Client(headers=headers, timeout=30, trust_env=False) as client:
        assert client.get(f"{keyless.edge.url}/v2/team/app/blobs/{digest}").status_code == 307
    line = wait_until(
        lambda: next((json.loads(each) for each in keyless.log if digest in each and '"callerRule":"ci"' in each), None)
    )
    assert line["caller"] == "oidc:repo:team/app:ref:refs/heads/main"
