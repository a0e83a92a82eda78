"""Builds what is measured: the deployment package for this machine, and the functions it is compared with."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.processes import Ecr, Worker
from infra.package import LAMBDA, Target, build_package, compile_dependencies, find_interpreter

FUNCTIONS = Path(__file__).parent / "functions"
BUILT = Path(__file__).parent.parent / "build" / "benchmarks"

_HANDLERS = {
    "ours": "layer_resolver.handler.lambda_handler",
    **{name: f"{name}.lambda_handler" for name in ("bare", "tutorial")},
}


@dataclass(frozen=True, slots=True)
class Subjects:
    """The functions, and what runs them.

    Attributes:
        interpreter: Python of Lambda's version if uv finds one, else the running one.
        is_compiled: Whether everything is bytecode.
        paths: The deployment package, whose libraries all functions share, and the functions it is compared with.
    """

    interpreter: Path
    is_compiled: bool
    paths: tuple[Path, Path]

    def worker(self, name: str, ecr: Ecr) -> Worker:
        """Start `ours`, `bare` or `tutorial` in a new process."""
        return Worker(self.interpreter, _HANDLERS[name], self.paths, ecr)

    def versions(self) -> dict[str, str]:
        """Return the versions of Python and of the libraries."""
        said = subprocess.run([self.interpreter, "--version"], capture_output=True, text=True, check=True).stdout
        installed = {each.name: each.version for each in distributions(path=[str(self.paths[0])])}
        names = ("boto3", "aws-lambda-powertools", "pydantic")
        return {"python": said.split()[-1], **{name: installed[name.replace("-", "_")] for name in names}}


def build() -> Subjects:
    """Build everything.

    Raises:
        BuildError: If the dependencies can't be installed or compiled.
    """
    found = find_interpreter(LAMBDA.python_version)
    target = Target.host() if found is None else Target.host(LAMBDA.python_version)
    interpreter = found or Path(sys.executable)
    package = build_package(target, BUILT)
    functions = BUILT / "functions"
    shutil.rmtree(functions, ignore_errors=True)
    shutil.copytree(FUNCTIONS, functions, ignore=shutil.ignore_patterns("__pycache__"))
    if package.is_compiled:
        compile_dependencies(interpreter, functions)
    return Subjects(interpreter, package.is_compiled, (package.path, functions))
