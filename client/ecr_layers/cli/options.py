"""Options of several commands, and the client that they describe."""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from ecr_layers.cli.errors import tell
from ecr_layers.cli.progress import MODES, Display, display
from ecr_layers.cli.signals import Stopped
from ecr_layers.client import Client
from ecr_layers.errors import UsageError
from ecr_layers.files.image_files import MOST_BYTES
from ecr_layers.image import Image
from ecr_layers.oci.references import ImageReference
from ecr_layers.registry.addresses import SERVICE_VARIABLE, service_url
from ecr_layers.saving.options import SaveOptions
from ecr_layers.store.cache import CACHE_BYTES
from ecr_layers.transfer.blobs import TransferSettings
from ecr_layers.transfer.retries import Retries

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

MOST_CONNECTIONS = 128
# Under a limit of the rate, more connections would only wait for each other.
_LIMITED_CONNECTIONS = 4
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class ByteCount(click.ParamType[int]):
    """A number of bytes: `2000000`, `2M`, `2MB` or `2MiB`."""

    name = "bytes"

    def __init__(self, smallest: int = 0) -> None:
        self._smallest = smallest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,18})\s*([KMGT]?)(I?)B?", str(value).strip().upper())
        if match is None or (match[3] and not match[2]):
            self.fail(f"{value!r} isn't a number of bytes, such as 2000000, 2M, 2MB or 2MiB.", param, ctx)
        count = int(match[1]) * int((1024 if match[3] else 1000) ** _UNITS[match[2]])
        if count < self._smallest:
            self.fail(f"{value!r} is less than {self._smallest}.", param, ctx)
        return count


class Duration(click.ParamType[float]):
    """A number of seconds: `90`, `90s`, `2m`, `1h` or `7d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]{1,6})\s*([smhd]?)", str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} isn't a duration, such as 90s, 2m, 1h or 7d.", param, ctx)
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How to reach the service.

    Attributes:
        url: Its URL, if one was given.
        region: The region to sign for.
        token_file: A file with a pull token.
        is_anonymous: Whether to send no credentials.
        retry_for: How many seconds to go on without progress.
        limit_rate: Most bytes a second, if a command has the option.
    """

    url: str | None
    region: str | None
    token_file: Path | None
    is_anonymous: bool
    retry_for: float
    limit_rate: int | None = None

    def client(
        self,
        url: str,
        connections: int = 32,
        on_wait: Callable[[str, float], object] | None = None,
    ) -> Client:
        """Return a client, to be closed by the caller.

        Raises:
            UsageError: If the URL or the credentials can't be used.
        """
        if self.limit_rate:
            connections = min(connections, _LIMITED_CONNECTIONS)
        return Client(
            url,
            region=self.region,
            token_file=self.token_file,
            is_anonymous=self.is_anonymous,
            retries=Retries(seconds=self.retry_for, on_wait=on_wait),
            transfers=TransferSettings(connections=connections, limit_rate=self.limit_rate),
        )


quick_option = click.option(
    "--quick", "is_quick", is_flag=True, help="check existing blobs by size only, not by digest"
)
"""The option that skips the digests of existing blobs."""


limit_rate_option = click.option(
    "--limit-rate", type=ByteCount(1), metavar="N", help="download at most N bytes a second; 500k, 2M or 2MiB"
)
"""The option that limits the rate of all downloads together."""


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """How blobs are downloaded, and what is shown of it.

    Attributes:
        connections: How many ranges are downloaded at once.
        mode: One of `MODES`.
        of_blobs: What the library gets.
    """

    connections: int
    mode: str
    of_blobs: SaveOptions

    @contextmanager
    def client(
        self, service: ServiceOptions, url: str, target: Path | None
    ) -> Iterator[tuple[Client, Display, SaveOptions]]:
        """Return a client, what shows its progress, and the library's options for downloads to a target."""
        with display(self.mode) as shown, service.client(url, self.connections, shown.retrying) as client:
            options: SaveOptions = {
                **self.of_blobs,
                "progress": shown.update,
                "on_wait": lambda: shown.note(waiting_text(target)),
            }
            try:
                yield client, shown, options
            except Stopped:
                tell("Stopped. Run it again to resume.")
                raise


