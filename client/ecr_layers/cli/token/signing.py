"""`ecr-layers token rotate-keys`, `list-keys`, `revoke-rule` and `resume-rule`."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import tell
from ecr_layers.cli.token.options import json_option, open_deployment, stack_options

if TYPE_CHECKING:
    from ecr_layers.ops.deployment import Deployment
    from ecr_layers.ops.token_store import TokenStore


@click.command("rotate-keys", short_help="Make a new key for keyless login")
@click.option("--revoke-old", "revokes_old", is_flag=True, help="end old keys at once, after a leak")
@stack_options
def rotate_keys(*, revokes_old: bool, **options: Any) -> int:
    """Make a new key that signs the tokens of keyless login. Tokens of the old key stay valid until they expire."""
    deployment, store = _open(options)
    from ecr_layers.ops.deployment import create_client  # noqa: PLC0415 (it needs botocore)
    from ecr_layers.ops.signing_keys import SigningSecret, rotate  # noqa: PLC0415

    secret = SigningSecret(deployment.signing_secret, create_client("secretsmanager", options["region"]))
    key = rotate(store, secret, revokes_old=revokes_old)
    output.write_line(f"The key {key.id} signs from now on. It takes a minute to be used everywhere.")
    return 0


@click.command("list-keys", short_help="List signing keys and trust rules")
@json_option
@stack_options
def list_keys(*, is_json: bool, **options: Any) -> int:
    """List the signing keys, without their secrets, and the trust rules."""
    deployment, store = _open(options)
    from ecr_layers.ops.signing_keys import read_signing  # noqa: PLC0415 (it needs botocore)

    signing = read_signing(store)
    keys = [{"id": key.id, "notAfter": _time(key.not_after)} for key in signing.keys]
    rules = {rule: _state(signing.not_before, rule) for rule in sorted({*deployment.trust_rules, *signing.not_before})}
    if is_json:
        output.write_line(json.dumps({"keys": keys, "rules": rules}, indent=2))
        return 0
    for place, key in enumerate(keys):
        output.write_line(f"key {key['id']}: " + (f"verifies until {key['notAfter']}" if place else "signs"))
    for rule, state in rules.items():
        output.write_line(f"rule {rule}: {state}")
    if not keys:
        output.write_line("No keys yet. `ecr-layers token rotate-keys` makes the first.")
    return 0


@click.command("revoke-rule", short_help="Revoke all tokens of a trust rule")
@click.argument("rule")
@stack_options
def revoke_rule(rule: str, **options: Any) -> int:
    """Revoke all tokens of a trust rule, and new ones too, until you resume it."""
    store = _open_with(rule, options)
    from ecr_layers.ops.signing_keys import REVOKED, set_rule  # noqa: PLC0415 (it needs botocore)

    set_rule(store, rule, REVOKED)
    output.write_line(f"Revoked the rule {rule}. Takes effect within seconds.")
    return 0


@click.command("resume-rule", short_help="Accept new tokens of a revoked trust rule")
@click.argument("rule")
@stack_options
def resume_rule(rule: str, **options: Any) -> int:
    """Accept new tokens of a revoked trust rule. Earlier ones stay revoked."""
    store = _open_with(rule, options)
    from ecr_layers.ops.signing_keys import set_rule  # noqa: PLC0415 (it needs botocore)

    set_rule(store, rule, int(time.time()))
    output.write_line(f"Resumed the rule {rule}. Takes effect within seconds; jobs have to log in again.")
    return 0


def _open(options: dict[str, Any]) -> "tuple[Deployment, TokenStore]":
    return open_deployment({"store": None, **options})


def _open_with(rule: str, options: dict[str, Any]) -> "TokenStore":
    """Return the store. A rule that isn't deployed any more may still have valid tokens."""
    deployment, store = _open(options)
    if rule not in deployment.trust_rules:
        rules = ", ".join(deployment.trust_rules) or "none"
        tell(f"note: the stack {deployment.stack} has no rule {rule}; its rules: {rules}.")
    return store


def _state(not_before: Mapping[str, int], rule: str) -> str:
    from ecr_layers.ops.signing_keys import REVOKED  # noqa: PLC0415 (it needs botocore)

    if rule not in not_before:
        return "trusted"
    return "revoked" if not_before[rule] >= REVOKED else f"trusted since {_time(not_before[rule])}"


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
