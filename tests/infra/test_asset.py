import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.asset import LAMBDA, SOURCE, BuildError, Target, build_package


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


def test_the_package_for_lambda_has_arm64_binaries_and_little_else(output: Path) -> None:
    package = build_package(LAMBDA, output)
    (binary,) = (package.path / "pydantic_core").glob("_pydantic_core*.so")
    assert "cpython-313-aarch64" in binary.name
    services = {path.name for path in (package.path / "botocore" / "data").iterdir() if path.is_dir()}
    assert services == {"ecr"}
    assert (package.path / "layer_resolver" / "handler.py").is_file()
    assert not list(package.path.rglob("*.pyi"))
    assert not list(package.path.rglob("tests"))


def test_the_package_for_this_machine_runs_the_function_on_its_own(output: Path) -> None:
    package = build_package(Target.host(), output)
    program = (
        "import boto3, layer_resolver.handler as handler;"
        "print(handler.__file__, boto3.__file__, boto3.client('ecr').meta.service_model.service_name)"
    )
    environment = {"PYTHONPATH": str(package.path), "AWS_DEFAULT_REGION": "us-east-1", "PATH": os.environ["PATH"]}
    result = subprocess.run(
        [sys.executable, "-S", "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    handler, boto3, service = result.stdout.split()
    assert Path(handler).is_relative_to(package.path)
    assert Path(boto3).is_relative_to(package.path)
    assert service == "ecr"


def test_bytecode_is_there_for_the_running_python_and_names_lambdas_paths(output: Path) -> None:
    package = build_package(Target.host(), output)
    compiled = list((package.path / "layer_resolver" / "__pycache__").glob("handler.*.pyc"))
    assert package.is_compiled
    assert len(compiled) == 1
    assert b"/var/task/layer_resolver/handler.py" in compiled[0].read_bytes()


def test_an_unchanged_tree_is_not_built_again(output: Path) -> None:
    first = build_package(LAMBDA, output)
    marker = first.path / "marker"
    marker.touch()
    assert build_package(LAMBDA, output) == first
    assert marker.exists()
    marker.unlink()


def test_the_digest_follows_from_the_inputs_alone(output: Path, tmp_path: Path) -> None:
    digest = build_package(LAMBDA, output).digest
    copy = Path(shutil.copytree(SOURCE, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("__pycache__")))
    assert build_package(LAMBDA, tmp_path / "packages", copy).digest == digest
    with (copy / "layer_resolver" / "handler.py").open("a") as file:
        file.write("# changed\n")
    assert build_package(LAMBDA, tmp_path / "packages", copy).digest != digest


def test_a_failed_build_says_what_to_do_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "package").mkdir(parents=True)
    (source / "package" / "__init__.py").touch()
    (source / "requirements.txt").write_text("boto3==1.44.5 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(BuildError, match="make lock"):
        build_package(LAMBDA, tmp_path / "packages", source)
    assert list((tmp_path / "packages").iterdir()) == []
