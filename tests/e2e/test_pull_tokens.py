"""Pull tokens and signing keys are changed by the real commands in an AWS emulator."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ecr_layers.cli import main
from ecr_layers.errors import UsageError
from ecr_layers.ops.pull_tokens import PullToken
from ecr_layers.ops.token_store import TokenStore
from ecr_layers.registry.authentication import Authentication
from tests.e2e.emulator import ACCOUNT, Emulator, running_emulator, use_emulator

STACK = "EcrLayerResolver"
TEMPLATE = {
    "Metadata": {
        "repositories": ["team/*", "shared/base"],
        "registries": ["210987654321"],
        "domainName": None,
        "trustRules": {"ci": {}},
    },
    "Resources": {
        "Store": {"Type": "AWS::CloudFront::KeyValueStore", "Properties": {"Name": "tokens"}},
        "Keys": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": '{"keys": []}'}},
    },
    "Outputs": {
        "SigningKeySecret": {"Value": {"Ref": "Keys"}},
        "TokenStoreArn": {"Value": {"Fn::GetAtt": ["Store", "Arn"]}},
        "RegistryDomain": {"Value": "registry.example.com"},
    },
}
WITHOUT_STORE = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}


@dataclass
class Tokens:
    """The command `ecr-layers token` with credentials for the emulator."""

    store: str
    api: Any
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        status = main(["token", *arguments])
        printed = self.capture.readouterr()
        return status, printed.out, printed.err

    def entries(self) -> dict[str, Any]:
        items = self.api.list_keys(KvsARN=self.store, MaxResults=50)["Items"]
        return {item["Key"]: json.loads(item["Value"]) for item in items}

    def update(self, **changes: Any) -> None:
        etag = self.api.describe_key_value_store(KvsARN=self.store)["ETag"]
        self.api.update_keys(KvsARN=self.store, IfMatch=etag, **changes)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        client = running.client("cloudformation")
        for name, template in (("WithoutStore", WITHOUT_STORE), (STACK, TEMPLATE)):
            client.create_stack(StackName=name, TemplateBody=json.dumps(template))
            client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.1})
        yield running


@pytest.fixture(scope="module")
def outputs(emulator: Emulator) -> dict[str, str]:
    (stack,) = emulator.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@pytest.fixture
def tokens(
    emulator: Emulator, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Tokens]:
    use_emulator(emulator, monkeypatch)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    command = Tokens(outputs["TokenStoreArn"], emulator.client("cloudfront-keyvaluestore"), capsys)
    yield command
    command.update(Deletes=[{"Key": name} for name in command.entries()])


def test_a_created_token_is_shown_once_and_the_store_has_its_hash_alone(tokens: Tokens, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    status, printed, advice = tokens("create", "ci", "--repositories", "team/*,shared/base", "--days", "30")
    assert status == 0, advice
    name, password = re.fullmatch(r"(ci):([0-9a-f]{64})\n", printed).groups()  # type: ignore[union-attr]
    assert "docker login --username ci registry.example.com" in advice
    assert password not in advice
    entry = tokens.entries()[name]
    assert entry.keys() == {"sha256", "repositories", "notAfter", "created"}
    assert entry["sha256"] == hashlib.sha256(password.encode()).hexdigest()
    assert entry["repositories"] == ["team/*", "shared/base"]
    lifetime = datetime.fromisoformat(entry["notAfter"]) - before
    assert timedelta(days=30, seconds=-5) < lifetime < timedelta(days=30, seconds=60)
    (tmp_path / "token").write_text(printed)
    assert Authentication(token_file=tmp_path / "token", environment={}).of("https://registry.example.com") is not None


def test_a_list_has_name_scope_and_dates_and_no_secret(tokens: Tokens) -> None:
    secrets = [
        tokens("create", name, "--repositories", *scope, "--not-after", "2099-12-31")[1].partition(":")[2].strip()
        for name, scope in (("ci", ["team/app"]), ("all-of-team", ["team/*", "210987654321/team/*"]))
    ]
    secrets += [entry["sha256"] for entry in tokens.entries().values()]
    assert len(set(secrets)) == 4
    status, printed, _ = tokens("list")
    assert status == 0
    assert [line.split()[:2] for line in printed.splitlines() if " team/" in line] == [
        ["all-of-team", "team/*"],
        ["ci", "team/app"],
    ]
    assert printed.count("2099-12-31 23:59") == 2
    _, as_json, _ = tokens("list", "--json")
    assert [(each["name"], each["repositories"], each["notAfter"]) for each in json.loads(as_json)] == [
        ("all-of-team", ["team/*", "210987654321/team/*"], "2099-12-31T23:59:59Z"),
        ("ci", ["team/app"], "2099-12-31T23:59:59Z"),
    ]
    assert not any(secret in printed + as_json for secret in secrets)


def test_a_list_goes_on_over_all_pages(tokens: Tokens) -> None:
    assert tokens("list") == (0, "There are no tokens.\n", "")
    names = [f"ci-{number:03}" for number in range(120)]
    tokens.update(Puts=[{"Key": name, "Value": "{}"} for name in names])
    assert [each["name"] for each in json.loads(tokens("list", "--json")[1])] == names
    tokens.update(Deletes=[{"Key": name} for name in names])


def test_the_store_can_be_named_by_its_arn_on_the_command_line_or_in_the_environment(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ci", "other"):
        assert tokens("create", name, "--repositories", "team/app", "--store", tokens.store)[0] == 0
    monkeypatch.setenv("ECR_LAYERS_TOKEN_STORE", tokens.store)
    monkeypatch.delenv("AWS_REGION")
    assert tokens("list", "--stack", STACK)[2].startswith("ecr-layers: The stack's region isn't known.")
    assert json.loads(tokens("list", "--json")[1])[0]["name"] == "ci"
    assert tokens("revoke", "ci")[0] == 0
    assert tokens.entries().keys() == {"other"}


ABSENT = f"arn:aws:cloudfront::{ACCOUNT}:key-value-store/absent"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "taken", "--repositories", "team/app"], "The name taken is taken."),
        (["create", "ci", "--repositories", "team/app,other/app"], "shared/base, team/*"),
        (["create", "ci", "--repositories", "team/app", "--days", "0"], "--days"),
        (["create", "ci", "--repositories", "team/app", "--store", ABSENT], "isn't the token store of"),
        (["revoke", "unknown"], "There is no token 'unknown'."),
        (["list", "--stack", "Missing"], "There is no stack 'Missing' in us-east-1. Name it with --stack"),
        (["list", "--stack", "WithoutStore"], "The stack WithoutStore has no token store."),
        (["list", "--store", ABSENT], f"There is no token store {ABSENT}."),
    ],
)
def test_what_can_not_be_done_is_one_line_with_status_2_and_writes_nothing(
    tokens: Tokens, arguments: list[str], message: str
) -> None:
    tokens.update(Puts=[{"Key": "taken", "Value": '{"repositories": ["team/other"]}'}])
    before = tokens.entries()
    status, printed, error = tokens(*arguments)
    assert (status, printed) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert tokens.entries() == before


def test_tokens_that_are_created_at_once_are_all_there(tokens: Tokens) -> None:
    refusals: list[str] = []

    def create(name: str, number: int) -> None:
        token = PullToken(name, ("team/app",), datetime.now(UTC) + timedelta(days=1), datetime.now(UTC))
        try:
            TokenStore.open(tokens.store).add(token, f"password {number}")
        except UsageError as error:
            refusals.append(str(error))

    names = ["a", "b", "c", "same", "same"]
    threads = [threading.Thread(target=create, args=(name, number)) for number, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tokens.entries().keys() == set(names)
    assert [refusal.partition(".")[0] for refusal in refusals] == ["The name same is taken"]


def test_signing_keys_are_the_same_in_the_store_and_the_secret_of_the_stack(
    tokens: Tokens, emulator: Emulator, outputs: dict[str, str]
) -> None:
    def written() -> tuple[dict[str, Any], dict[str, Any]]:
        secret = emulator.client("secretsmanager").get_secret_value(SecretId=outputs["SigningKeySecret"])
        return tokens.entries()["_signing"], json.loads(secret["SecretString"])

    for count in (1, 2):
        assert tokens("rotate-keys")[0] == 0
        entry, secret = written()
        assert entry["keys"] == secret["keys"]
        assert len(entry["keys"]) == count
    assert tokens("revoke-rule", "ci")[0] == 0
    assert written()[0]["notBefore"] == {"ci": 253402300799}
    status, listed, _ = tokens("list")
    assert (status, "_signing" in listed) == (0, False)
