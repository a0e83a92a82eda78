"""Signing keys are rotated and trust rules revoked, in the token store and in Secrets Manager."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ecr_layers.errors import UsageError
from ecr_layers.ops import deployment
from ecr_layers.ops.deployment import Deployment
from ecr_layers.ops.signing_keys import Signing, SigningKey
from local.key_value_store import KeyValueStore, StoreError
from local.server import running
from tests.client.commanding import Command, command
from tests.client.key_value_store import UnreliableStore
from tests.loopback import resolve_localhost_names

__all__ = ["command"]

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:SigningKeys-AbCdEf"
OUTPUTS = {"TokenStoreArn": KeyValueStore.arn, "SigningKeySecret": SECRET}
NOW = 1_800_000_000


class SecretsManager:
    """Secrets Manager with one secret.

    Attributes:
        value: Its value.
        error: Code with which it refuses to write.
    """

    def __init__(self) -> None:
        self.value = '{"keys": []}'
        self.error: str | None = None

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        assert body["SecretId"] == SECRET
        if request.headers["x-amz-target"] == "secretsmanager.GetSecretValue":
            return JSONResponse({"ARN": SECRET, "Name": "SigningKeys", "SecretString": self.value})
        assert request.headers["x-amz-target"] == "secretsmanager.PutSecretValue"
        if self.error is not None:
            return JSONResponse({"__type": self.error, "message": "No."}, 400)
        self.value = body["SecretString"]
        return JSONResponse({"ARN": SECRET, "Name": "SigningKeys"})

    @property
    def keys(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.value)["keys"]
        return found


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[UnreliableStore]:
    resolve_localhost_names(monkeypatch)
    store = UnreliableStore()
    deployed = Deployment("EcrLayerResolver", OUTPUTS, {"trustRules": {"ci": {}, "nightly": {}}})
    monkeypatch.setattr(deployment, "find_deployment", lambda *_: deployed)
    monkeypatch.delenv("ECR_LAYERS_TOKEN_STORE", raising=False)
    with running(store.app(), host="localhost") as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT_KEYVALUESTORE", url)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        yield store


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretsManager]:
    manager = SecretsManager()
    with running(Starlette(routes=[Route("/", manager.answer, methods=["POST"])])) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
        yield manager


def signing_of(store: UnreliableStore) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.snapshot()["_signing"])
    return found


def test_the_first_key_goes_to_the_store_and_the_secret(
    store: UnreliableStore, secret: SecretsManager, command: Command
) -> None:
    result = command("token", "rotate-keys")
    assert (result.status, result.error) == (0, "")
    (key,) = secret.keys
    assert signing_of(store) == {"keys": [key], "notBefore": {}}
    assert re.fullmatch(r"[0-9a-f]{8}", key["id"])
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", key["key"])
    assert key["notAfter"] is None
    assert result.output.startswith(f"The key {key['id']} signs from now on.")
    assert key["key"] not in result.output


def test_an_old_key_verifies_for_as_long_as_its_tokens_may_live(
    store: UnreliableStore, secret: SecretsManager, command: Command
) -> None:
    command("token", "rotate-keys")
    (old,) = secret.keys
    before = int(time.time())
    assert command("token", "rotate-keys").status == 0
    first, second = secret.keys
    assert signing_of(store)["keys"] == [first, second]
    assert (first["notAfter"], second["id"]) == (None, old["id"])
    assert first["key"] != old["key"]
    assert before + 3900 <= second["notAfter"] <= int(time.time()) + 3900


def test_a_secret_that_can_not_be_written_is_written_when_the_command_runs_again(
    store: UnreliableStore, secret: SecretsManager, command: Command
) -> None:
    command("token", "rotate-keys")
    (old,) = secret.keys
    secret.error = "AccessDeniedException"
    failed = command("token", "rotate-keys")
    new = signing_of(store)["keys"][0]
    assert (failed.status, failed.error.count("\n")) == (2, 1)
    assert (
        f"The token store has the new key {new['id']}, but the secret doesn't: AWS denied PutSecretValue"
        in failed.error
    )
    assert "Run the command again within an hour" in failed.error
    assert secret.keys == [old]
    secret.error = None
    before = int(time.time())
    assert command("token", "rotate-keys").status == 0
    assert secret.keys == signing_of(store)["keys"]
    first, second = secret.keys
    assert (first, second["id"]) == (new, old["id"])
    assert second["notAfter"] >= before + 3900


def test_a_rotation_by_somebody_else_in_between_is_finished_and_not_repeated(
    store: UnreliableStore, secret: SecretsManager, command: Command
) -> None:
    command("token", "rotate-keys")
    (old,) = secret.keys
    theirs = Signing((SigningKey.new(), SigningKey(old["id"], old["key"], NOW))).value()
    store.once_before("PutKey", lambda: store.put("_signing", theirs))
    assert command("token", "rotate-keys").status == 0
    assert [key["id"] for key in secret.keys] == [json.loads(theirs)["keys"][0]["id"], old["id"]]
    assert signing_of(store)["keys"] == secret.keys


def test_after_a_leak_old_keys_end_at_once(store: UnreliableStore, secret: SecretsManager, command: Command) -> None:
    command("token", "rotate-keys")
    (old,) = secret.keys
    command("token", "revoke-rule", "ci")
    assert command("token", "rotate-keys", "--revoke-old").status == 0
    (new,) = secret.keys
    assert signing_of(store)["keys"] == [new]
    assert signing_of(store)["notBefore"].keys() == {"ci"}
    assert new["key"] != old["key"]


def test_a_rule_is_revoked_until_it_is_resumed_and_its_earlier_tokens_stay_revoked(
    store: UnreliableStore, command: Command
) -> None:
    store.put("_signing", Signing((SigningKey.new(),), {"nightly": 1}).value())
    assert command("token", "revoke-rule", "ci").output == "Revoked the rule ci. Takes effect within seconds.\n"
    assert signing_of(store)["notBefore"] == {"ci": 253402300799}
    assert "rule ci: revoked\nrule nightly: trusted\n" in command("token", "list-keys").output
    before = int(time.time())
    assert command("token", "resume-rule", "ci").status == 0
    assert before <= signing_of(store)["notBefore"]["ci"] <= int(time.time())
    assert len(signing_of(store)["keys"]) == 1


def test_a_rule_that_is_not_deployed_is_revoked_with_a_note(store: UnreliableStore, command: Command) -> None:
    result = command("token", "revoke-rule", "c1")
    assert result.status == 0
    assert result.error == "ecr-layers: note: the stack EcrLayerResolver has no rule c1; its rules: ci, nightly.\n"
    assert signing_of(store)["notBefore"].keys() == {"c1"}
    refused = command("token", "revoke-rule", "C1")
    assert refused.status == 2
    assert "'C1' isn't a trust rule's name" in refused.error


def test_keys_are_listed_without_their_secrets(store: UnreliableStore, command: Command) -> None:
    assert "`ecr-layers token rotate-keys` makes the first." in command("token", "list-keys").output
    keys = (SigningKey("00000001", "a" * 43), SigningKey("00000002", "b" * 43, 4_000_000_000), SigningKey("3", "c", 1))
    store.put("_signing", Signing(keys, {"old": 253402300799}).value())
    lines = command("token", "list-keys").output.splitlines()
    assert lines == [
        "key 00000001: signs",
        "key 00000002: verifies until 2096-10-02T07:06:40Z",
        "rule ci: trusted",
        "rule nightly: trusted",
        "rule old: revoked",
    ]
    document = json.loads(command("token", "list-keys", "--json").output)
    assert document["keys"][1] == {"id": "00000002", "notAfter": "2096-10-02T07:06:40Z"}
    assert document["rules"] == {"ci": "trusted", "nightly": "trusted", "old": "revoked"}


@pytest.mark.parametrize(
    "value",
    [
        "{",
        "null",
        "[]",
        "{}",
        '{"keys": [1]}',
        '{"keys": [{"id": "1"}]}',
        '{"keys": [{"id": "1", "key": "a", "notAfter": "soon"}]}',
        '{"keys": [], "notBefore": []}',
        "[" * 100_000,
    ],
)
def test_a_malformed_entry_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=r"^The entry is malformed, so nothing was changed"):
        Signing.read(value, "The entry")


def test_a_malformed_entry_and_a_malformed_secret_stay_as_they_are(
    store: UnreliableStore, secret: SecretsManager, command: Command
) -> None:
    store.put("_signing", "{}")
    result = command("token", "rotate-keys")
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert "The token store's entry _signing is malformed" in result.error
    assert (store.snapshot(), secret.keys) == ({"_signing": "{}"}, [])
    store.delete("_signing")
    secret.value = "{}"
    assert "The signing keys' secret is malformed" in command("token", "rotate-keys").error
    assert (store.snapshot(), secret.value) == ({}, "{}")


def test_an_answer_of_the_store_that_is_lost_makes_one_key(
    store: UnreliableStore, secret: SecretsManager, command: Command
) -> None:
    def lose_first_answer(name: str) -> None:
        if name == "PutKey":
            store.after = lambda _: None
            raise StoreError("InternalServerException")

    store.after = lose_first_answer
    assert command("token", "rotate-keys").status == 0
    assert signing_of(store)["keys"] == secret.keys
    assert len(secret.keys) == 1


def test_a_stack_without_keyless_login_is_said(
    store: UnreliableStore, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = Deployment("Other", {"TokenStoreArn": KeyValueStore.arn})
    monkeypatch.setattr(deployment, "find_deployment", lambda *_: without)
    result = command("token", "rotate-keys")
    assert result.status == 2
    assert "The stack Other has no keyless login. Deploy it with trustRules." in result.error


def test_a_full_entry_is_said_before_it_is_written() -> None:
    with pytest.raises(UsageError, match="no room for more keys and revoked rules"):
        Signing(tuple(SigningKey.new() for _ in range(12))).value()


def test_keys_that_have_ended_and_old_moments_are_dropped() -> None:
    ended, recent = SigningKey("1", "a", NOW), SigningKey("2", "b", NOW + 1)
    rules = {"old": NOW - 3601, "recent": NOW - 3600, "revoked": 253402300799}
    current = Signing((recent, ended), rules).current(NOW)
    assert current == Signing((recent,), {"recent": NOW - 3600, "revoked": 253402300799})


def test_a_new_store_or_a_new_secret_gets_what_the_other_needs() -> None:
    fresh, issuing = SigningKey("fresh", "a"), SigningKey("issuing", "b")
    with_old = (fresh, SigningKey("issuing", "b", NOW + 3900))
    assert Signing().rotated([issuing], fresh, NOW).keys == with_old
    assert Signing((issuing,)).rotated([], fresh, NOW).keys == (issuing,)
