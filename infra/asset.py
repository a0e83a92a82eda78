"""The function's code for Lambda: the built package that the wheel has, or one bundled from a checkout."""

from pathlib import Path

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

BUILT = Path(__file__).parent / "function.zip"
"""The built package; a checkout has none."""


def function_code(scope: Construct) -> lambda_.Code:
    """Return the function's code.

    Args:
        scope: The construct to annotate with warnings.
    """
    if BUILT.is_file():
        return lambda_.Code.from_asset(str(BUILT))
    # The wheel has neither this module nor uv, which it needs.
    from .bundling import checkout_code  # noqa: PLC0415

    return checkout_code(scope)
