"""Signing keys are rotated and trust rules revoked by the real commands, in an AWS emulator."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecr_layers.cli import main
from tests.e2e.emulator import Emulator, running_emulator, use_emulator

STACK = "EcrLayerResolver"
TEMPLATE = {
    "Description": "A stack",
    "Metadata": {"repositories": ["team/*"], "trustRules": {"ci": {}}},
    "Resources": {
        "Store": {"Type": "AWS::CloudFront::KeyValueStore", "Properties": {"Name": "tokens"}},
        "Keys": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": '{"keys": []}'}},
    },
    "Outputs": {
        "TokenStoreArn": {"Description": "The store", "Value": {"Fn::GetAtt": ["Store", "Arn"]}},
        "SigningKeySecret": {"Description": "The keys", "Value": {"Ref": "Keys"}},
    },
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        client = running.client("cloudformation")
        client.create_stack(StackName=STACK, TemplateBody=json.dumps(TEMPLATE))
        client.get_waiter("stack_create_complete").wait(StackName=STACK, WaiterConfig={"Delay": 0.1})
        yield running


@pytest.fixture(autouse=True)
def environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    use_emulator(emulator, monkeypatch)


def test_keys_are_the_same_in_the_store_and_the_secret_of_the_stack(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (stack,) = emulator.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def written() -> tuple[dict[str, Any], dict[str, Any]]:
        store = emulator.client("cloudfront-keyvaluestore")
        entry = store.get_key(KvsARN=outputs["TokenStoreArn"], Key="_signing")["Value"]
        secret = emulator.client("secretsmanager").get_secret_value(SecretId=outputs["SigningKeySecret"])
        return json.loads(entry), json.loads(secret["SecretString"])

    for count in (1, 2):
        assert main(["token", "rotate-keys"]) == 0
        entry, secret = written()
        assert entry["keys"] == secret["keys"]
        assert len(entry["keys"]) == count
    assert main(["token", "revoke-rule", "ci"]) == 0
    assert written()[0]["notBefore"] == {"ci": 253402300799}
    assert main(["token", "list"]) == 0
    assert "_signing" not in capsys.readouterr().out
