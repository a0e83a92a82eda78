"""Trust rules: whose OIDC tokens are accepted, and for which repositories.

Several rules can match one token. The rule that covers most of the repositories asked for decides, the first of equals;
without any asked for, the first. Rules aren't combined, because a token belongs to one rule, which can be revoked.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

from token_exchange.errors import NO_MATCHING_RULE, NOT_COVERED, ExchangeError

LARGEST_PATTERNS_BYTES = 1024
"""The largest list of a rule's patterns, as compact JSON, in bytes; a token with it stays below 2,048 characters."""

_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:(?P<account>[0-9]{{12}})/)?(?P<name>{_PART}(?:/{_PART})*)")
_PATTERN = re.compile(rf"(?:(?P<account>[0-9]{{12}})/)?(?P<name>\*|{_PART}(?:/{_PART})*|[a-z0-9][a-z0-9._/-]*\*)")
_RULE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_LONGEST_NAME = 256
_FIELDS = frozenset({"issuer", "claims", "repositories", "minutes"})


class RulesError(Exception):
    """TRUST_RULES is invalid; the message names the rule."""


@dataclass(frozen=True, slots=True)
class TrustRule:
    """One trust rule.

    Attributes:
        name: Its name.
        issuer: The issuer, exactly as tokens have it.
        claims: Accepted values by the claim's name.
        repositories: Patterns of the repositories that its tokens may pull.
        seconds: Lifetime of its tokens.
    """

    name: str
    issuer: str
    claims: Mapping[str, Sequence[str]]
    repositories: Sequence[str]
    seconds: int

    def accepts(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether a verified token's claims match, its issuer among them."""
        return claims["iss"] == self.issuer and all(
            isinstance(value := find_claim(claims, name), str) and value in accepted
            for name, accepted in self.claims.items()
        )

    def covered(self, repositories: Sequence[str]) -> list[str]:
        """Return those of the repositories that the rule covers."""
        return [name for name in repositories if any(_covers(pattern, name) for pattern in self.repositories)]


class Grant(NamedTuple):
    """What a token is for: a rule, and repositories or patterns of them."""

    rule: TrustRule
    repositories: Sequence[str]


def parse_rules(text: str) -> tuple[TrustRule, ...]:
    """Return the rules of a JSON document, in its order.

    Raises:
        RulesError: If one is invalid.
    """
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not document:
        raise RulesError("TRUST_RULES must be a JSON object with at least one rule.")
    return tuple(_parse_rule(name, fields) for name, fields in document.items())


def grant(rules: Sequence[TrustRule], claims: Mapping[str, Any], repositories: Sequence[str] | None) -> Grant:
    """Return what a verified token may pull.

    Args:
        rules: All rules.
        claims: The token's claims.
        repositories: The repositories asked for; None for all of the rule.

    Raises:
        ExchangeError: If no rule accepts the claims, or none that does covers a repository.
    """
    accepting = [rule for rule in rules if rule.accepts(claims)]
    if not accepting:
        raise ExchangeError(NO_MATCHING_RULE)
    if repositories is None:
        return Grant(accepting[0], accepting[0].repositories)
    grants = [Grant(rule, rule.covered(repositories)) for rule in accepting]
    best = max(grants, key=lambda each: len(each.repositories))
    if not best.repositories:
        raise ExchangeError(NOT_COVERED)
    return best


def find_claim(claims: object, name: str) -> object:
    """Return a claim's value, or None.

    A name with dots leads into nested objects unless there is a claim of that name; the longest existing name wins.
    """
    if not isinstance(claims, dict):
        return None
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        first, rest = ".".join(parts[:length]), ".".join(parts[length:])
        if first in claims:
            return find_claim(claims[first], rest) if rest else claims[first]
    return None


def _covers(pattern: str, repository: str) -> bool:
    """Tell whether a pattern covers a repository, as the edge does; both have an account or neither."""
    wanted, accepted = _REPOSITORY.fullmatch(repository), _PATTERN.fullmatch(pattern)
    if wanted is None or accepted is None or not 1 < len(wanted["name"]) <= _LONGEST_NAME:
        return False
    if wanted["account"] != accepted["account"]:
        return False
    name: str = accepted["name"]
    return wanted["name"].startswith(name[:-1]) if name.endswith("*") else wanted["name"] == name


def _parse_rule(name: str, fields: Any) -> TrustRule:
    if not isinstance(fields, dict) or not _is_rule(name, fields):
        raise RulesError(f"TRUST_RULES has an invalid rule, {name[:32]!r}.")
    claims = {claim: [value] if isinstance(value, str) else value for claim, value in fields["claims"].items()}
    return TrustRule(name, fields["issuer"], claims, fields["repositories"], fields.get("minutes", 60) * 60)


def _is_rule(name: str, fields: Mapping[str, Any]) -> bool:
    issuer, claims = fields.get("issuer"), fields.get("claims")
    patterns, minutes = fields.get("repositories"), fields.get("minutes", 60)
    return (
        _RULE_NAME.fullmatch(name) is not None
        and fields.keys() <= _FIELDS
        and isinstance(issuer, str)
        and issuer.startswith("https://")
        and isinstance(claims, dict)
        and bool(claims)
        and all(_is_strings([value] if isinstance(value, str) else value) for value in claims.values())
        and _is_strings(patterns)
        and all(_PATTERN.fullmatch(pattern) for pattern in patterns)
        and len(json.dumps(patterns, separators=(",", ":"))) <= LARGEST_PATTERNS_BYTES
        and type(minutes) is int
        and 1 <= minutes <= 60
    )


def _is_strings(values: object) -> TypeGuard[list[str]]:
    return isinstance(values, list) and bool(values) and all(isinstance(each, str) and each for each in values)
