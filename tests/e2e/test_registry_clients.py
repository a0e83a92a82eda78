"""Real clients of registries pull a real image from the running function, and get what the image layout has."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import oras.client
import pytest

from local.oci_layout import OciLayout
from local.sample_image import write_sample_image
from tests.commands import ROOT, Server, serving, tool
from tests.e2e.emulator import wait_until
from tests.programs import answers, assert_has_all_blobs, run, started

SYFT = Path(sys.prefix) / "tools" / "syft" / "bin" / "syft"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> OciLayout:
    """Return what the server serves: the sample image is the same each time."""
    directory = tmp_path_factory.mktemp("sample")
    write_sample_image(directory)
    return OciLayout(directory)


@pytest.fixture
def registry(server: Server) -> str:
    return server.url.removeprefix("http://")


@pytest.fixture
def image(registry: str) -> str:
    return f"{registry}/team/app:latest"


@pytest.fixture(scope="module")
def renaming_server() -> Iterator[Server]:
    """Return a server whose function URL renames headers, as AWS's is reported to."""
    with serving("--rename-headers") as server:
        yield server


@pytest.fixture(params=["server", "renaming_server"])
def any_image(request: pytest.FixtureRequest) -> str:
    """Return the image, whichever of both things function URLs do to headers."""
    server: Server = request.getfixturevalue(request.param)
    return f"{server.url.removeprefix('http://')}/team/app:latest"