def service_options(function: Decorated) -> Decorated:
    """Add the options of the service; the command gets them as `service`."""
    function = click.option("-v", "--verbose", is_flag=True, expose_value=False, help="say more about errors")(function)
    for option in reversed(
        (
            click.option(
                "--url", metavar="URL", help=f"service: a function URL or a domain  [env: {SERVICE_VARIABLE}]"
            ),
            click.option(
                "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="file with a pull token"
            ),
            click.option("--region", help="sign for this region, if the URL doesn't name it"),
            click.option("--anonymous", "--no-sign", "is_anonymous", is_flag=True, help="send no credentials"),
            click.option(
                "--retry-for", type=Duration(), default="2m", show_default=True, help="give up without progress after"
            ),
        )
    ):
        function = option(function)
    return function


def download_options(function: Decorated) -> Decorated:
    """Add the options of downloads; the command gets them by `take_downloads`."""
    for option in reversed(
        (
            click.option("--referrers", is_flag=True, help="signatures, SBOMs and attestations of the image, too"),
            click.option("--cache", type=click.Path(path_type=Path), metavar="DIR", help="share blobs in a directory"),
            click.option(
                "--cache-size",
                "cache_bytes",
                type=ByteCount(),
                default=CACHE_BYTES,
                metavar="N",
                help="most bytes of the cache  [default: 20GiB]",
            ),
            click.option("--max-bytes", type=ByteCount(), metavar="N", help="refuse larger blobs; 2G, 2GB or 2GiB"),
            quick_option,
            click.option(
                "--connections",
                type=click.IntRange(1, MOST_CONNECTIONS),
                default=32,
                show_default=True,
                help="parallel ranges",
            ),
            limit_rate_option,
            click.option(
                "--progress", "mode", type=click.Choice(MODES), default="auto", show_default=True, help="progress"
            ),
            click.option("--json", "mode", flag_value="json", help="the same as --progress=json"),
            click.option("--quiet", "mode", flag_value="none", help="the same as --progress=none"),
        )
    ):
        function = option(function)
    return function


def take_downloads(options: dict[str, Any]) -> DownloadOptions:
    """Take the options of downloads from a command's options."""
    connections, mode = options.pop("connections"), options.pop("mode")
    of_blobs: SaveOptions = {
        "referrers": options.pop("referrers"),
        "cache": options.pop("cache"),
        "cache_bytes": options.pop("cache_bytes"),
        "max_bytes": options.pop("max_bytes"),
        "is_quick": options.pop("is_quick"),
    }
    return DownloadOptions(connections, mode, of_blobs)


def take_service(options: dict[str, Any]) -> ServiceOptions:
    """Take the options of the service from a command's options."""
    names = ("url", "region", "token_file", "is_anonymous", "retry_for")
    return ServiceOptions(**{name: options.pop(name) for name in names}, limit_rate=options.pop("limit_rate", None))


def operands(
    service: ServiceOptions, words: Sequence[str], *names: str, repeats: bool = False
) -> tuple[str, list[str]]:
    """Return the service's URL and a command's operands.

    The URL comes from --url, the environment, the configuration file, or the host of the image. In front of the
    operands, it is deprecated.

    Args:
        service: The options of the service.
        words: The words of the command line.
        names: The operands' names.
        repeats: Whether there may be more operands like the last; a deprecated URL has to be whole then.

    Raises:
        UsageError: If operands are missing or there are too many, or there is no URL.
    """
    is_named = words[:1] and words[0].startswith(("http://", "https://")) if repeats else len(words) == len(names) + 1
    if is_named and service.url is None:
        tell(f"note: naming the service as an argument is deprecated. Use --url {words[0]}, or {SERVICE_VARIABLE}.")
        return operands(replace(service, url=words[0]), words[1:], *names, repeats=repeats)
    if len(words) < len(names) or (len(words) > len(names) and not repeats):
        raise UsageError(
            f"Expected {' and '.join(names)}, got {len(words)} arguments." if names else "Expected no arguments.",
            code="invalid-arguments",
        )
    return chosen_url(service.url, words[0] if names else ""), list(words)


