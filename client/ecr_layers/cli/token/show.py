"""`ecr-layers token list` and `usage`."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import tell
from ecr_layers.cli.token.options import (
    MOST_DAYS,
    STACK,
    json_option,
    open_store,
    require_ops,
    stack_options,
    store_options,
    wrong,
)
from ecr_layers.errors import escaped

if TYPE_CHECKING:
    from ecr_layers.ops.pull_tokens import PullToken
    from ecr_layers.ops.token_usage import Usage

_HEADS = ("NAME", "SCOPE", "CREATED", "EXPIRES", "STATE", "NOTE")
_USAGE_HEADS = ("TOKEN", "REPOSITORY", "REQUESTS", "LAYERS", "ADDRESSES", "LAST")


@click.command("list", short_help="List the tokens")
@json_option
@store_options
def list_tokens(*, is_json: bool, **options: Any) -> int:
    """List the tokens, without their passwords. Times are in UTC.

    The state is what the edge makes of a token: valid, not yet valid, paused, expired, or broken, which means that the
    store's entry is malformed.
    """
    tokens, now = open_store(options).tokens(), datetime.now(UTC)
    if is_json:
        output.write_line(json.dumps([document(token, now) for token in tokens], indent=2))
    elif tokens:
        output.write_table(_HEADS, [_row(token, now) for token in tokens])
    else:
        output.write_line("There are no tokens.")
    return 0


@click.command("usage", short_help="Show what tokens pulled, and when last")
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--days", type=click.IntRange(1, MOST_DAYS), default=30, show_default=True, metavar="N", help="look back")
@click.option("--csv", "is_csv", is_flag=True, help="print CSV")
@json_option
@click.option("--log-group", metavar="NAME", help="the function's log group  [default: the stack's]")
@stack_options
def usage(
    names: Sequence[str], days: int, log_group: str | None, *, is_csv: bool, is_json: bool, **options: Any
) -> int:
    """Show which repositories each token pulled, and when last, from the function's log.

    It has neither what the edge answered from its cache, nor jobs that logged in without a pull token. CloudWatch Logs
    bills the data that the query scans.
    """
    require_ops()
    from ecr_layers.ops import deployment, pull_tokens, token_usage  # noqa: PLC0415

    if is_csv and is_json:
        raise wrong("Use only one of --csv and --json.")
    for name in names:
        pull_tokens.check_name(name)
    group = log_group or deployment.find_log_group(options["stack"] or STACK, options["region"])
    client = deployment.create_client("logs", options["region"])
    found = token_usage.find_usage(client, group, names, timedelta(days=days))
    if is_json:
        rows = [{**asdict(each), "last": pull_tokens.time_text(each.last)} for each in found]
        output.write_line(json.dumps(rows, indent=2))
    elif is_csv:
        _write_csv(found)
    elif found:
        output.write_table(_USAGE_HEADS, [_usage_row(each) for each in found])
    else:
        output.write_line(f"No pulls in {days} days.")
    if len(found) == token_usage.MOST_ROWS:
        tell(f"note: these are the latest {len(found)} rows. Name tokens, or fewer days, for the others.")
    return 0


def document(token: "PullToken", now: datetime) -> dict[str, Any]:
    """Return the details of a token, for JSON."""
    from ecr_layers.ops.pull_tokens import time_text  # noqa: PLC0415

    return {
        "name": token.name,
        "repositories": list(token.repositories),
        **token.times(),
        "state": token.state(now),
        "oldPasswordNotAfter": time_text(token.old_until),
        "note": token.note,
    }


def _row(token: "PullToken", now: datetime) -> tuple[str, ...]:
    state = token.state(now)
    if state == "not yet valid" and token.not_before:
        state = f"valid from {_time(token.not_before)}"
    if token.has_old_password(now):
        state += f", old password until {_time(token.old_until)}"
    scope = " ".join(token.repositories) or "?"
    return token.name, scope, _time(token.created), _time(token.not_after), state, token.note


def _usage_row(each: "Usage") -> tuple[str, ...]:
    return each.token, each.repository, str(each.requests), str(each.layers), str(each.addresses), _time(each.last)


def _write_csv(found: "list[Usage]") -> None:
    from ecr_layers.ops.pull_tokens import time_text  # noqa: PLC0415

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head.lower() for head in _USAGE_HEADS)
    for each in found:
        writer.writerow(map(escaped, [*_usage_row(each)[:-1], time_text(each.last) or ""]))
    output.write(text.getvalue().encode(errors="backslashreplace"))


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "?"
