"""The commands, and how they start and end."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from ecr_layers import __version__
from ecr_layers.cli import output
from ecr_layers.cli.errors import EXIT_STATUSES, FAILED, READER_GONE, USAGE, show, tell
from ecr_layers.cli.signals import Stopped, stopping
from ecr_layers.errors import ClientError, one_line

COMMANDS = {
    "fetch": "Download images or layers, verified",
    "apply": "Add the images of a delta to a layout",
    "mirror": "Bring a layout up to date with a repository's tags",
    "verify": "Verify a layout or an archive of one",
    "prune": "Remove a layout's unused blobs",
    "cat": "Print a file of an image",
    "ls": "List the files of an image",
    "extract": "Extract files of an image",
    "diff": "Compare two images",
    "inspect": "Print an image's config, platforms and layers",
    "referrers": "List an image's signatures, SBOMs and attestations",
    "tags": "List the tags of a repository",
    "manifest": "Print an image's manifest",
    "digest": "Print an image's digest",
    "url": "Print a layer's download URL",
    "login": "Log a job in with its OIDC token",
    "logout": "Remove a login",
    "token": "Manage pull tokens",
    "proxy": "Sign requests to a function URL for other clients",
    "smoke": "Check a deployed service",
    "completion": "Print a shell's completion script",
    "help": "Explain a command",
}
"""The commands. Each is the module of this package with its name."""


class _Commands(click.Group):
    """Loads a command when it is used, so that the others cost no time."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"ecr_layers.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=f"\b\n{EXIT_STATUSES}")
@click.version_option(__version__, prog_name="ecr-layers", message="%(prog)s %(version)s")
def commands() -> None:
    """Client of the ECR Layer Resolver."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit status.

    Args:
        arguments: The command line; by default the process's.
    """
    output.occupy_closed_descriptors()
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with stopping():
            result = commands.main(words, prog_name="ecr-layers", standalone_mode=False)
            output.write_rest()
    except Stopped as stopped:
        return stopped.status
    except output.ReaderGoneError:
        return READER_GONE
    except Exception as error:
        return _report(error, words)
    return result if isinstance(result, int) else 0


def _report(error: Exception, words: Sequence[str]) -> int:
    """Write an error to the standard error, and return the exit status."""
    if isinstance(error, ClientError):
        is_json = _has(words, "--json", "--progress=json")
        return show(error, is_verbose=_has(words, "-v", "--verbose"), is_json=is_json)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    if isinstance(error, click.ClickException):
        tell(_usage(error))
        return USAGE
    tell(_unexpected(error))
    return FAILED


def run() -> NoReturn:
    """Run the process's command line, and end the process."""
    status = main()
    if status > 128:
        # Threads may still wait for the network or the disk.
        os._exit(status)
    sys.exit(status)


def _has(words: Sequence[str], *options: str) -> bool:
    return any(word in options for word in words)


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "ecr-layers"
    return f"{one_line(error.format_message())} Try '{command} --help'."


def _unexpected(error: Exception) -> str:
    """Describe an unexpected error by its place; its text may have a secret."""
    if isinstance(error, MemoryError):
        return "Out of memory. Allow more (ulimit -v), or use fewer connections."
    if isinstance(error, RuntimeError) and "thread" in str(error):
        return "The system allows no more threads. Allow more (ulimit -u, ulimit -v), or use fewer connections."
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"Unexpected {type(error).__name__}{place}. This is a bug; please report it."
