from collections.abc import Iterator

import pytest

from tests.client.fetching import Fetching, fetching
from tests.sample import aws, sample, sample_directory, session_aws

__all__ = ["aws", "origin", "running_fetching", "sample", "sample_directory", "session_aws"]


@pytest.fixture(scope="session")
def running_fetching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetching]:
    with fetching(tmp_path_factory.mktemp("images") / "layout") as running:
        yield running


@pytest.fixture
def origin(running_fetching: Fetching) -> Iterator[Fetching]:
    """Return the running service, without the faults and requests of the test before."""
    running_fetching.s3.forget()
    yield running_fetching
    running_fetching.s3.forget()
