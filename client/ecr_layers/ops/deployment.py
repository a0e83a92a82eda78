"""What a deployed stack says of itself, by CloudFormation."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from ecr_layers.errors import UsageError
from ecr_layers.ops import aws

TOKEN_STORE_OUTPUT = "TokenStoreArn"  # noqa: S105 (the name of an output)
DOMAIN_OUTPUT = "RegistryDomain"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployed stack.

    Attributes:
        stack: Its name.
        outputs: Its outputs.
        settings: Its settings by their names in `cdk.json`, which its template has as metadata.
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
                f"The stack {self.stack} has no token store. Deploy it with `edge: true`, or name another with --stack."
            ) from None

    @property
    def repositories(self) -> tuple[str, ...]:
        """The repositories that it serves: names, prefixes or `*`.

        Raises:
            UsageError: If it does not say.
        """
        found = self.settings.get("repositories")
        if not isinstance(found, list) or not found:
            raise UsageError(f"The stack {self.stack} does not say which repositories it serves. Deploy it anew.")
        return tuple(map(str, found))

    @property
    def registries(self) -> tuple[str, ...]:
        """The accounts that it serves beside its own."""
        return tuple(map(str, self.settings.get("registries") or ()))

    @property
    def host(self) -> str | None:
        """The domain that serves it, if it says so."""
        return self.settings.get("domainName") or self.outputs.get(DOMAIN_OUTPUT)


def find_store(stack: str, region: str | None) -> str:
    """Return the ARN of a stack's token store.

    Raises:
        UsageError: If there is no such stack, or it has no store, or AWS does not tell.
    """
    return Deployment(stack, _outputs(_client(region), stack)).token_store


def find_deployment(stack: str, region: str | None) -> Deployment:
    """Return what a stack says of itself.

    Raises:
        UsageError: If there is no such stack, or AWS does not tell.
    """
    client = _client(region)
    outputs = _outputs(client, stack)
    with aws.one_line_errors("CloudFormation"):
        template = client.get_template(StackName=stack)["TemplateBody"]
    settings = template.get("Metadata") if isinstance(template, Mapping) else None
    return Deployment(stack, outputs, settings if isinstance(settings, Mapping) else {})


def _client(region: str | None) -> Any:
    # botocore itself reads AWS_DEFAULT_REGION alone.
    return aws.create_client("cloudformation", region or os.environ.get("AWS_REGION") or None)


def _outputs(client: Any, stack: str) -> dict[str, str]:
    with aws.one_line_errors("CloudFormation"):
        try:
            (description,) = client.describe_stacks(StackName=stack)["Stacks"]
        except ClientError as error:
            if aws.code_of(error) != "ValidationError":
                raise
            place = client.meta.region_name
            raise UsageError(
                f"There is no stack {stack!r} in {place}. Name it with --stack, and its region with --region."
            ) from None
    return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}
