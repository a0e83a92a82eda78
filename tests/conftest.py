"""What all tests share: an environment that can't reach AWS, whatever the developer's own is."""

import os
import signal
import tempfile

import pytest
from hypothesis import HealthCheck, settings

for name in [name for name in os.environ if name.startswith(("AWS_", "POWERTOOLS_"))]:
    del os.environ[name]
# Without bytecode, each of the many processes that tests start would compile its libraries again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ |= {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    # The function's module makes its ECR client when it is imported, as Lambda does.
    "AWS_DEFAULT_REGION": "us-east-1",
}

# How long a generated case takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

TEMPORARY = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a temporary folder of its own, since jsii and the emulator leave hundreds of megabytes behind."""
    if hasattr(config, "workerinput"):
        return  # pytest-xdist's workers inherit it
    # A run that is terminated stops its programs and removes its files, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.stash[TEMPORARY] = tempfile.TemporaryDirectory(prefix="ecr-", ignore_cleanup_errors=True)
    os.environ["TMPDIR"] = tempfile.tempdir = config.stash[TEMPORARY].name


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    if TEMPORARY in config.stash:
        config.stash[TEMPORARY].cleanup()
