"""The tools that know bad templates find nothing that is not accepted in the code, whatever the settings."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks

from tests.infra.templates import new_stack

TOOLS = Path(sys.prefix) / "tools"

# Between them they have every resource and every statement that a setting can bring.
SETTINGS: list[dict[str, Any]] = [
    {},
    {
        "repositories": ["team/app", "web/*"],
        "registries": ["210987654321"],
        "allowedPrincipals": ["123456789012", "o-abcdefghij"],
        "allowedOrigins": ["https://example.com"],
        "reservedConcurrency": 5,
        "alarmEmail": "ops@example.com",
        "eventBusName": "layers",
        "pullThroughPrefixes": ["web"],
        "ipv6": True,
        "downloadUrlHosts": ["s3.internal.example.com"],
        "keepLogs": True,
        "snapStart": False,
        "imagePull": True,
        "listTags": True,
        "pullEvents": True,
        "tracing": True,
        "edge": True,
        "domainName": "registry.example.com",
        "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012",
        "hostedZoneId": "Z0123456789ABCDEFGHIJ",
        "edgeCacheSeconds": 600,
        "edgeLogs": True,
        "edgeLayers": True,
        "trustRules": {
            "ci": {"issuer": "https://gitlab.com", "claims": {"project_id": "1"}, "repositories": ["web/*"]}
        },
    },
    {"authType": "NONE", "repositories": ["public/*"], "eventSources": []},
]
NAMES = ["defaults", "everything", "public"]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / name / "bin" / name, *arguments], capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the files of all templates: each tool starts once, which takes longer than its checks."""
    directory = tmp_path_factory.mktemp("templates")
    paths = [directory / f"{name}.json" for name in NAMES]
    for path, settings in zip(paths, SETTINGS, strict=True):
        path.write_text(json.dumps(Template.from_stack(new_stack(settings)).to_json()))
    return list(map(str, paths))


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
def test_cdk_nag_has_no_finding_that_is_not_accepted(settings: dict[str, Any]) -> None:
    scope = new_stack(settings)
    report = AwsSolutionsChecks(scope).validate_scope(scope)
    assert [violation.rule_name for violation in report.violations or []] == []
    assert report.success


def test_cfn_lint_has_no_finding_that_is_not_accepted(templates: list[str]) -> None:
    result = run("cfn-lint", "--regions", "us-east-1", "--", *templates)
    assert result.stdout == ""
    assert result.returncode == 0, result.stderr


def test_checkov_has_no_finding_that_is_not_accepted_with_a_reason(templates: list[str]) -> None:
    options = ("--framework", "cloudformation", "--skip-download", "--output", "json")
    report = json.loads(run("checkov", *options, "--file", *templates).stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert {Path(each["file_path"]).stem for each in report["results"]["passed_checks"]} == set(NAMES)
    assert [check["check_name"] for check in report["results"]["failed_checks"]] == []
    assert all(check["check_result"]["suppress_comment"] for check in report["results"]["skipped_checks"])
