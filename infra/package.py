"""Builds the functions' deployment packages from a checkout, without Docker.

uv installs the dependencies from wheels for the target's platform, by the hashes of their lock. The package leaves out
files that nothing reads at run time, and has bytecode if this machine has the functions' Python. The same inputs give
the same files, byte for byte.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import uv

TASK_ROOT = "/var/task"

# Features of Powertools that no other feature imports.
_OPTIONAL_FEATURES = (
    "auth_alpha", "batch", "circuit_breaker", "data_masking", "feature_flags", "idempotency", "kafka", "parameters",
    "streaming",
)  # fmt: skip

_UNREAD = (
    "bin",
    "boto3/data/*",  # models of boto3's resources, which the functions' services have none of
    "boto3/examples",
    "botocore/data/*/*/examples-1.json",
    "dateutil/zoneinfo/*.tar.gz",  # time zones; botocore's times are in UTC
    "**/tests",
    "**/*.pyi",
    "**/py.typed",
    "**/*.js",  # the page that Powertools shows an OpenAPI document with
    "**/*.css",
    "pydantic/mypy.py",
    ".lock",
)
"""Files that nothing reads at run time, as patterns within the package."""

_KEPT_METADATA = ("METADATA", "licenses", "LICEN[CS]E*", "COPYING*", "NOTICE*", "AUTHORS*", "sboms")
"""Metadata of distributions that is kept, as patterns of file names: name, licences and contents.

Licences have to go where the code goes. Their names are those that setuptools looks for; `sboms` lists what is compiled
into a binary. Sources: https://peps.python.org/pep-0639/, https://peps.python.org/pep-0770/,
https://setuptools.pypa.io/en/latest/references/keywords.html#keyword-license-files.
"""


class BuildError(Exception):
    """The package could not be built; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a function's package is built from.

    Attributes:
        package: Directory of the function's own Python package.
        requirements: Lock of its dependencies, with hashes.
        services: AWS services that it calls, by boto3's names.
        features: Optional features of Powertools that it uses.
    """

    package: Path
    requirements: Path
    services: frozenset[str]
    features: frozenset[str] = frozenset()


def sources_in(directory: Path) -> dict[str, Source]:
    """Return the functions' sources by the names of their packages.

    The services don't include STS or SSO: credentials come from the environment or, with SnapStart, from an endpoint in
    the container. Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html

    Args:
        directory: Where the packages and locks are.
    """

    def source(name: str, *services: str, features: Iterable[str] = ()) -> Source:
        return Source(directory / name, directory / f"{name}.txt", frozenset(services), frozenset(features))

    return {
        "layer_resolver": source("layer_resolver", "ecr", "events"),
        "token_exchange": source("token_exchange", "secretsmanager", features=("auth_alpha", "parameters")),
    }


SOURCES = sources_in(Path(__file__).parent.parent / "lambda_src")
LAYER_RESOLVER = SOURCES["layer_resolver"]


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
    def host(cls, python_version: str = f"{sys.version_info.major}.{sys.version_info.minor}") -> "Target":
        """Return this machine and a Python on it, so that tests run the layout that is deployed.

        Args:
            python_version: Version of Python; without it, that of the running one.
        """
        machine = os.uname().machine.replace("arm64", "aarch64")
        system = "apple-darwin" if sys.platform == "darwin" else "manylinux_2_28"
        return cls(python_version, f"{machine}-{system}")


LAMBDA = Target(python_version="3.13", python_platform="aarch64-manylinux_2_34")
"""Lambda's Python 3.13 on arm64, which is Amazon Linux 2023.

