"""rclone's S3, another implementation that checks signatures; it knows no session tokens."""

import importlib.util
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from botocore.credentials import Credentials

CREDENTIALS = Credentials("key", "secret")


@contextmanager
def rclone_s3(directory: Path) -> Iterator[str]:
    """Serve a directory's folders as buckets while the context lasts, and give the URL."""
    spec = importlib.util.find_spec("rclone_api")
    assert spec is not None
    assert spec.origin is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    program = Path(spec.origin).parent / "bin" / "rclone"
    options = ("--addr", address, "--auth-key", f"{CREDENTIALS.access_key},{CREDENTIALS.secret_key}")
    server = subprocess.Popen([program, "serve", "s3", directory, *options], stderr=subprocess.DEVNULL)
    try:
        _wait_until_up(f"http://{address}")
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait()


def _wait_until_up(url: str) -> None:
    for _ in range(100):
        try:
            httpx.get(url, trust_env=False)
        except httpx.ConnectError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("rclone did not start")
