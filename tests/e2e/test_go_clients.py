"""Today's registry clients in Go, and the official conformance suite, with an image of each kind.

`make test` builds them where there is Go.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.oci_layout import OciLayout
from tests.commands import Server, client_command, serving
from tests.layouts import Descriptor, write_everything

CLIENTS = Path(sys.prefix) / "tools" / "go-clients"
TAGS = ["docker", "docker-list", "image", "index", "nested", "no-layers"]
REFERRERS = 4
"""How many artifacts refer to the image."""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("everything") / "layout"


@pytest.fixture(scope="module")
def images(layout: Path) -> dict[str, Descriptor]:
    return write_everything(layout)


@pytest.fixture(scope="module")
def registry(layout: Path, images: dict[str, Descriptor]) -> Iterator[str]:
    assert images
    with serving("--layout", str(layout), "--repository", "team/app") as server:
        yield address(server)


@pytest.fixture(scope="module")
def renaming_registry(layout: Path, images: dict[str, Descriptor]) -> Iterator[str]:
    """Serve the images behind a function URL that renames headers of answers, as AWS's is reported to."""
    assert images
    with serving("--layout", str(layout), "--repository", "team/app", "--rename-headers") as server:
        yield address(server)


@pytest.fixture(scope="module")
def closed_registry() -> Iterator[str]:
    """Serve as a deployment does by default."""
    with serving("--no-image-pull", "--no-list-tags") as server:
        yield address(server)


def address(server: Server) -> str:
    return server.url.removeprefix("http://")


def client(name: str) -> Path:
    path = CLIENTS / name
    # Where CI has Go, a client that is not there is an error.
    if not path.is_file() and not (os.environ.get("CI") and shutil.which("go")):
        pytest.skip(f"{name} is not built: `make test` builds it where there is Go")
    return path


