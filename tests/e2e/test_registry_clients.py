"""Real clients of registries, and the official conformance suite, with images of each kind.

They pull from the running function without an edge, and get what the image layouts have.
"""

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import oras.client
import pytest

from local.oci_layout import OciLayout
from tests.commands import ROOT, Server, client_command, serving, tool
from tests.e2e.clients import PULLS, crane, digests_in, go_client, oras_go, regctl, regctl_environment, skopeo
from tests.layouts import Descriptor, write_everything
from tests.programs import attempt, run

TAGS = ["docker", "docker-list", "image", "index", "nested", "no-layers"]
REFERRERS = 4
"""How many artifacts refer to the image."""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("everything") / "layout"


@pytest.fixture(scope="module")
def images(layout: Path) -> dict[str, Descriptor]:
    return write_everything(layout)


def address(server: Server) -> str:
    return server.url.removeprefix("http://")


@pytest.fixture(scope="module")
def registry(layout: Path, images: dict[str, Descriptor]) -> Iterator[str]:
    assert images
    with serving("--layout", str(layout), "--repository", "team/app") as server:
        yield address(server)
    assert any('"route":"GET /v2/<name>/blobs/<digest>"' in line for line in server.log)
    assert not any("X-Amz-Signature" in line for line in server.log)


@pytest.fixture(scope="module")
def renaming_registry(layout: Path, images: dict[str, Descriptor]) -> Iterator[str]:
    """Serve the images behind a function URL that renames headers of answers, as AWS's is reported to.

    It lists no tags.
    """
    assert images
    options = ("--rename-headers", "--no-list-tags")
    with serving("--layout", str(layout), "--repository", "team/app", *options) as server:
        yield address(server)


@pytest.fixture(scope="module")
def closed_registry() -> Iterator[str]:
    """Serve as a deployment does by default."""
    with serving("--no-image-pull", "--no-list-tags") as server:
        yield address(server)


