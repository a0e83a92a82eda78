"""The function's settings: environment variables, read once and checked.

The stack sets them; infra/settings.py has what the operator says.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple, Self

from layer_resolver.models import REGISTRY_ID

DEFAULT_RESULT_KILOBYTES = 256
"""What every destination in every partition takes."""

_HOST = re.compile(r"[a-z0-9.-]{1,253}")
_DISTRIBUTION = re.compile(r"arn:aws[a-z-]*:cloudfront::[0-9]{12}:distribution/(?:[A-Z0-9]{1,64}|\*)")
_EVENT_BUS = re.compile(r"[A-Za-z0-9._/-]{1,256}")


class SettingsError(Exception):
    """An environment variable has a value that it can't have; the message names it."""


class Settings(NamedTuple):
    """What the operator has opted into; without a variable, nothing.

    Attributes:
        allowed_registries: `ALLOWED_REGISTRIES`: account ids, separated by commas, that a repository's name under `/v2`
            may begin with to name the registry.
        image_pull: `IMAGE_PULL`: whether manifests are read, which needs `ecr:BatchGetImage`.
        list_tags: `LIST_TAGS`: whether tags are listed, which needs `ecr:ListImages`.
        download_url_hosts: `DOWNLOAD_URL_HOSTS`: hosts, separated by commas, that download URLs may lead to beside
            those of S3 and CloudFront.
        maximum_result_kilobytes: `MAXIMUM_RESULT_KILOBYTES`: how large the record of an event and its result may be.
        stack_name: `STACK_NAME`: the name of the stack, a dimension of all metrics.
        edge_distribution_arn: `EDGE_DISTRIBUTION_ARN`: the ARN of the CloudFront distribution in front of the function
            URL, or `arn:…:distribution/*` for those of an account; None if there is none.
        pull_event_bus: `PULL_EVENT_BUS`: the name of the event bus that gets an event for each request that got
            something; None if there are to be none.
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
        """Return the settings that environment variables have.

        Raises:
            SettingsError: If one has a value that it can't have.
        """
        registries = _list(environment, "ALLOWED_REGISTRIES")
        hosts = _list(environment, "DOWNLOAD_URL_HOSTS")
        kilobytes = environment.get("MAXIMUM_RESULT_KILOBYTES", str(DEFAULT_RESULT_KILOBYTES))
        if not all(map(REGISTRY_ID.admits, registries)):
            raise _wrong("ALLOWED_REGISTRIES", f"each must be {REGISTRY_ID.words}")
        if not all(map(_HOST.fullmatch, hosts)):
            raise _wrong("DOWNLOAD_URL_HOSTS", "each must be a host name in lower case")
        if not re.fullmatch(r"[1-9][0-9]{0,3}", kilobytes):
            raise _wrong("MAXIMUM_RESULT_KILOBYTES", "must be a whole number of kilobytes")
        edge, bus = environment.get("EDGE_DISTRIBUTION_ARN") or None, environment.get("PULL_EVENT_BUS") or None
        if edge is not None and not _DISTRIBUTION.fullmatch(edge):
            raise _wrong("EDGE_DISTRIBUTION_ARN", "must be the ARN of a CloudFront distribution, or end with '/*'")
        if bus is not None and not _EVENT_BUS.fullmatch(bus):
            raise _wrong("PULL_EVENT_BUS", "must be the name of an event bus")
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


def _list(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in environment.get(name, "").split(",") if item.strip())


def _flag(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "false")
    if value not in {"true", "false"}:
        raise _wrong(name, "must be true or false")
    return value == "true"


def _wrong(name: str, rule: str) -> SettingsError:
    return SettingsError(f"The function's environment is not valid: {name}: {rule}.")
