"""The project's version, read without importing the function."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "lambda_src" / "layer_resolver" / "__init__.py"


def project_version() -> str:
    """Return the version in `lambda_src/layer_resolver/__init__.py`."""
    (version,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(SOURCE.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    return str(version)
