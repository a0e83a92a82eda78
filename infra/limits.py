"""Limits of AWS that options can exceed; sizes are estimates on the safe side, because ids are known only later."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .regions import Region
from .trust_rules import written

if TYPE_CHECKING:
    from .options import Options

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: white space does not count.
INLINE_POLICIES = 10_240
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
EVENT_PATTERN = 2_048
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ENVIRONMENT = 4 * 1024
RESOURCE_POLICY = 20 * 1024
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html#limits-functions
EDGE_FUNCTION = 10 * 1024

# What a role, a pattern, an environment and the code at the edge have beside lists of the operator's, at most.
_OTHER_STATEMENTS, _OTHER_PATTERN, _OTHER_VARIABLES, _OTHER_CODE = 1_500, 80, 600, 8_192
# The two statements that let a principal call the function URL, without the principal.
_PERMISSIONS = 800
_LONGEST_REGION = "ap-southeast-1"


def exceeded_limits(options: "Options", region: Region) -> Iterator[str]:
    """Give a message for each limit that the options exceed: the limit, and how to stay below it."""
    fewer = "Name fewer repositories: prefixes such as team/* stand for many"
    size = policy_characters(options, region)
    if size > INLINE_POLICIES:
        yield (
            f"The policies of the function's role have about {size:,} characters; IAM allows {INLINE_POLICIES:,}. "
            f"{fewer}, and registries repeat all of them."
        )
    size = _OTHER_PATTERN + _size(pushes(options))
    if options.image_pull and size > EVENT_PATTERN:
        yield (
            f"The event pattern for images that are pushed has about {size:,} characters; EventBridge allows "
            f"{EVENT_PATTERN:,}. {fewer}."
        )
    size = _OTHER_PATTERN + _size(options.event_sources)
    if size > EVENT_PATTERN:
        yield (
            f"The event pattern for requests has about {size:,} characters; EventBridge allows {EVENT_PATTERN:,}. Name "
            "fewer event sources."
        )
    size = _OTHER_VARIABLES + _size(options.registries) + _size(options.download_url_hosts)
    if size > ENVIRONMENT:
        yield (
            f"The function's environment has about {size:,} bytes; Lambda allows {ENVIRONMENT:,}. Name fewer "
            "registries or download URL hosts, or deploy a second resolver for the others."
        )
    size = _OTHER_VARIABLES + len(written(options.trust_rules).encode())
    if size > ENVIRONMENT:
        yield (
            f"The environment of the function that exchanges tokens has about {size:,} bytes; Lambda allows "
            f"{ENVIRONMENT:,}. Use fewer trust rules: a claim may have several values, of which one has to match."
        )
    size = _OTHER_CODE + sum(map(_size, (options.public_repositories, options.allowed_origins, options.catalog)))
    if options.edge and size > EDGE_FUNCTION:
        yield (
            f"The function at the edge has about {size:,} bytes; CloudFront allows {EDGE_FUNCTION:,}. Name fewer "
            "public repositories or allowed origins: prefixes such as team/* stand for many repositories."
        )


def too_many_principals(principals: tuple[str, ...]) -> Iterator[str]:
    """Give a message if the principals exceed the size of the function's resource policy."""
    size = sum(_PERMISSIONS + 2 * len(principal) for principal in principals)
    if size > RESOURCE_POLICY:
        yield (
            f"The function's resource policy has about {size:,} bytes; Lambda allows {RESOURCE_POLICY:,}. Allow fewer "
            "principals: an account id stands for all of its roles and users, an organisation id for all of its "
            "accounts."
        )


def policy_characters(options: "Options", region: Region) -> int:
    """Return how many characters the role's policies have at most."""
    names = [name for _ in range(1 + len(options.registries)) for name in options.repositories]
    names += options.imported_repositories()
    arn = f'"arn:{region.partition}:ecr:{region.name or _LONGEST_REGION}:123456789012:repository/",'
    return _OTHER_STATEMENTS + sum(len(arn) + len(name) for name in names)


def pushes(options: "Options") -> dict[str, Any]:
    """Return the `detail` of an event pattern for images that were pushed to the repositories."""
    detail: dict[str, Any] = {"action-type": ["PUSH"], "result": ["SUCCESS"]}
    if "*" not in options.repositories:
        detail["repository-name"] = [
            {"prefix": name.removesuffix("*")} if name.endswith("*") else name for name in options.repositories
        ]
    return detail


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")).encode())
