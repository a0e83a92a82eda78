"""Writes THIRD_PARTY.md: the libraries in the deployment packages, and their licences."""

from collections import defaultdict
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
_HEAD_OF_COMPILED_IN = """\
## Compiled into {}

Its wheel lists these libraries as sources of its binary. Not each of them is for this platform.

| licence | libraries |
|---|---|
"""


def page(packages: Iterable[Package]) -> str:
    """Return the text of THIRD_PARTY.md. The locks of all packages have the same version of a library."""
    by_name = {each.name: each for package in packages for each in distributions_of(package.path)}
    distributions = [by_name[name] for name in sorted(by_name)]
    rows = [
        f"| [{each.name}]({each.url}) | {each.version} | {each.licence} | {_files(each)} |" for each in distributions
    ]
    parts = [_HEAD + "\n".join(rows) + "\n", *(_compiled_in(each) for each in distributions if each.compiled_in)]
    return "\n".join(parts)


def _files(distribution: Distribution) -> str:
    names = [f"`{path.partition('.dist-info/')[2]}`" for path in distribution.licence_files]
    return ", ".join(names) + (" (empty)" if not distribution.has_licence_text else "")


def _compiled_in(distribution: Distribution) -> str:
    by_licence: defaultdict[str, list[str]] = defaultdict(list)
    for component in distribution.compiled_in:
        by_licence[" and ".join(licences_of(component))].append(f"{component['name']} {component['version']}")
    rows = [f"| {licence} | {', '.join(sorted(names))} |" for licence, names in sorted(by_licence.items())]
    return _HEAD_OF_COMPILED_IN.format(distribution.name) + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PATH.write_text(page(build_package(LAMBDA, PACKAGES, source) for source in SOURCES.values()))
    print(PATH.name)
