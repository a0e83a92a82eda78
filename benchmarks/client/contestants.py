"""Who fetches the image: other tools, and `ecr-layers`."""

import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.client.image import LAST_FILE
from ecr_layers import DownloadUrl

REPOSITORY = "team/app"
OURS = "ecr-layers"
CURL, SKOPEO, CRANE = "curl, sha256sum", "skopeo", "crane"
ARIA2, ARIA2_UNVERIFIED = "aria2c", "aria2c, unverified"

OLD = "old"
"""The layout of the older image, in the directory of the origin."""

# `make` builds it where Go is.
_CRANE = str(Path(sys.prefix) / "tools" / "go-clients" / "crane")

Command = Callable[["Origin"], list[str]]


@dataclass(frozen=True, slots=True)
class Origin:
    """The service, the image's download URLs, and a directory for files."""

    service: str
    urls: list[DownloadUrl]
    directory: Path

    @property
    def image(self) -> str:
        """The image as other tools name it."""
        return f"{self.service.removeprefix('http://')}/{REPOSITORY}:latest"


def _ours(command: str, *options: str) -> Command:
    return lambda origin: [
        sys.executable, "-m", "ecr_layers", command, "--url", origin.service, REPOSITORY, *options
    ]  # fmt: skip


_fetch = _ours("fetch", "-o", "app", "--quiet")


def _skopeo(origin: Origin) -> list[str]:
    return ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{origin.image}", "oci:app:latest"]


def _crane(origin: Origin) -> list[str]:
    return [_CRANE, "pull", "--insecure", "--format=oci", origin.image, "app"]


def _curl(origin: Origin) -> list[str]:
    """Load one layer after another, and verify them all."""
    names = [url.digest.partition(":")[2] for url in origin.urls]
    lines = [
        f"curl -sfL -o {name} {shlex.quote(f'{origin.service}/v2/{REPOSITORY}/blobs/sha256:{name}')}" for name in names
    ]
    sums = "".join(f"{name}  {name}\\n" for name in names)
    return ["sh", "-c", "\n".join(["set -e", *lines, f"printf {shlex.quote(sums)} | sha256sum --check --quiet"])]


def _aria2(origin: Origin, *, is_verified: bool) -> list[str]:
    listed = origin.directory / f"urls-{is_verified}"
    with listed.open("w") as file:
        for url in origin.urls:
            encoded = url.digest.partition(":")[2]
            file.write(f"{url.url}\n  out={encoded}\n" + (f"  checksum=sha-256={encoded}\n" if is_verified else ""))
    # All layers at once, 16 connections for each, parts of at least 1 MB, and space reserved as the others do.
    options = ["--quiet", "-x16", "-s16", "-k1M", "-j8", "--file-allocation=falloc"]
    return ["aria2c", *options, f"--input-file={listed}"]


def _crane_export(then: str) -> Command:
    return lambda origin: [
        "sh", "-c", f"mkdir files && {_CRANE} export --insecure {origin.image} - | {then}"
    ]  # fmt: skip


def _umoci(origin: Origin) -> list[str]:
    return ["sh", "-c", f"{shlex.join(_skopeo(origin))} && umoci unpack --rootless --image app:latest files"]


def _onto_old(then: Command) -> Command:
    """Let a contestant write into a copy of the older image's layout."""

    def run(origin: Origin) -> list[str]:
        # Copying isn't what is measured, so blobs become hard links; contestants write the index in place.
        old = shlex.quote(str(origin.directory / OLD))
        copy = f"mkdir app && cp -al {old}/blobs app && cp {old}/index.json {old}/oci-layout app"
        return ["sh", "-c", f"{copy} && {shlex.join(then(origin))}"]

    return run


def _fetch_missing(origin: Origin) -> list[str]:
    return [*_fetch(origin), "--have", str(origin.directory / OLD)]


FETCHES: dict[str, tuple[str, Command]] = {
    CURL: ("curl", _curl),
    SKOPEO: ("skopeo", _skopeo),
    CRANE: (_CRANE, _crane),
    ARIA2: ("aria2c", partial(_aria2, is_verified=True)),
    ARIA2_UNVERIFIED: ("aria2c", partial(_aria2, is_verified=False)),
    OURS: (sys.executable, _fetch),
}
"""The whole image: who fetches it, and with which program."""

FILES: dict[str, dict[str, tuple[str, Command]]] = {
    "time of extract, crane export with tar, skopeo with umoci": {
        OURS: (sys.executable, _ours("extract", "-o", "files")),
        CRANE: (_CRANE, _crane_export("tar -x -C files")),
        SKOPEO: ("umoci", _umoci),
    },
    "time of ls, crane export with tar": {
        OURS: (sys.executable, _ours("ls", "--json")),
        CRANE: (_CRANE, _crane_export("tar -t")),
    },
    "time of cat of the largest layer's last file, crane export with tar": {
        OURS: (sys.executable, _ours("cat", LAST_FILE)),
        CRANE: (_CRANE, _crane_export(f"tar -xO {LAST_FILE}")),
    },
    "time of fetch --have where only the largest layer is there, skopeo and crane into its layout": {
        OURS: (sys.executable, _fetch_missing),
        SKOPEO: ("skopeo", _onto_old(_skopeo)),
        CRANE: (_CRANE, _onto_old(_crane)),
    },
}
"""Other tasks, and who does each with which program."""


def present(contestants: dict[str, tuple[str, Command]]) -> dict[str, Command]:
    """Return those whose programs are here, by their names."""
    return {name: command for name, (program, command) in contestants.items() if shutil.which(program)}
