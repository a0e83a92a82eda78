"""Starts the local ECR and the local S3 behind it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from botocore.credentials import Credentials

from local.ecr import LocalEcr
from local.oci_layout import OciLayout
from local.s3 import create_s3_app
from local.server import LOCALHOST, running
from local.sigv4 import UrlSigner

REGION = "us-east-1"

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIALOCALFUNCTIONXXX",
    "AWS_SECRET_ACCESS_KEY": "local-function-secret",
    "AWS_SESSION_TOKEN": "local-function-session-token",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}
"""The environment variables of a function for its credentials and region."""

# S3 is another host than the function URL, which is at 127.0.0.1, and a client has to treat it as one. It has a name,
# because clients refuse to be redirected to a private address (go-containerregistry since 0.21.6).
S3_HOST = LOCALHOST

# Those of ECR's own role, which signs the download URLs; the function never has them.
_SIGNING_CREDENTIALS = Credentials("ASIALOCALSTARPORTXXX", "local-starport-secret", "local/starport/session/token==")
_BUCKET = f"prod-{REGION}-starport-layer-bucket"


@dataclass(frozen=True, slots=True)
class S3:
    """Where download URLs lead: to another S3's URL, or to the local S3."""

    url: str | None = None


LOCAL_S3 = S3()


@dataclass(frozen=True, slots=True)
class LocalAws:
    """A running local ECR and S3."""

    ecr: LocalEcr
    ecr_url: str
    s3_url: str

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which boto3, unchanged, talks to the local ECR."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL_ECR": self.ecr_url}


@contextmanager
def local_aws(
    repositories: Mapping[str, OciLayout],
    *,
    ecr_latency_ms: float = 0.0,
    s3: S3 = LOCAL_S3,
    registries: Sequence[str] = (),
) -> Iterator[LocalAws]:
    """Run a local ECR and a local S3 while the context lasts."""
    signer = UrlSigner(_SIGNING_CREDENTIALS, REGION)

    def open_blob(key: str) -> BinaryIO | None:
        digest = key.replace("/", ":", 1)
        found = (layout.open_blob(digest) for layout in repositories.values())
        return next((blob for blob in found if blob is not None), None)

    with running(create_s3_app(open_blob, signer), host=S3_HOST) as own_s3_url:

        def download_url(digest: str) -> str:
            return signer.sign(f"{s3.url or own_s3_url}/{_BUCKET}/{digest.replace(':', '/', 1)}")

        ecr = LocalEcr(repositories, download_url, ecr_latency_ms / 1000, registries)
        with running(ecr.app()) as ecr_url:
            yield LocalAws(ecr, ecr_url, s3.url or own_s3_url)
