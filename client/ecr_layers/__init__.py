"""The client of the ECR Layer Resolver: what a user or an operator of a deployed service runs."""

from ecr_layers.client import DownloadUrl, Service
from ecr_layers.errors import ClientError, IntegrityError, ServiceError, TargetError, TransferError, UsageError
from ecr_layers.fetch import Fetched, Progress
from ecr_layers.files.image_files import ImageFiles
from ecr_layers.oci.config import ImageConfig
from ecr_layers.oci.manifests import Descriptor, Manifest, Platform
from ecr_layers.oci.references import ImageReference, Repository
from ecr_layers.registry.authentication import Authentication
from ecr_layers.transfer.loader import BlobState, TransferSettings
from ecr_layers.transfer.retries import Retries

__all__ = [
    "Authentication",
    "BlobState",
    "ClientError",
    "Descriptor",
    "DownloadUrl",
    "Fetched",
    "ImageConfig",
    "ImageFiles",
    "ImageReference",
    "IntegrityError",
    "Manifest",
    "Platform",
    "Progress",
    "Repository",
    "Retries",
    "Service",
    "ServiceError",
    "TargetError",
    "TransferError",
    "TransferSettings",
    "UsageError",
]
