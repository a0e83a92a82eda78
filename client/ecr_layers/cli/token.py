"""`ecr-layers token`: pull tokens of a service behind CloudFront."""

import argparse
import json
import os
import re
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ecr_layers.errors import UsageError
from ecr_layers.ops.deployment import find_deployment, find_store
from ecr_layers.ops.pull_tokens import PullToken, check_name, check_scope, new_password
from ecr_layers.ops.token_store import TokenStore

HELP = "Create, list and revoke pull tokens of a service that has CloudFront in front of it"

STORE_VARIABLE = "ECR_LAYERS_TOKEN_STORE"
STACK = "EcrLayerResolver"
DEFAULT_DAYS, MOST_DAYS = 90, 3650


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create a token; its password is shown once")
    create.add_argument("name", metavar="NAME", help="name of the token, which is the user name of a log-in")
    create.add_argument(
        "--repositories",
        required=True,
        action="extend",
        nargs="+",
        metavar="NAME",
        help="what it is for: repositories, prefixes such as 'team/*', or '*'; also with an account in front",
    )
    lifetime = create.add_mutually_exclusive_group()
    lifetime.add_argument(
        "--days", metavar="N", default=str(DEFAULT_DAYS), help=f"days until it expires (default: {DEFAULT_DAYS})"
    )
    lifetime.add_argument("--not-after", metavar="DATE", help="its last day, such as 2027-01-31, in UTC")
    create.set_defaults(action=_create)
    listed = actions.add_parser("list", help="list the tokens, without any secret")
    listed.set_defaults(action=_list)
    revoke = actions.add_parser("revoke", help="revoke a token, which takes effect within seconds")
    revoke.add_argument("name", metavar="NAME", help="name of the token")
    revoke.set_defaults(action=_revoke)
    for action in (create, listed, revoke):
        action.add_argument("--stack", metavar="NAME", help=f"the deployed stack (default: {STACK})")
        action.add_argument("--region", help="the stack's region, if the SDK's configuration has another or none")
        action.add_argument("--store", metavar="ARN", help=f"the store (default: {STORE_VARIABLE}, or the stack's)")
    for action in (create, listed):
        action.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Run the action."""
    status: int = options.action(options)
    return status


def _create(options: argparse.Namespace) -> int:
    now = datetime.now(UTC).replace(microsecond=0)
    scope = tuple(dict.fromkeys(each for argument in options.repositories for each in argument.split(",") if each))
    check_name(options.name)
    not_after = _end_of(options.not_after) if options.not_after else now + timedelta(days=_days(options.days))
    if not_after <= now:
        raise UsageError(f"{options.not_after} is in the past. Name a later date, or --days.")
    if not scope:
        raise UsageError("The token has no scope. Name repositories, such as --repositories 'team/*'.")
    deployment = find_deployment(options.stack or STACK, options.region)
    store = _named_store(options) or deployment.token_store
    if store != deployment.token_store:
        raise UsageError(f"{store} is not the token store of {deployment.stack}. Name its stack with --stack.")
    check_scope(scope, deployment.repositories, deployment.registries)
    token, password = PullToken(options.name, scope, not_after, now), new_password()
    TokenStore.open(store).add(token, password)
    _print_created(token, password, deployment.host, as_json=options.json)
    return 0


def _list(options: argparse.Namespace) -> int:
    tokens = _store(options).tokens()
    if options.json:
        print(json.dumps([_document(token) for token in tokens], indent=2))
    elif tokens:
        Console(soft_wrap=True).print(_table(tokens, datetime.now(UTC)))
    else:
        print("There are no tokens.")
    return 0


def _revoke(options: argparse.Namespace) -> int:
    _store(options).revoke(options.name)
    print(f"Revoked {options.name}. Within seconds it lets nobody in any more.")
    return 0


def _store(options: argparse.Namespace) -> TokenStore:
    return TokenStore.open(_named_store(options) or find_store(options.stack or STACK, options.region))


def _named_store(options: argparse.Namespace) -> str | None:
    """Return the store that was named; a stack that was named goes before the environment."""
    if options.store or options.stack:
        return options.store or None
    return os.environ.get(STORE_VARIABLE) or None


def _days(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_DAYS:
        raise UsageError(f"{text!r} is no number of days. A token is valid for 1 to {MOST_DAYS} days.")
    return int(text)


def _end_of(text: str) -> datetime:
    """Return the last moment of a day."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date. Write it as 2027-01-31.") from None
    return datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)


def _print_created(token: PullToken, password: str, host: str | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**_document(token), "password": password}, indent=2))
        return
    # Alone on standard output, so that it can go to a file, which `--token-file` reads.
    print(f"{token.name}:{password}", flush=True)
    print(
        f"The token is NAME:PASSWORD. The password is not shown again; the store has its SHA-256 only.\n"
        f"Expires:  {token.not_after:%Y-%m-%d %H:%M} UTC\n"
        f"Scope:    {' '.join(token.repositories)}\n"
        f"Log in:   docker login --username {token.name} {host or 'DOMAIN'}",
        file=sys.stderr,
    )


def _document(token: PullToken) -> dict[str, Any]:
    return {"name": token.name, "repositories": list(token.repositories), **token.times()}


def _table(tokens: list[PullToken], now: datetime) -> Table:
    table = Table("NAME", "SCOPE", "CREATED", "EXPIRES", box=None, pad_edge=False)
    for token in tokens:
        created, expires = (f"{each:%Y-%m-%d %H:%M}" if each else "?" for each in (token.created, token.not_after))
        if token.not_after and token.has_expired(now):
            expires += " (expired)"
        scope = " ".join(token.repositories) or "unreadable: lets nobody in"
        # What others wrote into the store is text and no markup.
        table.add_row(*map(Text, (token.name, scope, created, expires)))
    return table
