import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.settings import RETENTION_DAYS, DeploymentSettings, SettingsError


def test_the_defaults_are_valid_and_private() -> None:
    settings = DeploymentSettings()
    assert settings.auth_type == "AWS_IAM"
    assert settings.repositories == ("*",)
    assert settings.allowed_principals == settings.allowed_origins == settings.registries == ()


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"repositories": "team/app, team/web"}, "repositories", ("team/app", "team/web")),
        ({"repositories": '["team/*"]'}, "repositories", ("team/*",)),
        ({"repositories": ["team__app"]}, "repositories", ("team__app",)),
        ({"registries": "210987654321"}, "registries", ("210987654321",)),
        ({"memorySize": "1024"}, "memory_size", 1024),
        ({"snapStart": "false"}, "snap_start", False),
        ({"reservedConcurrency": ""}, "reserved_concurrency", None),
        ({"reservedConcurrency": "5"}, "reserved_concurrency", 5),
        ({"alarmEmail": "ops@example.com"}, "alarm_email", "ops@example.com"),
        ({"logRetentionDays": "7"}, "log_retention_days", 7),
        ({"eventSources": "com.example.a,com.example.b"}, "event_sources", ("com.example.a", "com.example.b")),
        ({"eventSources": ""}, "event_sources", ()),
        ({"eventBusName": "builds"}, "event_bus_name", "builds"),
    ],
)
def test_values_come_from_cdk_json_or_from_the_command_line(values: dict[str, Any], name: str, expected: Any) -> None:
    assert getattr(DeploymentSettings.from_values(values), name) == expected


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"repositories": []}, "repositories"),
        ({"repositories": ["UPPER"]}, "repositories[0]: must be a repository name, a prefix such as 'team/*'"),
        ({"repositories": ["team/app", "*app"]}, "repositories[1]: must be"),
        ({"registries": ["1"]}, "registries[0]: must be an AWS account id, twelve digits"),
        ({"authType": "IAM"}, "authType"),
        ({"allowedPrincipals": ["*"]}, "allowedPrincipals[0]: must be an account id"),
        ({"allowedOrigins": ["example.com"]}, "allowedOrigins[0]: must be an origin such as https://example.com"),
        ({"memorySize": 127}, "memorySize"),
        ({"memorySize": "much"}, "memorySize"),
        ({"timeoutSeconds": 901}, "timeoutSeconds"),
        ({"reservedConcurrency": -1}, "reservedConcurrency"),
        ({"snapStart": "perhaps"}, "snapStart"),
        ({"logRetentionDays": 8}, "logRetentionDays must be one of 1, 3, 5"),
        ({"logLevel": "LOUD"}, "logLevel"),
        ({"alarmEmail": "nobody"}, "alarmEmail"),
        ({"stackName": "no spaces"}, "stackName"),
        ({"authType": "NONE"}, "repositories must name what is public"),
        ({"authType": "NONE", "repositories": ["team/app", "*"]}, "repositories must name what is public"),
        ({"authType": "NONE", "repositories": ["a/b"], "allowedPrincipals": ["123456789012"]}, "has no effect"),
        ({"eventSources": ["aws.ecr"]}, "eventSources[0]: must be a source of events"),
        ({"eventBusName": "no spaces"}, "eventBusName"),
        ({"createEventBus": True}, "createEventBus needs an eventBusName"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_bad_value_is_named_with_what_it_has_to_be(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        DeploymentSettings.from_values(values)
    assert str(caught.value).startswith("The deployment's settings are not valid:\n")
    assert complaint in str(caught.value)


def test_all_bad_values_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        DeploymentSettings.from_values({"memorySize": 1, "timeoutSeconds": 1})
    assert "memorySize" in str(caught.value)
    assert "timeoutSeconds" in str(caught.value)


@pytest.mark.parametrize("days", RETENTION_DAYS)
def test_each_retention_that_cloudwatch_knows_is_valid(days: int) -> None:
    assert DeploymentSettings(log_retention_days=days).log_retention_days == days


def test_the_documents_and_cdk_json_have_every_setting_and_no_other() -> None:
    root = Path(__file__).parents[2]
    names = {str(field.alias) for field in DeploymentSettings.model_fields.values()}
    documented = re.findall(r"^\| `(\w+)` \|", (root / "docs" / "settings.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(names)
    context = json.loads((root / "cdk.json").read_text())["context"]
    assert DeploymentSettings.from_values(context) == DeploymentSettings()
