"""`ecr-layers completion`."""

import click
from click.shell_completion import get_completion_class

_EPILOG = """\
\b
examples:
  ecr-layers completion bash > ~/.local/share/bash-completion/completions/ecr-layers
  ecr-layers completion zsh > ~/.zfunc/_ecr-layers
  ecr-layers completion fish > ~/.config/fish/completions/ecr-layers.fish"""


@click.command(short_help="Print a shell's completion script", epilog=_EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands and options in a shell."""
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(ctx.find_root().command, {}, "ecr-layers", "_ECR_LAYERS_COMPLETE").source())