Its glibc is 2.34; source: https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html.
"""


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


def build_package(target: Target, output: Path, source: Source = LAYER_RESOLVER) -> Package:
    """Build the package, or reuse one built from the same inputs.

    Args:
        target: What to build it for.
        output: Directory of built packages, each under its digest.
        source: What to build it from.

    Raises:
        BuildError: If the dependencies can't be installed or compiled. It leaves nothing behind.
    """
    interpreter = find_interpreter(target.python_version)
    digest = digest_of_inputs(target, source, is_compiled=interpreter is not None)
    path = output / digest[:16]
    if not path.is_dir():
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="package-", dir=output) as directory:
            made = Path(directory) / "package"
            _make(target, source, made, interpreter)
            # Another process may have built the same one meanwhile.
            if not path.is_dir():
                made.rename(path)
    return Package(path, digest, is_compiled=interpreter is not None)


def find_interpreter(version: str) -> Path | None:
    """Return a Python of some version on this machine, None without one; download none.

    Args:
        version: Such as `3.13`.
    """
    options = ("--color", "never", "--no-python-downloads", "--no-project", "--system")
    command = [uv.find_uv_bin(), "python", "find", *options, version]
    environment = {**os.environ, "PATH": _search_path()}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return Path(result.stdout.strip()) if result.returncode == 0 else None


def _search_path() -> str:
    """Return PATH with pyenv's versions instead of its shims, which fail for versions that aren't activated.

    Source: https://github.com/pyenv/pyenv#understanding-shims
    """
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    path = [entry for entry in os.environ.get("PATH", "").split(os.pathsep) if Path(entry) != root / "shims"]
    return os.pathsep.join([*path, *(str(versions) for versions in sorted((root / "versions").glob("*/bin")))])


def install_dependencies(target: Target, requirements: Path, made: Path) -> None:
    """Install the wheels of a lock for a target, whole.

    Args:
        target: What they are for.
        requirements: The lock, with hashes.
        made: Directory to install them in.

    Raises:
        BuildError: If one isn't available.
    """
    command = [
        uv.find_uv_bin(), "pip", "install", "--quiet", "--color", "never", "--target", str(made),
        # Any will do for wheels; without one at hand uv would download one.
        "--python", sys.executable,
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
    # uv may leave bytecode of its own, which depends on times.
    for cache in list(made.rglob("__pycache__")):
        shutil.rmtree(cache)


def compile_dependencies(interpreter: Path, made: Path) -> None:
    """Replace the sources of all installed libraries by bytecode, which is a third smaller.

    A traceback still names file, line and function.

    Raises:
        BuildError: If a module can't be compiled.
    """
    # -b writes module.pyc where module.py is, which Python imports without its source.
    _compile(interpreter, made, made, "-b")
    for path in list(made.rglob("*.py")):
        path.unlink()


def _make(target: Target, source: Source, made: Path, interpreter: Path | None) -> None:
    install_dependencies(target, source.requirements, made)
    _remove_what_nothing_reads(source, made)
    if interpreter is not None:
        compile_dependencies(interpreter, made)
    # Our own package keeps its sources, so that tracebacks in the log show its lines.
    name = source.package.name
    copy = Path(shutil.copytree(source.package, made / name, ignore=shutil.ignore_patterns("__pycache__")))
    if interpreter is not None:
        _compile(interpreter, made, copy)


def _remove_what_nothing_reads(source: Source, made: Path) -> None:
    unused = (feature for feature in _OPTIONAL_FEATURES if feature not in source.features)
    for pattern in (*_UNREAD, *(f"aws_lambda_powertools/utilities/{feature}" for feature in unused)):
        for path in list(made.glob(pattern)):
            _remove(path)
    for path in list(made.glob("*.dist-info/*")):
        if not any(fnmatch(path.name, pattern) for pattern in _KEPT_METADATA):
            _remove(path)
    data = made / "botocore" / "data"
    if data.is_dir():
        _cut_botocore_data(data, source.services)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _cut_botocore_data(data: Path, services: frozenset[str]) -> None:
    """Keep of botocore's data what the services need in every partition; a client takes long to make from the rest."""
    for service in data.iterdir():
        if service.is_dir() and service.name not in services:
            shutil.rmtree(service)
    prefixes = {_endpoint_prefix(model) for model in data.glob("*/*/service-2.json.gz")}
    endpoints = data / "endpoints.json"
    document = json.loads(endpoints.read_bytes())
    for partition in document["partitions"]:
        endpoints_by_name = partition["services"]
        partition["services"] = {name: each for name, each in endpoints_by_name.items() if name in prefixes}
    endpoints.write_text(json.dumps(document, separators=(",", ":")))


def _endpoint_prefix(model: Path) -> str:
    """Return the name that botocore's endpoints know a service by."""
    prefix: str = json.loads(gzip.decompress(model.read_bytes()))["metadata"]["endpointPrefix"]
    return prefix


def _compile(interpreter: Path, made: Path, directory: Path, *options: str) -> None:
    """Write bytecode that does not depend on times, which a zip file does not keep well, and is never checked.

    One process does it in the files' order, because what is compiled before can show in the bytes.
    """
    command = [
        str(interpreter), "-m", "compileall", "-q", *options, "--invalidation-mode", "unchecked-hash",
        "-s", str(made), "-p", TASK_ROOT, str(directory),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        raise BuildError(f"The function could not be compiled by {interpreter}:\n{result.stdout}{result.stderr}")


def digest_of_inputs(target: Target, source: Source = LAYER_RESOLVER, *, is_compiled: bool) -> str:
    """Return the SHA-256 of everything that decides the package's content, in hexadecimal digits."""
    inputs = hashlib.sha256(json.dumps([target.python_version, target.python_platform, is_compiled]).encode())
    files = [path for path in source.package.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    for path in (Path(__file__), source.requirements, *sorted(files)):
        name = path.relative_to(source.package.parent) if path.is_relative_to(source.package) else path.name
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        inputs.update(f"{name} {content}\n".encode())
    return inputs.hexdigest()
