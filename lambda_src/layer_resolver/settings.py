"""The function's settings: environment variables, read once and checked.

The stack sets them; docs/settings.md describes what an operator sets.
"""

import logging
import os
from collections.abc import Mapping
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from layer_resolver.models import RegistryId

Item = TypeVar("Item")


class SettingsError(Exception):
    """An environment variable has an invalid value; the message names it."""


def _split(value: object) -> object:
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


_List = Annotated[tuple[Item, ...], BeforeValidator(_split)]
_Host = Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,253}$")]
_DISTRIBUTION = r"^arn:aws[a-z-]*:cloudfront::[0-9]{12}:distribution/(?:[A-Z0-9]{1,64}|\*)$"
_EMPTY_IS_NONE = BeforeValidator(lambda value: value or None)


class Settings(BaseModel):
    """Optional features; all off by default.

    Each field is the environment variable of its name in upper case; its description is what the value must be. Lists
    are separated by commas.

    Attributes:
        allowed_registries: Those that may precede a repository's name under `/v2`.
        download_url_hosts: Those that download URLs may have beside the hosts of S3 and CloudFront.
        maximum_result_kilobytes: How large the record of an event and its result may be; by default, what every
            destination in every partition takes.
        edge_distribution_arn: CloudFront in front of the function URL; `arn:…:distribution/*` for any of an account.
        edge_layers_origin: The URL of the S3 bucket whose layers the edge serves, without a path.
    """

    model_config = ConfigDict(frozen=True)

    allowed_registries: _List[RegistryId] = Field(
        default=(), description="each must be an AWS account id, twelve digits"
    )
    image_pull: bool = Field(default=False, description="must be true or false")
    list_tags: bool = Field(default=False, description="must be true or false")
    download_url_hosts: _List[_Host] = Field(default=(), description="each must be a host name in lower case")
    maximum_result_kilobytes: int = Field(default=256, ge=1, le=9999, description="must be a whole number of kilobytes")
    stack_name: str = "local"
    edge_distribution_arn: Annotated[str | None, _EMPTY_IS_NONE] = Field(
        default=None,
        pattern=_DISTRIBUTION,
        description="must be the ARN of a CloudFront distribution, or end with '/*'",
    )
    edge_layers_origin: Annotated[str | None, _EMPTY_IS_NONE] = Field(
        default=None,
        pattern=r"^https?://[a-z0-9.-]{1,253}(?::[0-9]{1,5})?$",
        description="must be a URL without a path",
    )
    pull_event_bus: Annotated[str | None, _EMPTY_IS_NONE] = Field(
        default=None, pattern=r"^[A-Za-z0-9._/-]{1,256}$", description="must be the name of an event bus"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the settings in environment variables.

        Raises:
            SettingsError: If one has an invalid value.
        """
        values = {name: environment[name.upper()] for name in cls.model_fields if name.upper() in environment}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            raise _invalid(name.upper(), str(cls.model_fields[name].description)) from None


def log_level(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return `POWERTOOLS_LOG_LEVEL` in upper case, None if it is unset or empty.

    Powertools takes any case, but fails to compare lower case with Lambda's own level.

    Raises:
        SettingsError: If there is no such level.
    """
    level = environment.get("POWERTOOLS_LOG_LEVEL", "").upper()
    if level and level not in logging.getLevelNamesMapping():
        raise _invalid("POWERTOOLS_LOG_LEVEL", "must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return level or None


def _invalid(name: str, rule: str) -> SettingsError:
    return SettingsError(f"The function's environment is invalid: {name} {rule}.")
