import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.oci_layout import LayoutError, OciLayout
from local.sample_image import write_sample_image


@pytest.fixture
def directory(sample_directory: Path, tmp_path: Path) -> Path:
    """Return a copy of the sample image that a test may damage."""
    return Path(shutil.copytree(sample_directory, tmp_path / "layout"))


def blob(directory: Path, digest: str) -> Path:
    return directory / "blobs" / digest.replace(":", "/")


def add_manifest(directory: Path, document: dict[str, Any]) -> str:
    """Put a manifest into the layout in the place of those that it has, and return its digest."""
    content = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blob(directory, digest).write_bytes(content)
    descriptor = {"mediaType": document.get("mediaType", ""), "digest": digest, "size": len(content)}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    return digest


def test_the_sample_image_is_the_same_each_time(sample_directory: Path, tmp_path: Path) -> None:
    write_sample_image(tmp_path)
    assert (tmp_path / "index.json").read_bytes() == (sample_directory / "index.json").read_bytes()


def test_an_index_leads_to_the_images_that_are_there(directory: Path) -> None:
    (image,) = json.loads((directory / "index.json").read_text())["manifests"]
    missing = {"mediaType": image["mediaType"], "digest": f"sha256:{'0' * 64}", "size": 1}
    index = add_manifest(directory, {"schemaVersion": 2, "manifests": [image, missing]})
    layout = OciLayout(directory)
    assert set(layout.manifests) == {index, image["digest"]}
    assert len(layout.referenced_blobs) == 5


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (shutil.rmtree, "no such directory"),
        (lambda path: (path / "oci-layout").unlink(), "not an OCI image layout"),
        (lambda path: (path / "oci-layout").write_text("{}"), "imageLayoutVersion"),
        (lambda path: (path / "index.json").unlink(), "no such file"),
        (lambda path: (path / "index.json").write_text("{"), "Invalid JSON"),
        (lambda path: (path / "index.json").write_text("[]"), "should be an object"),
        (lambda path: (path / "index.json").write_text('{"manifests": []}'), "at least 1 item"),
        (lambda path: (path / "index.json").write_text('{"manifests": [1]}'), "manifests.0"),
        (
            lambda path: (path / "index.json").write_text('{"manifests": [{"digest": "sha256:../x"}]}'),
            "manifests.0.digest",
        ),
        (lambda path: add_manifest(path, {"config": {"digest": "sha256:00", "size": 1}}), "is missing"),
        (lambda path: add_manifest(path, {"config": 1, "layers": []}), "config"),
        (lambda path: add_manifest(path, {"layers": 1}), "layers"),
        (lambda path: add_manifest(path, {"manifests": "x"}), "manifests"),
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


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [(lambda content: content + b" ", "has another digest"), (lambda _: b"[]", "has another digest")],
)
def test_a_damaged_manifest_is_refused(
    directory: Path, sample: OciLayout, damage: Callable[[bytes], bytes], complaint: str
) -> None:
    path = blob(directory, sample.tags["latest"])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LayoutError, match=complaint):
        OciLayout(directory)


def test_a_layer_of_another_size_is_refused(directory: Path, sample: OciLayout) -> None:
    digest = max(sample.referenced_blobs, key=sample.referenced_blobs.__getitem__)
    with blob(directory, digest).open("ab") as file:
        file.write(b"x")
    with pytest.raises(LayoutError, match="its descriptor says"):
        OciLayout(directory)


class TestForeignLayouts:
    """A layout may be somebody else's."""

    @pytest.fixture
    def layout(self, directory: Path) -> OciLayout:
        return OciLayout(directory)

    @pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "../../.."])
    def test_a_link_that_leads_out_of_the_layout_is_not_followed(
        self, directory: Path, layout: OciLayout, target: str
    ) -> None:
        (directory.parent / "secret").write_text("secret")
        digest = f"sha256:{'0' * 64}"
        (directory / "blobs" / "sha256" / ("0" * 64)).symlink_to(target)
        assert not layout.has_blob(digest)

    @pytest.mark.parametrize("linked", ["blobs", "blobs/sha256"])
    def test_a_directory_that_is_a_link_has_no_blobs(self, directory: Path, layout: OciLayout, linked: str) -> None:
        digest = next(iter(layout.referenced_blobs))
        assert layout.has_blob(digest)
        (directory / linked).rename(directory.parent / "elsewhere")
        (directory / linked).symlink_to(directory.parent / "elsewhere")
        assert not layout.has_blob(digest)

    def test_a_blob_that_becomes_a_link_is_refused_when_the_layout_is_read(self, directory: Path) -> None:
        blob = next((directory / "blobs" / "sha256").iterdir())
        blob.rename(directory.parent / "elsewhere")
        blob.symlink_to(directory.parent / "elsewhere")
        with pytest.raises(LayoutError, match="files instead of links"):
            OciLayout(directory)

    @pytest.mark.parametrize(
        "digest", ["..:abcd", ".:ab", "sha256:" + "a" * 5000, "a" * 5000 + ":00", "sha256:", "\0:00"]
    )
    def test_what_is_not_a_digest_is_not_a_blob(self, layout: OciLayout, digest: str) -> None:
        assert not layout.has_blob(digest)

    def test_what_has_a_subject_refers_to_it(self, directory: Path, layout: OciLayout) -> None:
        subject = next(iter(layout.tags.values()))
        artifact: dict[str, Any] = {
            "schemaVersion": 2,
            "artifactType": "application/vnd.example.sbom",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:00", "size": 2},
            "layers": [],
            "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": 1},
        }
        empty = hashlib.sha256(b"{}").hexdigest()
        artifact["config"]["digest"] = f"sha256:{empty}"
        (directory / "blobs" / "sha256" / empty).write_bytes(b"{}")
        content = json.dumps(artifact).encode()
        digest = hashlib.sha256(content).hexdigest()
        (directory / "blobs" / "sha256" / digest).write_bytes(content)
        index = json.loads((directory / "index.json").read_text())
        index["manifests"].append(
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": f"sha256:{digest}",
                "size": len(content),
            }
        )
        (directory / "index.json").write_text(json.dumps(index))
        (referrer,) = OciLayout(directory).referrers[subject]
        assert referrer.digest == f"sha256:{digest}"
