"""Command line: `serve` runs a local AWS, `demo` uses one."""

import argparse
import logging
import re
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console

from local.demo import DemoError, run_demo
from local.docs_page import PATH as DOCS_PAGE
from local.ecr import is_repository_name
from local.oci_layout import LayoutError, OciLayout
from local.sample_image import sample_image
from local.service import EVERYTHING, FunctionUrl, PortError, Service, local_service

SAMPLE_REPOSITORY = "team/app"


class UsageError(Exception):
    """What was asked for can't be done; the message is one line that says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 if it failed, 2 if it was asked for something impossible.

    A signal is how `serve` ends, with status 0; a demo that one cuts short has verified nothing, and its status is 130.
    """
    options = _parser().parse_args(arguments)
    # Both signals end the command by an exception, so that everything that was started is stopped. SIGINT is set as
    # well because a shell that starts the command in the background lets it ignore Ctrl-C.
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, _stop)
    try:
        status: int = options.run(options)
    except (UsageError, LayoutError, PortError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130 if options.command == "demo" else 0
    return status


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
    serve = commands.add_parser("serve", help="run the function URL, and the local ECR and S3 behind it")
    serve.add_argument("--port", type=_port, default=9000, help="port of the function URL; 0 takes any (default: 9000)")
    serve.add_argument(
        "--ecr-latency-ms", type=_milliseconds, default=0.0, metavar="N", help="time that each call to ECR takes"
    )
    serve.add_argument(
        "--rename-headers", action="store_true", help="rename headers of answers, as function URLs are reported to"
    )
    serve.add_argument("--no-image-pull", action="store_true", help="give out no manifests, as a deployment by default")
    serve.add_argument("--no-list-tags", action="store_true", help="list no tags, as a deployment by default")
    serve.set_defaults(run=_serve)
    demo = commands.add_parser("demo", help="resolve, download and verify every layer of an image")
    demo.set_defaults(run=_demo)
    for command in (serve, demo):
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


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _milliseconds(text: str) -> float:
    with suppress(ValueError):
        milliseconds = float(text)
        if 0 <= milliseconds < float("inf"):
            return milliseconds
    raise argparse.ArgumentTypeError("a latency is a number of milliseconds, 0 or more")


def _repositories(paths: list[Path], names: list[str]) -> dict[str, OciLayout]:
    """Return the layout behind each repository name: those that were asked for, or else the sample image."""
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


def _serve(options: argparse.Namespace) -> int:
    try:
        repositories = _repositories(options.layout, options.repository)
        with local_service(
            repositories,
            function_url=FunctionUrl(options.port, renames_headers=options.rename_headers, has_docs_page=True),
            ecr_latency_ms=options.ecr_latency_ms,
            opted_into=_opted_into(options),
            write_log=_print_log,
        ) as service:
            print(f"Listening on {service.url}", flush=True)
            print(_advice(service, repositories), flush=True)
            threading.Event().wait()
    except httpx.HTTPError as error:
        print(f"The function does not start ({type(error).__name__}); what it wrote stands above.", file=sys.stderr)
        return 1
    return 0


def _opted_into(options: argparse.Namespace) -> dict[str, str]:
    left_out = {"IMAGE_PULL": options.no_image_pull, "LIST_TAGS": options.no_list_tags}
    return {name: value for name, value in EVERYTHING.items() if not left_out[name]}


def _demo(options: argparse.Namespace) -> int:
    try:
        for repository, layout in _repositories(options.layout, options.repository).items():
            run_demo(repository, layout, Console())
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _print_log(line: str) -> None:
    # The service goes on when nobody reads its log any more.
    with suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


def _advice(service: Service, repositories: dict[str, OciLayout]) -> str:
    repository, layout = next(iter(repositories.items()))
    digest = next(iter(layout.referenced_blobs), "sha256:…")
    return f"""
Repositories: {", ".join(repositories)}
Try, in another terminal:

  curl '{service.url}/download-url?repositoryName={repository}&layerDigest={digest}'
  curl '{service.url}/openapi.json'

or {service.url}{DOCS_PAGE} in a browser.

The local ECR is at {service.aws.ecr_url}, S3 at {service.aws.s3_url}, Lambda's Invoke action at {service.lambda_url}.
What the function logs goes to standard error. Ctrl-C stops everything."""


if __name__ == "__main__":
    sys.exit(main())
