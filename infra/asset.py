"""The functions' code for Lambda: the built packages that the wheel has, or ones bundled from a checkout."""

from pathlib import Path

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

BUILT = Path(__file__).parent / "functions"
"""The built packages; a checkout has none."""


def function_code(scope: Construct, name: str) -> lambda_.Code:
    """Return a function's code.

    Args:
        scope: The construct to annotate with warnings.
        name: Name of the function's Python package.
    """
    archive = BUILT / f"{name}.zip"
    if archive.is_file():
        return lambda_.Code.from_asset(str(archive))
    # The wheel has neither of these modules, nor uv, which they need.
    from .bundling import checkout_code  # noqa: PLC0415
    from .package import SOURCES  # noqa: PLC0415

    return checkout_code(scope, SOURCES[name])
