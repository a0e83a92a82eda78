"""The function's settings: environment variables, read once and checked.

The stack sets them; infra/settings.py has what the operator says.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Self

from aws_lambda_powertools.utilities.parser import ValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict

from layer_resolver.models import RegistryId


class SettingsError(Exception):
    """An environment variable has a value that it can't have; the message names it."""


def _as_list(value: Any) -> Any:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


class Settings(BaseModel):
    """What the operator has opted into; without a variable, nothing.

    Attributes:
        allowed_registries: `ALLOWED_REGISTRIES`: account ids, separated by commas, that a repository's name under `/v2`
            may begin with to name the registry.
        image_pull: `IMAGE_PULL`: whether manifests are read, which needs `ecr:BatchGetImage`.
        list_tags: `LIST_TAGS`: whether tags are listed, which needs `ecr:ListImages`.
    """

    model_config = ConfigDict(frozen=True)

    allowed_registries: Annotated[tuple[RegistryId, ...], BeforeValidator(_as_list)] = ()
    image_pull: bool = False
    list_tags: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the settings that environment variables have.

        Raises:
            SettingsError: If one has a value that it can't have.
        """
        values = {name: environment[name.upper()] for name in cls.model_fields if name.upper() in environment}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(f"{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
            raise SettingsError(f"The function's environment is not valid: {problems}") from None
