"""What an operator can set: read from CDK context (`cdk.json`, or `-c key=value`), validated before anything is built.

Each setting is described in docs/settings.md.
"""

import json
import re
from typing import Annotated, Any, Literal, Self

from constructs import Node
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

# The values that CloudWatch Logs takes; source:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip

_NAME_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"\*|(?:{_NAME_PART}/)*{_NAME_PART}|[a-z0-9][a-z0-9._/-]*\*")
_PRINCIPAL = re.compile(r"\d{12}|arn:aws[a-z-]*:iam::\d{12}:(?:role|user)/[\w+=,.@/-]+|o-[a-z0-9]{10,32}")
_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.*-]+(?::\d{1,5})?")


class SettingsError(Exception):
    """A setting has a value that it can't have; the message names each and says what it has to be."""


def _as_list(value: Any) -> Any:
    """Return the list that `-c key=a,b` or `-c key='["a","b"]'` means; values of cdk.json are lists already."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


def _none_if_empty(value: Any) -> Any:
    """Return None for `-c key=`, which is how a setting is taken back on the command line."""
    return None if value == "" else value


def _matching(pattern: re.Pattern[str], rule: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(rule)
        return value

    return BeforeValidator(check)


Repository = Annotated[
    str, _matching(_REPOSITORY, "must be a repository name, a prefix such as 'team/*', or '*' for all repositories")
]
AccountId = Annotated[str, _matching(re.compile(r"\d{12}"), "must be an AWS account id, twelve digits")]
Principal = Annotated[
    str, _matching(_PRINCIPAL, "must be an account id, the ARN of an IAM role or user, or an organisation id (o-…)")
]
Origin = Annotated[str, _matching(_ORIGIN, "must be an origin such as https://example.com")]
EventSource = Annotated[
    str,
    _matching(
        re.compile(r"(?!aws\.)[A-Za-z0-9._-]{1,256}"),
        "must be a source of events such as 'com.example.builds'; those that begin with 'aws.' are AWS's own",
    ),
]


class DeploymentSettings(BaseModel):
    """The settings of one deployment; the defaults deploy as they are."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True, extra="forbid")

    stack_name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,127}$")] = "EcrLayerResolver"
    repositories: Annotated[tuple[Repository, ...], BeforeValidator(_as_list), Field(min_length=1)] = ("*",)
    registries: Annotated[tuple[AccountId, ...], BeforeValidator(_as_list)] = ()
    auth_type: Literal["AWS_IAM", "NONE"] = "AWS_IAM"
    allowed_principals: Annotated[tuple[Principal, ...], BeforeValidator(_as_list)] = ()
    allowed_origins: Annotated[tuple[Origin, ...], BeforeValidator(_as_list)] = ()
    memory_size: Annotated[int, Field(ge=128, le=10240)] = 512
    timeout_seconds: Annotated[int, Field(ge=3, le=900)] = 15
    reserved_concurrency: Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_none_if_empty)] = None
    snap_start: bool = True
    keep_versions: bool = False
    log_retention_days: int = 30
    keep_logs: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    image_pull: bool = False
    list_tags: bool = False
    event_sources: Annotated[tuple[EventSource, ...], BeforeValidator(_as_list)] = ("ecr-layer-resolver.requests",)
    event_bus_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,256}$")] = "default"
    create_event_bus: bool = False
    alarm_email: Annotated[
        Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] | None, BeforeValidator(_none_if_empty)
    ] = None

    @classmethod
    def from_context(cls, node: Node) -> Self:
        """Return the settings that a construct node's context has.

        Raises:
            SettingsError: If one has a value that it can't have.
        """
        names = [str(field.alias) for field in cls.model_fields.values()]
        context = {name: node.try_get_context(name) for name in names}
        return cls.from_values({name: value for name, value in context.items() if value is not None})

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Return the settings with these values, by their names in `cdk.json`.

        Raises:
            SettingsError: If one has a value that it can't have.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = [_describe(problem["loc"], problem["msg"]) for problem in error.errors()]
            raise SettingsError("\n".join(["The deployment's settings are not valid:", *problems])) from None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.log_retention_days not in RETENTION_DAYS:
            raise ValueError(f"logRetentionDays must be one of {', '.join(map(str, RETENTION_DAYS))}")
        if self.auth_type == "NONE" and "*" in self.repositories:
            raise ValueError(
                "authType NONE lets anyone in the world download layers, so repositories must name what is public "
                "and can't be '*'"
            )
        if self.create_event_bus and self.event_bus_name == "default":
            raise ValueError("createEventBus needs an eventBusName that is not 'default', which each account has")
        if self.auth_type == "NONE" and self.allowed_principals:
            raise ValueError("allowedPrincipals has no effect with authType NONE; remove one of the two")
        return self


def _describe(location: tuple[int | str, ...], message: str) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in location)
    text = message.removeprefix("Value error, ")
    return f"  {place}: {text}" if place else f"  {text}"
