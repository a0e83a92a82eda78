"""A deployed stack's outputs and settings, from CloudFormation."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from ecr_layers.errors import UsageError
from ecr_layers.ops import aws

TOKEN_STORE_OUTPUT = "TokenStoreArn"  # noqa: S105 (the name of an output)
DOMAIN_OUTPUT = "RegistryDomain"
FUNCTION_OUTPUT = "FunctionArn"
SIGNING_SECRET_OUTPUT = "SigningKeySecret"  # noqa: S105 (the name of an output)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployed stack.

    Attributes:
        stack: Its name.
        outputs: Its outputs.
        settings: Its settings by their names in `cdk.json`, from its template's metadata.
    """

    stack: str
    outputs: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def token_store(self) -> str:
        """The ARN of its token store.

        Raises:
            UsageError: If it has none.
        """
        try:
            return self.outputs[TOKEN_STORE_OUTPUT]
        except KeyError:
            raise UsageError(
                f"The stack {self.stack} has no token store. Deploy it with `edge: true`.", code="no-token-store"
            ) from None

    @property
    def signing_secret(self) -> str:
        """The ARN of the secret with its signing keys.

        Raises:
            UsageError: If it has none.
        """
        try:
            return self.outputs[SIGNING_SECRET_OUTPUT]
        except KeyError:
            raise UsageError(
                f"The stack {self.stack} has no keyless login. Deploy it with trustRules.", code="no-keyless-login"
            ) from None

    @property
    def trust_rules(self) -> tuple[str, ...]:
        """The names of its trust rules."""
        found = self.settings.get("trustRules")
        return tuple(map(str, found)) if isinstance(found, Mapping) else ()

    @property
    def repositories(self) -> tuple[str, ...]:
        """The repositories that it serves: names, prefixes or `*`.

        Raises:
            UsageError: If the template doesn't say.
        """
        found = self.settings.get("repositories")
        if not isinstance(found, list) or not found:
            raise UsageError(f"The stack {self.stack} doesn't say which repositories it serves. Deploy it again.")
        return tuple(map(str, found))

    @property
    def registries(self) -> tuple[str, ...]:
        """The accounts that it serves besides its own."""
        found = self.settings.get("registries")
        return tuple(map(str, found)) if isinstance(found, list) else ()

    @property
    def host(self) -> str | None:
        """Its domain, if it has one."""
        name = self.settings.get("domainName")
        return name if isinstance(name, str) and name else self.outputs.get(DOMAIN_OUTPUT)


def find_log_group(stack: str, region: str | None) -> str:
    """Return the name of the log group of a stack's function.

    Raises:
        UsageError: If there is no such stack, it has no function, or AWS refuses.
    """
    outputs = _outputs(create_client("cloudformation", region), stack)
    if FUNCTION_OUTPUT not in outputs:
        raise UsageError(f"The stack {stack} has no output {FUNCTION_OUTPUT}.", code="no-log-group")
    with aws.one_line_errors("Lambda"):
        client = create_client("lambda", region)
        found = aws.call(client, "GetFunctionConfiguration", is_checked=False, FunctionName=outputs[FUNCTION_OUTPUT])
    name: str | None = found.get("LoggingConfig", {}).get("LogGroup")
    if name is None:
        raise UsageError(f"The function of the stack {stack} doesn't say where it logs.", code="no-log-group")
    return name


def create_client(service: str, region: str | None) -> Any:
    """Return botocore's client of a service in the stack's region.

    Raises:
        UsageError: If there is no region, or the profile doesn't exist.
    """
    # botocore itself reads only AWS_DEFAULT_REGION.
    return aws.create_client(service, region or os.environ.get("AWS_REGION") or None)


def find_store(stack: str, region: str | None) -> str:
    """Return the ARN of a stack's token store.

    Raises:
        UsageError: If there is no such stack, it has no store, or AWS refuses.
    """
    return Deployment(stack, _outputs(create_client("cloudformation", region), stack)).token_store


def find_deployment(stack: str, region: str | None) -> Deployment:
    """Return a stack.

    Raises:
        UsageError: If there is no such stack, or AWS refuses.
    """
    client = create_client("cloudformation", region)
    outputs = _outputs(client, stack)
    with aws.one_line_errors("CloudFormation"):
        template = aws.call(client, "GetTemplate", is_checked=False, StackName=stack).get("TemplateBody")
    settings = template.get("Metadata") if isinstance(template, Mapping) else None
    return Deployment(stack, outputs, settings if isinstance(settings, Mapping) else {})


def _outputs(client: Any, stack: str) -> dict[str, str]:
    with aws.one_line_errors("CloudFormation"):
        try:
            stacks = aws.call(client, "DescribeStacks", is_checked=False, StackName=stack).get("Stacks", [])
        except ClientError as error:
            if aws.code_of(error) != "ValidationError":
                raise
            place = client.meta.region_name
            raise UsageError(f"There is no stack {stack!r} in {place}.", code="no-stack") from None
    outputs = [output for each in stacks for output in each.get("Outputs", [])]
    return {output.get("OutputKey", ""): output.get("OutputValue", "") for output in outputs}
