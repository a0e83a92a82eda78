"""Libraries of a deployment package, read from the package itself."""

import json
from dataclasses import dataclass
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

from license_expression import get_spdx_licensing

PACKAGES = Path(__file__).parent.parent / "build" / "packages"
"""Where `make synth` and `make deploy` build packages, each under its digest."""

# What distributions say in words, as SPDX writes it, by what their own licence files say.
_SPDX = {
    "aws-lambda-powertools": ("MIT", "MIT-0"),  # its file is MIT No Attribution
    "python-dateutil": ("Dual License", "BSD-3-Clause"),  # "applies to all code, even that also covered by Apache 2.0"
    "s3transfer": ("Apache License 2.0", "Apache-2.0"),
    "snapshot-restore-py": ("Apache License 2.0", "Apache-2.0"),
}

# Licences of libraries compiled into a binary whose list doesn't give them.
_COMPILED_IN = {"openssl": "Apache-2.0"}  # since 3.0: https://openssl-library.org/source/license/


class UnknownLicenceError(Exception):
    """A distribution's licence is unknown; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A library that is in a package.

    Attributes:
        name: Its normalized name.
        version: Its version.
        summary: Summary from its metadata.
        licence: Its licence, an SPDX expression.
        licence_files: The files of its licence, by their paths in the package.
        has_licence_text: Whether one of these files has a text.
        url: Its home page or its sources.
        compiled_in: CycloneDX components, from the wheel, of libraries compiled into its binaries. Source:
            https://peps.python.org/pep-0770/
    """

    name: str
    version: str
    summary: str
    licence: str
    licence_files: tuple[str, ...]
    has_licence_text: bool
    url: str
    compiled_in: tuple[dict[str, Any], ...]


def distributions_of(package: Path) -> list[Distribution]:
    """Return the libraries in a package's directory, sorted by name.

    Raises:
        UnknownLicenceError: If a library's licence is unknown.
    """
    found = [_read(package, directory) for directory in package.glob("*.dist-info")]
    return sorted(found, key=lambda distribution: distribution.name)


def licences_of(component: dict[str, Any]) -> list[str]:
    """Return the licences of a library in `Distribution.compiled_in`, SPDX expressions.

    Raises:
        UnknownLicenceError: If it has none.
    """
    name = component["name"]
    found = [each["expression"] for each in component.get("licenses", []) if "expression" in each]
    if not found and name not in _COMPILED_IN:
        raise UnknownLicenceError(
            f"{name}, which is compiled into a library, has no licence in that library's list. Read its licence files, "
            "and add its licence to _COMPILED_IN in scripts/distributions.py."
        )
    return found or [_COMPILED_IN[name]]


def _read(package: Path, directory: Path) -> Distribution:
    metadata: dict[str, Any] = PathDistribution(directory).metadata.json
    name = metadata["name"].lower().replace("_", "-").replace(".", "-")
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "METADATA"]
    licences = [path for path in files if "sboms" not in path.parts]
    documents = [json.loads(path.read_bytes()) for path in sorted((directory / "sboms").glob("*.json"))]
    return Distribution(
        name=name,
        version=metadata["version"],
        summary=metadata.get("summary", ""),
        licence=_licence(name, metadata.get("license_expression"), metadata.get("license")),
        licence_files=tuple(sorted(str(path.relative_to(package)) for path in licences)),
        has_licence_text=any(path.stat().st_size for path in licences),
        url=_url(metadata.get("home_page"), metadata.get("project_url", [])),
        compiled_in=tuple(component for document in documents for component in document["components"]),
    )


def _licence(name: str, expression: str | None, words: str | None) -> str:
    said, spdx = _SPDX.get(name, (None, ""))
    licence = expression or (spdx if words == said else words) or ""
    if not licence or get_spdx_licensing().validate(licence).errors:
        raise UnknownLicenceError(
            f"{name} gives its licence as {words!r}, which isn't an SPDX expression. Read its licence files, and add "
            "theirs to _SPDX in scripts/distributions.py."
        )
    return licence


def _url(home_page: str | None, project_urls: list[str]) -> str:
    """Return a link to the sources, or else to the home page."""
    by_label = {label.strip().lower(): url.strip() for label, _, url in (each.partition(",") for each in project_urls)}
    labels = ("source", "source code", "repository", "code", "homepage", "home")
    return next((by_label[label] for label in labels if label in by_label), home_page or "")
