"""docs/keyless.md can be copied: its files fit the platforms' schemas, and each other."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ecr_layers.login.id_tokens import PROJECTED_TOKEN, variable_of
from ecr_layers.login.kubelet import API_VERSION
from infra.trust_rules import TrustRule

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "keyless.md").read_text()
HOST = "registry.example.com"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def files(language: str, mark: str) -> list[Any]:
    """Return the documents of the page's only block that has a mark."""
    (block,) = [text for kind, text in BLOCKS if kind == language and mark in text]
    return list(YAML(typ="safe").load_all(block))


@pytest.mark.parametrize(("schema", "mark"), [("github-workflows", "runs-on:"), ("gitlab-ci", "id_tokens:")])
def test_a_ci_file_fits_the_platforms_schema(schema: str, mark: str, tmp_path: Path) -> None:
    (block,) = [text for kind, text in BLOCKS if kind == "yaml" and mark in text]
    command = [str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema", f"vendor.{schema}"]
    for text, is_valid in ((block, True), (block.replace(mark, "unknown-member:"), False)):
        (tmp_path / "file.yml").write_text(text)
        result = subprocess.run(
            [*command, tmp_path / "file.yml"], capture_output=True, text=True, timeout=60, check=False
        )
        assert (result.returncode == 0) is is_valid, result.stdout


def test_the_github_job_may_request_id_tokens() -> None:
    (workflow,) = files("yaml", "runs-on:")
    assert workflow["permissions"]["id-token"] == "write"


def test_the_gitlab_job_has_the_token_where_the_client_looks() -> None:
    (pipeline,) = files("yaml", "id_tokens:")
    assert pipeline["fetch"]["id_tokens"] == {variable_of(HOST): {"aud": HOST}}


def test_the_pod_has_the_token_where_the_client_looks() -> None:
    (pod,) = files("yaml", "kind: Pod")
    (volume,), (container,) = pod["spec"]["volumes"], pod["spec"]["containers"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == HOST
    (mount,) = container["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert Path(mount["mountPath"], source["serviceAccountToken"]["path"]) == PROJECTED_TOKEN


def test_kubelet_runs_the_clients_plugin_and_may_request_its_audience() -> None:
    (configuration,) = files("yaml", "CredentialProviderConfig")
    (provider,) = configuration["providers"]
    programs = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]["scripts"]
    assert provider["name"] in programs
    assert provider["apiVersion"] == API_VERSION
    assert provider["tokenAttributes"]["serviceAccountTokenAudience"] == HOST
    role, binding = files("yaml", "kind: ClusterRole\n")
    assert role["rules"][0]["resources"] == [HOST]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_the_json_documents_parse() -> None:
    blocks = [text for kind, text in BLOCKS if kind == "json"]
    rules = json.loads(f"{{{next(text for text in blocks if 'trustRules' in text)}}}")["trustRules"]
    assert {"github", "gitlab", "kubernetes", "aws"} == rules.keys()
    for rule in rules.values():
        TrustRule.model_validate(rule)
    for text in blocks:
        json.loads(text if text.startswith("{") else f"{{{text}}}")
