"""`ecr-layers token create` and `rotate`: the commands that print a password."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecr_layers.cli.errors import tell
from ecr_layers.cli.options import Duration
from ecr_layers.cli.output import ReaderGoneError
from ecr_layers.cli.secret_file import secret_output
from ecr_layers.cli.token.options import (
    expiry_options,
    file_options,
    json_option,
    open_deployment,
    open_store,
    require_ops,
    start_of,
    store_options,
    take_expiry,
    wrong,
)
from ecr_layers.cli.token.show import document
from ecr_layers.errors import ClientError, TargetError

if TYPE_CHECKING:
    from ecr_layers.ops.pull_tokens import PullToken

DEFAULT_DAYS = 90


@click.command("create", short_help="Create a token")
@click.argument("name")
@click.argument("further", nargs=-1, metavar="")
@click.option(
    "--repositories",
    required=True,
    multiple=True,
    metavar="NAMES",
    help="the scope: repositories, prefixes such as 'team/*', or '*'; several with commas or spaces",
)
@expiry_options
@click.option("--not-before", metavar="DATE", help="its first day in UTC  [default: valid at once]")
@click.option("--note", default="", metavar="TEXT", help="a note for people, which `list` shows")
@file_options
@json_option
@store_options
def create(
    name: str,
    further: Sequence[str],
    repositories: Sequence[str],
    not_before: str | None,
    note: str,
    *,
    is_json: bool,
    **options: Any,
) -> int:
    """Create a token, and print its password, which is shown once. It expires after 90 days by default."""
    require_ops()
    from ecr_layers.ops import pull_tokens as tokens  # noqa: PLC0415
    from ecr_layers.ops.token_scope import check_scope  # noqa: PLC0415

    now = datetime.now(UTC).replace(microsecond=0)
    scope = tuple(dict.fromkeys(each for argument in (*repositories, *further) for each in argument.split(",") if each))
    tokens.check_name(name)
    tokens.check_note(note)
    expires = take_expiry(options, now) or now + timedelta(days=DEFAULT_DAYS)
    starts = start_of(not_before) if not_before else None
    if starts and starts >= expires:
        raise wrong(f"The token would expire before {not_before}. Use --not-after with a later date.")
    if not scope:
        raise wrong("The token has no scope. Name repositories, such as --repositories 'team/*'.")
    with secret_output(options["path"], overwrites=options["overwrite"]) as write:
        deployment, store = open_deployment(options)
        check_scope(scope, deployment.repositories, deployment.registries)
        token, password = tokens.PullToken(name, scope, expires, now, starts, note), tokens.new_password()
        store.add(token, password)
        with _undoing(lambda: store.revoke(name), f"{name} was revoked", f"revoke {name}"):
            write(_text(token, password, now, is_json=is_json))
    _advise(token, options["path"], f"Log in:     docker login --username {name} {deployment.host or 'DOMAIN'}")
    return 0


@click.command("rotate", short_help="Give a token a new password")
@click.argument("name")
@click.option(
    "--keep-old",
    type=Duration(),
    default="24h",
    show_default=True,
    metavar="TIME",
    help="how long the old password stays valid, such as 30m or 7d; 0 ends it",
)
@expiry_options
@file_options
@json_option
@store_options
def rotate(name: str, keep_old: float, *, is_json: bool, **options: Any) -> int:
    """Give a token a new password, and print it. The old one stays valid for a while.

    An older one that is still valid ends.
    """
    require_ops()
    from ecr_layers.ops import pull_tokens as tokens  # noqa: PLC0415

    now, password = datetime.now(UTC).replace(microsecond=0), tokens.new_password()
    expires = take_expiry(options, now)

    def renewed(value: str) -> str:
        return tokens.with_password(value, password, now=now, keep_old=timedelta(seconds=keep_old), not_after=expires)

    with secret_output(options["path"], overwrites=options["overwrite"]) as write:
        store = open_store(options)
        before, after = store.change(name, renewed)

        def put_back() -> None:
            store.change(name, lambda found: before if found == after else found)

        token = tokens.PullToken.read(name, after)
        with _undoing(put_back, f"{name} keeps its old one", f"rotate {name} again"):
            write(_text(token, password, now, is_json=is_json))
    old = f"until {token.old_until:%Y-%m-%d %H:%M} UTC" if token.old_until else "no longer"
    _advise(token, options["path"], f"Old password valid {old}.")
    return 0


@contextmanager
def _undoing(undo: Callable[[], None], undone: str, remedy: str) -> Iterator[None]:
    """Undo what was done if its password can't be written.

    Raises:
        TargetError: If the password can't be written.
    """
    try:
        yield
    except BaseException as error:
        try:
            undo()
        except ClientError as failure:
            raise TargetError(f"The password couldn't be written; {remedy}, because that failed: {failure}") from None
        if isinstance(error, OSError | ClientError | ReaderGoneError):
            raise TargetError(f"The password couldn't be written, so {undone}. Check the output.") from None
        raise


def _text(token: "PullToken", password: str, now: datetime, *, is_json: bool) -> str:
    if is_json:
        return json.dumps({**document(token, now), "password": password}, indent=2)
    # The only line, as --token-file reads it.
    return f"{token.name}:{password}"


def _advise(token: "PullToken", path: Path | None, *further: str) -> None:
    where = f"{path} has the token:" if path else "The token is"
    lines = [
        f"{where} NAME:PASSWORD. The password isn't shown again; the store has only its SHA-256.",
        *([f"Valid from: {token.not_before:%Y-%m-%d %H:%M} UTC"] if token.not_before else []),
        f"Expires:    {token.not_after:%Y-%m-%d %H:%M} UTC",
        f"Scope:      {' '.join(token.repositories)}",
        *further,
    ]
    tell("\n".join(lines), prefix="")