def blobs_of(directory: Path, descriptor: Descriptor) -> set[str]:
    """Return the digests of a manifest with all that it leads to in a layout."""
    content = (directory / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    digests = {descriptor["digest"]}
    if "manifest" in descriptor["mediaType"] or "index" in descriptor["mediaType"]:
        document = json.loads(content)
        inner = [*document.get("manifests", []), *document.get("layers", [])]
        for each in inner + ([document["config"]] if "config" in document else []):
            digests |= blobs_of(directory, each)
    return digests


@pytest.mark.parametrize(
    ("which", "client"),
    [
        *(("registry", client) for client in ("skopeo", "containerd", "docker-registry")),
        *(("renaming_registry", client) for client in ("skopeo", "containerd", "crane", "oras")),
    ],
)
def test_a_client_pulls_whatever_function_urls_do_to_headers(
    which: str, client: str, request: pytest.FixtureRequest, images: dict[str, Descriptor], layout: Path, tmp_path: Path
) -> None:
    PULLS[client](f"{request.getfixturevalue(which)}/team/app:image", None, tmp_path)
    assert blobs_of(layout, images["image"]) <= digests_in(tmp_path / "copy")


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("client", ["crane", "oras", "regctl"])
def test_a_client_in_go_pulls_every_kind_of_image_with_what_refers_to_it(
    client: str, tag: str, registry: str, images: dict[str, Descriptor], layout: Path, tmp_path: Path
) -> None:
    image = f"{registry}/team/app:{tag}"
    if client == "crane":
        crane(image, None, tmp_path)
    elif client == "oras":
        oras_go(image, None, tmp_path, "--recursive")
    else:
        regctl(image, None, tmp_path, "--referrers")
    assert blobs_of(layout, images[tag]) <= digests_in(tmp_path / "copy")
    if client == "oras":
        copied = sum(b"org.example.content" in path.read_bytes() for path in tmp_path.rglob("sha256/*"))
        # The index is referred to once; what leads to the index does not bring that along.
        assert copied >= {"image": REFERRERS, "index": 1}.get(tag, 0)


@pytest.mark.parametrize("client", ["skopeo", "crane", "oras"])
def test_a_client_is_told_what_to_ask_for_by_a_registry_of_blobs_only(
    client: str, closed_registry: str, tmp_path: Path
) -> None:
    message = "This registry serves blobs only. Ask its operator to set imagePull."
    assert f"`{message}`" in (ROOT / "docs" / "registry.md").read_text()
    with pytest.raises(AssertionError, match=message):
        PULLS[client](f"{closed_registry}/team/app:latest", None, tmp_path)


class TestSkopeo:
    def inspect(self, registry: str) -> dict[str, object]:
        printed = run(tool("skopeo"), "inspect", "--tls-verify=false", f"docker://{registry}/team/app:image")
        document: dict[str, object] = json.loads(printed)
        return document

    def test_inspects_an_image(self, registry: str, images: dict[str, Descriptor]) -> None:
        printed = self.inspect(registry)
        assert (printed["Digest"], printed["RepoTags"]) == (images["image"]["digest"], TAGS)

    def test_inspects_an_image_of_a_registry_that_does_not_list_tags(
        self, renaming_registry: str, images: dict[str, Descriptor]
    ) -> None:
        # It goes on after a 403 for the tags; after a 404 it would not.
        printed = self.inspect(renaming_registry)
        assert (printed["Digest"], printed["RepoTags"] or []) == (images["image"]["digest"], [])

    def test_copies_an_image_by_its_digest(
        self, registry: str, images: dict[str, Descriptor], layout: Path, tmp_path: Path
    ) -> None:
        skopeo(f"{registry}/team/app@{images['image']['digest']}", None, tmp_path)
        assert blobs_of(layout, images["image"]) <= digests_in(tmp_path / "copy")


def test_every_client_lists_the_tags(registry: str, tmp_path: Path) -> None:
    repository = f"{registry}/team/app"
    assert oras.client.OrasClient(hostname=registry, insecure=True).get_tags(repository) == TAGS
    assert run(go_client("crane"), "ls", "--insecure", repository).split() == TAGS
    assert run(go_client("oras"), "repo", "tags", "--plain-http", repository).split() == TAGS
    environment = regctl_environment(repository, tmp_path)
    assert run(go_client("regctl"), "tag", "ls", repository, **environment).split() == TAGS


def test_crane_shows_digests_manifests_and_configs_and_finds_an_image_valid(
    registry: str, images: dict[str, Descriptor]
) -> None:
    def show(what: str, reference: str) -> str:
        return run(go_client("crane"), what, "--insecure", f"{registry}/team/app{reference}")

    assert show("digest", ":index").strip() == images["index"]["digest"]
    manifest = show("manifest", f"@{images['image']['digest']}")
    assert hashlib.sha256(manifest.encode()).hexdigest() == images["image"]["digest"].removeprefix("sha256:")
    assert json.loads(show("config", ":docker"))["config"]["Labels"] == {"name": "docker amd64"}
    run(go_client("crane"), "validate", "--insecure", "--remote", f"{registry}/team/app:image")


class TestReferrers:
    @pytest.mark.parametrize(
        ("arguments", "found"),
        [([], REFERRERS), (["--artifact-type", "application/vnd.example.sbom"], 1), (["--artifact-type", "a/b"], 0)],
    )
    def test_oras_discovers_what_refers_to_an_image(self, registry: str, arguments: list[str], found: int) -> None:
        options = ("--plain-http", "--format=json", *arguments)
        printed = run(go_client("oras"), "discover", *options, f"{registry}/team/app:image")
        assert len(json.loads(printed)["referrers"] or []) == found

    def test_regctl_lists_what_refers_to_an_image(self, registry: str, tmp_path: Path) -> None:
        image = f"{registry}/team/app:image"
        options = ("list", "--format={{json .Descriptors}}")
        printed = run(go_client("regctl"), "artifact", *options, image, **regctl_environment(image, tmp_path))
        assert len(json.loads(printed)) == REFERRERS

    def test_oras_discovers_what_the_client_fetched_with_an_image(self, registry: str, tmp_path: Path) -> None:
        arguments = ["--url", f"http://{registry}", "team/app:image", "--referrers", "-o", str(tmp_path / "copy")]
        assert client_command("fetch", *arguments).returncode == 0
        printed = run(go_client("oras"), "discover", "--oci-layout", "--format=json", f"{tmp_path / 'copy'}:image")
        assert len(json.loads(printed)["referrers"]) == REFERRERS


@pytest.mark.parametrize("which", ["registry", "renaming_registry"])
def test_head_tells_the_size_of_each_blob_under_another_name_where_headers_are_renamed(
    which: str, layout: Path, request: pytest.FixtureRequest
) -> None:
    registry = request.getfixturevalue(which)
    for digest, size in OciLayout(layout).referenced_blobs.items():
        answer = httpx.head(f"http://{registry}/v2/team/app/blobs/{digest}", trust_env=False)
        renamed = answer.headers.get("x-amzn-remapped-content-length")
        expected = (str(size), None) if which == "registry" else ("0", str(size))
        assert (answer.status_code, (answer.headers["Content-Length"], renamed)) == (200, expected)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_client_writes_the_files_of_an_artifact_as_oras_does(tmp_path: Path) -> None:
    (tmp_path / "docs" / "more").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("a.txt", "docs/b.txt", "docs/more/c.txt", "other/d.txt"):
        (tmp_path / name).write_text(name)
    push = ["push", "--no-tty", "--oci-layout", "layout:1", "a.txt", "docs", "other/d.txt"]
    subprocess.run([go_client("oras"), *push], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    with serving("--layout", str(tmp_path / "layout"), "--repository", "team/files") as server:
        by_oras, by_client = tmp_path / "by oras", tmp_path / "by client"
        run(go_client("oras"), "pull", "--no-tty", "--plain-http", "-o", by_oras, f"{address(server)}/team/files:1")
        arguments = ["--url", server.url, "team/files:1", "--format", "files", "-o", str(by_client)]
        result = client_command("fetch", *arguments)
    assert result.returncode == 0, result.stderr
    assert contents(by_client) == contents(by_oras) != {}


def test_the_conformance_suite_passes_for_what_a_read_only_registry_has(
    registry: str, images: dict[str, Descriptor], layout: Path, tmp_path: Path
) -> None:
    """Source: https://github.com/opencontainers/distribution-spec/tree/main/conformance."""
    # Artifacts are among them, what refers to images, and an image by its SHA-512.
    manifests = set(OciLayout(layout).manifests)
    assert {digest.partition(":")[0] for digest in manifests} == {"sha256", "sha512"}
    blobs = set().union(*(blobs_of(layout, images[tag]) for tag in ("image", "docker"))) - manifests
    result = attempt(
        go_client("conformance"),
        OCI_REGISTRY=registry,
        OCI_TLS="disabled",
        OCI_REPO1="team/app",
        OCI_API_PUSH="false",
        OCI_API_BLOBS_DELETE="false",
        OCI_API_MANIFESTS_DELETE="false",
        OCI_API_TAGS_DELETE="false",
        OCI_RO_DATA_TAGS=" ".join(images),
        OCI_RO_DATA_MANIFESTS=" ".join(manifests),
        OCI_RO_DATA_BLOBS=" ".join(blobs),
        OCI_RO_DATA_REFERRERS=" ".join(manifests),
        OCI_RESULTS_DIR=str(tmp_path),
    )
    # In read-only mode this version of the suite fails while it writes its report, after all tests.
    outcomes = re.findall(r"OCI Conformance Test/(\S.*): (\w+)$", result.stdout, re.MULTILINE)
    assert {outcome for _, outcome in outcomes} == {"Pass", "Disabled"}, result.stdout + result.stderr
    passed = [name for name, outcome in outcomes if outcome == "Pass"]
    assert len(passed) > 3 * len(manifests) + 2 * len(blobs)
