import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from infra.bundling import PACKAGES
from infra.package import (
    LAMBDA,
    LAYER_RESOLVER,
    BuildError,
    Package,
    Source,
    Target,
    build_package,
    find_interpreter,
    sources_in,
)

CODE = LAYER_RESOLVER.package.parent
ROOT = CODE.parent
HOST = Target.host()


@pytest.fixture(scope="module")
def host_package() -> Package:
    return build_package(HOST, PACKAGES)


@pytest.fixture
def without_interpreters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let uv find no Python at all."""
    for name in ("PATH", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.fixture
def small_source(tmp_path: Path) -> Source:
    """Return a source that takes no time to build."""
    source = make_source(tmp_path / "source")
    (source.package / "module.py").touch()
    (source.package / "document.json").touch()
    return source


def source_in(directory: Path) -> Source:
    """Return the source whose package and lock are in a directory."""
    return Source(directory / "package", directory / "requirements.txt", frozenset({"ecr", "events"}))


def make_source(directory: Path, lock: str = "") -> Source:
    """Make a source with an empty package in a directory."""
    source = source_in(directory)
    source.package.mkdir(parents=True)
    (source.package / "__init__.py").touch()
    source.requirements.write_text(lock)
    return source


def copy_of_sources(directory: Path) -> Path:
    return Path(shutil.copytree(CODE, directory, ignore=shutil.ignore_patterns("__pycache__")))


def run_in(package: Package, program: str, **environment: str) -> str:
    """Run a program with nothing but the standard library and the package, and return what it prints."""
    command = [sys.executable, "-S", "-B", "-W", "error", "-c", program]
    settings = {"PYTHONPATH": str(package.path), "AWS_DEFAULT_REGION": "us-east-1", "PATH": os.environ["PATH"]}
    result = subprocess.run(command, env=settings | environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def files(package: Package) -> dict[str, bytes]:
    found = (path for path in package.path.rglob("*") if path.is_file())
    return {str(path.relative_to(package.path)): path.read_bytes() for path in found}


def test_the_package_for_lambda_has_arm64_binaries_and_little_else() -> None:
    package = build_package(LAMBDA, PACKAGES)
    (binary,) = (package.path / "pydantic_core").glob("_pydantic_core*.so")
    assert "cpython-313-aarch64" in binary.name
    services = {path.name for path in (package.path / "botocore" / "data").iterdir() if path.is_dir()}
    assert services == {"ecr", "events"}
    assert (package.path / "layer_resolver" / "handler.py").is_file()
    assert not list(package.path.rglob("*.pyi"))
    assert not list(package.path.rglob("tests"))


def test_the_package_is_at_most_6_megabytes_zipped(host_package: Package) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files(host_package).items():
            archive.writestr(name, content)
    assert len(zipped.getvalue()) <= 6_000_000


def test_the_package_for_this_machine_runs_the_function_on_its_own(host_package: Package) -> None:
    program = "import boto3, layer_resolver.handler as handler; print(handler.__file__, boto3.__file__)"
    for path in run_in(host_package, program).split():
        assert Path(path).is_relative_to(host_package.path)


# What the function uses of the libraries, and what Powertools' tutorial does, which benchmarks compare it with.
USED = """
import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver
from aws_lambda_powertools.metrics import single_metric
from aws_lambda_powertools.utilities.parser import parse
from aws_lambda_powertools.utilities.parser.models import EventBridgeModel, LambdaFunctionUrlModel
from pydantic import BaseModel

class Layer(BaseModel):
    digest: str

app = LambdaFunctionUrlResolver(enable_validation=True)

@app.get("/layers")
def layers(digest: str) -> Layer:
    return Layer(digest=digest)

event = {
    "version": "2.0",
    "rawPath": "/layers",
    "rawQueryString": "digest=a",
    "queryStringParameters": {"digest": "a"},
    "headers": {},
    "requestContext": {"http": {"method": "GET", "path": "/layers"}, "stage": "$default"},
}
print(boto3.client("ecr").meta.service_model.service_name, boto3.client("events").meta.service_model.service_name)
print(app.resolve(event, object())["body"])
"""


def test_the_package_has_what_the_function_and_the_tutorial_use_of_the_libraries(host_package: Package) -> None:
    assert run_in(host_package, USED).splitlines() == ["ecr events", '{"digest":"a"}']


ENDPOINTS = """
import itertools, json, sys
import botocore.session
from botocore.config import Config

