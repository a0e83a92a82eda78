import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from local.oci_layout import LayoutError, OciLayout
from local.sample_image import write_sample_image
from tests.layouts import LayoutWriter, write_everything


@pytest.fixture
def directory(sample_directory: Path, tmp_path: Path) -> Path:
    """Return a copy of the sample image that a test may damage."""
    return Path(shutil.copytree(sample_directory, tmp_path / "layout"))


def blob(directory: Path, digest: str) -> Path:
    return directory / "blobs" / digest.replace(":", "/")


def write_index(directory: Path, *descriptors: object) -> None:
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": descriptors}))


def test_the_sample_image_is_the_same_each_time(sample_directory: Path, tmp_path: Path) -> None:
    write_sample_image(tmp_path)
    assert (tmp_path / "index.json").read_bytes() == (sample_directory / "index.json").read_bytes()


def test_an_index_leads_to_the_images_that_are_there(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path)
    image, other = writer.image("one"), writer.image("two", "arm64")
    index = writer.index([image, other])
    writer.name(index, "all")
    writer.write()
    blob(tmp_path, other["digest"]).unlink()
    layout = OciLayout(tmp_path)
    assert set(layout.manifests) == {index["digest"], image["digest"]}
    assert layout.tags == {"all": index["digest"]}
    assert len(layout.referenced_blobs) == 3


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (shutil.rmtree, "no such directory"),
        (lambda path: (path / "oci-layout").unlink(), "not an OCI image layout"),
        (lambda path: (path / "index.json").unlink(), "not an OCI image layout"),
        (lambda path: (path / "index.json").write_text("{"), "index.json"),
        (lambda path: write_index(path, 1), "isn't an image index"),
        (lambda path: write_index(path, {"digest": "sha256:../x", "size": 1}), "without a sha256 or sha512 digest"),
        (lambda path: write_index(path, {"digest": f"sha256:{'0' * 64}", "size": 1}), "is missing"),
    ],
)
def test_a_broken_layout_is_refused_in_one_line_that_names_it(
    directory: Path, damage: Callable[[Path], object], complaint: str
) -> None:
    damage(directory)
    with pytest.raises(LayoutError) as caught:
        OciLayout(directory)
    message = str(caught.value)
    assert complaint in message
    assert str(directory) in message
    assert "\n" not in message


def test_damaged_manifests_and_layers_are_refused(directory: Path, sample: OciLayout) -> None:
    digest = max(sample.referenced_blobs, key=sample.referenced_blobs.__getitem__)
    for path, complaint in (
        (blob(directory, digest), "its descriptor says"),
        (blob(directory, sample.tags["latest"]), "has the digest"),
    ):
        with path.open("ab") as file:
            file.write(b" ")
        with pytest.raises(LayoutError, match=complaint):
            OciLayout(directory)


class TestForeignLayouts:
    """A layout may be somebody else's."""

    @pytest.mark.parametrize("target", ["/etc/passwd", "../../../secret"])
    def test_a_link_that_leads_out_of_the_layout_is_not_followed(self, directory: Path, target: str) -> None:
        (directory.parent / "secret").write_text("secret")
        (directory / "blobs" / "sha256" / ("0" * 64)).symlink_to(target)
        assert not OciLayout(directory).has_blob(f"sha256:{'0' * 64}")

    @pytest.mark.parametrize("linked", ["blobs", "blobs/sha256"])
    def test_a_directory_that_is_a_link_has_no_blobs(self, directory: Path, linked: str) -> None:
        layout = OciLayout(directory)
        digest = next(iter(layout.referenced_blobs))
        assert layout.has_blob(digest)
        (directory / linked).rename(directory.parent / "elsewhere")
        (directory / linked).symlink_to(directory.parent / "elsewhere")
        assert not layout.has_blob(digest)
        with pytest.raises(LayoutError, match="files instead of links"):
            OciLayout(directory)

    @pytest.mark.parametrize(
        "digest", ["..:abcd", "sha256:../../index.json", f"sha256:{'a' * 5000}", "sha256:", "\0:00"]
    )
    def test_what_is_not_a_digest_is_not_a_blob(self, sample: OciLayout, digest: str) -> None:
        assert not sample.has_blob(digest)

    def test_what_has_a_subject_refers_to_it(self, tmp_path: Path) -> None:
        index = write_everything(tmp_path)["index"]
        (referrer,) = OciLayout(tmp_path).referrers[index["digest"]]
        assert b"sbom of the index" in referrer.content
