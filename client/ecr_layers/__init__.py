"""Client of the ECR Layer Resolver: downloads images and layers, and reads their files."""

from ecr_layers.client import Client
from ecr_layers.errors import (
    ClientError,
    IntegrityError,
    MissingPackageError,
    ServiceError,
    TargetError,
    TransferError,
    UsageError,
)
from ecr_layers.files.image_files import ImageFiles
from ecr_layers.image import Image, Layer
from ecr_layers.oci.config import ImageConfig
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.platforms import Platform
from ecr_layers.oci.references import ImageReference, Repository
from ecr_layers.saving import Progress, ProgressCallback, Saved
from ecr_layers.transfer.blobs import BlobState, TransferSettings
from ecr_layers.transfer.retries import Retries
from ecr_layers.transfer.source import DownloadUrl
from ecr_layers.version import __version__

__all__ = [
    "BlobState",
    "Client",
    "ClientError",
    "Descriptor",
    "DownloadUrl",
    "Image",
    "ImageConfig",
    "ImageFiles",
    "ImageReference",
    "IntegrityError",
    "Layer",
    "Manifest",
    "MissingPackageError",
    "Platform",
    "Progress",
    "ProgressCallback",
    "Repository",
    "Retries",
    "Saved",
    "ServiceError",
    "TargetError",
    "TransferError",
    "TransferSettings",
    "UsageError",
    "__version__",
]
