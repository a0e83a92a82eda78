"""`ecr-layers help`."""

import click


@click.command(short_help="Explain a command")
@click.argument("name", required=False, metavar="[COMMAND]")
@click.pass_context
def command(ctx: click.Context, name: str | None) -> None:
    """Explain a command, or list all of them."""
    from ecr_layers.cli.app import COMMANDS, commands  # noqa: PLC0415 (it loads this module)

    root = ctx.find_root()
    if name is None:
        click.echo(commands.get_help(root))
        return
    found = commands.get_command(root, name)
    if found is None:
        raise click.UsageError(f"No such command {name!r}; expected one of {', '.join(COMMANDS)}.", root)
    with click.Context(found, info_name=name, parent=root) as own:
        click.echo(found.get_help(own))
