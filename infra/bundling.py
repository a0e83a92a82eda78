"""Bundles a function's package when CDK asks for it, from a checkout and without Docker."""

import shutil
from pathlib import Path
from typing import Any

import jsii
from aws_cdk import Annotations, BundlingOptions, DockerImage, ILocalBundling, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from .package import LAMBDA, LAYER_RESOLVER, Source, Target, build_package, digest_of_inputs, find_interpreter

PACKAGES = Path(__file__).parent.parent / "build" / "packages"
"""Where a checkout keeps built packages."""


def checkout_code(scope: Construct, source: Source) -> lambda_.Code:
    """Return code for Lambda, with a warning if its package gets no bytecode.

    Args:
        scope: The construct to annotate.
        source: The function's source.
    """
    is_compiled = find_interpreter(LAMBDA.python_version) is not None
    if Stack.of(scope).bundling_required and not is_compiled:
        Annotations.of(scope).add_warning_v2(
            "EcrLayerResolver:NoBytecode",
            f"Without Python {LAMBDA.python_version} on this machine, the package has no bytecode, and cold starts "
            "without SnapStart take about twice as long. Install it with `make python`, then deploy again.",
        )
    return _code(LAMBDA, source, is_compiled=is_compiled)


def bundled_code(target: Target, source: Source = LAYER_RESOLVER) -> lambda_.Code:
    """Return code for a target, whose asset hash is that of the package's inputs."""
    return _code(target, source, is_compiled=find_interpreter(target.python_version) is not None)


def _code(target: Target, source: Source, *, is_compiled: bool) -> lambda_.Code:
    # CDK requires an image, and uses it only if local bundling declines, which this one never does.
    bundling = BundlingOptions(image=DockerImage.from_registry("unused"), local=_LocalBundling(target, source))
    digest = digest_of_inputs(target, source, is_compiled=is_compiled)
    return lambda_.Code.from_asset(str(source.package), asset_hash=digest, bundling=bundling)


@jsii.implements(ILocalBundling)
class _LocalBundling:
    def __init__(self, target: Target, source: Source) -> None:
        self._target, self._source = target, source

    def try_bundle(self, output_dir: str, *_: Any, **__: Any) -> bool:
        shutil.copytree(build_package(self._target, PACKAGES, self._source).path, output_dir, dirs_exist_ok=True)
        return True
