import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_the_sample_image_has_a_config_four_layers_and_a_tag(sample: OciLayout) -> None:
    manifest = sample.manifests[sample.tags["latest"]].document
    sizes = [layer.size for layer in manifest.layers or ()]
    assert len(sizes) == len(set(sizes)) == 4
    assert sample.referenced_blobs == {blob.digest: blob.size for blob in manifest.blobs}
    assert len(sample.referenced_blobs) == 5


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


def test_a_foreign_layer_need_not_be_there(directory: Path, sample: OciLayout) -> None:
    document = json.loads(sample.manifests[sample.tags["latest"]].content)
    foreign = {"mediaType": "x", "digest": f"sha256:{'1' * 64}", "size": 9, "urls": ["https://example.com/"]}
    add_manifest(directory, document | {"layers": [*document["layers"], foreign]})
    assert foreign["digest"] not in OciLayout(directory).referenced_blobs


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


@given(st.text() | st.sampled_from(["sha256:../../index.json", "../x:00", "sha256:", ":00"]))
def test_no_digest_leads_out_of_the_layout(sample_directory: Path, digest: str) -> None:
    assert OciLayout(sample_directory).open_blob(digest) is None
