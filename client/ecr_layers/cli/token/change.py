"""`ecr-layers token pause`, `resume` and `revoke`."""

from functools import partial
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.token.options import open_store, require_ops, store_options


@click.command("pause", short_help="Have the edge refuse a token for now")
@click.argument("name")
@store_options
def pause(name: str, **options: Any) -> int:
    """Have the edge refuse a token until you resume it."""
    return _pause(name, options, is_paused=True)


@click.command("resume", short_help="Have the edge accept a paused token")
@click.argument("name")
@store_options
def resume(name: str, **options: Any) -> int:
    """Have the edge accept a paused token again."""
    return _pause(name, options, is_paused=False)


@click.command("revoke", short_help="Revoke a token")
@click.argument("name")
@store_options
def revoke(name: str, **options: Any) -> int:
    """Revoke a token."""
    open_store(options).revoke(name)
    output.write_line(f"Revoked {name}. Takes effect within seconds.")
    return 0


def _pause(name: str, options: dict[str, Any], *, is_paused: bool) -> int:
    require_ops()
    from ecr_layers.ops.pull_tokens import with_pause  # noqa: PLC0415

    open_store(options).change(name, partial(with_pause, is_paused=is_paused))
    output.write_line(f"{'Paused' if is_paused else 'Resumed'} {name}. Takes effect within seconds.")
    return 0
