"""Client of the ECR Layer Resolver: downloads images and layers, and reads their files.

Names are imported when they are first used, because the command line doesn't need all of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "2.0.0"

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
    from ecr_layers.registry.referrers import Referrer
    from ecr_layers.saving.mirror import Mirrored
    from ecr_layers.saving.options import Progress, ProgressCallback, Saved, SaveOptions
    from ecr_layers.saving.outputs import Format
    from ecr_layers.store.checking import Pruned, Verified, prune, verify
    from ecr_layers.store.delta import Applied, apply
    from ecr_layers.transfer.blobs import BlobState, TransferSettings
    from ecr_layers.transfer.retries import Retries
    from ecr_layers.transfer.source import DownloadUrl

__all__ = [
    "Applied",
    "Attributes",
    "BlobState",
    "Client",
    "ClientError",
    "Descriptor",
    "DownloadUrl",
    "FileChange",
    "FileInfo",
    "Format",
    "Image",
    "ImageConfig",
    "ImageDiff",
    "ImageFiles",
    "ImageReference",
    "IntegrityError",
    "Kind",
    "Layer",
    "Manifest",
    "Mirrored",
    "MissingPackageError",
    "Platform",
    "Progress",
    "ProgressCallback",
    "Pruned",
    "Referrer",
    "Repository",
    "Retries",
    "SaveOptions",
    "Saved",
    "ServiceError",
    "TargetError",
    "TransferError",
    "TransferSettings",
    "UsageError",
    "Verified",
    "__version__",
    "apply",
    "diff",
    "prune",
    "verify",
]

_PLACES = {
    "Applied": "store.delta",
    "Attributes": "files.archives",
    "BlobState": "transfer.blobs",
    "Client": "client",
    "ClientError": "errors",
    "Descriptor": "oci.manifests",
    "DownloadUrl": "transfer.source",
    "FileChange": "files.comparison",
    "FileInfo": "files.merged",
    "Format": "saving.outputs",
    "Image": "image",
    "ImageConfig": "oci.config",
    "ImageDiff": "comparison",
    "ImageFiles": "files.image_files",
    "ImageReference": "oci.references",
    "IntegrityError": "errors",
    "Kind": "files.archives",
    "Layer": "image",
    "Manifest": "oci.manifests",
    "Mirrored": "saving.mirror",
    "MissingPackageError": "errors",
    "Platform": "oci.platforms",
    "Progress": "saving.options",
    "ProgressCallback": "saving.options",
    "Pruned": "store.checking",
    "Referrer": "registry.referrers",
    "Repository": "oci.references",
    "Retries": "transfer.retries",
    "SaveOptions": "saving.options",
    "Saved": "saving.options",
    "ServiceError": "errors",
    "TargetError": "errors",
    "TransferError": "errors",
    "TransferSettings": "transfer.blobs",
    "UsageError": "errors",
    "Verified": "store.checking",
    "apply": "store.delta",
    "diff": "comparison",
    "prune": "store.checking",
    "verify": "store.checking",
}


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"ecr_layers.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
