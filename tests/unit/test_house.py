"""The house stands as docs/architecture.md says: modules import downwards, and what is slow to load is loaded late."""

import ast
import re
from pathlib import Path

import pytest

import layer_resolver
from layer_resolver.errors import ERROR_TABLE
from layer_resolver.openapi import errors_of, openapi_document

PACKAGE = Path(layer_resolver.__file__).parent

FLOORS = (
    {"handler"},
    {"http_api", "registry_api", "event_api"},
    {"backend", "function_url", "observability", "openapi", "foreign_events", "pull_events"},
    {"resolver", "images"},
    {"manifests", "blobs", "ecr"},
    {"invocation", "validation"},
    {"errors"},
    {"callers", "download_urls", "network", "settings", "redaction"},
    {"models"},
)
"""Modules by floor, the highest first; one imports those of lower floors alone."""


def imports_of(module: str, *, only_at_the_top: bool = False) -> set[str]:
    """Return the modules of the package that a module imports."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    nodes = tree.body if only_at_the_top else ast.walk(tree)
    return {
        str(node.module).removeprefix("layer_resolver.")
        for node in nodes
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("layer_resolver.")
    }


def floor_of(module: str) -> int:
    (floor,) = [number for number, modules in enumerate(FLOORS) if module in modules]
    return floor


MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_lower_floors_alone(module: str) -> None:
    for imported in imports_of(module):
        assert floor_of(imported) > floor_of(module), f"{module} imports {imported}"


@pytest.mark.parametrize("module", ["http_api", "registry_api", "event_api", "handler"])
def test_what_loads_pydantic_is_imported_where_it_is_needed(module: str) -> None:
    assert not {"manifests", "openapi"} & imports_of(module, only_at_the_top=True)


def test_nothing_but_the_door_knows_botocores_client() -> None:
    for module in MODULES:
        names = re.findall(r"^(?:from|import) (boto\w+[.\w]*)", (PACKAGE / f"{module}.py").read_text(), re.MULTILINE)
        allowed = {
            "ecr": {
                "botocore.session",
                "botocore.awsrequest",
                "botocore.config",
                "botocore.credentials",
                "botocore.exceptions",
                "botocore.handlers",
                "botocore.loaders",
                "botocore.utils",
            },
            "errors": {"botocore.exceptions", "botocore.retries.standard"},
            "images": {"botocore.exceptions"},
            "observability": {"botocore.exceptions"},
            "network": {"botocore.httpsession"},
        }
        assert set(names) <= allowed.get(module, set()), module


def test_the_two_apis_have_no_six_lines_in_common() -> None:
    def runs(module: str) -> set[tuple[str, ...]]:
        text = (PACKAGE / f"{module}.py").read_text()
        body = text[text.index("class ") :]
        lines = [line.strip() for line in body.splitlines() if len(line.strip()) > 1]
        return {tuple(lines[start : start + 6]) for start in range(len(lines) - 5)}

    for run in runs("http_api") & runs("registry_api"):
        pytest.fail("\n".join(run))


def test_each_row_of_the_error_table_arises_somewhere_that_the_document_lists() -> None:
    document = str(openapi_document()["paths"])
    for kind in ERROR_TABLE.values():
        assert kind.arises_in
        if kind.arises_in <= {"route", "failure", "event"}:
            continue
        assert f"{kind.code}: {kind.title}" in document, kind.code


def test_the_errors_of_a_place_are_the_rows_that_say_so() -> None:
    assert {kind.code for kind in errors_of("blob")} == {"RequestTimeoutException", "BlobUnreadable"}
