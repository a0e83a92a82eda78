"""What is deployed is listed, with its licences."""

import json
import re
from importlib.metadata import PathDistribution, distributions
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.package import LAMBDA, SOURCES, Package, Source, build_package, install_dependencies
from layer_resolver import __version__
from scripts import third_party
from scripts.distributions import PACKAGES, UnknownLicenceError, distributions_of, licences_of
from scripts.sbom import bill_of_materials


@pytest.fixture(scope="module", params=SOURCES)
def function(request: pytest.FixtureRequest) -> str:
    """Return the name of a function's Python package."""
    return str(request.param)


@pytest.fixture(scope="module")
def source(function: str) -> Source:
    return SOURCES[function]


@pytest.fixture(scope="module")
def packages() -> dict[str, Package]:
    return {name: build_package(LAMBDA, PACKAGES, source) for name, source in SOURCES.items()}


@pytest.fixture(scope="module")
def package(packages: dict[str, Package], function: str) -> Package:
    return packages[function]


@pytest.fixture(scope="module")
def whole_installation(tmp_path_factory: pytest.TempPathFactory, source: Source) -> Path:
    """Return the directory with all files of the libraries, before any is left out."""
    directory = tmp_path_factory.mktemp("whole")
    install_dependencies(LAMBDA, source.requirements, directory)
    return directory


@pytest.fixture(scope="module")
def document(function: str, package: Package) -> Any:
    return json.loads(bill_of_materials(function, package))


def test_the_sbom_is_valid_cyclonedx_and_follows_from_the_package_alone(function: str, package: Package) -> None:
    text = bill_of_materials(function, package)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert bill_of_materials(function, package) == text


def test_the_sbom_lists_just_the_libraries_that_own_the_packages_files(
    function: str, package: Package, whole_installation: Path, document: Any
) -> None:
    owners: dict[str, str] = {}
    for library in distributions(path=[str(whole_installation)]):
        listed = f"{library.name.lower().replace('_', '-')} {library.version}"
        owners |= {re.sub(r"\.pyc?$", "", str(file)): listed for file in library.files or []}
    files = [path.relative_to(package.path) for path in package.path.rglob("*") if path.is_file()]
    own = [path for path in files if path.parts[0] == function]
    found = {owners[re.sub(r"\.pyc?$", "", str(path))] for path in files if path not in own}
    assert own
    assert found == {f"{each['name']} {each['version']}" for each in document["components"]}


def test_the_sbom_lists_what_the_lock_has(source: Source, document: Any) -> None:
    locked = re.findall(r"^([a-z0-9-]+)==(\S+)", source.requirements.read_text(), re.MULTILINE)
    assert {(each["name"], each["version"]) for each in document["components"]} == set(locked)


def test_the_sbom_names_the_project_its_version_and_the_package(function: str, package: Package, document: Any) -> None:
    root = document["metadata"]["component"]
    assert (root["name"], root["version"]) == ("ecr-layer-resolver", __version__)
    assert [each["value"] for each in root["properties"]] == [function, package.digest]


COMPILED_IN = {
    "layer_resolver": ("pydantic-core", {"pkg:cargo/pyo3", "pkg:cargo/jiter"}),
    "token_exchange": ("cryptography", {"pkg:cargo/pyo3", "pkg:generic/openssl"}),
}


def test_the_sbom_lists_what_is_compiled_into_binaries(function: str, document: Any) -> None:
    library, expected = COMPILED_IN[function]
    (found,) = [each for each in document["components"] if each["name"] == library]
    assert expected <= {each["purl"].partition("@")[0] for each in found["components"]}
    assert all(each["licenses"] for each in found["components"])


def test_each_library_in_the_package_has_its_licence_files(package: Package, whole_installation: Path) -> None:
    for whole in whole_installation.glob("*.dist-info"):
        names = PathDistribution(whole).metadata.get_all("License-File") or []
        assert names, whole.name
        for name in names:
            (original,) = [path for path in (whole / name, whole / "licenses" / name) if path.is_file()]
            kept = package.path / original.relative_to(whole_installation)
            assert kept.read_bytes() == original.read_bytes()


def test_third_party_md_is_what_make_third_party_writes(packages: dict[str, Package]) -> None:
    assert third_party.PATH.read_text() == third_party.page(packages.values())


def test_a_licence_that_can_not_be_told_is_reported_with_what_to_do(tmp_path: Path) -> None:
    metadata = tmp_path / "new-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: new\nVersion: 1.0\nLicense: See the file\n")
    with pytest.raises(UnknownLicenceError, match=r"new, which is compiled in.*has no licence.*Read its licence files"):
        licences_of({"name": "new", "version": "1.0"})
    with pytest.raises(UnknownLicenceError, match=r"new gives its licence as 'See the file'.*Read its licence files"):
        distributions_of(tmp_path)
