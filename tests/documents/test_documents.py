"""The documents are true where a test can tell: links, versions and commands."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import click
import pytest
from botocore import xform_name

from ecr_layers.cli.app import commands
from layer_resolver import __version__
from layer_resolver.errors import ERROR_TABLE
from scripts.openapi import openapi_document
from scripts.version import project_version

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
API = (ROOT / "docs" / "api.md").read_text()


def links_of(document: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files that a document links to, and the headings there."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name, _, heading = target.partition("#")
        yield document.parent / name if name else document, heading


def headings_of(document: Path) -> set[str]:
    """Return the names of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    for file, heading in links_of(document):
        assert file.exists(), file
        assert not heading or heading in headings_of(file), f"{file.name}#{heading}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_command_of_a_document_is_a_target(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = re.sub(r"<!--.*?-->", "", document.read_text(), flags=re.DOTALL)
    commands = re.findall(r"(?:`|^\$ |&& )make ([a-z-]+)", text, re.MULTILINE)
    assert set(commands) <= targets


def test_api_mds_table_of_errors_has_the_rows_of_the_json_routes() -> None:
    found = re.findall(r"^\| `(\w+)` \| (\d+|in `failures` only) \| (no|yes)", API, re.MULTILINE)
    rows = {
        kind.code: (str(kind.http_status), "yes" if kind.retryable else "no")
        for kind in ERROR_TABLE.values()
        if not kind.arises_in <= {"registry", "event"}
    }
    assert {code: row for code, *row in found} == {
        code: list(row) for code, row in (rows | {"ForeignLayer": ("in `failures` only", "no")}).items()
    }


def test_each_retryable_row_with_a_time_says_retry_after_in_api_md() -> None:
    found = re.findall(r"^\| `(\w+)` \| \d+ \| yes, after `Retry-After`", API, re.MULTILINE)
    assert set(found) == {kind.code for kind in ERROR_TABLE.values() if kind.retry_after_seconds is not None}


def test_registry_mds_table_of_errors_has_the_rows_of_the_registry() -> None:
    text = (ROOT / "docs" / "registry.md").read_text()
    found = re.findall(r"^\|[^|]*\| (\d{3})[^|]*\| `(\w+)` \|$", text, re.MULTILINE)
    elsewhere = {"body", "config", "failure", "event"}
    rows = {
        (str(kind.registry_http_status), kind.registry_code)
        for kind in ERROR_TABLE.values()
        if not kind.arises_in <= elsewhere
    }
    assert set(found) == rows
    assert len(found) == len(rows)


@pytest.mark.parametrize(
    ("client", "module"),
    [
        ("crane (go-containerregistry)", "github.com/google/go-containerregistry"),
        ("oras", "oras.land/oras"),
        ("regctl", "github.com/regclient/regclient"),
    ],
)
def test_registry_md_has_the_versions_of_the_clients_that_are_built(client: str, module: str) -> None:
    (pinned,) = re.findall(rf"^\t{module} v([\d.]+)", (ROOT / "tests/tools/go/go.mod").read_text(), re.MULTILINE)
    assert f"| {client} {pinned} |" in (ROOT / "docs" / "registry.md").read_text()


def aws_commands_of(document: Path) -> list[list[str]]:
    """Return the commands of the AWS CLI that a document has, each as its words."""
    text = document.read_text().replace("\\\n", " ")
    commands = re.findall(r"(?:^\$ |\{ |\$\(|`)(aws [a-z][^\n`]*)", text, re.MULTILINE)
    # What follows a shell's own marks is no longer the command.
    return [re.split(r"[;|]", re.sub(r"\$\(\(.*?\)\)", "1", each))[0].strip(" )").split() for each in commands]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_the_aws_cli_in_a_document_is_one_and_has_its_options(document: Path) -> None:
    session = botocore.session.get_session()
    for _, service, command, *words in aws_commands_of(document):
        model = session.get_service_model(service)
        operations = {xform_name(name, "-"): model.operation_model(name) for name in model.operation_names}
        assert command in operations, f"{service} {command}"
        shape = operations[command].input_shape
        options = {f"--{xform_name(name, '-')}" for name in shape.members} if shape else set()
        used = {word for word in words if re.fullmatch(r"--[a-z-]+", word)}
        assert used <= options | {"--query", "--output", "--region"}, f"{service} {command}"


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "client" / "README.md"], ids=lambda path: path.name)
def test_every_command_of_ecr_layers_in_a_document_is_one_and_has_its_options(document: Path) -> None:
    blocks = "".join(re.findall(r"^```(?:console|yaml|sh)\n.*?^```", document.read_text(), re.DOTALL | re.MULTILINE))
    for line in re.findall(r"(?<![\w/-])ecr-layers ([a-z][^\n|;&>)]*)", blocks):
        words = line.split()
        found: click.Command | None = commands
        while isinstance(found, click.Group) and words:
            found = found.get_command(click.Context(found), words.pop(0))
        assert found is not None, line
        options = {name for each in found.params for name in each.opts}
        assert {word.partition("=")[0] for word in words if re.match(r"-[-a-z]", word)} <= options, line


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert project_version() == openapi_document()["info"]["version"] == __version__
    assert tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]["version"] == __version__
    newest = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert newest == __version__
    wheels = [re.findall(r"ecr_layer\w+-([\d.]+)-py3", each.read_text()) for each in DOCUMENTS]
    assert {version for versions in wheels for version in versions} == {__version__}
    for folder in ("lambda_src", "client", "infra", "local", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            literals = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
            assert __version__ not in literals or path.name == "__init__.py", path


def test_the_web_site_has_every_document() -> None:
    def pages(entries: list[dict[str, Any]]) -> Iterator[str]:
        for target in (target for entry in entries for target in entry.values()):
            yield from [target] if isinstance(target, str) else pages(target)

    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    documents = [*DOCUMENTS, ROOT / "client" / "README.md"]
    assert sorted(pages(nav)) == sorted(str(path.relative_to(ROOT)) for path in documents)


def test_dependabot_watches_every_folder_with_a_lock() -> None:
    configuration = (ROOT / ".github" / "dependabot.yml").read_text()
    locks = [path.parent for path in (*ROOT.glob("*.in"), *ROOT.glob("lambda_src/*.in"), *ROOT.glob("tests/*/*.in"))]
    for folder in {f"/{path.relative_to(ROOT)}".removesuffix(".") for path in locks}:
        assert f"\n      - {folder}\n" in configuration
    assert json.loads((ROOT / "package.json").read_text())["devDependencies"]
    assert "package-ecosystem: npm" in configuration
