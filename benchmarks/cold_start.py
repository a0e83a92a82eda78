"""How much faster the deployed package loads with bytecode than without.

Both ways are measured in turn, in one run, each time in a new process; the ratio is what counts. Run it with
`make bench`.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.asset import Target, build_package

ROUNDS = 7
LOAD = "import time; started = time.perf_counter(); import layer_resolver.handler; print(time.perf_counter() - started)"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        package = build_package(Target.host(), Path(directory) / "packages")
        if not package.is_compiled:
            sys.exit("There is no bytecode to measure: `uv python find` does not find this Python.")
        source_only = Path(directory) / "source-only"
        shutil.copytree(package.path, source_only, ignore=shutil.ignore_patterns("__pycache__"))
        rounds = [(seconds(source_only), seconds(package.path)) for _ in range(ROUNDS)]
    without, with_bytecode = (statistics.median(each) * 1000 for each in zip(*rounds, strict=True))
    ratios = [one / other for one, other in rounds]
    print(f"Loading the package in a new process, {ROUNDS} rounds, medians:")
    print(f"  without bytecode  {without:6.0f} ms")
    print(
        f"  with bytecode     {with_bytecode:6.0f} ms   "
        f"{statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f}) as fast"
    )


def seconds(package: Path) -> float:
    """Return how long the handler's module takes to load from a package."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(package),
        # As in Lambda, where the package's directory can't be written to.
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-S", "-c", LOAD]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
