"""The image that is fetched: eight layers, one of which is by far the largest."""

from pathlib import Path

from local.sample_image import write_image

LAYERS = (600, 30, 20, 20, 10, 10, 5, 5)
"""Sizes of the layers in megabytes, the lowest layer first. Their files don't compress, and have a megabyte each."""

LAST_FILE = f"layer0/file{LAYERS[0] - 1}"
"""The last file of the largest layer."""


def write_layout(directory: Path, layers: int = len(LAYERS)) -> None:
    """Write an OCI image layout with the image's first layers, tagged `latest`."""
    files = [
        {f"layer{number}/file{each}": 10**6 for each in range(megabytes)}
        for number, megabytes in enumerate(LAYERS[:layers])
    ]
    write_image(directory, files, compression=0)


def write_old_layout(layout: Path, directory: Path) -> None:
    """Write the layout of an older image, which has the largest layer only, as a link to that of `layout`."""
    write_layout(directory, layers=1)
    for path in directory.glob("blobs/*/*"):
        other = layout / path.relative_to(directory)
        if other.exists():
            path.unlink()
            path.hardlink_to(other)
