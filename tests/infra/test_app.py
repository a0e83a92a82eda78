"""The CDK app as the CLI runs it: what it prints, what it writes, and how it ends."""

import json
import os
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


QUIET = {"repositories": ["team/*"], "alarmEmail": "ops@example.com"}


@pytest.mark.parametrize(
    ("region", "values", "expected"),
    [
        (None, QUIET, {}),
        (None, {**QUIET, "repositories": ["team/app", "*"]}, {"AllRepositories": "The setting repositories has '*'"}),
        (None, {"repositories": ["team/*"]}, {"NoAlarmEmail": "Nobody hears the alarms, because alarmEmail has no"}),
        ("eu-south-2", QUIET, {"NoFunctionUrls": "function URLs in eu-south-2"}),
        ("cn-north-1", QUIET, {"NoFunctionUrls": "function URLs in cn-north-1"}),
        ("us-east-1", {**QUIET, "edge": True, "imagePull": True}, {}),
        ("us-east-1", {**QUIET, "edge": True}, {"EdgeWithoutImagePull": "without imagePull they can't pull images"}),
        (
            "eu-west-1",
            {**QUIET, "edge": True, "imagePull": True},
            {"EdgeWithoutAlarms": "a stack in eu-west-1 can show them on its dashboard, but has no alarms on them"},
        ),
    ],
)
def test_a_risky_setting_is_warned_about_with_the_id_that_acknowledges_it(
    region: str | None, values: dict[str, Any], expected: dict[str, str]
) -> None:
    stack = new_stack(values, Region.named(region))
    warnings = [str(each.data) for each in stack.node.metadata if each.type == "aws:cdk:warning"]
    assert len(warnings) == len(expected)
    for warning, (name, words) in zip(warnings, expected.items(), strict=True):
        assert words in warning
        assert warning.endswith(f"[ack: EcrLayerResolver:{name}]")


def test_a_region_without_function_urls_is_refused() -> None:
    region = "us-gov-west-1"
    with pytest.raises(RuntimeError, match=f"Resource type 'AWS::Lambda::Url' does not exist in '{region}'"):
        synth_in(Region.named(region))


@pytest.mark.parametrize("region", ["eusc-de-east-1", "xx-new-1"])
def test_no_region_is_refused_by_lists_of_cdk_that_are_out_of_date(region: str) -> None:
    assert synth_in(Region.named(region))["Resources"]


def test_the_dashboards_address_is_that_of_the_partitions_console() -> None:
    def address(region: str) -> str:
        return str(synth_in(Region.named(region))["Outputs"]["Dashboard"]["Value"])

    assert "https://eu-west-1.console.aws.amazon.com/cloudwatch/" in address("eu-west-1")
    assert "https://cn-north-1.console.amazonaws.cn/cloudwatch/" in address("cn-north-1")
    assert "https://eusc-de-east-1.console.amazonaws-eusc.eu/cloudwatch/" in address("eusc-de-east-1")
    assert "https://" not in address("us-iso-east-1")
