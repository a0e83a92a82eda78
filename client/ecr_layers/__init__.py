"""The client of the ECR Layer Resolver: what a user or an operator of a deployed service runs."""

from ecr_layers.authentication import Authentication
from ecr_layers.errors import ClientError, IntegrityError, ServiceError, TargetError, TransferError, UsageError
from ecr_layers.fetch import Fetched, Progress
from ecr_layers.image_config import ImageConfig
from ecr_layers.image_files import ImageFiles
from ecr_layers.loader import BlobState, TransferSettings
from ecr_layers.manifests import Descriptor, Manifest, Platform
from ecr_layers.references import ImageReference, Repository
from ecr_layers.retries import Retries
from ecr_layers.service import DownloadUrl, Service

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
