"""Pull tokens are created, listed and revoked by the real commands in an emulated CloudFront KeyValueStore."""

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
    "Metadata": {"repositories": ["team/*", "shared/base"], "registries": ["210987654321"], "domainName": None},
    "Resources": {"Store": {"Type": "AWS::CloudFront::KeyValueStore", "Properties": {"Name": "tokens"}}},
    "Outputs": {
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
def store(emulator: Emulator) -> str:
    (stack,) = emulator.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    return str({output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}["TokenStoreArn"])


@pytest.fixture(scope="module")
def api(emulator: Emulator) -> Any:
    return emulator.client("cloudfront-keyvaluestore")


@pytest.fixture
def tokens(
    emulator: Emulator, store: str, api: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Tokens]:
    use_emulator(emulator, monkeypatch)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    command = Tokens(store, api, capsys)
    yield command
    command.update(Deletes=[{"Key": name} for name in command.entries()])


def test_a_created_token_is_shown_once_and_the_store_has_its_hash_alone(tokens: Tokens) -> None:
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


def test_two_tokens_have_nothing_of_their_passwords_in_common(tokens: Tokens) -> None:
    passwords = {tokens("create", name, "--repositories", "team/app")[1].partition(":")[2] for name in ("a1", "b1")}
    assert len(passwords) == 2


def test_what_is_created_is_a_token_file(tokens: Tokens, tmp_path: Path) -> None:
    _, printed, _ = tokens("create", "ci", "--repositories", "team/app")
    file = tmp_path / "token"
    file.write_text(printed)
    assert Authentication(token_file=file, environment={}).of("https://registry.example.com") is not None


def test_a_list_has_name_scope_and_dates_and_no_secret(tokens: Tokens) -> None:
    secrets = [
        tokens("create", name, "--repositories", *scope, "--not-after", "2099-12-31")[1].partition(":")[2].strip()
        for name, scope in (("ci", ["team/app"]), ("all-of-team", ["team/*", "210987654321/team/*"]))
    ]
    secrets += [entry["sha256"] for entry in tokens.entries().values()]
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


def test_a_revoked_token_is_gone(tokens: Tokens) -> None:
    for name in ("one", "two"):
        tokens("create", name, "--repositories", "team/app")
    assert tokens("revoke", "one")[0] == 0
    assert tokens.entries().keys() == {"two"}


def test_the_store_can_be_named_by_its_arn_on_the_command_line_or_in_the_environment(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tokens("create", "ci", "--repositories", "team/app", "--store", tokens.store)[0] == 0
    monkeypatch.setenv("ECR_LAYERS_TOKEN_STORE", tokens.store)
    monkeypatch.delenv("AWS_REGION")
    assert tokens("list", "--stack", STACK)[2].startswith("ecr-layers: The stack's region isn't known.")
    assert json.loads(tokens("list", "--json")[1])[0]["name"] == "ci"
    assert tokens("revoke", "ci")[0] == 0


ABSENT = f"arn:aws:cloudfront::{ACCOUNT}:key-value-store/absent"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "taken", "--repositories", "team/app"], "The name taken is taken."),
        (["create", "ci", "--repositories", "*"], "The scope '*' exceeds the deployment's repositories"),
        (["create", "ci", "--repositories", "team/app,other/app"], "shared/base, team/*"),
        (["create", "ci", "--repositories", "111111111111/team/app"], "doesn't serve the registry 111111111111"),
        (["create", "ci", "--repositories", "Team/App"], "isn't a scope"),
        (["create", "ci", "--repositories", ","], "has no scope"),
        (["create", "c:i", "--repositories", "team/app"], "isn't a valid token name"),
        (["create", "ci", "--repositories", "team/app", "--not-after", "2020-01-31"], "2020-01-31 is in the past"),
        (["create", "ci", "--repositories", "team/app", "--days", "0"], "--days"),
        (["create", "ci", "--repositories", *(f"team/{n:0>60}" for n in range(20))], "The scope is too long"),
        (["create", "ci", "--repositories", "team/app", "--store", ABSENT], "isn't the token store of"),
        (["revoke", "unknown"], "There is no token 'unknown'."),
        (["list", "--stack", "Missing"], "There is no stack 'Missing' in us-east-1. Name it with --stack"),
        (["list", "--stack", "WithoutStore"], "The stack WithoutStore has no token store."),
        (["list", "--store", ABSENT], f"There is no token store {ABSENT}."),
        (["revoke", "ci", "--store", ABSENT], f"There is no token store {ABSENT}."),
        (["list", "--store", "tokens"], "'tokens' isn't the ARN of a CloudFront KeyValueStore."),
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
