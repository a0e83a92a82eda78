"""Builds the function's deployment package, without Docker.

The dependencies are installed by uv from wheels for the target's platform, by the hashes of their lock; what nothing
reads at run time is left out, and bytecode for the function's Python is put in where an interpreter of its version is
at hand.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uv

SOURCE = Path(__file__).parent.parent / "lambda_src"
TASK_ROOT = "/var/task"

# boto3's own resource definitions and the service models of everything but ECR; the models at the top level are shared.
_KEPT_SERVICES = frozenset({"ecr"})


class BuildError(Exception):
    """The package could not be built; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the package is built for.

    Attributes:
        python_version: Version of Python, such as `3.13`.
        python_platform: Platform as uv names it.
    """

    python_version: str
    python_platform: str

    @classmethod
    def host(cls) -> "Target":
        """Return this machine and the running Python, so that tests run the layout that is deployed."""
        machine = os.uname().machine.replace("arm64", "aarch64")
        system = "apple-darwin" if sys.platform == "darwin" else "manylinux_2_28"
        return cls(f"{sys.version_info.major}.{sys.version_info.minor}", f"{machine}-{system}")


LAMBDA = Target(python_version="3.13", python_platform="aarch64-manylinux_2_28")
"""Lambda's Python 3.13 on arm64, which is Amazon Linux 2023 (glibc 2.34)."""


@dataclass(frozen=True, slots=True)
class Package:
    """A built package.

    Attributes:
        path: Its directory.
        digest: SHA-256 of all that it was built from, in hexadecimal digits.
        is_compiled: Whether it has bytecode.
    """

    path: Path
    digest: str
    is_compiled: bool


def build_package(target: Target, output: Path, source: Path = SOURCE) -> Package:
    """Build the package, or take the one that was built from the same inputs before.

    Args:
        target: What to build it for.
        output: Directory that holds built packages, each under its digest.
        source: Directory with `requirements.txt` and the function's own package.

    Raises:
        BuildError: If the dependencies can't be installed. No half-made package is left.
    """
    interpreter = _find_interpreter(target.python_version)
    digest = _digest_of_inputs(target, source, is_compiled=interpreter is not None)
    path = output / digest[:16]
    if not path.is_dir():
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="package-", dir=output) as directory:
            made = Path(directory) / "package"
            _make(target, source, made, interpreter)
            # Another process may have built the same one meanwhile, and that one serves as well.
            if not path.is_dir():
                made.rename(path)
    return Package(path, digest, is_compiled=interpreter is not None)


def _make(target: Target, source: Path, made: Path, interpreter: Path | None) -> None:
    _install(target, source / "requirements.txt", made)
    _remove_what_nothing_reads(made)
    for package in _own_packages(source):
        shutil.copytree(package, made / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    if interpreter is not None:
        _compile(interpreter, made)


def _own_packages(source: Path) -> list[Path]:
    return sorted(path.parent for path in source.glob("*/__init__.py"))


def _install(target: Target, requirements: Path, made: Path) -> None:
    command = [
        uv.find_uv_bin(), "pip", "install", "--quiet", "--target", str(made),
        "--python-version", target.python_version, "--python-platform", target.python_platform,
        "--only-binary", ":all:", "--require-hashes", "--no-deps", "--link-mode", "copy",
        "--requirement", str(requirements),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        raise BuildError(
            f"The function's dependencies could not be installed for Python {target.python_version} on "
            f"{target.python_platform}. If they were changed, run `make lock`; if not, check the connection to the "
            f"package registry. uv said:\n{result.stderr.strip()}"
        )


def _remove_what_nothing_reads(made: Path) -> None:
    for service in (made / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in _KEPT_SERVICES:
            shutil.rmtree(service)
    for path in sorted(made.rglob("*"), reverse=True):
        if path.is_dir() and path.name in {"__pycache__", "tests"}:
            shutil.rmtree(path)
    shutil.rmtree(made / "bin", ignore_errors=True)
    (made / ".lock").unlink(missing_ok=True)
    for path in (*made.rglob("*.pyi"), *made.rglob("py.typed")):
        path.unlink()
    # Of a distribution's metadata only its name and version are ever read, by importlib.metadata.
    for path in made.glob("*.dist-info/*"):
        if path.name != "METADATA":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _compile(interpreter: Path, made: Path) -> None:
    """Put bytecode beside the sources; it does not depend on their times, which a zip file does not keep well."""
    command = [
        str(interpreter), "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash",
        "-s", str(made), "-p", TASK_ROOT, str(made),
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def _find_interpreter(version: str) -> Path | None:
    command = [uv.find_uv_bin(), "python", "find", "--no-python-downloads", "--no-project", "--system", version]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return Path(result.stdout.strip()) if result.returncode == 0 else None


def _digest_of_inputs(target: Target, source: Path, *, is_compiled: bool) -> str:
    """Return the digest of all that the package's content follows from."""
    inputs = hashlib.sha256(json.dumps([target.python_version, target.python_platform, is_compiled]).encode())
    sources = [path for package in _own_packages(source) for path in package.rglob("*.py")]
    for path in (Path(__file__), source / "requirements.txt", *sorted(sources)):
        name = path.relative_to(source) if path.is_relative_to(source) else path.name
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        inputs.update(f"{name} {content}\n".encode())
    return inputs.hexdigest()
