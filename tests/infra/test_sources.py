"""What an operator is told of the settings of a deployment."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.regions import Region
from infra.settings import DeploymentSettings
from infra.sources import context_files, describe, sources_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "home").mkdir()
    return tmp_path / "project"


def told(project: Path, **context: Any) -> list[str]:
    return told_in(Region.named("us-east-1"), project, **context)


def told_in(region: Region, project: Path, **context: Any) -> list[str]:
    settings = DeploymentSettings.from_values(context, region)
    return describe(settings, context, region, context_files(project, project.parent / "home"))


def write(path: Path, **context: Any) -> None:
    path.write_text(json.dumps(context if path.name == "cdk.context.json" else {"context": context}))


def test_without_a_change_there_is_nothing_to_tell(project: Path) -> None:
    write(project / "cdk.json", memorySize=512)
    assert told(project, memorySize=512) == ["All settings have their defaults."]


def test_each_change_is_told_with_the_file_that_it_comes_from(project: Path) -> None:
    write(project / "cdk.json", repositories=["team/app", "web/*"], memorySize=512)
    write(project / "cdk.context.json", imagePull=True)
    write(project.parent / "home" / ".cdk.json", alarmEmail="ops@example.com")
    context = {"repositories": ["team/app", "web/*"], "memorySize": 512, "imagePull": True}
    assert told(project, **context, alarmEmail="ops@example.com") == [
        "Settings that are not the defaults, or come from the command line:",
        "  repositories = team/app, web/*  (cdk.json)",
        "  imagePull = true  (cdk.context.json)",
        "  alarmEmail = ops@example.com  (~/.cdk.json)",
    ]


def test_what_the_command_line_sets_is_told_to_last_for_this_deployment_only(project: Path) -> None:
    write(project / "cdk.json", repositories=["team/app"], memorySize=1024)
    lines = told(project, repositories="*", memorySize=1024, keepLogs="true")
    assert lines[1:4] == [
        "  repositories = *  (command line)",
        "  memorySize = 1024  (cdk.json)",
        "  keepLogs = true  (command line)",
    ]
    assert lines[4].startswith(
        "Warning: what the command line sets lasts for this deployment only: repositories, keepLogs."
    )
    assert lines[4].endswith("put it into cdk.json.")


@pytest.mark.parametrize(
    ("name", "in_file", "on_command_line"),
    [("repositories", ["a/b", "c/d"], "a/b,c/d"), ("memorySize", 1024, "1024"), ("imagePull", True, "true")],
)
def test_the_same_value_on_the_command_line_lasts(project: Path, name: str, in_file: Any, on_command_line: str) -> None:
    write(project / "cdk.json", **{name: in_file})
    assert told(project, **{name: on_command_line})[1:] == told(project, **{name: in_file})[1:]
    assert not any("Warning" in line for line in told(project, **{name: on_command_line}))


def test_a_setting_that_is_put_back_to_its_default_for_once_is_told(project: Path) -> None:
    write(project / "cdk.json", imagePull=True)
    lines = told(project, imagePull="false")
    assert lines[1] == "  imagePull = false  (command line)"
    assert lines[2].startswith("Warning")


def test_defaults_that_depend_on_the_region_are_told(project: Path) -> None:
    assert told_in(Region.named("us-gov-west-1"), project)[1:] == [
        "  snapStart = false  (default in us-gov-west-1)",
        "  maximumResultKilobytes = 256  (default in us-gov-west-1)",
    ]
    assert told_in(Region.named("us-east-1", "http://localhost:4566"), project)[1:] == [
        "  savedQueries = false  (default in us-east-1, which is emulated)"
    ]


def test_where_each_key_comes_from_is_known_a_foreign_one_among_them(project: Path) -> None:
    write(project / "cdk.json", memorySize=1024)
    write(project.parent / "home" / ".cdk.json", department="x")
    context = {"memorySize": 1024, "department": "x", "imagePull": "true"}
    assert sources_of(context, context_files(project, project.parent / "home")) == {
        "memorySize": "cdk.json",
        "department": "~/.cdk.json",
        "imagePull": "command line",
    }


def test_a_value_that_begins_like_a_list_and_is_none_is_compared_as_it_is(project: Path) -> None:
    write(project / "cdk.json", alarmEmail="[a", stackName="[b")
    found = sources_of({"alarmEmail": "[a", "stackName": "[c"}, context_files(project, project.parent / "home"))
    assert found == {"alarmEmail": "cdk.json", "stackName": "command line"}


@pytest.mark.parametrize("content", ["", "[]", '{"context": []}', "{"])
def test_a_file_without_a_context_has_no_settings(project: Path, content: str) -> None:
    (project / "cdk.json").write_text(content)
    assert told(project, memorySize=1024)[1] == "  memorySize = 1024  (command line)"
