"""`ecr-layers tags`, `manifest` and `digest` print what a registry says of a name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from ecr_layers import ClientError, ServiceError
from ecr_layers.registry import images as images_module
from local.oci_layout import OciLayout
from local.service import local_service
from tests.archives import file, tar
from tests.client.commanding import REPOSITORY, Command, add_image, command, serving_layout
from tests.client.scripted import answered, in_turn, scripted
from tests.layouts import LayoutWriter, for_platform

__all__ = ["command"]

# More than the function lists at once.
MANY = [f"v{number:04}" for number in range(1001)]


@dataclass(frozen=True)
class Registry:
    """A service with an index and many tags, the files that it serves, and the digests of its images."""

    url: str
    directory: Path
    digests: Mapping[str, str]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    writer = LayoutWriter(tmp_path_factory.mktemp("layout"))
    images = {
        each: add_image(writer, {"os": "linux", "architecture": each}, [tar(file(each))]) for each in ("amd64", "arm64")
    }
    images["index"] = writer.index([for_platform(descriptor, each) for each, descriptor in images.items()])
    writer.name(images["index"], "index")
    writer.name(images["amd64"], *MANY)
    with serving_layout(writer) as url:
        yield Registry(url, writer.directory, {name: each["digest"] for name, each in images.items()})


def test_all_tags_are_listed_however_many_pages_they_take(registry: Registry, command: Command) -> None:
    result = command("tags", "--url", registry.url, REPOSITORY)
    assert result.status == 0, result.error
    assert result.output.splitlines() == sorted(["index", *MANY])


def test_a_service_without_list_tags_says_what_its_operator_has_to_set(registry: Registry, command: Command) -> None:
    layout = OciLayout(registry.directory)
    with local_service({REPOSITORY: layout}, opted_into={}, write_log=lambda _: None) as service:
        result = command("tags", "--url", service.url, REPOSITORY)
    assert (result.status, result.output) == (1, "")
    assert "set listTags" in result.error
    assert "--manifest" not in result.error


def test_control_characters_in_tags_are_not_printed(command: Command) -> None:
    with scripted(in_turn(answered({"tags": ["a\x1b[2J\nb"]}))) as (_, client):
        result = command("tags", "--anonymous", "--url", client.url, "team/app")
    assert result.output == "a?[2J?b\n"


def test_a_list_of_tags_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def page(request: Request, _: bytes) -> Response:
        last = request.query_params.get("last", "")
        return answered({"tags": [f"{last}x"]}, Link=f'</v2/team/app/tags/list?n=1&last={last}x>; rel="next"')

    monkeypatch.setattr(images_module, "MOST_TAG_PAGES", 5)
    with scripted(page) as (_, client), pytest.raises(ClientError, match="over 5 pages of tags"):
        client.tags("team/app")


def test_the_same_page_is_not_asked_for_twice() -> None:
    link = '</v2/team/app/tags/list?last=a>; rel="next"'
    with scripted(in_turn(answered({"tags": ["a"]}, Link=link))) as (service, client), pytest.raises(ServiceError):
        client.tags("team/app")
    assert len(service.requests) == 2


@pytest.mark.parametrize("link", ['<https://elsewhere.example.com/?last=b>; rel="next"', "nonsense", '<x>; rel="prev"'])
def test_a_link_leads_to_no_other_host(link: str) -> None:
    answers = in_turn(answered({"tags": ["a"]}, Link=link), answered({"tags": ["b"]}))
    with scripted(answers) as (service, client):
        assert client.tags("team/app")[0] == "a"
    assert {path for _, path, _ in service.requests} == {"/v2/team/app/tags/list"}


@pytest.mark.parametrize("document", [{}, {"tags": "a"}, {"tags": [1]}, []])
def test_an_answer_without_a_list_of_tags_is_an_error_but_a_repository_may_have_none(document: Any) -> None:
    with scripted(in_turn(answered({"tags": None}), answered(document))) as (_, client):
        assert client.tags("team/app") == []
        with pytest.raises(ServiceError, match="Unexpected answer"):
            client.tags("team/app")


@pytest.mark.parametrize(("tag", "name"), [("index", "index"), (MANY[0], "amd64")])
def test_a_manifest_or_an_index_is_printed_byte_for_byte(
    registry: Registry, command: Command, tag: str, name: str
) -> None:
    digest = registry.digests[name]
    result = command("manifest", "--url", registry.url, f"{REPOSITORY}:{tag}")
    assert result.status == 0, result.error
    assert result.output.encode() == (registry.directory / "blobs" / digest.replace(":", "/")).read_bytes()
    assert command("digest", "--url", registry.url, f"{REPOSITORY}:{tag}").output == f"{digest}\n"


def test_a_platform_chooses_an_image_of_an_index(registry: Registry, command: Command) -> None:
    arguments = ("--url", registry.url, f"{REPOSITORY}:index", "--platform", "linux/arm64")
    assert command("digest", *arguments).output == f"{registry.digests['arm64']}\n"
    assert "layers" in json.loads(command("manifest", *arguments).output)


@pytest.mark.parametrize(
    "arguments", [("tags", "team/none"), ("manifest", f"{REPOSITORY}:none"), ("digest", f"{REPOSITORY}:none")]
)
def test_a_name_that_is_missing_fails_the_command(
    registry: Registry, command: Command, arguments: tuple[str, str]
) -> None:
    result = command(*arguments, "--url", registry.url)
    assert (result.status, result.output) == (1, "")
