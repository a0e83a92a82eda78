"""The command line. Each command is a module of `ecr_layers.cli`, and one name in `COMMANDS`.

Exit status: 0, all is well; 1, it failed; 2, it was asked for something impossible; 3, what was loaded is not what its
digest says; 4, the target or the output can't be written; 130, a signal cut it short; 141, nobody reads the output.
"""

import argparse
import io
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType
from typing import Protocol

from ecr_layers.cli import output
from ecr_layers.errors import ClientError

INTERRUPTED, NOBODY_READS = 130, 141
"""Exit statuses of a command that a signal cut short, and of one whose output nobody reads any more, as a shell says of
SIGPIPE. Errors have their own, and 0 is that of a command that is done."""


class Command(Protocol):
    """A command of the command line."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Run the command and return its exit status.

        Raises:
            ClientError: What it was asked for failed, or can't be done.
        """


COMMANDS = ("fetch", "cat", "inspect", "url", "token", "proxy", "smoke")
"""The commands, each the module of `ecr_layers.cli` that has its name."""


def _command(name: str) -> Command:
    """Load a command; what the others need takes its time, and is not loaded."""
    command: Command = import_module(f"ecr_layers.cli.{name}")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: The command line; that of the process if there is none.
    """
    options = _parse(arguments)
    # Both signals end the command by an exception, so that what it started is stopped. SIGINT is set as well because a
    # shell that starts the command in the background lets it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What others have named may have characters that the terminal does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        status = run(options)
        output.write_rest()
    except ClientError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        output.forget_rest()
        return NOBODY_READS
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _stop(_: int, __: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read a command line; an option may stand anywhere after the command."""
    parser = argparse.ArgumentParser(
        prog="ecr-layers",
        usage="%(prog)s [-h] COMMAND ...",
        description="The client of the ECR Layer Resolver.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0] not in COMMANDS:
        helps = (f"  {name:10}{_command(name).HELP}" for name in COMMANDS)
        parser.epilog = "\n".join(["commands:", *helps, "", "'ecr-layers COMMAND --help' explains one."])
    named = parser.parse_args(words)
    command = _command(named.command)
    own = argparse.ArgumentParser(
        prog=f"ecr-layers {named.command}",
        description=f"{command.HELP}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(own)
    own.set_defaults(run=command.run)
    # Actions of their own, which `token` has, can't be mixed with options.
    parse = own.parse_args if own.get_default("operands") is None else own.parse_intermixed_args
    return parse(named.arguments)
