"""Whole templates as snapshots; `pytest tests/infra/test_snapshots.py --snapshot-update` rewrites them."""

import json
import re
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from infra.regions import Region
from tests.infra.templates import synth_in

DOMAIN = {
    "domainName": "registry.example.com",
    "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012",
    "hostedZoneId": "Z0123456789ABCDEFGHIJ",
}
EDGE = {"repositories": ["team/*"], "imagePull": True, "edge": True}

SETTINGS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "defaults": (None, {}),
    "public": (None, {"authType": "NONE", "repositories": ["public/*"], "eventSources": []}),
    "private_for_others": (
        "eu-west-1",
        {
            "repositories": ["team/app", "web/*"],
            "registries": ["210987654321"],
            "allowedPrincipals": ["123456789012", "o-abcdefghij", "arn:aws:iam::123456789012:role/ci"],
            "allowedOrigins": ["https://example.com"],
            "alarmEmail": "ops@example.com",
            "logRetentionDays": 365,
            "keepLogs": True,
            "logLevel": "WARNING",
            "memorySize": 1024,
            "timeoutSeconds": 30,
            "reservedConcurrency": 5,
            "keepVersions": True,
            "savedQueries": False,
            "snapStart": False,
        },
    ),
    "events_on_another_bus": (
        "mx-central-1",
        {
            "repositories": ["web/*"],
            "imagePull": True,
            "listTags": True,
            "pullThroughPrefixes": ["web"],
            "pullTimeExclusion": True,
            "eventBusName": "layers",
            "eventSources": ["com.example.builds", "com.example.scans"],
            "pullEvents": True,
            "tracing": True,
            "ipv6": True,
            "downloadUrlHosts": ["s3.internal.example.com"],
        },
    ),
    "edge": (
        "us-east-1",
        EDGE
        | {
            "allowedOrigins": ["https://example.com"],
            "edgeCacheSeconds": 600,
            "edgeLayers": True,
            "edgeLogs": True,
            "publicRepositories": ["team/app"],
            "trustRules": {
                "ci": {"issuer": "https://gitlab.com", "claims": {"project_id": "1"}, "repositories": ["team/*"]}
            },
        },
    ),
    "edge_with_a_domain": (
        "eu-west-1",
        EDGE | DOMAIN | {"repositories": ["*"], "edgeTlsPolicy": "TLSv1.3_2025", "edgeMetrics": False},
    ),
}


def resources_of(template: dict[str, Any]) -> dict[str, str]:
    """Return the resources and outputs as lines of JSON, without what other tests compare or each build changes."""

    def shown(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = {"S3Key", "DashboardBody", "FunctionCode", "QueryString", "Metadata"}
            return {name: "…" if name in left_out else shown(each) for name, each in value.items()}
        return [shown(each) for each in value] if isinstance(value, list) else value

    parts = template["Resources"] | {f"Output {name}": each for name, each in template["Outputs"].items()}
    lines = {name: json.dumps(shown(each), sort_keys=True, ensure_ascii=False) for name, each in parts.items()}
    version = re.compile(r"(CurrentVersion[0-9A-F]{8})[0-9a-f]{32}")
    return {version.sub(r"\1", name): version.sub(r"\1", line) for name, line in lines.items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_template_changes_only_on_purpose(name: str, snapshot: SnapshotAssertion) -> None:
    region, values = SETTINGS[name]
    assert resources_of(synth_in(Region.named(region), **values)) == snapshot
