"""docker-registry as a pull-through cache."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.commands import tool
from tests.e2e.emulator import wait_until
from tests.programs import answers, started


@contextmanager
def mirror(remote: str, credentials: tuple[str, str], directory: Path) -> Iterator[str]:
    """Run docker-registry as a pull-through cache while the context lasts, and return its address.

    Args:
        remote: The URL of the registry that it caches.
        credentials: Name and password.
        directory: Where its files may be.
    """
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
