"""Bundles the function's package when CDK asks for it, from a checkout and without Docker."""

import shutil
from pathlib import Path
from typing import Any

import jsii
from aws_cdk import Annotations, BundlingOptions, DockerImage, ILocalBundling, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from .package import LAMBDA, SOURCE, Target, build_package, digest_of_inputs, find_interpreter

PACKAGES = Path(__file__).parent.parent / "build" / "packages"
"""Where a checkout keeps built packages."""


def checkout_code(scope: Construct) -> lambda_.Code:
    """Return code for Lambda, with a warning if its package gets no bytecode.

    Args:
        scope: The construct to annotate.
    """
    if Stack.of(scope).bundling_required and find_interpreter(LAMBDA.python_version) is None:
        Annotations.of(scope).add_warning_v2(
            "EcrLayerResolver:NoBytecode",
            f"Without Python {LAMBDA.python_version} on this machine, the package has no bytecode, and cold starts "
            "without SnapStart take about twice as long. Install it with `make python`, then deploy again.",
        )
    return bundled_code(LAMBDA)


def bundled_code(target: Target) -> lambda_.Code:
    """Return code for a target, whose asset hash is that of the package's inputs."""
    # CDK requires an image, and uses it only if local bundling declines, which this one never does.
    bundling = BundlingOptions(image=DockerImage.from_registry("unused"), local=_LocalBundling(target))
    return lambda_.Code.from_asset(str(SOURCE), asset_hash=digest_of_inputs(target), bundling=bundling)


@jsii.implements(ILocalBundling)
class _LocalBundling:
    def __init__(self, target: Target) -> None:
        self._target = target

    def try_bundle(self, output_dir: str, *_: Any, **__: Any) -> bool:
        shutil.copytree(build_package(self._target, PACKAGES).path, output_dir, dirs_exist_ok=True)
        return True
