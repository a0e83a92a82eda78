"""A recording of `make demo`, as a picture of a terminal."""

import re
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console

from local.demo import run_demo
from local.oci_layout import OciLayout
from local.sample_image import write_sample_image


def demo() -> str:
    """Run the demo, and return what it printed as an SVG document.

    Raises:
        DemoError: If the demo fails.
    """
    console = Console(record=True, width=76, file=StringIO())
    with tempfile.TemporaryDirectory() as directory:
        write_sample_image(Path(directory))
        console.print("$ make demo")
        run_demo("team/app", OciLayout(Path(directory)), console)
    picture = console.export_svg(title="make demo", unique_id="demo")
    # rich would load fonts from another host.
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL) + "\n"