session = botocore.session.get_session()
session.set_credentials("AKIAEXAMPLE", "secret")
urls = {}
for region, kind in itertools.product(json.load(sys.stdin), sys.argv[3:]):
    config = Config(use_fips_endpoint=kind == "fips", use_dualstack_endpoint=kind == "dual-stack")
    try:
        client = session.create_client(sys.argv[1], region_name=region, config=config)
        url = client.generate_presigned_url(sys.argv[2])
    except Exception as error:
        url = repr(error)
    scope = url.partition("X-Amz-Credential=")[2].partition("&")[0].partition("%2F")[2].partition("%2F")[2]
    urls[f"{region} {kind}"] = [url.partition("?")[0], scope]
print(json.dumps(urls))
"""


def endpoints(path: Path, regions: list[str], *arguments: str) -> Any:
    """Return endpoint and scope of an action in each region, as the botocore in a directory finds them."""
    result = subprocess.run(
        [sys.executable, "-S", "-B", "-c", ENDPOINTS, *arguments],
        env={"PYTHONPATH": str(path), "AWS_CONFIG_FILE": os.devnull},
        input=json.dumps(regions),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


def test_the_packages_botocore_finds_ecr_and_eventbridge_wherever_the_whole_botocore_does(
    host_package: Package,
) -> None:
    session = botocore.session.get_session()
    regions = [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ecr", partition, allow_non_regional=True)
    ]
    assert {"us-east-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1"} < set(regions)
    # Regions that botocore does not know yet are told by their names' form.
    regions += ["us-north-9", "cn-north-9", "us-gov-north-9"]
    whole = Path(botocore.__file__).parent.parent
    action = ("ecr", "get_authorization_token", "plain", "fips", "dual-stack")
    of_ecr = endpoints(whole, regions, *action)
    assert of_ecr["us-gov-west-1 dual-stack"][0] == "https://ecr.us-gov-west-1.api.aws/"
    assert of_ecr["cn-north-1 plain"][1].startswith("cn-north-1%2Fecr%2F")
    assert endpoints(host_package.path, regions, *action) == of_ecr
    of_events = endpoints(whole, regions, "events", "list_rules", "plain")
    assert of_events["eusc-de-east-1 plain"][0] == "https://events.eusc-de-east-1.amazonaws.eu/"
    assert endpoints(host_package.path, regions, "events", "list_rules", "plain") == of_events
    program = (
        "import json, botocore.session as s; s = s.get_session();"
        "print(json.dumps({p: s.get_available_regions('ecr', p) for p in s.get_available_partitions()}))"
    )
    assert json.loads(run_in(host_package, program)) == {
        partition: session.get_available_regions("ecr", partition) for partition in session.get_available_partitions()
    }


def test_the_package_speaks_tls_with_certificates_of_its_own(host_package: Package) -> None:
    program = (
        "import botocore.httpsession as h; s = h.URLLib3Session();"
        "c = s._get_ssl_context(); c.load_verify_locations(h.get_cert_path(True)); print(len(c.get_ca_certs()))"
    )
    assert int(run_in(host_package, program)) > 100


def test_bytecode_is_there_for_the_running_python_and_names_lambdas_paths(host_package: Package) -> None:
    compiled = list((host_package.path / "layer_resolver" / "__pycache__").glob("handler.*.pyc"))
    assert host_package.is_compiled
    assert len(compiled) == 1
    assert b"/var/task/layer_resolver/handler.py" in compiled[0].read_bytes()


def test_libraries_are_bytecode_alone_and_each_of_their_modules_loads(host_package: Package) -> None:
    sources = [name for name in files(host_package) if name.endswith(".py")]
    assert sources
    assert {name.partition("/")[0] for name in sources} == {"layer_resolver"}
    program = "import botocore.session, urllib3, pydantic, typing_extensions; print(typing_extensions.__file__)"
    assert run_in(host_package, program).strip().endswith("typing_extensions.pyc")


def test_a_traceback_shows_our_lines_and_names_those_of_libraries(host_package: Package) -> None:
    program = (
        "import traceback, botocore.session\n"
        "from layer_resolver.settings import Settings\n"
        "for fail in (lambda: Settings.from_environment({'IMAGE_PULL': 'x'}),\n"
        "             lambda: botocore.session.get_session().create_client('absent')):\n"
        "    try: fail()\n"
        "    except Exception: print(traceback.format_exc())"
    )
    shown = run_in(host_package, program)
    assert re.search(r'layer_resolver/settings\.py", line \d+, in \w+\n +\S+', shown)
    assert re.search(r'"/var/task/botocore/session\.py", line \d+, in create_client\n', shown)


def test_two_clones_make_the_same_bytes_whenever_and_wherever_they_are_made(
    host_package: Package, tmp_path: Path
) -> None:
    clone = copy_of_sources(tmp_path / "somewhere" / "else")
    for path in clone.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    other = build_package(HOST, tmp_path / "packages", sources_in(clone)["layer_resolver"])
    assert other.digest == host_package.digest
    assert files(other) == files(host_package)


def test_bytecode_serves_whatever_times_the_files_get(host_package: Package, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(host_package.path, tmp_path / "package"))
    for path in copy.rglob("*"):
        os.utime(path, (0, 0))
    # The source would fail now, so that only its bytecode can have been read.
    (copy / "layer_resolver" / "errors.py").write_text("raise SystemExit('The source was compiled anew.')")
    moved = Package(copy, host_package.digest, is_compiled=True)
    assert (
        run_in(moved, "import layer_resolver.errors as errors; print(errors.__name__)").strip()
        == "layer_resolver.errors"
    )


def test_an_unchanged_tree_is_not_built_again(small_source: Source, tmp_path: Path) -> None:
    first = build_package(HOST, tmp_path / "packages", small_source)
    (first.path / "marker").touch()
    assert build_package(HOST, tmp_path / "packages", small_source) == first
    assert (first.path / "marker").exists()


@pytest.mark.parametrize("changed", ["package/__init__.py", "package/document.json", "requirements.txt"])
def test_the_digest_follows_from_the_inputs_alone(small_source: Source, tmp_path: Path, changed: str) -> None:
    digest = build_package(HOST, tmp_path / "packages", small_source).digest
    copy = source_in(shutil.copytree(small_source.package.parent, tmp_path / "elsewhere"))
    assert build_package(HOST, tmp_path / "other-packages", copy).digest == digest
    with (copy.package.parent / changed).open("a") as file:
        file.write("# changed\n")
    assert build_package(HOST, tmp_path / "packages", copy).digest != digest


def test_packages_for_two_targets_are_two(small_source: Source, tmp_path: Path) -> None:
    digests = {build_package(target, tmp_path / "packages", small_source).digest for target in (HOST, LAMBDA)}
    assert len(digests) == 2


def test_without_an_interpreter_it_is_another_package_which_has_sources_alone(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = write_wheel(tmp_path / "source", "any")
    compiled = build_package(HOST, tmp_path / "packages", source)
    request.getfixturevalue("without_interpreters")
    package = build_package(HOST, tmp_path / "packages", source)
    assert package.digest != compiled.digest
    assert (compiled.is_compiled, package.is_compiled) == (True, False)
    assert (package.path / "native.py").is_file()
    assert not list(package.path.rglob("*.pyc"))


@pytest.mark.parametrize(("variable", "root"), [("PYENV_ROOT", "pyenv"), ("HOME", "home/.pyenv")])
def test_pyenvs_versions_are_found_behind_shims_that_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, root: str
) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shim, interpreter = (
        tmp_path / root / "shims" / f"python{version}",
        tmp_path / root / "versions" / version / "bin" / f"python{version}",
    )
    for path in (shim, interpreter):
        path.parent.mkdir(parents=True)
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    interpreter.symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / root.removesuffix("/.pyenv")))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path))
    assert find_interpreter(version) == interpreter


def write_wheel(directory: Path, platform: str, files: Mapping[str, bytes] | None = None) -> Source:
    """Make a source whose lock has one wheel, which is made for a platform."""
    python = "py3-none" if platform == "any" else "cp313-cp313"
    name = f"native-1.0-{python}-{platform}.whl"
    tags = f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {python}-{platform}\n"
    contents = {
        **(files or {}),
        "native.py": b"",
        "native-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: native\nVersion: 1.0\n",
        "native-1.0.dist-info/WHEEL": tags.encode(),
    }
    record = "".join(
        f"{path},sha256={urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}\n"
        for path, content in contents.items()
    )
    directory.mkdir()
    with zipfile.ZipFile(directory / name, "w") as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
        archive.writestr("native-1.0.dist-info/RECORD", record + "native-1.0.dist-info/RECORD,,\n")
    digest = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    return make_source(directory / "lambda_src", f"native @ file://{directory / name} --hash=sha256:{digest}\n")


POWERTOOLS = "aws_lambda_powertools/utilities"
KEPT = [
    "aws_lambda_powertools/utilities/parser/models.pyc",
    "boto3/session.pyc",
    "botocore/data/ecr/2015-09-21/service-2.json.gz",
    "botocore/data/endpoints.json",
    "botocore/data/events/2015-10-07/service-2.json.gz",
    "botocore/data/partitions.json",
    "dateutil/tz.pyc",
    *(f"native-1.0.dist-info/{name}" for name in ("AUTHORS.md", "COPYING", "LICENCE", "LICENSE.txt", "METADATA")),
    *(f"native-1.0.dist-info/{name}" for name in ("NOTICE", "licenses/LICENSE", "sboms/native.cdx.json")),
    "native.pyc",
    "pydantic/main.pyc",
]
LEFT_OUT = [
    *(f"{POWERTOOLS}/{feature}/base.py" for feature in ("auth_alpha", "batch", "circuit_breaker", "data_masking")),
    *(f"{POWERTOOLS}/{feature}/base.py" for feature in ("feature_flags", "idempotency", "kafka", "parameters")),
    f"{POWERTOOLS}/streaming/base.py",
    "bin/tool",
    "boto3/data/ec2/resources-1.json",
    "boto3/examples/s3.rst",
    "botocore/data/ecr/2015-09-21/examples-1.json",
    "botocore/data/s3/2006-03-01/service-2.json.gz",
    "dateutil/zoneinfo/dateutil-zoneinfo.tar.gz",
    "native-1.0.dist-info/INSTALLER",
    "native-1.0.dist-info/entry_points.txt",
    "pydantic/main.pyi",
    "pydantic/mypy.py",
    "pydantic/py.typed",
    "pydantic/tests/test_main.py",
    "swagger/swagger.css",
    "swagger/swagger.js",
]


def test_what_nothing_reads_is_left_out_and_licences_are_kept(tmp_path: Path) -> None:
    models = {"ecr": "api.ecr", "events": "events", "s3": "s3"}
    contents = dict.fromkeys(
        (name.removesuffix("c") if name.endswith(".pyc") else name for name in KEPT + LEFT_OUT), b""
    )
    for name in contents:
        if name.endswith("service-2.json.gz"):
            prefix = models[name.split("/")[2]]
            contents[name] = gzip.compress(json.dumps({"metadata": {"endpointPrefix": prefix}}).encode())
    services: dict[str, Any] = {"api.ecr": {"endpoints": {"us-east-1": {}}}, "events": {}, "s3": {}}
    contents["botocore/data/endpoints.json"] = json.dumps({"partitions": [{"services": services}]}).encode()
    del contents["native-1.0.dist-info/METADATA"], contents["native.py"]
    package = build_package(HOST, tmp_path / "packages", write_wheel(tmp_path / "source", "any", contents))
    assert sorted(name for name in files(package) if not name.startswith("package/")) == KEPT
    kept = json.loads((package.path / "botocore" / "data" / "endpoints.json").read_text())
    del services["s3"]
    assert kept == {"partitions": [{"services": services}]}


def test_a_library_for_lambdas_own_glibc_is_installed(tmp_path: Path) -> None:
    source = write_wheel(tmp_path / "source", "manylinux_2_34_aarch64")
    assert any(name.startswith("native.py") for name in files(build_package(LAMBDA, tmp_path / "packages", source)))


@pytest.mark.parametrize("platform", ["manylinux_2_35_aarch64", "manylinux_2_28_x86_64", "macosx_11_0_arm64"])
def test_a_library_that_lambda_can_not_load_is_refused(tmp_path: Path, platform: str) -> None:
    source = write_wheel(tmp_path / "source", platform)
    with pytest.raises(BuildError, match=platform):
        build_package(LAMBDA, tmp_path / "packages", source)


def test_a_failed_build_says_what_to_do_and_leaves_nothing(small_source: Source, tmp_path: Path) -> None:
    small_source.requirements.write_text("boto3==1.44.5 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(BuildError, match="make lock"):
        build_package(LAMBDA, tmp_path / "packages", small_source)
    assert list((tmp_path / "packages").iterdir()) == []


def test_a_module_that_does_not_compile_fails_the_build(small_source: Source, tmp_path: Path) -> None:
    (small_source.package / "module.py").write_text("def broken(:\n")
    with pytest.raises(BuildError, match=r"(?s)could not be compiled.*def broken"):
        build_package(HOST, tmp_path / "packages", small_source)
    assert list((tmp_path / "packages").iterdir()) == []


def test_an_operator_sees_a_failed_build_as_a_message_and_no_trace(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "infra", tmp_path / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    sources = copy_of_sources(tmp_path / "lambda_src")
    shutil.copy(ROOT / "app.py", tmp_path)
    (sources / "layer_resolver.txt").write_text("boto3==1.44.5 --hash=sha256:" + "0" * 64 + "\n")
    environment = os.environ | {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "The function's dependencies could not be installed" in result.stderr
    assert "Traceback" not in result.stderr
