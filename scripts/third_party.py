"""Writes THIRD_PARTY.md: the libraries in the deployment packages, and their licences."""

import sys
from collections.abc import Iterable
from pathlib import Path

from infra.package import LAMBDA, SOURCES, Package, build_package
from scripts.distributions import PACKAGES, Distribution, distributions_of, licences_of

PATH = Path(__file__).parent.parent / "THIRD_PARTY.md"

_HEAD = """\
# Third-party software

The functions' deployment packages have these libraries in them. Their licence files are in the package, under the names
given here; one that is empty is empty in the library's own release, and [LICENSE](LICENSE) has the text of Apache-2.0.
`make third-party` writes this page from the built packages.

| library | version | licence | its files in the package |
|---|---|---|---|
"""


def page(packages: Iterable[Package]) -> str:
    """Return the text of THIRD_PARTY.md.

    Args:
        packages: The built packages. Their locks have the same version of a library.
    """
    by_name = {each.name: each for package in packages for each in distributions_of(package.path)}
    distributions = [by_name[name] for name in sorted(by_name)]
    rows = [
        f"| [{each.name}]({each.url}) | {each.version} | {each.licence} | {_files(each)} |" for each in distributions
    ]
    parts = [_HEAD + "\n".join(rows) + "\n", *map(_compiled_in, distributions)]
    return "\n".join(part for part in parts if part)


def _files(distribution: Distribution) -> str:
    names = [f"`{path.partition('.dist-info/')[2]}`" for path in distribution.licence_files]
    return ", ".join(names) + (" (empty)" if not distribution.has_licence_text else "")


def _compiled_in(distribution: Distribution) -> str:
    components = [component for document in distribution.compiled_in for component in document["components"]]
    if not components:
        return ""
    by_licence: dict[str, list[str]] = {}
    for component in components:
        licence = " and ".join(licences_of(component))
        by_licence.setdefault(licence, []).append(f"{component['name']} {component['version']}")
    rows = [f"| {licence} | {', '.join(sorted(names))} |" for licence, names in sorted(by_licence.items())]
    head = (
        f"## Compiled into {distribution.name}\n\nIts wheel lists these libraries as sources of its binary. Not "
        "each of them is for this platform.\n\n| licence | libraries |\n|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def main() -> None:
    """Write the page."""
    PATH.write_text(page(build_package(LAMBDA, PACKAGES, source) for source in SOURCES.values()))
    print(PATH.name, file=sys.stderr)


if __name__ == "__main__":
    main()
