"""The CDK app as the CLI runs it: what it prints, what it writes, and how it ends."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import app
from infra.bundling import bundled_code
from infra.options import SettingsError
from infra.package import Target
from infra.regions import Region
from infra.settings import refuse_duplicate_keys
from tests.infra.templates import new_stack, synth_in

ROOT = Path(__file__).parents[2]


def run(output: Path, region: str = "eu-west-1", **context: Any) -> subprocess.CompletedProcess[str]:
    """Run the app with the variables that the CLI sets; see https://docs.aws.amazon.com/cdk/v2/guide/environments.html."""
    environment = {"CDK_CONTEXT_JSON": json.dumps(context), "CDK_OUTDIR": str(output), "CDK_DEFAULT_REGION": region}
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def warnings(region: Region | None = None, **values: Any) -> list[str]:
    stack = new_stack(values, region)
    return [str(each.data) for each in stack.node.metadata if each.type == "aws:cdk:warning"]


def test_a_misspelt_setting_ends_it_before_anything_is_built(tmp_path: Path) -> None:
    result = run(tmp_path, repository="team/app")
    assert result.returncode == 1
    assert result.stderr == ("Invalid settings:\n  repository: is not a setting; did you mean repositories?\n")
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_there_twice_is_refused_because_the_last_one_silently_wins(tmp_path: Path) -> None:
    path = tmp_path / "cdk.json"
    path.write_text('{"app": "x", "context": {"edge": true, "imagePull": true, "edge": false}}')
    with pytest.raises(SettingsError, match=r"cdk\.json has edge more than once; keep one of each"):
        refuse_duplicate_keys(path)


def test_a_package_that_can_not_be_built_ends_it_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDK_OUTDIR", str(tmp_path))
    with pytest.raises(SystemExit, match=r"dependencies could not be installed for Python 3\.13 on no-platform"):
        app.main(bundled_code(Target(python_version="3.13", python_platform="no-platform")))


def test_all_repositories_are_warned_about_until_some_are_named() -> None:
    (warning,) = [each for each in warnings() if "repositories" in each]
    assert "The setting repositories has '*'" in warning
    assert any("repositories" in each for each in warnings(repositories=["team/app", "*"]))
    assert not any("repositories" in each for each in warnings(repositories=["team/*"]))


def test_alarms_that_nobody_hears_are_warned_about() -> None:
    (warning,) = warnings(repositories=["team/*"])
    assert "Nobody hears the alarms, because alarmEmail has no address." in warning
    assert warnings(repositories=["team/*"], alarmEmail="ops@example.com") == []


def test_a_region_without_function_urls_is_warned_about() -> None:
    assert any("function URLs in eu-south-2" in each for each in warnings(Region.named("eu-south-2")))
    assert any("function URLs in cn-north-1" in each for each in warnings(Region.named("cn-north-1")))
    assert not any("function URLs" in each for each in warnings(Region.named("eu-west-1")))


def test_an_edge_from_which_no_image_can_be_pulled_is_warned_about() -> None:
    values: dict[str, Any] = {"edge": True, "repositories": ["team/*"], "alarmEmail": "ops@example.com"}
    assert any("without imagePull they can't pull images" in each for each in warnings(**values))
    assert warnings(**values, imagePull=True) == []


def test_an_edge_whose_alarms_would_have_to_be_elsewhere_is_warned_about() -> None:
    values: dict[str, Any] = {
        "edge": True,
        "imagePull": True,
        "repositories": ["team/*"],
        "alarmEmail": "ops@example.com",
    }
    (warning,) = warnings(Region.named("eu-west-1"), **values)
    assert "a stack in eu-west-1 can show them on its dashboard, but has no alarms on them" in warning
    assert warnings(Region.named("us-east-1"), **values) == []


def test_a_region_without_function_urls_is_refused() -> None:
    region = "us-gov-west-1"
    with pytest.raises(RuntimeError, match=f"Resource type 'AWS::Lambda::Url' does not exist in '{region}'"):
        synth_in(Region.named(region))


@pytest.mark.parametrize("region", ["eusc-de-east-1", "xx-new-1"])
def test_no_region_is_refused_by_lists_of_cdk_that_are_out_of_date(region: str) -> None:
    assert synth_in(Region.named(region))["Resources"]


def test_each_warning_has_the_id_by_which_an_operator_acknowledges_it() -> None:
    quiet: dict[str, Any] = {"repositories": ["team/*"], "alarmEmail": "ops@example.com"}
    all_of_them = [
        *warnings(Region.named("eu-west-1"), edge=True),
        *warnings(Region.named("eu-south-2"), **quiet),
    ]
    assert [re.findall(r"\[ack: (.*?)\]$", each) for each in all_of_them] == [
        ["EcrLayerResolver:EdgeWithoutImagePull"],
        ["EcrLayerResolver:EdgeWithoutAlarms"],
        ["EcrLayerResolver:AllRepositories"],
        ["EcrLayerResolver:NoAlarmEmail"],
        ["EcrLayerResolver:NoFunctionUrls"],
    ]


def test_the_dashboards_address_is_that_of_the_partitions_console() -> None:
    def address(region: str) -> str:
        return str(synth_in(Region.named(region))["Outputs"]["Dashboard"]["Value"])

    assert "https://eu-west-1.console.aws.amazon.com/cloudwatch/" in address("eu-west-1")
    assert "https://cn-north-1.console.amazonaws.cn/cloudwatch/" in address("cn-north-1")
    assert "https://eusc-de-east-1.console.amazonaws-eusc.eu/cloudwatch/" in address("eusc-de-east-1")
    assert "https://" not in address("us-iso-east-1")
