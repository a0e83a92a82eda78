"""The repositories that a pull token may be for."""

import re
from collections.abc import Iterable

from ecr_layers.errors import UsageError

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"\*|(?=..)(?:(?:{_PART}/)*{_PART}|[a-z0-9][a-z0-9._/-]*\*)")
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
_LONGEST_REPOSITORY = 256
_ACCOUNT = re.compile(r"(?P<account>[0-9]{12})/(?P<rest>.+)")


def check_scope(scope: Iterable[str], repositories: Iterable[str], registries: Iterable[str]) -> None:
    """Check that a token's scope is well-formed and no wider than the deployment.

    Args:
        scope: Names of repositories, prefixes or `*`, with or without an account in front.
        repositories: What the deployment serves, in the same form, without accounts.
        registries: The accounts that the deployment serves besides its own.

    Raises:
        UsageError: If it isn't.
    """
    served, accounts = tuple(repositories), frozenset(registries)
    for each in scope:
        account, rest = _split(each)
        if not _REPOSITORY.fullmatch(rest) or len(each) > _LONGEST_REPOSITORY:
            raise UsageError(f"{each!r} isn't a scope; expected a repository name, a prefix such as 'team/*', or '*'.")
        if account and account not in accounts:
            raise UsageError(
                f"The deployment doesn't serve the registry {account} of {each!r}. "
                f"Its setting registries has {_listed(accounts)}."
            )
        if not any(_covers(wide, rest) for wide in served):
            raise UsageError(f"The scope {each!r} exceeds the deployment's repositories, {_listed(served)}.")


def _split(scope: str) -> tuple[str | None, str]:
    match = _ACCOUNT.fullmatch(scope)
    return (match["account"], match["rest"]) if match else (None, scope)


def _covers(wide: str, narrow: str) -> bool:
    """Tell whether `wide` includes everything in `narrow`."""
    if not wide.endswith("*"):
        return wide == narrow
    return narrow.startswith(wide.removesuffix("*"))


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "none"
