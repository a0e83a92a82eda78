"""Builds what is measured: the deployment package, and one with the libraries whole for the tutorial's function."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import FUNCTIONS, Function
from infra.asset import (
    LAMBDA,
    SOURCE,
    Target,
    build_package,
    compile_dependencies,
    find_interpreter,
    install_dependencies,
)

PACKAGES = Path(__file__).parent.parent / "build" / "benchmarks"


@dataclass(frozen=True, slots=True)
class Subjects:
    """All that is measured, and what runs it.

    Attributes:
        interpreter: The Python that runs it: Lambda's version where uv finds one.
        is_compiled: Whether the package has bytecode.
        package: The deployment package for this machine.
        ours: The product's function.
        bare: The least that boto3 needs, in the same package.
        loop: The least that resolves many layers, in the same package.
        tutorial: Powertools' tutorial, with the libraries as they are installed.
    """

    interpreter: Path
    is_compiled: bool
    package: Path
    ours: Function
    bare: Function
    loop: Function
    tutorial: Function

    def versions(self) -> dict[str, str]:
        """Return the versions of Python and of the libraries that take part."""
        program = (
            "import json, platform; from importlib.metadata import version; "
            "print(json.dumps({'python': platform.python_version(), "
            "**{name: version(name) for name in ('botocore', 'aws-lambda-powertools', 'pydantic')}}))"
        )
        command = [str(self.interpreter), "-S", "-B", "-c", program]
        result = subprocess.run(command, env={"PYTHONPATH": str(self.package)}, capture_output=True, check=True)
        versions: dict[str, str] = json.loads(result.stdout)
        return versions


def build() -> Subjects:
    """Build for Lambda's Python if one is at hand, else for the running one."""
    found = find_interpreter(LAMBDA.python_version)
    target = Target.host() if found.path is None else Target.host(LAMBDA.python_version)
    interpreter = found.path or Path(sys.executable)
    package = build_package(target, PACKAGES)
    whole = _whole_libraries(target, interpreter)
    functions = _functions(interpreter) if package.is_compiled else FUNCTIONS
    return Subjects(
        interpreter=interpreter,
        is_compiled=package.is_compiled,
        package=package.path,
        ours=Function("layer_resolver.handler.lambda_handler", (package.path,)),
        # Should the package do without boto3 one day, the baseline still has it.
        bare=Function("bare.lambda_handler", (package.path, functions, whole)),
        loop=Function("loop.lambda_handler", (package.path, functions, whole)),
        tutorial=Function("tutorial.lambda_handler", (whole, functions)),
    )


def zipped_bytes(package: Path) -> int:
    """Return how large a package is as a zip file, compressed as the CDK does."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(package))
    return len(zipped.getvalue())


def _functions(interpreter: Path) -> Path:
    """Return the directory of what the product is compared with, as bytecode like the product."""
    path = PACKAGES / f"functions-{_key(interpreter, *sorted(FUNCTIONS.glob('*.py')))}"
    if not path.is_dir():
        made = Path(shutil.copytree(FUNCTIONS, path.with_suffix(".partial"), dirs_exist_ok=True))
        compile_dependencies(interpreter, made)
        made.rename(path)
    return path


def _key(interpreter: Path, *sources: Path) -> str:
    """Return a name for what is made of some files for a Python."""
    content = b"".join(path.read_bytes() for path in sources)
    return hashlib.sha256(f"{interpreter} ".encode() + content).hexdigest()[:16]


def _whole_libraries(target: Target, interpreter: Path) -> Path:
    """Install the function's libraries, uncut, with bytecode, once for each lock and Python."""
    lock = SOURCE / "requirements.txt"
    path = PACKAGES / f"libraries-{target.python_version}-{_key(interpreter, lock)}"
    if not path.is_dir():
        made = path.with_suffix(".partial")
        install_dependencies(target, lock, made)
        compile_dependencies(interpreter, made)
        made.rename(path)
    return path
