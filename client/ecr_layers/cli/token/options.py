"""Options of several `ecr-layers token` commands, and the store that they describe."""

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ecr_layers.errors import MissingPackageError, UsageError

if TYPE_CHECKING:
    from ecr_layers.ops.deployment import Deployment
    from ecr_layers.ops.token_store import TokenStore

STORE_VARIABLE = "ECR_LAYERS_TOKEN_STORE"
STACK = "EcrLayerResolver"
MOST_DAYS = 3650

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

json_option = click.option("--json", "is_json", is_flag=True, help="print JSON")
"""The option to print JSON."""


def stack_options(function: Decorated) -> Decorated:
    """Add the options that name a deployed stack, and the one that every command has."""
    for option in (
        click.option("-v", "--verbose", is_flag=True, expose_value=False, help="say more about errors"),
        click.option("--region", help="the stack's region  [default: the SDK's]"),
        click.option("--stack", metavar="NAME", help=f"the deployed stack  [default: {STACK}]"),
    ):
        function = option(function)
    return function


def store_options(function: Decorated) -> Decorated:
    """Add the options that name a token store."""
    return click.option("--store", metavar="ARN", help=f"the token store  [default: {STORE_VARIABLE}, or the stack's]")(
        stack_options(function)
    )


def expiry_options(function: Decorated) -> Decorated:
    """Add the options for when a token expires."""
    days = click.option("--days", type=click.IntRange(1, MOST_DAYS), metavar="N", help="expires after N days")
    return days(click.option("--not-after", metavar="DATE", help="its last day in UTC, such as 2027-01-31")(function))


def file_options(function: Decorated) -> Decorated:
    """Add the options for a file with a secret."""
    overwrite = click.option("--overwrite", is_flag=True, help="replace FILE if it exists")
    return click.option(
        "-o",
        "--output",
        "path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="write to a new file that only you can read  [default: standard output]",
    )(overwrite(function))


def take_expiry(options: dict[str, Any], now: datetime) -> datetime | None:
    """Take when a token expires from a command's options; None if none says.

    Raises:
        UsageError: If both options are used, or the date is malformed or in the past.
    """
    days, not_after = options.pop("days"), options.pop("not_after")
    if days and not_after:
        raise wrong("Use only one of --days and --not-after.")
    if days:
        return now + timedelta(days=days)
    end = start_of(not_after) + timedelta(days=1, seconds=-1) if not_after else None
    if end is not None and end <= now:
        raise wrong(f"{not_after} is in the past. Use a later date, or --days.")
    return end


def start_of(text: str) -> datetime:
    """Return the first second of a day in UTC.

    Raises:
        UsageError: If it isn't a date before the last day that can be.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise wrong(f"{text!r} isn't a date, such as 2027-01-31.") from None
    if day == date.max:
        raise wrong(f"{text} is too late. Use an earlier date.")
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def open_store(options: dict[str, Any]) -> "TokenStore":
    """Return the store that the options name.

    Raises:
        UsageError: If there is none, or a package is missing.
    """
    require_ops()
    from ecr_layers.ops.deployment import find_store  # noqa: PLC0415
    from ecr_layers.ops.token_store import TokenStore  # noqa: PLC0415

    return TokenStore.open(_named_store(options) or find_store(options["stack"] or STACK, options["region"]))


def open_deployment(options: dict[str, Any]) -> tuple["Deployment", "TokenStore"]:
    """Return the deployment that the options name, and its store.

    Raises:
        UsageError: If there is none, another store was named, or a package is missing.
    """
    require_ops()
    from ecr_layers.ops import deployment as deployments  # noqa: PLC0415
    from ecr_layers.ops.token_store import TokenStore  # noqa: PLC0415

    deployment = deployments.find_deployment(options["stack"] or STACK, options["region"])
    arn = _named_store(options) or deployment.token_store
    if arn != deployment.token_store:
        raise wrong(f"{arn} isn't the token store of {deployment.stack}. Name its stack with --stack.")
    return deployment, TokenStore.open(arn)


def require_ops() -> None:
    """Check that the packages of the extra `ops` are there.

    Raises:
        MissingPackageError: If they aren't.
    """
    try:
        import botocore  # noqa: F401, PLC0415
    except ImportError:
        raise MissingPackageError("Tokens need", "ops") from None


def wrong(message: str) -> UsageError:
    """Return the error for options that don't fit together."""
    return UsageError(message, code="invalid-arguments")


def _named_store(options: dict[str, Any]) -> str | None:
    """Return the store that was named; a named stack overrides the environment."""
    if options["store"] or options["stack"]:
        return options["store"] or None
    return os.environ.get(STORE_VARIABLE) or None