class TestSkopeo:
    def test_copies_an_image(self, any_image: str, layout: OciLayout, tmp_path: Path) -> None:
        run(tool("skopeo"), "copy", "--src-tls-verify=false", f"docker://{any_image}", f"dir:{tmp_path / 'copy'}")
        assert_has_all_blobs(tmp_path / "copy", layout)
        manifest = layout.manifests[layout.tags["latest"]]
        assert (tmp_path / "copy" / "manifest.json").read_bytes() == manifest.content

    def test_copies_an_image_by_its_digest(self, registry: str, layout: OciLayout, tmp_path: Path) -> None:
        source = f"docker://{registry}/team/app@{layout.tags['latest']}"
        run(tool("skopeo"), "copy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}")
        assert_has_all_blobs(tmp_path / "copy", layout)

    def test_inspects_an_image(self, image: str, layout: OciLayout) -> None:
        printed = json.loads(run(tool("skopeo"), "inspect", "--tls-verify=false", f"docker://{image}"))
        assert printed["Digest"] == layout.tags["latest"]
        assert printed["RepoTags"] == ["latest"]

    def test_inspects_an_image_of_a_registry_that_does_not_list_tags(self, layout: OciLayout) -> None:
        # It goes on after a 403 for the tags; after a 404 it would not.
        with serving("--no-list-tags") as server:
            image = f"docker://{server.url.removeprefix('http://')}/team/app:latest"
            printed = json.loads(run(tool("skopeo"), "inspect", "--tls-verify=false", image))
        assert printed["Digest"] == layout.tags["latest"]
        assert not printed["RepoTags"]

    def test_is_told_what_to_ask_for_by_a_registry_of_blobs_only(self, tmp_path: Path) -> None:
        with serving("--no-image-pull", "--no-list-tags") as server:
            image = f"docker://{server.url.removeprefix('http://')}/team/app:latest"
            result = subprocess.run(
                [tool("skopeo"), "copy", "--src-tls-verify=false", image, f"dir:{tmp_path}"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert result.returncode != 0
        message = "This registry serves blobs only. Ask its operator to set imagePull."
        assert message in result.stderr
        assert f"`{message}`" in (ROOT / "docs" / "registry.md").read_text()


def test_oras_gets_the_manifest_every_blob_and_the_tags(
    registry: str, image: str, layout: OciLayout, tmp_path: Path
) -> None:
    client = oras.client.OrasClient(hostname=registry, insecure=True)
    assert client.get_tags(f"{registry}/team/app") == ["latest"]
    manifest = client.get_manifest(client.get_container(image))
    descriptors = [manifest["config"], *manifest["layers"]]
    assert {descriptor["digest"] for descriptor in descriptors} == layout.referenced_blobs.keys()
    for descriptor in descriptors:
        file = tmp_path / descriptor["digest"].partition(":")[2]
        client.download_blob(client.get_container(image), descriptor["digest"], str(file))
    assert_has_all_blobs(tmp_path, layout)


def test_go_containerregistry_reads_every_layer(image: str, layout: OciLayout) -> None:
    document = json.loads(
        run(
            SYFT,
            f"registry:{image}",
            "--output=json",
            "--quiet",
            SYFT_REGISTRY_INSECURE_USE_HTTP="true",
            SYFT_CHECK_FOR_APP_UPDATE="false",
        )
    )
    metadata = document["source"]["metadata"]
    assert metadata["manifestDigest"] == layout.tags["latest"]
    assert len(metadata["layers"]) == 4


def test_docker_registry_mirrors_an_image(server: Server, layout: OciLayout, tmp_path: Path) -> None:
    """As a pull-through cache it asks for every blob with HEAD as well, and keeps as many bytes as that says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    (tmp_path / "config.yml").write_text(
        f"""
version: 0.1
storage: {{filesystem: {{rootdirectory: {tmp_path / "data"}}}}}
http: {{addr: "{address}"}}
proxy: {{remoteurl: "{server.url}"}}
"""
    )
    skopeo = tool("skopeo")
    with started(tool("docker-registry"), "serve", tmp_path / "config.yml", log=tmp_path / "log"):
        wait_until(lambda: answers(f"http://{address}/v2/"))
        for copy in ("first", "second"):
            run(
                skopeo,
                "copy",
                "--src-tls-verify=false",
                f"docker://{address}/team/app:latest",
                f"dir:{tmp_path / copy}",
            )
            assert_has_all_blobs(tmp_path / copy, layout)

        def kept() -> bool:
            blobs = tmp_path / "data" / "docker" / "registry" / "v2" / "blobs" / "sha256"
            found = {path.parent.name: path.read_bytes() for path in blobs.glob("*/*/data")}
            return {digest.partition(":")[2] for digest in layout.referenced_blobs} <= found.keys() and all(
                hashlib.sha256(content).hexdigest() == name for name, content in found.items()
            )

        # It keeps them after it has answered.
        wait_until(kept)


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
def test_containerd_fetches_an_image(any_image: str, layout: OciLayout, tmp_path: Path) -> None:
    """It asks for the manifest with HEAD first, and takes a length of 0 for a failure."""
    ctr, containerd = tool("ctr"), tool("containerd")
    registry = any_image.partition("/")[0]
    hosts = tmp_path / "hosts" / registry / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f'[host."http://{registry}"]\n  capabilities = ["pull", "resolve"]\n')
    # The path of a socket may be no longer than 107 bytes.
    state = tmp_path / "s"
    options = ("--root", tmp_path / "root", "--state", state, "--address", state / "c.sock")
    with started(containerd, *options, log=tmp_path / "log"):
        wait_until((state / "c.sock").exists)
        client = (ctr, "--address", str(state / "c.sock"), "content")
        run(*client, "fetch", "--hosts-dir", tmp_path / "hosts", any_image)
        listed = run(*client, "ls", "--quiet").split()
        assert {*layout.referenced_blobs, layout.tags["latest"]} <= set(listed)
        for digest in layout.referenced_blobs:
            content = subprocess.run([*client, "get", digest], capture_output=True, timeout=30, check=True).stdout
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest


def test_every_blob_tells_its_size(server: Server, layout: OciLayout) -> None:
    for digest, size in layout.referenced_blobs.items():
        answer = httpx.head(f"{server.url}/v2/team/app/blobs/{digest}", trust_env=False)
        assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(size))


def test_where_headers_are_renamed_the_size_of_a_blob_is_under_the_other_name(
    renaming_server: Server, layout: OciLayout
) -> None:
    for digest, size in layout.referenced_blobs.items():
        headers = httpx.head(f"{renaming_server.url}/v2/team/app/blobs/{digest}", trust_env=False).headers
        assert (headers["Content-Length"], headers["x-amzn-remapped-content-length"]) == ("0", str(size))


def test_no_request_of_a_client_leaves_a_secret_in_the_log(server: Server) -> None:
    assert any(re.search(r'"route":"GET /v2/<name>/blobs/<digest>"', line) for line in server.log)
    assert not any("X-Amz-Signature" in line for line in server.log)
