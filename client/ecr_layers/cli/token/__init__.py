"""`ecr-layers token`."""

import click

from ecr_layers.cli.token import change, create, show, signing, transfer


@click.group(short_help="Manage pull tokens")
def command() -> None:
    """Manage pull tokens of a service that has CloudFront in front of it."""


for _each in (
    create.create,
    create.rotate,
    show.list_tokens,
    show.usage,
    change.pause,
    change.resume,
    change.revoke,
    transfer.export_tokens,
    transfer.import_tokens,
    signing.rotate_keys,
    signing.list_keys,
    signing.revoke_rule,
    signing.resume_rule,
):
    command.add_command(_each)
