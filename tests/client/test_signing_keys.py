"""Signing keys are rotated and trust rules revoked, in the token store and in Secrets Manager."""

import json
import re
import time
from typing import Any

import pytest

from ecr_layers.errors import UsageError
from ecr_layers.ops.signing_keys import Signing, SigningKey
from tests.client.commanding import command
from tests.client.operating import Operated, token

__all__ = ["command", "token"]

NOW = 1_800_000_000
FOREVER = 253402300799


def signing_of(token: Operated) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(token.store.snapshot()["_signing"])
    return found


def keys_of(token: Operated) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(token.secret.value)["keys"]
    return found


def test_a_new_key_goes_to_the_store_and_the_secret_and_the_old_one_verifies_while_its_tokens_live(
    token: Operated,
) -> None:
    result = token("rotate-keys")
    assert (result.status, result.error) == (0, "")
    (old,) = keys_of(token)
    assert signing_of(token) == {"keys": [old], "notBefore": {}}
    assert re.fullmatch(r"[0-9a-f]{8}", old["id"])
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", old["key"])
    assert old["notAfter"] is None
    assert result.output.startswith(f"The key {old['id']} signs from now on.")
    assert old["key"] not in result.output
    before = int(time.time())
    assert token("rotate-keys").status == 0
    first, second = keys_of(token)
    assert signing_of(token)["keys"] == [first, second]
    assert (first["notAfter"], second["id"]) == (None, old["id"])
    assert first["key"] != old["key"]
    assert before + 3900 <= second["notAfter"] <= int(time.time()) + 3900


def test_a_secret_that_can_not_be_written_is_written_when_the_command_runs_again(token: Operated) -> None:
    token("rotate-keys")
    (old,) = keys_of(token)
    token.secret.is_writable = False
    failed = token("rotate-keys")
    new = signing_of(token)["keys"][0]
    assert (failed.status, failed.error.count("\n")) == (2, 1)
    assert f"has the new key {new['id']}, but the secret doesn't: AWS denied PutSecretValue" in failed.error
    assert keys_of(token) == [old]
    token.secret.is_writable = True
    assert token("rotate-keys").status == 0
    first, second = keys_of(token)
    assert signing_of(token)["keys"] == [first, second]
    assert (first, second["id"]) == (new, old["id"])


def test_a_rotation_by_somebody_else_in_between_is_finished_and_not_repeated(token: Operated) -> None:
    token("rotate-keys")
    (old,) = keys_of(token)
    theirs = Signing((SigningKey.new(), SigningKey(old["id"], old["key"], NOW))).value()
    token.store.once_before("PutKey", lambda: token.store.put("_signing", theirs))
    assert token("rotate-keys").status == 0
    assert [key["id"] for key in keys_of(token)] == [json.loads(theirs)["keys"][0]["id"], old["id"]]
    assert signing_of(token)["keys"] == keys_of(token)


def test_after_a_leak_old_keys_end_at_once(token: Operated) -> None:
    token("rotate-keys")
    (old,) = keys_of(token)
    token("revoke-rule", "ci")
    assert token("rotate-keys", "--revoke-old").status == 0
    (new,) = keys_of(token)
    assert signing_of(token)["keys"] == [new]
    assert signing_of(token)["notBefore"].keys() == {"ci"}
    assert new["key"] != old["key"]


def test_a_rule_is_revoked_until_it_is_resumed_and_its_earlier_tokens_stay_revoked(token: Operated) -> None:
    token.store.put("_signing", Signing((SigningKey.new(),), {"nightly": 1}).value())
    assert token("revoke-rule", "ci").output == "Revoked the rule ci. Takes effect within seconds.\n"
    assert signing_of(token)["notBefore"] == {"ci": FOREVER}
    before = int(time.time())
    assert token("resume-rule", "ci").status == 0
    assert before <= signing_of(token)["notBefore"]["ci"] <= int(time.time())
    assert len(signing_of(token)["keys"]) == 1


