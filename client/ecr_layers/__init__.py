"""Client of the ECR Layer Resolver: downloads images and layers, and reads their files.

Names are imported when they are first used, because the command line doesn't need all of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "1.1.0"

if TYPE_CHECKING:
    from ecr_layers.client import Client
    from ecr_layers.comparison import ImageDiff, diff
    from ecr_layers.errors import (
        ClientError,
        IntegrityError,
        MissingPackageError,
        ServiceError,
        TargetError,
        TransferError,
        UsageError,
    )
    from ecr_layers.files.archives import Attributes, Kind
    from ecr_layers.files.comparison import FileChange
    from ecr_layers.files.image_files import ImageFiles
    from ecr_layers.files.merged import FileInfo
    from ecr_layers.image import Image, Layer
    from ecr_layers.oci.config import ImageConfig
    from ecr_layers.oci.manifests import Descriptor, Manifest
    from ecr_layers.oci.platforms import Platform
    from ecr_layers.oci.references import ImageReference, Repository
    from ecr_layers.saving import Progress, ProgressCallback, Saved
    from ecr_layers.transfer.blobs import BlobState, TransferSettings
    from ecr_layers.transfer.retries import Retries
    from ecr_layers.transfer.source import DownloadUrl

__all__ = [
    "Attributes",
    "BlobState",
    "Client",
    "ClientError",
    "Descriptor",
    "DownloadUrl",
    "FileChange",
    "FileInfo",
    "Image",
    "ImageConfig",
    "ImageDiff",
    "ImageFiles",
    "ImageReference",
    "IntegrityError",
    "Kind",
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
    "diff",
]

_PLACES = {
    "Attributes": "files.archives",
    "BlobState": "transfer.blobs",
    "Client": "client",
    "ClientError": "errors",
    "Descriptor": "oci.manifests",
    "DownloadUrl": "transfer.source",
    "FileChange": "files.comparison",
    "FileInfo": "files.merged",
    "Image": "image",
    "ImageConfig": "oci.config",
    "ImageDiff": "comparison",
    "ImageFiles": "files.image_files",
    "ImageReference": "oci.references",
    "IntegrityError": "errors",
    "Kind": "files.archives",
    "Layer": "image",
    "Manifest": "oci.manifests",
    "MissingPackageError": "errors",
    "Platform": "oci.platforms",
    "Progress": "saving",
    "ProgressCallback": "saving",
    "Repository": "oci.references",
    "Retries": "transfer.retries",
    "Saved": "saving",
    "ServiceError": "errors",
    "TargetError": "errors",
    "TransferError": "errors",
    "TransferSettings": "transfer.blobs",
    "UsageError": "errors",
    "diff": "comparison",
}


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"ecr_layers.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
