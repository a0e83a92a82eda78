"""OCI archives: image layouts in a tar file, as skopeo's `oci-archive:`, podman and `ctr image import` read them."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from ecr_layers.errors import ClientError
from ecr_layers.oci.manifests import Descriptor
from ecr_layers.store.checking import problem
from ecr_layers.store.layout import INDEX, VERSION, VERSION_CONTENT, LayoutIndex
from ecr_layers.store.reading import LayoutFiles
from ecr_layers.store.tar import add, tar


def write_oci_archive(layout: Path, file: BinaryIO) -> None:
    """Write an archive of a layout, without blobs that its images don't need.

    Args:
        layout: The layout's directory.
        file: The file to write; it need not be seekable.

    Raises:
        OSError: If the file can't be written.
    """
    files = LayoutFiles(layout)
    present = sorted({each.digest for each in files.reachable() if files.has(each)})
    with tar(file) as archive:
        for name, content in ((VERSION, VERSION_CONTENT), (INDEX, files.index.content)):
            add(archive, name, io.BytesIO(content), len(content))
        for digest in present:
            with files.open(digest) as blob:
                add(archive, f"blobs/{digest.replace(':', '/')}", blob, files.size(digest) or 0)


def is_oci_archive_of(index: LayoutIndex, blobs: Iterable[Descriptor], path: Path) -> bool:
    """Tell whether a file is an archive with this index and these blobs, by the digests of everything in it.

    Args:
        index: The index.
        blobs: The blobs and manifests.
        path: The file, which need not exist.
    """
    try:
        files = LayoutFiles(path)
        return files.index.content == index.content and not any(problem(files, blob) for blob in blobs)
    except ClientError:
        return False
