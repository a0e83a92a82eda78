"""The command line. Each command is a module of `ecr_layers.commands`, and one entry in `COMMANDS`.

Exit status: 0, all is well; 1, it failed; 2, it was asked for something impossible; 130, a signal cut it short.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from ecr_layers.commands import proxy, smoke
from ecr_layers.errors import ClientError, UsageError

FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit statuses; 0 is that of a command that did what it was asked for."""


class Command(Protocol):
    """A command of the command line."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Run the command and return its exit status.

        Raises:
            ClientError: What it was asked for failed, or can't be done.
        """


COMMANDS: tuple[Command, ...] = (proxy, smoke)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: The command line; that of the process if there is none.
    """
    options = _parser().parse_args(arguments)
    # Both signals end the command by an exception, so that what it started is stopped. SIGINT is set as well because a
    # shell that starts the command in the background lets it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except ClientError as error:
        print(error, file=sys.stderr)
        return USAGE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _stop(_: int, __: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ecr-layers", description="The client of the ECR Layer Resolver.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        added = commands.add_parser(command.NAME, help=command.HELP, description=f"{command.HELP}.")
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser
