"""Command line: `serve` runs a local AWS, `demo` uses one."""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from ecr_layers.errors import UsageError
from local import serve
from local.demo import DemoError, run_demo
from local.ecr import is_repository_name
from local.oci_layout import LayoutError, OciLayout
from local.sample_image import sample_image
from local.server import PortError

SAMPLE_REPOSITORY = "team/app"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 if it failed, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    # SIGINT is set as well because a shell that starts the command in the background lets it ignore Ctrl-C.
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, _stop)
    try:
        repositories = _repositories(options.layout, options.repository)
        return _demo(repositories) if options.command == "demo" else serve.run(options, repositories)
    except (UsageError, LayoutError, PortError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # A signal is how `serve` ends. A demo that one cuts short has verified nothing.
        return 130 if options.command == "demo" else 0


def _stop(_: int, __: FrameType | None) -> None:
    """End the command by an exception, so that everything that was started is stopped, and by one only."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # The servers would report the requests that the end cuts off as errors.
    logging.disable()
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description="A local AWS for the ECR Layer Resolver.")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="run the function URL, and the local ECR and S3 behind it")
    serve.add_arguments(serving)
    demo = commands.add_parser("demo", help="resolve, download and verify every layer of an image")
    for command in (serving, demo):
        command.add_argument(
            "--layout",
            type=Path,
            action="append",
            default=[],
            metavar="DIR",
            help="OCI image layout to serve, may be given several times (default: a sample image)",
        )
        command.add_argument(
            "--repository",
            action="append",
            default=[],
            metavar="NAME",
            help="repository name of the layout that is at the same place (default: the directory's name)",
        )
    return parser


def _repositories(paths: list[Path], names: list[str]) -> dict[str, OciLayout]:
    """Return the layout behind each repository name; the sample image without paths."""
    for name in names:
        if not is_repository_name(name):
            raise UsageError(f"{name!r} is not the name of a repository. Use one such as team/app.")
    if not paths:
        if len(names) > 1:
            raise UsageError("There are several --repository, but no --layout. Give a --layout for each.")
        return {(names or [SAMPLE_REPOSITORY])[0]: sample_image()}
    if names and len(names) != len(paths):
        raise UsageError("The numbers of --layout and --repository differ. Give a --repository for each --layout.")
    names = names or [_name_of(path) for path in paths]
    if len(set(names)) != len(names):
        raise UsageError("Two layouts have the same repository name. Give each another --repository.")
    return {name: OciLayout(path) for name, path in zip(names, paths, strict=True)}


def _name_of(path: Path) -> str:
    name = path.resolve().name.lower()
    if not is_repository_name(name):
        raise UsageError(f"The name of {path} is not that of a repository. Give it one with --repository.")
    return name


def _demo(repositories: dict[str, OciLayout]) -> int:
    try:
        for repository, layout in repositories.items():
            run_demo(repository, layout, Console())
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