def attempt(name: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(client(name)), *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(name: str, *arguments: str | Path, **environment: str) -> str:
    result = attempt(name, *arguments, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def blobs_of(directory: Path, descriptor: Descriptor) -> set[str]:
    """Return the digests of a manifest with all that it leads to in a layout, each of which is checked."""
    algorithm, _, encoded = descriptor["digest"].partition(":")
    content = (directory / "blobs" / algorithm / encoded).read_bytes()
    assert hashlib.sha256(content).hexdigest() == encoded
    digests = {descriptor["digest"]}
    if "manifest" in descriptor["mediaType"] or "index" in descriptor["mediaType"]:
        document = json.loads(content)
        inner = [*document.get("manifests", []), *document.get("layers", [])]
        for each in inner + ([document["config"]] if "config" in document else []):
            digests |= blobs_of(directory, each)
    return digests


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


class TestCrane:
    @pytest.mark.parametrize("tag", TAGS)
    def test_pulls_every_kind_of_image(
        self, registry: str, images: dict[str, Descriptor], layout: Path, tmp_path: Path, tag: str
    ) -> None:
        run("crane", "pull", "--insecure", "--format=oci", f"{registry}/team/app:{tag}", tmp_path / "copy")
        assert blobs_of(tmp_path / "copy", images[tag]) == blobs_of(layout, images[tag])

    def test_pulls_where_headers_are_renamed(self, renaming_registry: str, tmp_path: Path) -> None:
        run("crane", "pull", "--insecure", "--format=oci", f"{renaming_registry}/team/app:index", tmp_path / "copy")

    def test_lists_tags_and_shows_digests_manifests_and_configs(
        self, registry: str, images: dict[str, Descriptor]
    ) -> None:
        assert run("crane", "ls", "--insecure", f"{registry}/team/app").split() == TAGS
        assert run("crane", "digest", "--insecure", f"{registry}/team/app:index").strip() == images["index"]["digest"]
        manifest = run("crane", "manifest", "--insecure", f"{registry}/team/app@{images['image']['digest']}")
        assert hashlib.sha256(manifest.encode()).hexdigest() == images["image"]["digest"].removeprefix("sha256:")
        config = json.loads(run("crane", "config", "--insecure", f"{registry}/team/app:docker"))
        assert config["config"]["Labels"] == {"name": "docker amd64"}

    def test_finds_an_image_valid(self, registry: str) -> None:
        run("crane", "validate", "--insecure", "--remote", f"{registry}/team/app:image")

    def test_is_told_what_the_operator_has_to_set(self, closed_registry: str, tmp_path: Path) -> None:
        result = attempt("crane", "pull", "--insecure", f"{closed_registry}/team/app:latest", tmp_path / "image.tar")
        assert result.returncode != 0
        assert "This registry serves blobs only. Ask its operator to set imagePull." in result.stderr


class TestOras:
    @pytest.mark.parametrize("tag", TAGS)
    def test_copies_every_kind_of_image_with_what_refers_to_it(
        self, registry: str, images: dict[str, Descriptor], layout: Path, tmp_path: Path, tag: str
    ) -> None:
        source = f"{registry}/team/app:{tag}"
        run("oras", "copy", "--from-plain-http", "--recursive", source, "--to-oci-layout", f"{tmp_path / 'copy'}:{tag}")
        assert blobs_of(tmp_path / "copy", images[tag]) == blobs_of(layout, images[tag])
        copied = sum(b"org.example.content" in path.read_bytes() for path in (tmp_path / "copy").rglob("sha256/*"))
        # The index is referred to once; what leads to the index does not bring that along.
        assert copied >= {"image": REFERRERS, "index": 1}.get(tag, 0)

    def test_copies_where_headers_are_renamed(self, renaming_registry: str, tmp_path: Path) -> None:
        target = f"{tmp_path / 'copy'}:index"
        run("oras", "copy", "--from-plain-http", f"{renaming_registry}/team/app:index", "--to-oci-layout", target)

    @pytest.mark.parametrize(
        ("arguments", "found"),
        [([], REFERRERS), (["--artifact-type", "application/vnd.example.sbom"], 1), (["--artifact-type", "a/b"], 0)],
    )
    def test_discovers_what_refers_to_an_image(self, registry: str, arguments: list[str], found: int) -> None:
        printed = run("oras", "discover", "--plain-http", "--format=json", *arguments, f"{registry}/team/app:image")
        assert len(json.loads(printed)["referrers"] or []) == found

    def test_discovers_what_the_client_fetched_with_an_image(self, registry: str, tmp_path: Path) -> None:
        arguments = ["--url", f"http://{registry}", "team/app:image", "--referrers", "-o", str(tmp_path / "copy")]
        assert client_command("fetch", *arguments).returncode == 0
        printed = run("oras", "discover", "--oci-layout", "--format=json", f"{tmp_path / 'copy'}:image")
        assert len(json.loads(printed)["referrers"]) == REFERRERS

    def test_writes_the_files_of_an_artifact_as_the_client_does(self, tmp_path: Path) -> None:
        (tmp_path / "docs" / "more").mkdir(parents=True)
        (tmp_path / "other").mkdir()
        for name in ("a.txt", "docs/b.txt", "docs/more/c.txt", "other/d.txt"):
            (tmp_path / name).write_text(name)
        push = ["push", "--no-tty", "--oci-layout", "layout:1", "a.txt", "docs", "other/d.txt"]
        subprocess.run([client("oras"), *push], cwd=tmp_path, capture_output=True, timeout=60, check=True)
        with serving("--layout", str(tmp_path / "layout"), "--repository", "team/files") as server:
            by_oras, by_client = tmp_path / "by oras", tmp_path / "by client"
            run("oras", "pull", "--no-tty", "--plain-http", "-o", by_oras, f"{address(server)}/team/files:1")
            arguments = ["--url", server.url, "team/files:1", "--format", "files", "-o", str(by_client)]
            result = client_command("fetch", *arguments)
        assert result.returncode == 0, result.stderr
        assert contents(by_client) == contents(by_oras) != {}

    def test_lists_tags(self, registry: str) -> None:
        assert run("oras", "repo", "tags", "--plain-http", f"{registry}/team/app").split() == TAGS

    def test_is_told_what_the_operator_has_to_set(self, closed_registry: str, tmp_path: Path) -> None:
        image = f"{closed_registry}/team/app:latest"
        result = attempt("oras", "copy", "--from-plain-http", image, "--to-oci-layout", f"{tmp_path}:latest")
        assert result.returncode != 0
        assert "imagePull" in result.stderr


class TestRegctl:
    @pytest.fixture
    def environment(self, registry: str, tmp_path: Path) -> dict[str, str]:
        environment = {"REGCTL_CONFIG": str(tmp_path / "regctl.json")}
        run("regctl", "registry", "set", "--tls=disabled", registry, **environment)
        return environment

    @pytest.mark.parametrize("tag", TAGS)
    def test_copies_every_kind_of_image_with_what_refers_to_it(
        self,
        registry: str,
        environment: dict[str, str],
        images: dict[str, Descriptor],
        layout: Path,
        tmp_path: Path,
        tag: str,
    ) -> None:
        target = f"ocidir://{tmp_path / 'copy'}:{tag}"
        run("regctl", "image", "copy", "--referrers", f"{registry}/team/app:{tag}", target, **environment)
        assert blobs_of(tmp_path / "copy", images[tag]) == blobs_of(layout, images[tag])

    def test_lists_tags_and_referrers(self, registry: str, environment: dict[str, str]) -> None:
        assert run("regctl", "tag", "ls", f"{registry}/team/app", **environment).split() == TAGS
        printed = run(
            "regctl", "artifact", "list", "--format={{json .Descriptors}}", f"{registry}/team/app:image", **environment
        )
        assert len(json.loads(printed)) == REFERRERS


def test_the_conformance_suite_passes_for_what_a_read_only_registry_has(
    registry: str, images: dict[str, Descriptor], layout: Path, tmp_path: Path
) -> None:
    """Source: https://github.com/opencontainers/distribution-spec/tree/main/conformance."""
    # Artifacts are among them, what refers to images, and an image by its SHA-512.
    manifests = set(OciLayout(layout).manifests)
    assert {digest.partition(":")[0] for digest in manifests} == {"sha256", "sha512"}
    blobs = set().union(*(blobs_of(layout, images[tag]) for tag in ("image", "docker"))) - manifests
    result = attempt(
        "conformance",
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
