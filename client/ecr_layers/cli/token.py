"""`ecr-layers token`."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import tell
from ecr_layers.errors import ClientError, MissingPackageError, TargetError, UsageError, printable

if TYPE_CHECKING:
    from ecr_layers.ops.pull_tokens import PullToken
    from ecr_layers.ops.token_store import TokenStore

STORE_VARIABLE = "ECR_LAYERS_TOKEN_STORE"
STACK = "EcrLayerResolver"
DEFAULT_DAYS, MOST_DAYS = 90, 3650

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@click.group(short_help="Create, list and revoke pull tokens")
def command() -> None:
    """Manage pull tokens of a service that has CloudFront in front of it."""


def _store_options(function: Decorated) -> Decorated:
    for option in (
        click.option("--store", metavar="ARN", help=f"the token store  [default: {STORE_VARIABLE}, or the stack's]"),
        click.option("--region", help="the stack's region  [default: the SDK's]"),
        click.option("--stack", metavar="NAME", help=f"the deployed stack  [default: {STACK}]"),
        click.option("-v", "--verbose", is_flag=True, expose_value=False, help="say more about errors"),
    ):
        function = option(function)
    return function


_json_option = click.option("--json", "is_json", is_flag=True, help="print JSON")


@command.command("create")
@click.argument("name")
@click.argument("further", nargs=-1, metavar="")
@click.option(
    "--repositories",
    required=True,
    multiple=True,
    metavar="NAMES",
    help="the scope: repositories, prefixes such as 'team/*', or '*'; several with commas or spaces",
)
@click.option("--days", type=click.IntRange(1, MOST_DAYS), metavar="N", help=f"expires after [default: {DEFAULT_DAYS}]")
@click.option("--not-after", metavar="DATE", help="its last day in UTC, such as 2027-01-31")
@_json_option
@_store_options
def create(
    name: str,
    further: Sequence[str],
    repositories: Sequence[str],
    days: int | None,
    not_after: str | None,
    *,
    is_json: bool,
    **options: Any,
) -> int:
    """Create a token, and print its password, which is shown once."""
    deployments, tokens = _load()
    now = datetime.now(UTC).replace(microsecond=0)
    scope = tuple(dict.fromkeys(each for argument in (*repositories, *further) for each in argument.split(",") if each))
    tokens.check_name(name)
    if days and not_after:
        raise _wrong("Use only one of --days and --not-after.")
    expiry = _end_of(not_after) if not_after else now + timedelta(days=days or DEFAULT_DAYS)
    if expiry <= now:
        raise _wrong(f"{not_after} is in the past. Use a later date, or --days.")
    if not scope:
        raise _wrong("The token has no scope. Name repositories, such as --repositories 'team/*'.")
    deployment = deployments.find_deployment(options["stack"] or STACK, options["region"])
    arn = _named_store(options) or deployment.token_store
    if arn != deployment.token_store:
        raise _wrong(f"{arn} isn't the token store of {deployment.stack}. Name its stack with --stack.")
    tokens.check_scope(scope, deployment.repositories, deployment.registries)
    token, password = tokens.PullToken(name, scope, expiry, now), tokens.new_password()
    store = _open(arn)
    store.add(token, password)
    try:
        _print_created(token, password, deployment.host, is_json=is_json)
    except (OSError, ClientError, output.ReaderGoneError):
        store.revoke(name)
        raise TargetError(f"The password couldn't be written, so {name} was revoked. Check the output.") from None
    return 0


@command.command("list")
@_json_option
@_store_options
def list_tokens(*, is_json: bool, **options: Any) -> int:
    """List the tokens, without their passwords."""
    tokens = _store(options).tokens()
    if is_json:
        output.write_line(json.dumps([_document(token) for token in tokens], indent=2))
    elif tokens:
        for line in _table(tokens, datetime.now(UTC)):
            output.write_line(line)
    else:
        output.write_line("There are no tokens.")
    return 0


@command.command("revoke")
@click.argument("name")
@_store_options
def revoke(name: str, **options: Any) -> int:
    """Revoke a token."""
    _store(options).revoke(name)
    output.write_line(f"Revoked {name}. Takes effect within seconds.")
    return 0


def _load() -> tuple[Any, Any]:
    """Return the modules for deployments and tokens, which need botocore."""
    try:
        from ecr_layers.ops import deployment, pull_tokens  # noqa: PLC0415
    except ImportError:
        raise MissingPackageError("Tokens need", "ops") from None
    return deployment, pull_tokens


def _open(arn: str) -> "TokenStore":
    from ecr_layers.ops.token_store import TokenStore  # noqa: PLC0415

    return TokenStore.open(arn)


def _store(options: dict[str, Any]) -> "TokenStore":
    deployments, _ = _load()
    return _open(_named_store(options) or deployments.find_store(options["stack"] or STACK, options["region"]))


def _named_store(options: dict[str, Any]) -> str | None:
    """Return the store that was named; a named stack overrides the environment."""
    if options["store"] or options["stack"]:
        return options["store"] or None
    return os.environ.get(STORE_VARIABLE) or None


def _end_of(text: str) -> datetime:
    """Return the last second of a day."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise _wrong(f"{text!r} isn't a date, such as 2027-01-31.") from None
    return datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)


def _print_created(token: "PullToken", password: str, host: str | None, *, is_json: bool) -> None:
    if is_json:
        output.write_line(json.dumps({**_document(token), "password": password}, indent=2))
        return
    # The only line on the standard output, for a file that --token-file reads.
    output.write_line(f"{token.name}:{password}")
    tell(
        f"The token is NAME:PASSWORD. The password isn't shown again; the store has only its SHA-256.\n"
        f"Expires:  {token.not_after:%Y-%m-%d %H:%M} UTC\n"
        f"Scope:    {' '.join(token.repositories)}\n"
        f"Log in:   docker login --username {token.name} {host or 'DOMAIN'}",
        prefix="",
    )


def _document(token: "PullToken") -> dict[str, Any]:
    return {"name": token.name, "repositories": list(token.repositories), **token.times()}


def _table(tokens: "list[PullToken]", now: datetime) -> list[str]:
    """Return aligned lines, whole and without control characters."""
    rows = [("NAME", "SCOPE", "CREATED", "EXPIRES")]
    for token in tokens:
        created, expires = (f"{each:%Y-%m-%d %H:%M}" if each else "?" for each in (token.created, token.not_after))
        if token.has_expired(now):
            expires += " (expired)"
        rows.append((printable(token.name), printable(" ".join(token.repositories)) or "?", created, expires))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*(row[column].ljust(widths[column]) for column in range(3)), row[3]]) for row in rows]


def _wrong(message: str) -> UsageError:
    return UsageError(message, code="invalid-arguments")
