import secrets
from collections.abc import Iterator

import httpx
import pytest

from tests.commands import Server, serving
from tests.sample import sample, sample_directory

__all__ = ["layer", "new_layer", "sample", "sample_directory", "server", "session_server"]


@pytest.fixture(scope="session")
def session_server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def server(session_server: Server) -> Iterator[Server]:
    """Return a server with the sample image, without the faults of the test before."""
    yield session_server
    httpx.delete(f"{session_server.ecr_url}/_faults").raise_for_status()


@pytest.fixture
def layer(server: Server) -> dict[str, str]:
    """Return the repository and digest that the server advises to try."""
    (line,) = [line for line in server.output if "/download-url?" in line]
    return dict(httpx.URL(line.strip().removeprefix("curl ").strip("'")).params)


@pytest.fixture
def new_layer(layer: dict[str, str]) -> dict[str, str]:
    """Return a layer that no request has asked for, so that ECR has to be asked; the repository does not have it."""
    return layer | {"layerDigest": f"sha256:{secrets.token_hex(32)}"}
