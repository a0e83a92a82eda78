"""Writes each deployment package's bill of materials beside it: CycloneDX 1.6, in JSON.

It is read from the built package, so it lists exactly what is deployed.
"""

import json

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from infra.package import LAMBDA, SOURCES, Package, build_package
from scripts.distributions import PACKAGES, Distribution, distributions_of, licences_of
from scripts.version import project_version

PROJECT = "ecr-layer-resolver"


def bill_of_materials(function: str, package: Package) -> str:
    """Return the document of a function's package, the same for the same package.

    Raises:
        UnknownLicenceError: If a library's licence is unknown.
    """
    root = Component(
        type=ComponentType.APPLICATION,
        name=PROJECT,
        version=project_version(),
        bom_ref=PROJECT,
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
        properties=[
            Property(name="ecr-layer-resolver:package:function", value=function),
            Property(name="ecr-layer-resolver:package:inputs:sha256", value=package.digest),
        ],
    )
    libraries = [_library(distribution) for distribution in distributions_of(package.path)]
    bom = Bom(components=libraries)
    bom.metadata.component = root
    bom.register_dependency(root, libraries)
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    # Without its random number and time, the document depends on the package alone.
    del document["serialNumber"], document["metadata"]["timestamp"]
    return json.dumps(document, indent=2) + "\n"


def _library(distribution: Distribution) -> Component:
    url = PackageURL("pypi", name=distribution.name, version=distribution.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=distribution.name,
        version=distribution.version,
        description=distribution.summary,
        purl=url,
        bom_ref=str(url),
        licenses=[LicenseFactory().make_from_string(distribution.licence)],
        external_references=[ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(distribution.url))],
        components=[
            Component(
                type=ComponentType.LIBRARY,
                name=listed["name"],
                version=listed["version"],
                purl=PackageURL.from_string(listed["purl"]),
                bom_ref=listed["purl"],
                licenses=[LicenseFactory().make_from_string(expression) for expression in licences_of(listed)],
            )
            for listed in distribution.compiled_in
        ],
    )


if __name__ == "__main__":
    for name, source in SOURCES.items():
        built = build_package(LAMBDA, PACKAGES, source)
        path = built.path.with_suffix(".cdx.json")
        path.write_text(bill_of_materials(name, built))
        print(path)