def test_a_rule_that_is_not_deployed_is_revoked_with_a_note(token: Operated) -> None:
    result = token("revoke-rule", "c1")
    assert result.status == 0
    assert result.error == "ecr-layers: note: the stack EcrLayerResolver has no rule c1; its rules: ci, nightly.\n"
    assert signing_of(token)["notBefore"].keys() == {"c1"}
    refused = token("revoke-rule", "C1")
    assert refused.status == 2
    assert "'C1' isn't a trust rule's name" in refused.error


def test_keys_are_listed_without_their_secrets(token: Operated) -> None:
    assert "`ecr-layers token rotate-keys` makes the first." in token("list-keys").output
    keys = (SigningKey("00000001", "a" * 43), SigningKey("00000002", "b" * 43, 4_000_000_000), SigningKey("3", "c", 1))
    token.store.put("_signing", Signing(keys, {"old": FOREVER}).value())
    assert token("list-keys").output.splitlines() == [
        "key 00000001: signs",
        "key 00000002: verifies until 2096-10-02T07:06:40Z",
        "rule ci: trusted",
        "rule nightly: trusted",
        "rule old: revoked",
    ]
    document = json.loads(token("list-keys", "--json").output)
    assert document["keys"][1] == {"id": "00000002", "notAfter": "2096-10-02T07:06:40Z"}
    assert document["rules"] == {"ci": "trusted", "nightly": "trusted", "old": "revoked"}


@pytest.mark.parametrize(
    "value",
    ["{", "null", "{}", '{"keys": [1]}', '{"keys": [{"id": "1"}]}', '{"keys": [], "notBefore": []}', "[" * 100_000],
)
def test_a_malformed_entry_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=r"^The entry is malformed, so nothing was changed"):
        Signing.read(value, "The entry")


def test_a_malformed_entry_and_a_malformed_secret_stay_as_they_are(token: Operated) -> None:
    token.store.put("_signing", "{}")
    result = token("rotate-keys")
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert "The token store's entry _signing is malformed" in result.error
    assert (token.store.snapshot(), keys_of(token)) == ({"_signing": "{}"}, [])
    token.store.delete("_signing")
    token.secret.value = "{}"
    assert "The signing keys' secret is malformed" in token("rotate-keys").error
    assert (token.store.snapshot(), token.secret.value) == ({}, "{}")


def test_a_stack_without_keyless_login_is_said(token: Operated) -> None:
    del token.outputs["SigningKeySecret"]
    result = token("rotate-keys")
    assert result.status == 2
    assert "The stack EcrLayerResolver has no keyless login. Deploy it with trustRules." in result.error


def test_a_full_entry_is_said_before_it_is_written() -> None:
    with pytest.raises(UsageError, match="no room for more keys and revoked rules"):
        Signing(tuple(SigningKey.new() for _ in range(12))).value()


def test_keys_that_have_ended_and_old_moments_are_dropped() -> None:
    ended, recent = SigningKey("1", "a", NOW), SigningKey("2", "b", NOW + 1)
    rules = {"old": NOW - 3601, "recent": NOW - 3600, "revoked": FOREVER}
    current = Signing((recent, ended), rules).current(NOW)
    assert current == Signing((recent,), {"recent": NOW - 3600, "revoked": FOREVER})


def test_a_rotation_that_another_left_unfinished_or_a_new_store_or_secret_gets_what_is_needed() -> None:
    fresh, issuing = SigningKey("fresh", "a"), SigningKey("issuing", "b")
    with_old = (fresh, SigningKey("issuing", "b", NOW + 3900))
    assert Signing().rotated([issuing], fresh, NOW).keys == with_old
    assert Signing((issuing,)).rotated([], fresh, NOW).keys == (issuing,)
    unfinished = Signing((fresh, SigningKey("issuing", "b", NOW + 10)))
    assert unfinished.rotated([issuing], SigningKey("other", "c"), NOW).keys == with_old
