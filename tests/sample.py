"""The sample image, and a local AWS that has it: fixtures that the conftest.py of several folders take over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.aws import LocalAws, local_aws
from local.oci_layout import OciLayout
from local.sample_image import write_sample_image

REPOSITORY = "team/app"


@pytest.fixture(scope="session")
def sample_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sample")
    write_sample_image(directory)
    return directory


@pytest.fixture(scope="session")
def sample(sample_directory: Path) -> OciLayout:
    return OciLayout(sample_directory)


@pytest.fixture(scope="session")
def session_aws(sample: OciLayout) -> Iterator[LocalAws]:
    with local_aws({REPOSITORY: sample}) as aws:
        yield aws


@pytest.fixture
def aws(session_aws: LocalAws) -> Iterator[LocalAws]:
    """Return the local AWS, without the calls and faults of the test before."""
    session_aws.ecr.calls.clear()
    yield session_aws
    session_aws.ecr.faults.put()
