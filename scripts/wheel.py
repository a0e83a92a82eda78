"""Builds the wheel of the construct, with the functions' deployment packages and the functions at the edge in it."""

import argparse
import subprocess
import sys
import zipfile
from pathlib import Path

import uv

from infra.edge_functions import NAMES, build
from infra.package import LAMBDA, SOURCES, Target, build_package

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build"
FUNCTIONS = BUILD / "wheel" / "functions"
EDGE = BUILD / "wheel" / "edge"

# Zip files have no earlier time, and a fixed one makes equal packages equal files.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_archive(package: Path, archive: Path) -> None:
    """Write a directory as a zip file that depends on nothing but the files."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for path in sorted(each for each in package.rglob("*") if each.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(package).as_posix(), _EPOCH)
            # Lambda runs the function as a user who doesn't own the files.
            entry.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            written.writestr(entry, path.read_bytes())


def build_wheel(target: Target, output: Path) -> None:
    """Build the wheel.

    Args:
        target: What the functions' packages are for.
        output: Directory for the wheel.

    Raises:
        BuildError: If a package can't be built.
        MissingTerserError: If the functions at the edge can't be.
    """
    packages = {name: build_package(target, BUILD / "packages", source) for name, source in SOURCES.items()}
    if not all(package.is_compiled for package in packages.values()):
        print(f"The packages have no bytecode: this machine has no Python {target.python_version}.", file=sys.stderr)
    for name, package in packages.items():
        write_archive(package.path, FUNCTIONS / f"{name}.zip")
    EDGE.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (EDGE / f"{name}.js").write_text(build(name), encoding="utf-8")
    command = [uv.find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(output), str(ROOT)]
    subprocess.run(command, check=True)  # noqa: S603


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m scripts.wheel", description=__doc__)
    parser.add_argument("--output", type=Path, default=BUILD, help="directory for the wheel (default: build)")
    parser.add_argument(
        "--host", action="store_true", help="build the functions for this machine, to run it in an emulator"
    )
    options = parser.parse_args()
    build_wheel(Target.host() if options.host else LAMBDA, options.output)
