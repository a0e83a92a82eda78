"""Writes THIRD_PARTY.md: the libraries in the deployment package, and their licences."""

import sys
from pathlib import Path

from infra.package import LAMBDA, build_package
from scripts.distributions import PACKAGES, Distribution, distributions_of

PATH = Path(__file__).parent.parent / "THIRD_PARTY.md"

_HEAD = """\
# Third-party software

The deployment package has these libraries in it. Their licence files are in the package, under the names given here;
one that is empty is empty in the library's own release, and [LICENSE](LICENSE) has the text of Apache-2.0.
`make third-party` writes this page from the built package.

| library | version | licence | its files in the package |
|---|---|---|---|
"""


def page(distributions: list[Distribution]) -> str:
    """Return the text of THIRD_PARTY.md.

    Args:
        distributions: The libraries of the package.
    """
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
        licence = " and ".join(each["expression"] for each in component["licenses"])
        by_licence.setdefault(licence, []).append(f"{component['name']} {component['version']}")
    rows = [f"| {licence} | {', '.join(sorted(names))} |" for licence, names in sorted(by_licence.items())]
    head = (
        f"## Compiled into {distribution.name}\n\nIts wheel lists these crates as the sources of its binary. Not each "
        "of them is for this platform.\n\n| licence | crates |\n|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def main() -> None:
    """Write the page."""
    PATH.write_text(page(distributions_of(build_package(LAMBDA, PACKAGES).path)))
    print(PATH.name, file=sys.stderr)


if __name__ == "__main__":
    main()
