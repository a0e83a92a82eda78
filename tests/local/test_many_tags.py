"""A repository with many tags is listed once for all pages of a listing, however many pages there are."""

import json
from pathlib import Path

import httpx

from local.oci_layout import REFERENCE_NAME, MemoryFiles, OciLayout
from local.sample_image import write_sample_image
from local.service import local_service

TAGS = 20_021
LARGEST_PAGE = 1000


def layout_with_tags(directory: Path, count: int) -> OciLayout:
    """Return the sample image under many tags."""
    write_sample_image(directory)
    files = {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    (descriptor,) = json.loads(files["index.json"])["manifests"]
    entries = [{**descriptor, "annotations": {REFERENCE_NAME: f"v{number}"}} for number in range(count)]
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    return OciLayout(Path("many tags"), MemoryFiles(files))


def test_all_pages_of_a_listing_read_the_repository_once(tmp_path: Path) -> None:
    layout = layout_with_tags(tmp_path, TAGS)
    listed: list[str] = []
    with local_service({"team/app": layout}, write_log=lambda _: None) as service, httpx.Client(timeout=60) as client:
        target = "/v2/team/app/tags/list"
        while target:
            response = client.get(f"{service.url}{target}").raise_for_status()
            page = response.json()["tags"]
            assert len(page) <= LARGEST_PAGE
            listed += page
            target = response.links.get("next", {}).get("url", "")
        calls = [call for call in service.aws.ecr.calls if call["action"] == "ListImages"]
    assert listed == sorted(f"v{number}" for number in range(TAGS))
    assert len(calls) == -(-TAGS // LARGEST_PAGE)