@contextmanager
def chosen_image(words: Sequence[str], options: dict[str, Any], *names: str) -> Iterator[tuple[Image, list[str]]]:
    """Return the image that a command's first operand names, and the other operands.

    Args:
        words: The words of the command line.
        options: The command's options, those of the service and of `image_options` among them.
        names: The names of the other operands.

    Raises:
        ClientError: If operands or options are wrong, or the service doesn't have the image.
    """
    service, platform, manifest = take_service(options), options.pop("platform"), options.pop("manifest")
    if platform and manifest:
        raise UsageError("--manifest is one image's already. Leave --platform out.", code="invalid-arguments")
    url, (name, *others) = operands(service, words, "IMAGE", *names)
    with service.client(url) as client:
        yield client.image(name, platform=platform, manifest=manifest), others


@contextmanager
def image_or_index(words: Sequence[str], platform: str | None, options: dict[str, Any]) -> Iterator[Image]:
    """Return the image that a command's only operand names, or the whole index unless a platform is chosen.

    Raises:
        ClientError: If the operand is missing or malformed, or the service has no such image.
    """
    service = take_service(options)
    url, (name,) = operands(service, words, "IMAGE")
    with service.client(url) as client:
        yield client.image(name, platform=platform, all_platforms=platform is None)


def chosen_url(given: str | None, name: str = "") -> str:
    """Return the service's URL: the given one, or that of the environment, the configuration file or an image's name.

    Raises:
        UsageError: If there is none, or it isn't valid.
    """
    found = given or os.environ.get(SERVICE_VARIABLE) or _configured_url()
    if found is None and name:
        found = ImageReference.parse(name).host
    return service_url(found)


def _configured_url() -> str | None:
    """Return the URL in the configuration file; None without.

    Raises:
        UsageError: If the file can't be read.
    """
    directory = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = directory / "ecr-layers" / "config.toml"
    try:
        url = tomllib.loads(path.read_text()).get("url")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"Can't read {path}: {error}.", code="invalid-configuration") from None
    return url if isinstance(url, str) else None


def image_options(function: Decorated) -> Decorated:
    """Add the options that choose one image."""
    function = click.option(
        "--manifest",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="the image's manifest, for services that don't serve manifests",
    )(function)
    return platform_option(function)


platform_option = click.option(
    "--platform", metavar="OS/ARCH", help="platform, such as linux/arm64  [default: this machine's]"
)
"""The option that chooses an image of an index."""

platform_of_index_option = click.option(
    "--platform", metavar="OS/ARCH", help="platform, such as linux/arm64  [default: the index itself]"
)
"""The option that chooses an image of an index instead of the index."""

layer_bytes_option = click.option(
    "--max-bytes",
    type=ByteCount(),
    default=MOST_BYTES,
    metavar="N",
    help="decompress no more bytes of layers  [default: 64GiB]",
)
"""The option that bounds decompressed bytes."""

whole_layers_option = click.option(
    "--whole-layers", is_flag=True, help="read whole layers, even if they have a table of contents"
)
"""The option that doesn't use the tables of layers."""


def reading_options(function: Decorated) -> Decorated:
    """Add the options of commands that read an image's files; `chosen_image` takes those that choose it."""
    for option in (service_options, limit_rate_option, whole_layers_option, layer_bytes_option, image_options):
        function = option(function)
    return function


existing_layout = click.Path(exists=True, path_type=Path)
"""The type of an operand that is a layout, or an archive of one."""


def waiting_text(target: Path | None) -> str:
    """Return the line for a command that waits for another with the same target."""
    return f"Waiting for another ecr-layers process to finish with {target}…"
