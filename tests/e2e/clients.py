"""Real clients of registries: each pulls an image, with credentials or without."""

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import oras.client
import pytest

from tests.commands import CLIENT, tool
from tests.e2e.emulator import wait_until
from tests.programs import answers, attempt, run, started

Credentials = tuple[str, str]
"""Name and password."""

SYFT = Path(sys.prefix) / "tools" / "syft" / "bin" / "syft"


def go_client(name: str) -> Path:
    path = Path(sys.prefix) / "tools" / "go-clients" / name
    # Where CI has Go, a client that is not there is an error.
    if not path.is_file() and not (os.environ.get("CI") and shutil.which("go")):
        pytest.skip(f"{name} is not built: `make test` builds it where there is Go")
    return path


def docker_config(directory: Path, image: str, credentials: Credentials | None) -> Path:
    """Write what `docker login` writes, unless it is there, and return the file."""
    file = directory / "config.json"
    if not file.exists():
        registry = image.partition("/")[0]
        encoded = base64.b64encode(":".join(credentials or ()).encode()).decode()
        file.write_text(json.dumps({"auths": {registry: {"auth": encoded}} if credentials else {}}))
    return file


def skopeo(image: str, credentials: Credentials | None, directory: Path) -> str:
    options = ("--authfile", docker_config(directory, image, credentials), "--src-tls-verify=false")
    return run(tool("skopeo"), "copy", *options, f"docker://{image}", f"dir:{directory / 'copy'}")


def docker_registry(image: str, credentials: Credentials | None, directory: Path, *, in_url: bool = False) -> str:
    """Pull through docker-registry as a cache.

    It asks for every blob with HEAD as well, and keeps as many bytes as that says.
    """
    registry, _, repository = image.partition("/")
    name, password = credentials or ("", "")
    remote = f"http://{name}:{password}@{registry}" if in_url else f"http://{registry}"
    with mirror(remote, (name, password), directory) as address:
        printed = skopeo(f"{address}/{repository}", None, directory)
        copied = {f"sha256:{path.name}" for path in (directory / "copy").iterdir() if len(path.name) == 64}
        # It keeps them after it has answered.
        wait_until(lambda: copied <= digests_in(directory / "data" / "docker" / "registry" / "v2" / "blobs"))
    return printed


@contextmanager
def mirror(remote: str, credentials: Credentials, directory: Path) -> Iterator[str]:
    """Run docker-registry as a pull-through cache while the context lasts, and return its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    name, password = credentials
    (directory / "config.yml").write_text(
        f"""
