"""The function's settings: environment variables, read once and checked.

The stack sets them; docs/settings.md describes what an operator sets.
"""

import logging
import os
import re
from collections.abc import Mapping
from typing import NamedTuple, Self

from layer_resolver.models import is_registry_id

DEFAULT_RESULT_KILOBYTES = 256
"""What every destination in every partition takes."""

_HOST = re.compile(r"[a-z0-9.-]{1,253}")
_DISTRIBUTION = re.compile(r"arn:aws[a-z-]*:cloudfront::[0-9]{12}:distribution/(?:[A-Z0-9]{1,64}|\*)")
_EVENT_BUS = re.compile(r"[A-Za-z0-9._/-]{1,256}")


class SettingsError(Exception):
    """An environment variable has an invalid value; the message names it."""


class Settings(NamedTuple):
    """Optional features; all off by default.

    Attributes:
        allowed_registries: `ALLOWED_REGISTRIES`: account ids, separated by commas, that may precede a repository's name
            under `/v2`.
        image_pull: `IMAGE_PULL`: whether manifests are read, which needs `ecr:BatchGetImage`.
        list_tags: `LIST_TAGS`: whether tags are listed, which needs `ecr:ListImages`.
        download_url_hosts: `DOWNLOAD_URL_HOSTS`: hosts, separated by commas, that download URLs may have beside those
            of S3 and CloudFront.
        maximum_result_kilobytes: `MAXIMUM_RESULT_KILOBYTES`: how large the record of an event and its result may be.
        stack_name: `STACK_NAME`: the stack's name, a dimension of all metrics.
        edge_distribution_arn: `EDGE_DISTRIBUTION_ARN`: the ARN of the CloudFront distribution in front of the function
            URL, or `arn:…:distribution/*` for those of an account.
        pull_event_bus: `PULL_EVENT_BUS`: the event bus that gets an event for each pull.
    """

    allowed_registries: tuple[str, ...] = ()
    image_pull: bool = False
    list_tags: bool = False
    download_url_hosts: tuple[str, ...] = ()
    maximum_result_kilobytes: int = DEFAULT_RESULT_KILOBYTES
    stack_name: str = "local"
    edge_distribution_arn: str | None = None
    pull_event_bus: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the settings in environment variables.

        Raises:
            SettingsError: If one has an invalid value.
        """
        registries = _list(environment, "ALLOWED_REGISTRIES")
        hosts = _list(environment, "DOWNLOAD_URL_HOSTS")
        kilobytes = environment.get("MAXIMUM_RESULT_KILOBYTES", str(DEFAULT_RESULT_KILOBYTES))
        if not all(map(is_registry_id, registries)):
            raise _invalid("ALLOWED_REGISTRIES", "each must be an AWS account id, twelve digits")
        if not all(map(_HOST.fullmatch, hosts)):
            raise _invalid("DOWNLOAD_URL_HOSTS", "each must be a host name in lower case")
        if not re.fullmatch(r"[1-9][0-9]{0,3}", kilobytes):
            raise _invalid("MAXIMUM_RESULT_KILOBYTES", "must be a whole number of kilobytes")
        edge, bus = environment.get("EDGE_DISTRIBUTION_ARN") or None, environment.get("PULL_EVENT_BUS") or None
        if edge is not None and not _DISTRIBUTION.fullmatch(edge):
            raise _invalid("EDGE_DISTRIBUTION_ARN", "must be the ARN of a CloudFront distribution, or end with '/*'")
        if bus is not None and not _EVENT_BUS.fullmatch(bus):
            raise _invalid("PULL_EVENT_BUS", "must be the name of an event bus")
        return cls(
            allowed_registries=registries,
            image_pull=_flag(environment, "IMAGE_PULL"),
            list_tags=_flag(environment, "LIST_TAGS"),
            download_url_hosts=hosts,
            maximum_result_kilobytes=int(kilobytes),
            stack_name=environment.get("STACK_NAME", "local"),
            edge_distribution_arn=edge,
            pull_event_bus=bus,
        )


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


def _list(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in environment.get(name, "").split(",") if item.strip())


def _flag(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "false")
    if value not in {"true", "false"}:
        raise _invalid(name, "must be true or false")
    return value == "true"


def _invalid(name: str, rule: str) -> SettingsError:
    return SettingsError(f"The function's environment is invalid: {name} {rule}.")
