"""`ecr-layers help`."""

import click


@click.command(short_help="Explain a command")
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
def command(names: tuple[str, ...]) -> None:
    """Explain a command, or list all of them."""
    from ecr_layers.cli.app import commands  # noqa: PLC0415 (it loads this module)

    commands.main([*names, "--help"], prog_name="ecr-layers", standalone_mode=False)