version: 0.1
storage: {{filesystem: {{rootdirectory: {directory / "data"}}}}}
http: {{addr: "{address}"}}
proxy: {{remoteurl: "{remote}", username: "{name}", password: "{password}"}}
"""
    )
    with started(tool("docker-registry"), "serve", directory / "config.yml", log=directory / "log"):
        wait_until(lambda: answers(f"http://{address}/v2/"))
        yield address


def containerd(image: str, credentials: Credentials | None, directory: Path) -> str:
    """Fetch an image; containerd asks for the manifest with HEAD first, and takes a length of 0 for a failure."""
    user = ("--user", ":".join(credentials)) if credentials else ()
    return containerd_with("--plain-http", *user, image, directory=directory)


def containerd_with(*arguments: str | Path, directory: Path) -> str:
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")
    # The path of a socket may be no longer than 107 bytes.
    state, copy = directory / "s", directory / "copy"
    options = ("--root", directory / "root", "--state", state, "--address", state / "c.sock")
    with started(tool("containerd"), *options, log=directory / "log"):
        wait_until((state / "c.sock").exists)
        ctr = (tool("ctr"), "--address", str(state / "c.sock"), "content")
        printed = run(*ctr, "fetch", *arguments)
        copy.mkdir()
        for digest in run(*ctr, "ls", "--quiet").split():
            content = subprocess.run([*ctr, "get", digest], capture_output=True, timeout=30, check=True).stdout
            (copy / digest.partition(":")[2]).write_bytes(content)
    return printed


def oras_py(image: str, credentials: Credentials | None, directory: Path) -> str:
    registry = image.partition("/")[0]
    client = oras.client.OrasClient(hostname=registry, insecure=True, auth_backend="basic")
    if credentials:
        name, password = credentials
        client.login(hostname=registry, username=name, password=password, config_path=str(directory / "oras.json"))
    container = client.get_container(image)
    manifest = client.get_manifest(container)
    (directory / "copy").mkdir()
    for descriptor in [manifest["config"], *manifest["layers"]]:
        digest = descriptor["digest"]
        client.download_blob(container, digest, str(directory / "copy" / digest.partition(":")[2]))
    return ""


def syft(image: str, credentials: Credentials | None, directory: Path) -> str:
    """Scan an image, with an older go-containerregistry."""
    environment = {"SYFT_REGISTRY_INSECURE_USE_HTTP": "true", "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    configuration = docker_config(directory, image, credentials).parent
    return run(SYFT, f"registry:{image}", "--output=json", DOCKER_CONFIG=str(configuration), **environment)


def ecr_layers(image: str, credentials: Credentials | None, directory: Path) -> str:
    registry, _, reference = image.partition("/")
    (directory / "token").write_text(":".join(credentials or ()))
    options = ("--token-file", directory / "token") if credentials else ()
    return run(*CLIENT, "fetch", "--url", f"http://{registry}", reference, *options, "--output", directory / "copy")


def crane(image: str, credentials: Credentials | None, directory: Path) -> str:
    configuration = docker_config(directory, image, credentials).parent
    command = (go_client("crane"), "pull", "--insecure", "--format=oci", image, directory / "copy")
    return run(*command, DOCKER_CONFIG=str(configuration))


def oras_go(image: str, credentials: Credentials | None, directory: Path, *options: str) -> str:
    source = ("--from-plain-http", "--from-registry-config", docker_config(directory, image, credentials), image)
    target = ("--to-oci-layout", f"{directory / 'copy'}:{image.rpartition(':')[2]}")
    return run(go_client("oras"), "copy", *options, *source, *target)


def regctl(image: str, credentials: Credentials | None, directory: Path, *options: str) -> str:
    configuration = docker_config(directory, image, credentials).parent
    environment = regctl_environment(image, directory) | {"DOCKER_CONFIG": str(configuration)}
    target = f"ocidir://{directory / 'copy'}:{image.rpartition(':')[2]}"
    return run(go_client("regctl"), "image", "copy", *options, image, target, **environment)


def regctl_environment(image: str, directory: Path) -> dict[str, str]:
    """Have regctl take a registry for one without TLS."""
    environment = {"REGCTL_CONFIG": str(directory / "regctl.json")}
    # It looks whether anybody may pull, and fails after it has written if nobody may.
    attempt(go_client("regctl"), "registry", "set", "--tls=disabled", image.partition("/")[0], **environment)
    return environment


PULLS: dict[str, Callable[[str, Credentials | None, Path], str]] = {
    "skopeo": skopeo,
    "docker-registry": docker_registry,
    # Versions before 3 take credentials for Basic from the URL alone.
    "docker-registry with credentials in its URL": partial(docker_registry, in_url=True),
    "containerd": containerd,
    "oras-py": oras_py,
    "syft": syft,
    "ecr-layers": ecr_layers,
    "crane": crane,
    "oras": oras_go,
    "regctl": regctl,
}
"""How each client pulls an image into the folder `copy` of an empty directory; syft only reads it.

A client that fails raises an error with what it printed.
"""


def log_in(client: str, registry: str, credentials: Credentials, directory: Path) -> None:
    """Have a client log in, if it can, so that it then pulls into the directory with what it wrote."""
    file, (name, password) = directory / "config.json", credentials
    options = ("-u", name, "-p", password)
    match client:
        case "skopeo":
            run(tool("skopeo"), "login", "--tls-verify=false", "--authfile", file, *options, registry)
        case "crane":
            run(go_client("crane"), "auth", "login", "--insecure", *options, registry, DOCKER_CONFIG=str(directory))
        case "oras":
            run(go_client("oras"), "login", "--plain-http", "--registry-config", file, *options, registry)
        case "regctl":
            environment = regctl_environment(registry, directory)
            attempt(go_client("regctl"), "registry", "login", *options, registry, **environment)


def digests_in(directory: Path) -> set[str]:
    """Return the digests of all files under a directory."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files}
