"""Signatures, SBOMs and other artifacts of an image, and the files in them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from ecr_layers import Client, ClientError, TargetError, verify
from ecr_layers.registry import referrers as referrers_module
from tests.archives import file, gzipped, link, tar
from tests.client.commanding import REPOSITORY, Command, command, serving_layout
from tests.client.fetching import files_in
from tests.client.scripted import answered, scripted
from tests.client.small_parts import QUICK
from tests.layouts import EMPTY, OCI_INDEX, OCI_MANIFEST, Descriptor, LayoutWriter, for_platform

__all__ = ["command"]

SBOM, SIGNATURE = "application/vnd.example.sbom", "application/vnd.example.signature"
TITLE = "org.opencontainers.image.title"


def artifact(writer: LayoutWriter, files: Iterable[tuple[str, bytes, dict[str, str]]]) -> Descriptor:
    """Write an artifact with files, and return its descriptor."""
    layers = [
        {**writer.blob(content, "text/plain"), "annotations": {TITLE: title, **annotations}}
        for title, content, annotations in files
    ]
    config = writer.blob(b"{}", EMPTY)
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": SBOM, "config": config, "layers": layers}
    return writer.document(OCI_MANIFEST, document)


def cosigns_tag(descriptor: Descriptor, suffix: str) -> str:
    return f"{descriptor['digest'].replace(':', '-')}.{suffix}"


PACKED = {"io.deis.oras.content.unpack": "true"}
FILES: dict[str, list[tuple[str, bytes, dict[str, str]]]] = {
    "files": [
        ("sbom.json", b"{}", {}),
        ("copy of it.json", b"{}", {}),
        ("docs/a.txt", b"a", {}),
        ("docs", gzipped(tar(file("docs/b.txt", b"b"))), PACKED),
    ],
    "up": [("../up", b"x", {})],
    "up-later": [("a/../../up", b"x", {})],
    "absolute": [("/tmp/absolute", b"x", {})],
    "empty": [("", b"x", {})],
    "control": [("a\nb", b"x", {})],
    "twice": [("a", b"x", {}), ("./a", b"y", {})],
    "file-and-directory": [("a", b"x", {}), ("a/b", b"y", {})],
    "through-a-link": [("l", gzipped(tar(link("l", "/tmp"))), PACKED), ("l/x", b"y", {})],
    "over-a-link": [("l", gzipped(tar(link("l", "/tmp/over"))), PACKED), ("l", b"y", {})],
    "packed-up": [("l", gzipped(tar(file("../../../packed-up", b"x"))), PACKED)],
}


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> LayoutWriter:
    return LayoutWriter(tmp_path_factory.mktemp("origin") / "layout")


@pytest.fixture(scope="module")
def images(writer: LayoutWriter) -> Mapping[str, Descriptor]:
    image, docker = writer.image("image"), writer.image("docker", is_docker=True)
    index = writer.index([for_platform(image, "amd64"), for_platform(docker, "arm64")])
    found = {"image": image, "docker": docker, "index": index}
    for name in ("image", "docker", "index"):
        found[f"sbom of {name}"] = writer.artifact(SBOM, found[name], f"sbom of {name}".encode())
    found["signature"] = writer.artifact(SIGNATURE, found["sbom of image"], b"signature of an sbom")
    for suffix in ("sig", "att", "sbom"):
        found[suffix] = writer.image(suffix)
        writer.name(found[suffix], cosigns_tag(image, suffix))
    for name, descriptor in found.items():
        writer.name(descriptor, *([name] if name in {"image", "docker", "index"} else []))
    for name, layers in FILES.items():
        writer.name(artifact(writer, layers), name)
    return found


@pytest.fixture(scope="module")
def url(writer: LayoutWriter, images: Mapping[str, Descriptor]) -> Iterator[str]:
    assert images
    with serving_layout(writer) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, retries=QUICK) as client:
        yield client


OF_IMAGE = ("sbom of image", "signature", "sig", "att", "sbom")


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("image", OF_IMAGE),
        ("docker", ("sbom of docker",)),
        ("index", ("sbom of index", "sbom of docker", *OF_IMAGE)),
    ],
)
def test_what_refers_to_an_image_its_parts_and_its_referrers_is_found(
    client: Client, images: Mapping[str, Descriptor], tag: str, expected: tuple[str, ...]
) -> None:
    image = client.image(f"{REPOSITORY}:{tag}", all_platforms=True)
    assert {each.descriptor.digest for each in image.referrers()} == {images[name]["digest"] for name in expected}
    found = {each.descriptor.digest: each.subject for each in image.referrers(SIGNATURE)}
    assert found == ({images["signature"]["digest"]: images["sbom of image"]["digest"]} if tag != "docker" else {})


def entries_of(layout: Path) -> dict[str, dict[str, Any]]:
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    return {each["digest"]: each.get("annotations", {}) for each in entries}


@pytest.mark.parametrize("tag", ["image", "docker", "index"])
def test_referrers_are_saved_with_the_image_and_stay_when_the_layout_is_pruned(
    client: Client, images: Mapping[str, Descriptor], tmp_path: Path, command: Command, tag: str
) -> None:
    image = client.image(f"{REPOSITORY}:{tag}", all_platforms=True)
    saved = image.save(tmp_path, referrers=True)
    referrers = {each.descriptor.digest for each in image.referrers()}
    assert set(saved.referrers) == referrers
    assert command("prune", str(tmp_path)).status == 0
    assert verify(tmp_path).problems == ()
    # They refer to the original, which isn't the same as the image in the layout if that was Docker's.
    assert entries_of(tmp_path).keys() >= {*referrers, images[tag]["digest"]}
    assert (tmp_path / "blobs" / images["sbom of docker"]["digest"].replace(":", "/")).exists() == (tag != "image")


def test_an_image_and_its_signatures_are_marked_as_cosign_reads_them(
    client: Client, images: Mapping[str, Descriptor], tmp_path: Path
) -> None:
    for tag in ("docker", "image"):
        client.image(f"{REPOSITORY}:{tag}").save(tmp_path, referrers=True)
    kinds = {digest: each["kind"] for digest, each in entries_of(tmp_path).items() if "kind" in each}
    assert kinds == {
        images["image"]["digest"]: "dev.cosignproject.cosign/image",
        images["sig"]["digest"]: "dev.cosignproject.cosign/sigs",
        images["att"]["digest"]: "dev.cosignproject.cosign/atts",
    }
    names = {each.get("org.opencontainers.image.ref.name") for each in entries_of(tmp_path).values()}
    assert names >= {"image", "docker", cosigns_tag(images["image"], "sig")}


def registry(documents: Mapping[str, bytes], **headers: str) -> Any:
    """Return what answers with documents by their paths, and 404 elsewhere."""

    def answer(request: Request, _: bytes) -> Response:
        path = f"{request.url.path}?{request.url.query}".rstrip("?")
        if path not in documents:
            return answered({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "No."}]}, 404)
        content = documents[path]
        kind = OCI_INDEX if b'"manifests"' in content else OCI_MANIFEST
        link = {"Link": headers["link"]} if "/referrers/" in path and headers else {}
        return Response(content, 200, link, media_type=kind)

    return answer


def entry(content: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(content), "artifactType": SBOM}


IMAGE = json.dumps({"schemaVersion": 2, "layers": [], "blobs": []}).encode()
DIGEST = entry(IMAGE)["digest"]


def test_without_the_referrers_api_the_tag_schema_is_read() -> None:
    sbom = json.dumps({"schemaVersion": 2, "blobs": [], "artifactType": SBOM}).encode()
    documents = {
        f"/v2/{REPOSITORY}/manifests/1.2": IMAGE,
        f"/v2/{REPOSITORY}/manifests/{DIGEST.replace(':', '-')}": json.dumps({"manifests": [entry(sbom)]}).encode(),
    }
    with scripted(registry(documents)) as (_, client):
        (found,) = client.image(f"{REPOSITORY}:1.2").referrers()
    assert (found.descriptor.digest, found.descriptor.artifact_type) == (entry(sbom)["digest"], SBOM)


def test_pages_and_numbers_of_referrers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    page = json.dumps({"manifests": [entry(bytes([number])) for number in range(20)]}).encode()
    path = f"/v2/{REPOSITORY}/referrers/{DIGEST}"
    documents = {f"/v2/{REPOSITORY}/manifests/1.2": IMAGE, path: page, f"{path}?nextToken=x": page}
    monkeypatch.setattr(referrers_module, "MOST_PAGES", 5)
    endless = registry(documents, link=f'<{path}?nextToken=x>; rel="next"')
    with scripted(endless) as (service, client), pytest.raises(ClientError, match="Unexpected answer"):
        client.image(f"{REPOSITORY}:1.2").referrers()
    assert sum("/referrers/" in path for _, path, _ in service.requests) == 5
    monkeypatch.setattr(referrers_module, "MOST_REFERRERS", 10)
    with scripted(registry(documents)) as (_, client), pytest.raises(ClientError, match="over 10 referrers"):
        client.image(f"{REPOSITORY}:1.2").referrers()


def test_the_files_of_an_artifact_have_their_titles(client: Client, tmp_path: Path) -> None:
    client.image(f"{REPOSITORY}:files").save_files(tmp_path)
    assert files_in(tmp_path) == {"sbom.json", "copy of it.json", "docs/a.txt", "docs/b.txt"}
    assert (tmp_path / "docs" / "b.txt").read_bytes() == b"b"
    with pytest.raises(TargetError, match="isn't empty"):
        client.image(f"{REPOSITORY}:files").save_files(tmp_path)


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"files", "packed-up"}))
def test_a_title_that_leads_elsewhere_or_to_another_file_is_refused(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(ClientError) as caught:
        client.image(f"{REPOSITORY}:{name}").save_files(tmp_path / "a" / "b" / "files")
    assert caught.value.code == "unsafe-title"
    assert not (tmp_path / "a" / "b" / "files").exists()
    assert not Path("/tmp/absolute").exists()
    assert not Path("/tmp/over").exists()
    assert not list(tmp_path.rglob("up"))


def test_a_packed_file_does_not_lead_out(client: Client, tmp_path: Path) -> None:
    client.image(f"{REPOSITORY}:packed-up").save_files(tmp_path / "a" / "files")
    assert {path for path in files_in(tmp_path) if path.endswith("packed-up")} <= {"a/files/packed-up"}


def test_the_commands_list_and_fetch_referrers(
    url: str, images: Mapping[str, Descriptor], tmp_path: Path, command: Command
) -> None:
    image = [f"{REPOSITORY}:image", "--url", url]
    listed = command("referrers", *image)
    rows = [line.split("\t") for line in listed.output.splitlines()]
    assert [SIGNATURE, images["signature"]["digest"], images["sbom of image"]["digest"]] in rows
    assert len(rows) == len(OF_IMAGE)
    (document,) = map(json.loads, command("referrers", *image, "--artifact-type", SBOM, "--json").output.splitlines())
    assert (document["digest"], document["artifactType"]) == (images["sbom of image"]["digest"], SBOM)
    assert document["annotations"] == {"org.example.content": "sbom of image"}
    fetched = command("fetch", *image, "--referrers", "-o", f"{tmp_path}/app")
    assert fetched.error.endswith(", 5 referrers\n")
    assert command("fetch", f"{REPOSITORY}:files", "--url", url, "-o", f"files:{tmp_path}/files").status == 0
    assert (tmp_path / "files" / "sbom.json").read_bytes() == b"{}"
    without = command("fetch", *image, "--format", "files", "-o", f"{tmp_path}/none")
    assert (without.status, "none of its layers has a title" in without.error) == (1, True)
